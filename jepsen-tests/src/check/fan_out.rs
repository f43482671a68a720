//! Fan-out: every subscription, and every queue that a binding feeds, gets every message that it takes once, no other, in the topic's order.
//!
//! Their names say what they take: `all`, or the `even` or `odd` numbers (see [`takes`]).

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::total::is_drained;
use crate::history::{F, Index, Kind};

/// Whether a subscription or bound queue of that name takes a message of that number.
pub fn takes(subscription: &str, value: u64) -> bool {
    match subscription.rsplit('/').next().and_then(|name| name.split('-').next()) {
        Some("even") => value.is_multiple_of(2),
        Some("odd") => !value.is_multiple_of(2),
        _ => true,
    }
}

/// The topic that feeds a bound queue of that name.
pub fn topic_of(bound: &str) -> Option<&str> {
    bound.split_once("-of-").map(|(_, topic)| topic)
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("fan-out");
    for topic in index.queues_of(&["topic"]) {
        let mut known: BTreeMap<u64, Kind> = BTreeMap::new();
        let mut confirmed: Vec<(u64, u64)> = Vec::new();
        for send in index.of(topic, F::Enqueue) {
            let Some(value) = send.value else { continue };
            known.insert(value, send.kind);
            if let Some(sequence) = send.facts.sequence.filter(|_| send.is_ok()) {
                confirmed.push((sequence, value));
            }
        }
        confirmed.sort_unstable();
        finding.count("published", confirmed.len());
        let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let prefix = format!("{topic}/");
        let bound = index.queues_of(&["bound"]).filter(|name| topic_of(name) == Some(topic));
        for queue in bound.clone() {
            finding.count("carried", index.deliveries(queue).count());
            once(index, queue, &mut finding);
        }
        let own = index.queues_of(&["subscription"]).filter(|name| name.starts_with(&prefix));
        for subscription in own.chain(bound) {
            let got = check_subscription(index, subscription, &known, &mut finding);
            in_order(index, subscription, &confirmed, &mut finding);
            seen.insert(subscription, got);
        }
        all_or_none(topic, &seen, &known, index, &mut finding);
    }
    finding
}

fn check_subscription(
    index: &Index,
    subscription: &str,
    known: &BTreeMap<u64, Kind>,
    finding: &mut Finding,
) -> BTreeSet<u64> {
    let got: BTreeSet<u64> = index.deliveries(subscription).filter_map(|op| op.value).collect();
    for value in &got {
        if !takes(subscription, *value) {
            finding.fault(format!("{subscription} got {value}, which it does not take"));
        }
        if matches!(known.get(value), None | Some(Kind::Fail)) {
            finding.fault(format!("unexpected: {subscription} got {value}, which was never published"));
        }
    }
    let due = known.iter().filter(|(value, kind)| **kind == Kind::Ok && takes(subscription, **value));
    for (value, _) in due.filter(|(value, _)| !got.contains(value)) {
        if is_drained(index, subscription) {
            finding.fault(format!("lost: {value} was published, {subscription} is empty and never got it"));
        } else {
            finding.unknown(format!("{subscription} has not got {value}, and was not drained"));
        }
    }
    finding.count("delivered", got.len());
    got
}

/// A message whose publication has no known outcome reached every subscription that takes it, or none.
fn all_or_none(
    topic: &str,
    seen: &BTreeMap<&str, BTreeSet<u64>>,
    known: &BTreeMap<u64, Kind>,
    index: &Index,
    finding: &mut Finding,
) {
    for value in known.iter().filter(|(_, kind)| **kind == Kind::Info).map(|(value, _)| *value) {
        let takers = seen.iter().filter(|(name, _)| takes(name, value) && is_drained(index, name));
        let had: Vec<bool> = takers.map(|(_, got)| got.contains(&value)).collect();
        if had.contains(&true) && had.contains(&false) {
            finding.fault(format!("{value} of {topic} reached some of its subscriptions and not others"));
        }
    }
}

/// What a binding carries has one place.
fn once(index: &Index, queue: &str, finding: &mut Finding) {
    let mut places: BTreeMap<u64, u64> = BTreeMap::new();
    for delivery in index.deliveries(queue) {
        let (Some(value), Some(sequence)) = (delivery.value, delivery.facts.sequence) else { continue };
        let place = *places.entry(value).or_insert(sequence);
        if place != sequence {
            finding.fault(format!("{queue}: {value} was carried twice, to {place} and to {sequence}"));
        }
    }
}

