//! The cluster as a whole: equal digests, life after the faults, no stops or panics, and whether anything was put to the test.

use std::collections::BTreeMap;

use super::{Finding, Verdict};
use crate::history::{F, Index, Kind};
use crate::nemesis::Fault;

/// Replicas that have applied the same entries have the same state.
pub(super) fn digests(index: &Index) -> Finding {
    let mut finding = Finding::new("equal-digests");
    let mut known: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    for replica in index.noted(F::Replica) {
        let facts = &replica.facts;
        let (Some(shard), Some(applied), Some(digest)) = (facts.shard, facts.applied, facts.digest) else {
            continue;
        };
        let node = facts.node.unwrap_or_default();
        let (other, before) = *known.entry((shard, applied)).or_insert((node, digest));
        if before != digest {
            finding.fault(format!(
                "shard {shard} at {applied}: {before:016x} on node {other}, {digest:016x} on {node}"
            ));
        }
        finding.count("replicas", 1);
    }
    finding
}

/// When all faults are over there are leaders, queues become empty, and replicas level.
pub(super) fn liveness(index: &Index) -> Finding {
    let mut finding = Finding::new("liveness");
    let mut slowest: BTreeMap<&'static str, u64> = BTreeMap::new();
    for f in [F::Leader, F::Drain, F::Level] {
        for note in index.noted(f) {
            let facts = &note.facts;
            let took_ms = facts.took_ms.unwrap_or_default();
            let most = slowest.entry(f.name()).or_default();
            *most = took_ms.max(*most);
            if note.kind == Kind::Fail {
                let (queue, why) = (facts.queue.as_deref(), facts.error.as_deref());
                finding.fault(format!(
                    "{} {}: not after {took_ms} ms {}",
                    f.name(),
                    queue.unwrap_or(""),
                    why.unwrap_or("")
                ));
            }
        }
    }
    for (name, ms) in slowest {
        let name = match name {
            "leader" => "leader-ms",
            "drain" => "drain-ms",
            _ => "level-ms",
        };
        finding.count(name, ms as usize);
    }
    finding
}

/// No process ends by itself unless a fault explains it, and no log holds a panic.
pub(super) fn stops(index: &Index) -> Finding {
    let mut finding = Finding::new("no-panic");
    for note in index.noted(F::Exit) {
        if note.facts.planned == Some(1) {
            finding.count("planned-stops", 1);
        } else {
            finding.fault(format!(
                "node {:?} ended by itself: {}",
                note.facts.node,
                note.facts.note.as_deref().unwrap_or("")
            ));
        }
    }
    for note in index.noted(F::Panic) {
        finding.fault(format!(
            "node {:?}: {}",
            note.facts.node,
            note.facts.note.as_deref().unwrap_or("a panic")
        ));
    }
    finding
}

/// A run in which nothing was confirmed while a fault was in force has shown nothing.
pub(super) fn coverage(index: &Index) -> Finding {
    let mut finding = Finding::new("coverage");
    let bands = index.bands();
    // Sends and settles: both are log entries.
    let sends: Vec<(u64, u64)> = index
        .ops
        .iter()
        .filter(|op| matches!(op.f, F::Enqueue | F::Ack | F::Nack) && op.is_ok())
        .map(|op| (op.began_ns, op.ended_ns))
        .collect();
    let mut confirmed_under = 0;
    for (begin, end, fault) in &bands {
        let inside = sends.iter().filter(|(began, ended)| began >= begin && ended <= end).count();
        confirmed_under += inside;
        let name = fault.facts.note.as_deref().unwrap_or("").split_whitespace().next().unwrap_or("");
        finding.count(kind_of(name), 1);
        finding.count("leader-hit", usize::from(fault.facts.leader == Some(1)));
        finding.count("faults-with-confirmations", usize::from(inside > 0));
    }
    finding.count("faults", bands.len());
    for damage in index.noted(F::Damage) {
        finding.count("blocks-lost", damage.facts.lost.unwrap_or_default() as usize);
        finding.count("flips", damage.facts.flips.unwrap_or_default() as usize);
    }
    finding.count("confirmed-under-fault", confirmed_under);
    finding.count("confirmed", sends.len());
    if sends.is_empty() {
        finding.unknown("nothing was confirmed at all");
    } else if !bands.is_empty() && confirmed_under == 0 {
        finding.unknown("nothing was confirmed while a fault was in force");
    }
    let has_healed = index.noted(F::Healed).next().is_some();
    if !bands.is_empty() && !has_healed {
        finding.unknown("the run ended before its faults were over");
    }
    debug_assert!(finding.verdict != Verdict::Invalid, "little was shown is never a fault of the queue");
    finding
}

/// A fault's kind is the first word of its note.
fn kind_of(name: &str) -> &'static str {
    let kinds = Fault::ALL.iter().map(|row| row.0.kind());
    kinds.into_iter().find(|kind| *kind == name).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::story::Story;
    use crate::history::{F, Facts, Kind};

    fn note(text: &str) -> Facts {
        Facts { note: Some(text.to_owned()), node: Some(1), ..Facts::default() }
    }

    #[test]
    fn replicas_that_applied_the_same_are_the_same() {
        let replica = |node, applied, digest| Facts {
            node: Some(node),
            shard: Some(1),
            applied: Some(applied),
            digest: Some(digest),
            ..Facts::default()
        };
        let mut story = Story::of_class("plain");
        story.note(F::Replica, Kind::Info, replica(1, 5, 77)).note(F::Replica, Kind::Info, replica(2, 4, 1));
        story.note(F::Replica, Kind::Info, replica(3, 5, 77)).valid("equal-digests");
        story.note(F::Replica, Kind::Info, replica(2, 5, 78)).invalid("equal-digests");
    }

    #[test]
    fn a_run_without_a_confirmation_under_a_fault_shows_nothing() {
        let mut story = Story::of_class("plain");
        story.expect("coverage", Verdict::Unknown);
        story.sent(1, 1).valid("coverage");
        story.note(F::Fault, Kind::Info, note("kill 1"));
        let healed = |story: &Story| {
            let mut story = story.clone();
            story.note(F::Heal, Kind::Info, note("")).note(F::Healed, Kind::Info, note(""));
            story
        };
        healed(&story).expect("coverage", Verdict::Unknown);
        story.sent(2, 2).expect("coverage", Verdict::Unknown);
        healed(&story).valid("coverage");
    }

    #[test]
    fn what_does_not_come_back_is_not_alive() {
        let mut story = Story::of_class("plain");
        story.drained("q").valid("liveness");
        story
            .note(F::Level, Kind::Fail, Facts { took_ms: Some(30_000), ..Facts::default() })
            .invalid("liveness");
    }

    #[test]
    fn stops_need_an_explanation_and_panics_have_none() {
        let mut story = Story::of_class("plain");
        story
            .note(F::Exit, Kind::Info, Facts { planned: Some(1), ..note("a sync failed") })
            .valid("no-panic");
        story.clone().note(F::Exit, Kind::Info, note("?")).invalid("no-panic");
        story.note(F::Panic, Kind::Info, note("thread 'main' panicked")).invalid("no-panic");
    }
}
