//! Total queue: what was confirmed comes out, nothing else does, and what was acknowledged never returns.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{F, Index, Kind};

/// Classes of queues to which messages are sent directly and from which they are taken.
pub(super) const DIRECT: [&str; 6] = ["plain", "fifo", "groups", "strict", "mutex", "dedup"];

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("total-queue");
    for queue in index.queues_of(&DIRECT) {
        check_queue(index, queue, &mut finding);
    }
    for queue in index.queues_of(&DIRECT).chain(index.queues_of(&["subscription", "bound"])) {
        acknowledged_never_returns(index, queue, &mut finding);
    }
    finding
}

/// Whether it is known that nothing is left in the queue.
pub(super) fn is_drained(index: &Index, queue: &str) -> bool {
    let mut drains = index.notes.iter().filter(|(_, note)| note.f == F::Drain);
    drains.any(|(_, note)| note.kind == Kind::Ok && note.facts.queue.as_deref() == Some(queue))
}

fn check_queue(index: &Index, queue: &str, finding: &mut Finding) {
    let mut known: BTreeMap<u64, Kind> = BTreeMap::new();
    let mut kept_for_another = BTreeSet::new();
    for send in index.of(queue, F::Enqueue) {
        let Some(value) = send.value else { continue };
        if send.is_ok() && send.facts.duplicate == Some(1) {
            kept_for_another.insert(value);
        }
        // Of several attempts at one message the best is what is known of it.
        let kind = known.entry(value).or_insert(send.kind);
        if send.is_ok() || *kind == Kind::Fail {
            *kind = send.kind;
        }
    }
    let delivered: BTreeSet<u64> = index.deliveries(queue).filter_map(|op| op.value).collect();
    let settled: BTreeSet<u64> =
        index.of(queue, F::Ack).filter(|ack| ack.is_possible()).filter_map(|ack| ack.value).collect();
    let drained = is_drained(index, queue);
    // A send that was suppressed names the place of the message that was kept.
    let places: BTreeSet<u64> = index.deliveries(queue).filter_map(|op| op.facts.sequence).collect();
    let suppressed = index.of(queue, F::Enqueue).filter(|op| op.is_ok() && op.facts.duplicate == Some(1));
    for send in suppressed.filter(|_| drained) {
        if let Some(kept) = send.facts.sequence.filter(|kept| !places.contains(kept)) {
            finding.fault(format!(
                "lost: {:?} is said to be a duplicate of {kept}, which nobody got",
                send.value
            ));
            finding.count("lost", 1);
        }
    }
    for (value, kind) in &known {
        if *kind != Kind::Ok || kept_for_another.contains(value) {
            continue;
        }
        if !delivered.contains(value) {
            if drained {
                finding.fault(format!("lost: {value} was confirmed, {queue} is empty, and nobody got it"));
                finding.count("lost", 1);
            } else {
                finding
                    .unknown(format!("{value} was confirmed and is not delivered; {queue} was not drained"));
            }
        } else if drained && !settled.contains(value) {
            finding.fault(format!("lost: {value} was delivered, never acknowledged, and {queue} is empty"));
            finding.count("lost", 1);
        }
    }
    for value in &delivered {
        match known.get(value) {
            None => {
                finding.fault(format!("unexpected: {value} came out of {queue} and was never sent to it"))
            }
            Some(Kind::Fail) => {
                finding.fault(format!("unexpected: the send of {value} to {queue} failed for certain"));
            }
            Some(_) => {}
        }
    }
    let with = |kind: Kind| known.values().filter(|known| **known == kind).count();
    finding.count("attempted", known.len());
    finding.count("confirmed", with(Kind::Ok));
    finding.count("refused", with(Kind::Fail));
    finding.count("unknown", with(Kind::Info));
    finding.count("delivered", delivered.len());
    let is_unknown = |value: &&u64| known.get(value) == Some(&Kind::Info);
    finding.count("recovered", delivered.iter().filter(is_unknown).count());
}

/// A message that was acknowledged under one token has no later one.
fn acknowledged_never_returns(index: &Index, queue: &str, finding: &mut Finding) {
    let mut acked: BTreeMap<u64, u64> = BTreeMap::new();
    for ack in index.of(queue, F::Ack).filter(|ack| ack.is_ok()) {
        let (Some(value), Some(token)) = (ack.value, ack.facts.token) else { continue };
        if let Some(other) = acked.insert(value, token).filter(|other| *other != token) {
            finding
                .fault(format!("duplicated: {value} of {queue} was acknowledged under {other} and {token}"));
            finding.count("duplicated", 1);
        }
    }
    for delivery in index.deliveries(queue) {
        let (Some(value), Some(token)) = (delivery.value, delivery.facts.token) else { continue };
        if let Some(done) = acked.get(&value).filter(|done| **done < token) {
            finding.fault(format!(
                "duplicated: {value} of {queue} was acknowledged under {done} and came again under {token}"
            ));
            finding.count("duplicated", 1);
        }
    }
    finding.count("acknowledged", acked.len());
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::story::{QUEUE, Story};
    use crate::history::{F, Facts, Kind};

    const NAME: &str = "total-queue";

    fn one() -> Story {
        let mut story = Story::of_class("plain");
        story.sent(1, 1);
        story
    }

    #[test]
    fn what_was_confirmed_must_come_out_of_a_drained_queue() {
        one().given(1, 1, 1, 1).acked(1, 1).drained(QUEUE).valid(NAME);
        one().drained(QUEUE).invalid(NAME);
        one().expect(NAME, Verdict::Unknown);
        // Delivered, not acknowledged, and gone.
        one().given(1, 1, 1, 1).drained(QUEUE).invalid(NAME);
    }

    #[test]
    fn nothing_comes_out_that_was_not_sent_or_was_refused() {
        one().given(1, 1, 1, 1).given(2, 2, 2, 1).invalid(NAME);
        for (kind, verdict) in [(Kind::Fail, Verdict::Invalid), (Kind::Info, Verdict::Valid)] {
            let mut story = Story::of_class("plain");
            let send = story.begin(F::Enqueue, Some(1), Facts::default());
            story.end(send, kind, None, Facts::default());
            story.given(1, 1, 1, 1).acked(1, 1).drained(QUEUE).expect(NAME, verdict);
        }
    }

    #[test]
    fn what_was_acknowledged_never_returns() {
        one().given(1, 1, 1, 1).given(1, 1, 2, 2).acked(1, 2).valid(NAME);
        one().given(1, 1, 1, 1).acked(1, 1).given(1, 1, 2, 2).invalid(NAME);
        one().given(1, 1, 1, 1).given(1, 1, 2, 2).acked(1, 1).acked(1, 2).invalid(NAME);
    }
}
