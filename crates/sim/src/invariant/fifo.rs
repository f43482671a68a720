//! Order: sequences rise with time and with each producer's sends and are never used twice; ungrouped messages are offered in their order,
//! and one that was given back goes before later ones.

use std::collections::BTreeMap;

use super::Index;
use super::index::{Delivery, Operation, ReceiveCall};
use crate::history::{Action, End, History, Identity, Returned, Settled};

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    never_used_twice(index)?;
    rise_with_time(index)?;
    rise_with_each_producer(index)?;
    offered_in_order(index)?;
    returned_goes_first(index)
}

/// First and last sequence that a send was given, if it was given any.
fn sequences(placed: &[crate::history::Placed]) -> Option<(u64, u64)> {
    let mut own = placed.iter().filter(|placed| !placed.duplicate).map(|placed| placed.sequence);
    let first = own.next()?;
    Some((first, own.next_back().unwrap_or(first)))
}

fn never_used_twice(index: &Index) -> Result<(), String> {
    let mut owners = BTreeMap::new();
    let mut own = |queue: u64, sequence: u64, message: u64| {
        let owner = *owners.entry((queue, sequence)).or_insert(message);
        if owner == message {
            return Ok(());
        }
        Err(format!("sequence {sequence} of queue {queue} is message {owner} and message {message}"))
    };
    for send in &index.sends {
        for (message, placed) in send.call.messages.iter().zip(send.known().into_iter().flatten()) {
            if !placed.duplicate {
                own(send.call.queue, placed.sequence, message.message)?;
            }
        }
    }
    for delivery in &index.deliveries {
        own(delivery.given.queue, delivery.given.sequence, delivery.given.message)?;
    }
    Ok(())
}

/// A send that began when another had ended comes after it.
fn rise_with_time(index: &Index) -> Result<(), String> {
    let mut first_began: BTreeMap<Identity, usize> = BTreeMap::new();
    for send in &index.sends {
        first_began.entry(send.call.identity).or_insert(send.span.began);
    }
    let mut ends: BTreeMap<u64, Vec<(usize, u64)>> = BTreeMap::new();
    for send in &index.sends {
        if let Some((_, last)) = send.known().and_then(|placed| sequences(placed)) {
            ends.entry(send.call.queue).or_default().push((send.span.ended, last));
        }
    }
    for ends in ends.values_mut() {
        ends.sort_unstable();
        let mut most = 0;
        for (_, last) in ends.iter_mut() {
            most = most.max(*last);
            *last = most;
        }
    }
    for send in &index.sends {
        let Some((first, _)) = send.known().and_then(|placed| sequences(placed)) else { continue };
        let began = first_began[&send.call.identity];
        let ends = &ends[&send.call.queue];
        let before = ends[..ends.partition_point(|(ended, _)| *ended < began)].last();
        if let Some((_, most)) = before.filter(|(_, most)| *most >= first) {
            return Err(format!(
                "{:?} (op {}) got {first}, but {most} had been given before it began",
                send.call, send.op
            ));
        }
    }
    Ok(())
}

fn rise_with_each_producer(index: &Index) -> Result<(), String> {
    let mut streams: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
    for send in &index.sends {
        let Identity::Stream { producer, place } = send.call.identity else { continue };
        if let Some((first, last)) = send.known().and_then(|placed| sequences(placed)) {
            streams.entry(producer).or_default().push((place, first, last));
        }
    }
    for (producer, places) in &mut streams {
        places.sort_unstable();
        for pair in places.windows(2) {
            if pair[0].2 >= pair[1].1 {
                return Err(format!(
                    "producer {producer}: its send {} got {}, its later send {} got {}",
                    pair[0].0, pair[0].2, pair[1].0, pair[1].1
                ));
            }
        }
    }
    Ok(())
}

/// Tokens are given in the order of offering: of messages that nobody had before, the lower sequence has the lower token.
fn offered_in_order(index: &Index) -> Result<(), String> {
    let fresh = index.grouped(|delivery| {
        let is_fresh = delivery.given.attempt == 1 && delivery.given.redelivery.is_none();
        (is_fresh && index.group_of(delivery).is_none()).then_some(delivery.given.queue)
    });
    for deliveries in fresh.values() {
        for pair in deliveries.windows(2) {
            if pair[0].given.sequence > pair[1].given.sequence {
                return Err(format!("{:?} was offered before {:?}", pair[0].given, pair[1].given));
            }
        }
    }
    Ok(())
}

