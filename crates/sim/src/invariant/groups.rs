//! Groups: one holder at a time, offered in order, and nothing of a group is settled past a message that was given back.

use std::collections::BTreeMap;

use super::Index;
use super::index::Delivery;
use crate::history::{Action, End, History, Returned, Settled};

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    let mut groups = index.grouped(|delivery| index.group_of(delivery));
    for deliveries in groups.values_mut() {
        // A delivery that came twice is one.
        deliveries.dedup_by_key(|delivery| delivery.given.token);
        offered_in_order(deliveries)?;
        nothing_is_settled_past(index, deliveries)?;
    }
    Ok(())
}

fn offered_in_order(deliveries: &[&Delivery]) -> Result<(), String> {
    let is_fresh = |delivery: &&&Delivery| delivery.given.attempt == 1 && delivery.given.redelivery.is_none();
    let fresh: Vec<_> = deliveries.iter().filter(is_fresh).collect();
    for pair in fresh.windows(2) {
        if pair[0].given.sequence > pair[1].given.sequence {
            return Err(format!("{:?} was offered before {:?}", pair[0].given, pair[1].given));
        }
    }
    Ok(())
}

/// When `later` was given, some of the group's earlier leases must have ended: all of other holders, and those of messages behind it. An
/// acknowledgement under one of them that begins when `later` is there must fail; so must any when the return itself was confirmed.
fn nothing_is_settled_past(index: &Index, deliveries: &[&Delivery]) -> Result<(), String> {
    let acks: BTreeMap<u64, _> = acknowledged(index, deliveries);
    let returns = returned(index, deliveries);
    for (place, earlier) in deliveries.iter().enumerate() {
        let Some(ack) = acks.get(&earlier.given.token) else { continue };
        for later in &deliveries[place + 1..] {
            let ended =
                later.given.holder != earlier.given.holder || later.given.sequence < earlier.given.sequence;
            // The message itself is the business of another rule.
            if ended && later.given.sequence != earlier.given.sequence && later.at < ack.0 {
                return Err(format!(
                    "{:?} was acknowledged (op {}) after {:?}",
                    earlier.given, ack.1, later.given
                ));
            }
        }
        for (returned, confirmed, op) in &returns {
            let behind = returned.given.sequence < earlier.given.sequence;
            if !behind || *confirmed > ack.0 {
                continue;
            }
            // It may be acknowledged only under a lease that was given after the returned one was given again.
            let again = deliveries.iter().find(|again| {
                again.given.sequence == returned.given.sequence && again.given.token > returned.given.token
            });
            // With this reason and number nothing came between: a delivery that nobody saw cannot be nacked.
            let direct = |again: &&&Delivery| {
                again.given.redelivery == Some(Returned::Nacked)
                    && again.given.attempt == returned.given.attempt + 1
            };
            if again.filter(direct).is_some_and(|again| again.given.token > earlier.given.token) {
                return Err(format!(
                    "{:?} was acknowledged (op {}) after {:?} before it had been given back (op {op}), and before that one was offered again",
                    earlier.given, ack.1, returned.given
                ));
            }
        }
    }
    Ok(())
}

/// Tokens that were acknowledged for certain: when the acknowledgement began, and its name.
fn acknowledged(index: &Index, deliveries: &[&Delivery]) -> BTreeMap<u64, (usize, u64)> {
    let queue = deliveries.first().map_or(0, |delivery| delivery.given.queue);
    let done = index.settles.iter().filter(|settle| {
        let removes = matches!(settle.call.action, Action::Ack | Action::Reject);
        removes && settle.call.queue == queue && settle.end == End::Known(Settled::Done)
    });
    let mut first = BTreeMap::new();
    for settle in done {
        // A repetition is answered from memory.
        first.entry(settle.call.token).or_insert((settle.span.began, settle.op));
    }
    // A known one that follows one without an answer may be a repetition, too.
    for settle in index.settles.iter().filter(|settle| settle.call.queue == queue && settle.known().is_none())
    {
        if first.get(&settle.call.token).is_some_and(|(began, _)| settle.span.began < *began) {
            first.remove(&settle.call.token);
        }
    }
    first
}

/// Deliveries that were given back for certain: when that was confirmed, and by what.
fn returned<'a>(index: &Index, deliveries: &[&'a Delivery]) -> Vec<(&'a Delivery, usize, u64)> {
    let mut returned = Vec::new();
    for settle in &index.settles {
        let is_return =
            matches!(settle.call.action, Action::Nack { .. }) && settle.end == End::Known(Settled::Done);
        let given = deliveries.iter().find(|delivery| {
            (delivery.given.queue, delivery.given.token) == (settle.call.queue, settle.call.token)
        });
        if let Some(given) = given.filter(|_| is_return) {
            returned.push((*given, settle.span.ended, settle.op));
        }
    }
    returned
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::Returned;

    const NAME: &str = "groups-in-order";

    fn two_in_hand() -> Story {
        let mut story = Story::new();
        story.grouped(1, 1).grouped(2, 2).delivered(1, 1, 1, 1).delivered(1, 2, 2, 2);
        story
    }

    #[test]
    fn a_group_is_offered_in_order() {
        two_in_hand().acked(1, 1).acked(1, 2).check(NAME, true);
        let mut story = Story::new();
        story.grouped(1, 1).grouped(2, 2).delivered(1, 1, 2, 2).delivered(1, 2, 1, 1).check(NAME, false);
    }

    #[test]
    fn a_return_ends_the_later_leases_of_its_group() {
        let mut story = two_in_hand();
        story.nacked(1, 1);
        let mut wrong = story.clone();
        story.over(1, 2).redelivered(1, 3, 1, 1, 2, Some(Returned::Nacked));
        story.redelivered(1, 4, 2, 2, 1, Some(Returned::Group)).acked(1, 3).acked(1, 4).check(NAME, true);
        wrong.acked(1, 2).redelivered(1, 3, 1, 1, 2, Some(Returned::Nacked)).check(NAME, false);
    }

    #[test]
    fn a_group_has_one_holder() {
        let mut story = Story::new();
        story.grouped(1, 1).grouped(2, 2).delivered(1, 1, 1, 1);
        let mut wrong = story.clone();
        story.acked(1, 1).delivered(2, 2, 2, 2).check(NAME, true);
        wrong.delivered(2, 2, 2, 2).acked(1, 1).check(NAME, false);
    }
}
