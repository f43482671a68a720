//! Group order: the messages of a group are offered and settled in their order, and one consumer at a time has the group.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{F, Index, Op};

/// Deliveries that are looked at after one that was acknowledged: more than all windows together.
const LOOK_AHEAD: usize = 400;

/// What was settled for certain.
#[derive(Default)]
struct Settles<'a> {
    /// By token.
    acked: BTreeMap<u64, &'a Op>,
    /// By message.
    returned: BTreeMap<u64, Vec<&'a Op>>,
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("group-order");
    for queue in index.queues_of(&["groups", "strict"]) {
        let is_strict = index.queues.get(queue).is_some_and(|class| class == "strict");
        let mut groups: BTreeMap<u64, Vec<&Op>> = BTreeMap::new();
        for delivery in index.deliveries(queue) {
            let group = if is_strict { Some(0) } else { delivery.facts.group };
            if let Some(group) = group {
                groups.entry(group).or_default().push(delivery);
            }
        }
        let mut settles = Settles::default();
        for ack in index.of(queue, F::Ack).filter(|ack| ack.is_ok()) {
            settles.acked.insert(ack.facts.token.unwrap_or_default(), ack);
        }
        for nack in index.of(queue, F::Nack).filter(|nack| nack.is_ok()) {
            settles.returned.entry(nack.value.unwrap_or_default()).or_default().push(nack);
        }
        finding.count("groups", groups.len());
        for (group, deliveries) in &mut groups {
            deliveries.sort_by_key(|op| op.facts.token);
            let place = format!("group {group} of {queue}");
            offered_in_order(&place, deliveries, &mut finding);
            settled_in_order(&place, deliveries, &settles, &mut finding);
            one_holder(&place, deliveries, &settles, &mut finding);
            finding.count("deliveries", deliveries.len());
        }
    }
    finding
}

/// Of messages that nobody had before, the lower place has the lower token.
fn offered_in_order(place: &str, deliveries: &[&Op], finding: &mut Finding) {
    let is_first = |op: &&&Op| op.facts.attempt == Some(1) && op.facts.again.is_none();
    let first: Vec<&&Op> = deliveries.iter().filter(is_first).collect();
    for pair in first.windows(2).filter(|pair| pair[0].facts.sequence > pair[1].facts.sequence) {
        finding.fault(format!(
            "{place}: {:?} was offered (token {:?}) before {:?} (token {:?})",
            pair[0].value, pair[0].facts.token, pair[1].value, pair[1].facts.token
        ));
    }
}

/// Nothing is settled past a message that was given back: a return ends the later leases of its group.
fn settled_in_order(place: &str, deliveries: &[&Op], settles: &Settles<'_>, finding: &mut Finding) {
    for (at, held) in deliveries.iter().enumerate() {
        let Some(ack) = settles.acked.get(&held.facts.token.unwrap_or_default()) else { continue };
        // A consumer holds a window: what was given long after is not what the acknowledgement raced with.
        for again in deliveries[at + 1..].iter().take(LOOK_AHEAD) {
            if again.facts.sequence >= held.facts.sequence {
                continue;
            }
            // It was seen, or its return was confirmed, before the acknowledgement began.
            let is_seen = again.ended < ack.began;
            let returned = settles.returned.get(&again.value.unwrap_or_default());
            let mut returned = returned.into_iter().flatten();
            let is_direct = |nack: &&&Op| {
                let earlier = deliveries.iter().find(|op| op.facts.token == nack.facts.token);
                let attempt = earlier.and_then(|op| op.facts.attempt).map(|attempt| attempt + 1);
                again.facts.note.as_deref() == Some("nacked") && again.facts.attempt == attempt
            };
            if is_seen || returned.any(|nack| nack.ended < ack.began && is_direct(&nack)) {
                finding.fault(format!(
                    "{place}: {:?} was acknowledged under token {:?} past {:?}, which had been given back and came again under {:?}",
                    held.value, held.facts.token, again.value, again.facts.token
                ));
            }
        }
    }
}

/// What a consumer acknowledges was acknowledged, or on its way, before another consumer got something of the group.
fn one_holder(place: &str, deliveries: &[&Op], settles: &Settles<'_>, finding: &mut Finding) {
    // Of the holder with the latest acknowledgement, and of the best of the others.
    let mut latest: BTreeMap<Option<u64>, usize> = BTreeMap::new();
    for delivery in deliveries {
        let others = latest.iter().filter(|(holder, _)| **holder != delivery.facts.holder);
        if let Some((holder, began)) = others.max_by_key(|(_, began)| **began)
            && *began > delivery.ended
        {
            finding.fault(format!(
                "{place}: {:?} was given to {:?} while {holder:?} held and then acknowledged an earlier one",
                delivery.value, delivery.facts.holder
            ));
        }
        if let Some(ack) = delivery.facts.token.and_then(|token| settles.acked.get(&token)) {
            let began = latest.entry(delivery.facts.holder).or_default();
            *began = ack.began.max(*began);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{F, Facts, Kind};

    const NAME: &str = "group-order";

    fn grouped(attempt: u64) -> Facts {
        let again = (attempt > 1).then_some(1);
        let note = again.map(|_| "nacked".to_owned());
        Facts { group: Some(4), attempt: Some(attempt), again, note, ..Facts::default() }
    }

    /// Two messages of a group, given to the consumer 1 and to another.
    fn given(first: (u64, u64), second: (u64, u64), holder: u64) -> Story {
        let mut story = Story::of_class("groups");
        story.sent_as(1, Facts { sequence: Some(1), ..grouped(1) });
        story.sent_as(2, Facts { sequence: Some(2), ..grouped(1) });
        story.given_as(first.0, first.0, first.1, 1, grouped(1));
        story.given_as(second.0, second.0, second.1, holder, grouped(1));
        story
    }

    #[test]
    fn a_group_is_offered_in_order() {
        given((1, 1), (2, 2), 1).acked(1, 1).acked(2, 2).valid(NAME);
        given((2, 1), (1, 2), 1).invalid(NAME);
    }

    #[test]
    fn a_group_has_one_holder() {
        given((1, 1), (2, 2), 2).acked(1, 1).invalid(NAME);
        given((1, 1), (2, 2), 2).acked(2, 2).valid(NAME);
    }

    #[test]
    fn a_return_ends_the_later_leases_of_its_group() {
        let mut story = given((1, 1), (2, 2), 1);
        story.settled(F::Nack, 1, 1, Kind::Ok);
        let mut wrong = story.clone();
        story.given_as(1, 1, 3, 1, grouped(2)).acked(1, 3);
        story.given_as(2, 2, 4, 1, grouped(2)).acked(2, 4).valid(NAME);
        wrong.acked(2, 2).given_as(1, 1, 3, 1, grouped(2)).acked(1, 3).invalid(NAME);
    }
}