/// A message that was given back at once is there for the next receive; a later one must not come first.
fn returned_goes_first(index: &Index) -> Result<(), String> {
    let by_message = index.by_message();
    let mut delivered: BTreeMap<(u64, u64), &Delivery> = BTreeMap::new();
    for delivery in &index.deliveries {
        delivered.insert((delivery.given.queue, delivery.given.token), delivery);
    }
    // A repeated request gets what its first attempt was given.
    let mut asked: BTreeMap<u64, usize> = BTreeMap::new();
    for receive in &index.receives {
        asked.entry(receive.call.request).or_insert(receive.span.began);
    }
    for settle in &index.settles {
        let is_return =
            settle.call.action == Action::Nack { delay_ms: 0 } && settle.end == End::Known(Settled::Done);
        let returned = delivered.get(&(settle.call.queue, settle.call.token));
        let Some(returned) = returned.filter(|delivery| is_return && index.group_of(delivery).is_none())
        else {
            continue;
        };
        let next = by_message[&(settle.call.queue, returned.given.sequence)]
            .iter()
            .find(|next| next.given.token > returned.given.token);
        // With this reason and number nothing came between: a delivery that nobody saw cannot be nacked.
        let Some(next) = next.filter(|next| {
            next.given.redelivery == Some(Returned::Nacked)
                && next.given.attempt == returned.given.attempt + 1
        }) else {
            continue;
        };
        let asked_later =
            |receive: &&Operation<ReceiveCall, _>| asked[&receive.call.request] > settle.span.ended;
        for receive in index.receives.iter().filter(asked_later) {
            let tokens =
                receive.known().filter(|_| receive.call.queue == settle.call.queue).into_iter().flatten();
            for token in tokens {
                let Some(other) = delivered.get(&(settle.call.queue, *token)) else { continue };
                let is_first = other.given.attempt == 1 && other.given.redelivery.is_none();
                if is_first
                    && *token < next.given.token
                    && other.given.sequence > returned.given.sequence
                    && other.at < receive.span.ended
                    && other.at > receive.span.began
                {
                    return Err(format!(
                        "{:?} was given back by op {}, and {:?} (op {}) came before its next delivery {:?}",
                        returned.given, settle.op, other.given, receive.op, next.given
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, sending};
    use crate::history::{End, Identity, Returned, What};

    const NAME: &str = "fifo";

    #[test]
    fn sequences_rise_with_time() {
        let mut story = Story::new();
        story.plain(1, 5);
        story.clone().plain(2, 6).check(NAME, true);
        story.plain(2, 4).check(NAME, false);
    }

    #[test]
    fn a_sequence_is_never_used_twice() {
        let mut story = Story::new();
        story.plain(1, 5).plain(2, 6).delivered(1, 1, 1, 5).check(NAME, true);
        story.plain(3, 6).check(NAME, false);
    }

    #[test]
    fn a_producers_pipelined_sends_keep_their_order() {
        let told = |first: u64, second: u64| {
            let mut story = Story::new();
            let ops: Vec<u64> = (0..2)
                .map(|place| {
                    let identity = Identity::Stream { producer: 9, place };
                    let messages = vec![sending(place + 1)];
                    story.begin(|op| What::Send { op, queue: 1, identity, messages })
                })
                .collect();
            for (op, sequence) in ops.into_iter().zip([first, second]) {
                let placed = crate::history::Placed { sequence, duplicate: false };
                story.add(What::SendEnd { op, end: End::Known(vec![placed]) });
            }
            story
        };
        told(1, 2).check(NAME, true);
        told(2, 1).check(NAME, false);
    }

    #[test]
    fn fresh_messages_are_offered_in_order_and_returned_ones_may_come_later() {
        let mut story = Story::new();
        story.plain(1, 1).plain(2, 2).plain(3, 3).delivered(1, 1, 1, 1);
        let mut wrong = story.clone();
        story.delivered(1, 2, 2, 2).nacked(1, 1).redelivered(1, 3, 1, 1, 2, Some(Returned::Nacked));
        story.delivered(1, 4, 3, 3).check(NAME, true);
        wrong.delivered(1, 2, 3, 3).delivered(1, 3, 2, 2).check(NAME, false);
    }

    #[test]
    fn what_was_given_back_goes_before_what_comes_later() {
        let told = |returned_token: u64, later_token: u64| {
            let mut story = Story::new();
            story.plain(1, 1).plain(2, 2).delivered(1, 1, 1, 1).nacked(1, 1);
            let op = story.begin(|op| What::Receive { op, queue: 1, holder: 2, request: 1 });
            story.delivered(2, later_token, 2, 2);
            story.add(What::ReceiveEnd { op, end: End::Known(vec![later_token]) });
            story.redelivered(3, returned_token, 1, 1, 2, Some(Returned::Nacked));
            story
        };
        told(2, 3).check(NAME, true);
        told(3, 2).check(NAME, false);
    }

    #[test]
    fn a_repeated_receive_gets_what_was_assigned_before_the_return() {
        let mut story = Story::new();
        story.plain(1, 1).plain(2, 2).delivered(1, 1, 1, 1);
        for end in [End::Unknown("no answer".into()), End::Known(vec![2])] {
            let op = story.begin(|op| What::Receive { op, queue: 1, holder: 2, request: 1 });
            if end.known().is_some() {
                story.delivered(2, 2, 2, 2);
            } else {
                story.nacked(1, 1);
            }
            story.add(What::ReceiveEnd { op, end });
        }
        story.redelivered(3, 3, 1, 1, 2, Some(Returned::Nacked)).check(NAME, true);
    }
}
