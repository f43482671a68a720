//! Exactly-once send: a message has one place, a repeated send gets the place of the first, and places rise in the order of sends.

use std::collections::BTreeMap;

use super::Finding;
use super::most::Most;
use crate::history::{F, Index, Op};

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("exactly-once-send");
    // Places begin anew with each of the queues of one name.
    for (queue, _) in index.queues.iter().filter(|(_, class)| *class != "lives") {
        one_place(index, queue, &mut finding);
        let mut confirmed: Vec<&Op> = index.of(queue, F::Enqueue).filter(|op| op.is_ok()).collect();
        repeated(queue, &confirmed, &mut finding);
        let is_own = |op: &&Op| op.facts.duplicate != Some(1) && op.facts.sequence.is_some();
        confirmed.retain(is_own);
        rise_with_time(index, queue, &confirmed, &mut finding);
        rise_with_producer(queue, &confirmed, &mut finding);
        finding.count("confirmed", confirmed.len());
    }
    finding
}

/// The number of a message, and its place, belong to each other alone.
fn one_place(index: &Index, queue: &str, finding: &mut Finding) {
    let mut of_value: BTreeMap<u64, u64> = BTreeMap::new();
    let mut of_place: BTreeMap<u64, u64> = BTreeMap::new();
    let sends = index.of(queue, F::Enqueue).filter(|op| op.is_ok() && op.facts.duplicate != Some(1));
    for op in sends.chain(index.deliveries(queue)) {
        let (Some(value), Some(sequence)) = (op.value, op.facts.sequence) else { continue };
        let before = *of_value.entry(value).or_insert(sequence);
        if before != sequence {
            finding.fault(format!("{value} is in {queue} twice, at {before} and at {sequence}"));
        }
        let before = *of_place.entry(sequence).or_insert(value);
        if before != value {
            finding.fault(format!("place {sequence} of {queue} is {before}'s and {value}'s"));
        }
    }
}

/// Repetitions of one request, and messages with one deduplication id, have one place.
fn repeated(queue: &str, confirmed: &[&Op], finding: &mut Finding) {
    let mut of_request: BTreeMap<u64, &Op> = BTreeMap::new();
    let mut of_id: BTreeMap<u64, &Op> = BTreeMap::new();
    for op in confirmed {
        let sequence = op.facts.sequence;
        if let Some(request) = op.facts.request {
            let first = of_request.entry(request).or_insert(op);
            if first.facts.sequence != sequence {
                finding.fault(format!(
                    "request {request} to {queue} got {:?}, then {sequence:?}",
                    first.facts.sequence
                ));
            }
            finding.count("repeated", usize::from(first.began != op.began));
        }
        if let Some(id) = op.facts.dedup {
            let first = of_id.entry(id).or_insert(op);
            if first.facts.sequence != sequence {
                let before = first.facts.sequence;
                finding
                    .fault(format!("deduplication id {id} of {queue} is at {before:?} and at {sequence:?}"));
            }
            finding.count("suppressed", usize::from(op.facts.duplicate == Some(1)));
        }
    }
}

/// A send that began when another was confirmed comes after it.
fn rise_with_time(index: &Index, queue: &str, confirmed: &[&Op], finding: &mut Finding) {
    // A repeated request began with its first attempt.
    let mut began: BTreeMap<u64, usize> = BTreeMap::new();
    for op in index.of(queue, F::Enqueue) {
        if let Some(request) = op.facts.request {
            began.entry(request).or_insert(op.began);
        }
    }
    let given = Most::new(confirmed.iter().filter_map(|op| Some((op.ended, op.facts.sequence?))));
    for op in confirmed {
        let Some(sequence) = op.facts.sequence else { continue };
        let first = op.facts.request.and_then(|request| began.get(&request)).copied().unwrap_or(op.began);
        if let Some(most) = given.before(first).filter(|most| *most >= sequence) {
            let value = op.value.unwrap_or_default();
            finding.fault(format!("{value} got {sequence} of {queue}, when {most} had been given before"));
        }
    }
}

fn rise_with_producer(queue: &str, confirmed: &[&Op], finding: &mut Finding) {
    let mut streams: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for op in confirmed {
        if let (Some(producer), Some(place), Some(sequence)) =
            (op.facts.producer, op.facts.place, op.facts.sequence)
        {
            streams.entry(producer).or_default().push((place, sequence));
        }
    }
    for (producer, sends) in &mut streams {
        sends.sort_unstable();
        for pair in sends.windows(2).filter(|pair| pair[0].1 >= pair[1].1) {
            finding.fault(format!(
                "producer {producer} of {queue}: its send {} got {}, its later send {} got {}",
                pair[0].0, pair[0].1, pair[1].0, pair[1].1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{F, Facts, Kind};

    const NAME: &str = "exactly-once-send";

    fn of_producer(place: u64, sequence: Option<u64>) -> Facts {
        Facts { producer: Some(1), place: Some(place), sequence, ..Facts::default() }
    }

    #[test]
    fn a_message_has_one_place_and_a_place_one_message() {
        Story::of_class("plain").sent(1, 1).sent(2, 2).given(1, 1, 1, 1).valid(NAME);
        Story::of_class("plain").sent(1, 1).given(1, 2, 1, 1).invalid(NAME);
        Story::of_class("plain").sent(1, 1).sent(2, 1).invalid(NAME);
    }

    #[test]
    fn a_repetition_gets_the_place_of_the_first() {
        let told = |sequence, duplicate| {
            let asked = |sequence| Facts { request: Some(7), sequence: Some(sequence), ..Facts::default() };
            let id = |sequence, duplicate| Facts {
                dedup: Some(3),
                sequence: Some(sequence),
                duplicate,
                ..Facts::default()
            };
            let mut story = Story::of_class("dedup");
            story.sent_as(1, asked(1)).sent_as(1, asked(sequence));
            story.sent_as(2, id(sequence + 1, None)).sent_as(3, id(2, duplicate));
            story
        };
        told(1, Some(1)).valid(NAME);
        told(2, Some(1)).invalid(NAME);
    }

    #[test]
    fn places_rise_in_the_order_of_sends() {
        Story::of_class("plain").sent(1, 2).sent(2, 1).invalid(NAME);
        let pipelined = |first, second| {
            let mut story = Story::of_class("plain");
            let one = story.begin(F::Enqueue, Some(1), of_producer(0, None));
            let two = story.begin(F::Enqueue, Some(2), of_producer(1, None));
            story.end(one, Kind::Ok, None, of_producer(0, Some(first)));
            story.end(two, Kind::Ok, None, of_producer(1, Some(second)));
            story
        };
        pipelined(1, 2).valid(NAME);
        pipelined(2, 1).invalid(NAME);
    }
}