/// The places in a subscription follow the places in its topic.
fn in_order(index: &Index, subscription: &str, confirmed: &[(u64, u64)], finding: &mut Finding) {
    let places: BTreeMap<u64, u64> =
        index.deliveries(subscription).filter_map(|op| Some((op.value?, op.facts.sequence?))).collect();
    let own: Vec<(u64, u64)> =
        confirmed.iter().filter_map(|(_, value)| Some((*places.get(value)?, *value))).collect();
    for pair in own.windows(2).filter(|pair| pair[0].0 >= pair[1].0) {
        finding.fault(format!(
            "{subscription}: {} is at {}, and {}, which was published before it, at {}",
            pair[1].1, pair[1].0, pair[0].1, pair[0].0
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, on};
    use crate::history::{F, Facts, Kind};

    const NAME: &str = "fan-out";

    const BOUND: &str = "even-0-of-t";

    #[test]
    fn a_binding_carries_each_message_once_and_in_order() {
        let told = |carried: &[(u64, u64)]| {
            let mut story = Story::of_class("plain");
            story.queue("t", "topic").queue(BOUND, "bound");
            for value in 1..=4 {
                story.sent_as(value, Facts { sequence: Some(value), ..on("t") });
            }
            for (value, sequence) in carried {
                got(&mut story, BOUND, *value, *sequence);
            }
            story.drained(BOUND);
            story
        };
        told(&[(2, 1), (4, 2)]).valid(NAME);
        // Of its own accord a queue may leave places out.
        told(&[(2, 1), (4, 5)]).valid(NAME);
        for planted in
            [&[(2, 1), (4, 2), (2, 3)][..], &[(4, 1), (2, 2)], &[(2, 1)], &[(2, 1), (3, 2), (4, 3)]]
        {
            told(planted).invalid(NAME);
        }
    }

    fn published() -> Story {
        let mut story = Story::of_class("plain");
        story.queue("t", "topic").queue("t/all", "subscription").queue("t/even-1", "subscription");
        for value in [1, 2] {
            story.sent_as(value, Facts { sequence: Some(value), ..on("t") });
        }
        story
    }

    fn got(story: &mut Story, subscription: &str, value: u64, sequence: u64) {
        let facts = Facts { attempt: Some(1), ..on(subscription) };
        story.given_as(value, sequence, sequence, 1, facts);
        story.settled_on(subscription, F::Ack, value, sequence, Kind::Ok);
    }

    #[test]
    fn every_subscription_gets_what_it_takes_and_nothing_else() {
        let mut story = published();
        got(&mut story, "t/all", 1, 1);
        got(&mut story, "t/even-1", 2, 1);
        story.drained("t/even-1");
        let mut lost = story.clone();
        lost.drained("t/all").invalid(NAME);
        got(&mut story, "t/all", 2, 2);
        story.drained("t/all").valid(NAME);
        got(&mut story, "t/even-1", 1, 2);
        story.invalid(NAME);
    }

    #[test]
    fn a_subscription_keeps_the_order_of_its_topic() {
        let mut story = published();
        got(&mut story, "t/all", 2, 1);
        got(&mut story, "t/all", 1, 2);
        got(&mut story, "t/even-1", 2, 1);
        story.drained("t/all").drained("t/even-1").invalid(NAME);
    }

    #[test]
    fn an_unknown_publication_reaches_all_or_none() {
        let told = |everywhere: bool| {
            let mut story = published();
            for value in [1, 2] {
                got(&mut story, "t/all", value, value);
            }
            got(&mut story, "t/even-1", 2, 1);
            let lost = story.begin(F::Enqueue, Some(4), on("t"));
            story.end(lost, Kind::Info, None, Facts::default());
            got(&mut story, "t/all", 4, 3);
            if everywhere {
                got(&mut story, "t/even-1", 4, 2);
            }
            story.drained("t/all").drained("t/even-1");
            story
        };
        told(true).valid(NAME);
        told(false).invalid(NAME);
    }
}
