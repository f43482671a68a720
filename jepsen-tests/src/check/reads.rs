//! Reads are linearizable: what a read shows is true at one moment between its beginning and its end.
//!
//! Totals hold everything that was over before the read began and nothing that began after it ended, and never go back. The oldest message that a
//! look at the queue shows is not acknowledged yet, and what lies before it may be.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{F, Index, Kind, Op};

/// Times (ns), in order.
#[derive(Default)]
struct Times(Vec<u64>);

impl Times {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn before(&self, ns: u64) -> u64 {
        self.0.partition_point(|time| *time < ns) as u64
    }
}

/// What is known of a message.
#[derive(Default)]
struct Known {
    sequence: u64,
    /// The send was confirmed then.
    sent_ns: u64,
    /// From then on it may be acknowledged.
    may_be_gone_ns: Option<u64>,
    /// From then on it is.
    gone_ns: Option<u64>,
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("reads");
    let queues: BTreeSet<&str> =
        index.ops.iter().filter(|op| matches!(op.f, F::Read | F::Peek)).map(Op::queue).collect();
    for queue in queues {
        totals(index, queue, &mut finding);
        heads(index, queue, &mut finding);
    }
    finding
}

fn totals(index: &Index, queue: &str, finding: &mut Finding) {
    let sends = || index.of(queue, F::Enqueue).filter(|op| op.is_possible());
    let acks = || index.of(queue, F::Ack).filter(|op| op.is_possible());
    let ended = |ops: &mut dyn Iterator<Item = &Op>| {
        Times::of(ops.filter(|op| op.is_ok()).map(|op| op.ended_ns).collect())
    };
    let (sent, acked) = (ended(&mut sends()), ended(&mut acks()));
    let may_be_sent = Times::of(sends().map(|op| op.began_ns).collect());
    let may_be_acked = Times::of(acks().map(|op| op.began_ns).collect());
    let mut reads: Vec<&Op> = index.of(queue, F::Read).filter(|op| op.is_ok()).collect();
    reads.sort_by_key(|op| op.ended_ns);
    finding.count("reads", reads.len());
    let ends: Vec<u64> = reads.iter().map(|op| op.ended_ns).collect();
    let mut most = (0, 0);
    let highest: Vec<(u64, u64)> = reads
        .iter()
        .map(|op| {
            most = (most.0.max(op.facts.sent.unwrap_or(0)), most.1.max(op.facts.acked.unwrap_or(0)));
            most
        })
        .collect();
    for read in &reads {
        let place = ends.partition_point(|end| *end < read.began_ns);
        let earlier = place.checked_sub(1).map_or((0, 0), |place| highest[place]);
        let shown = [read.facts.sent.unwrap_or(0), read.facts.acked.unwrap_or(0)];
        let least = [sent.before(read.began_ns).max(earlier.0), acked.before(read.began_ns).max(earlier.1)];
        let most = [may_be_sent.before(read.ended_ns), may_be_acked.before(read.ended_ns)];
        for (place, what) in ["sent", "acknowledged"].into_iter().enumerate() {
            if !(least[place]..=most[place]).contains(&shown[place]) {
                finding.fault(format!(
                    "{queue}: a read at {} ms shows {} {what}, between {} and {} it was",
                    read.began_ns / 1_000_000,
                    shown[place],
                    least[place],
                    most[place]
                ));
            }
        }
    }
}

fn heads(index: &Index, queue: &str, finding: &mut Finding) {
    let mut messages: BTreeMap<u64, Known> = BTreeMap::new();
    for send in index.of(queue, F::Enqueue).filter(|op| op.is_ok()) {
        let (Some(value), Some(sequence)) = (send.value, send.facts.sequence) else { continue };
        messages.insert(value, Known { sequence, sent_ns: send.ended_ns, ..Known::default() });
    }
    for ack in index.of(queue, F::Ack).filter(|op| op.is_possible()) {
        let Some(known) = ack.value.and_then(|value| messages.get_mut(&value)) else { continue };
        known.may_be_gone_ns = Some(known.may_be_gone_ns.map_or(ack.began_ns, |ns| ns.min(ack.began_ns)));
        if ack.kind == Kind::Ok {
            known.gone_ns = Some(known.gone_ns.map_or(ack.ended_ns, |ns| ns.min(ack.ended_ns)));
        }
    }
    let mut messages: Vec<Known> = messages.into_values().collect();
    messages.sort_unstable_by_key(|known| known.sequence);
    for look in index.of(queue, F::Peek).filter(|op| op.is_ok()) {
        finding.count("looks", 1);
        let first = look.facts.sequence.unwrap_or(u64::MAX);
        let at_ms = look.began_ns / 1_000_000;
        for known in messages.iter().take_while(|known| known.sequence <= first) {
            let is_gone = known.gone_ns.is_some_and(|ns| ns < look.began_ns);
            let may_be_gone = known.may_be_gone_ns.is_some_and(|ns| ns < look.ended_ns);
            if known.sequence == first && is_gone {
                finding.fault(format!("{queue}: a look at {at_ms} ms shows {first}, which was acknowledged"));
            }
            if known.sequence < first && known.sent_ns < look.began_ns && !may_be_gone {
                let hidden = known.sequence;
                finding.fault(format!("{queue}: a look at {at_ms} ms does not show {hidden}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{F, Facts, Kind};

    fn read(story: &Story, sent: u64, acked: u64) -> Story {
        let mut story = story.clone();
        let begun = story.begin(F::Read, None, Facts::default());
        let facts = Facts { sent: Some(sent), acked: Some(acked), ..Facts::default() };
        story.end(begun, Kind::Ok, None, facts);
        story
    }

    fn look(story: &Story, first: Option<u64>) -> Story {
        let mut story = story.clone();
        let begun = story.begin(F::Peek, None, Facts::default());
        story.end(begun, Kind::Ok, None, Facts { sequence: first, ..Facts::default() });
        story
    }

    fn two_sent_one_acknowledged() -> Story {
        let mut story = Story::of_class("plain");
        story.sent(1, 1).sent(2, 2).given(1, 1, 1, 1).acked(1, 1);
        story
    }

    #[test]
    fn totals_are_those_of_a_moment_of_the_read() {
        let story = two_sent_one_acknowledged();
        read(&story, 2, 1).valid("reads");
        for (sent, acked) in [(1, 1), (3, 1), (2, 0), (2, 2)] {
            read(&story, sent, acked).invalid("reads");
        }
        let mut open = story.clone();
        open.begin(F::Enqueue, Some(3), Facts::default());
        read(&open, 2, 1).valid("reads");
        let seen = read(&open, 3, 1);
        seen.valid("reads");
        read(&seen, 2, 1).invalid("reads");
    }

    #[test]
    fn the_oldest_message_is_not_acknowledged_and_hides_none() {
        let story = two_sent_one_acknowledged();
        look(&story, Some(2)).valid("reads");
        look(&story, Some(1)).invalid("reads");
        look(&story, None).invalid("reads");
        look(&story, Some(7)).invalid("reads");
        let mut open = story.clone();
        open.begin(F::Ack, Some(2), Facts { token: Some(2), ..Facts::default() });
        look(&open, None).valid("reads");
        look(&open, Some(2)).valid("reads");
    }
}
