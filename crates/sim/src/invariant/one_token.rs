//! Nothing under two live tokens: a token names one delivery, an old one never touches a later delivery, and a lease lasts as long as its
//! holder was told.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use super::index::{Delivery, Operation, SettleCall};
use crate::history::{Action, End, History, Returned, Settled};

/// Machine time and the samples that show its jumps are not of the same moment, µs.
const SLACK_US: u64 = 1_200_000;

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    tokens_name_one_delivery(index)?;
    for deliveries in index.by_message().values() {
        for pair in deliveries.windows(2).filter(|pair| pair[0].given.token != pair[1].given.token) {
            lasts(index, pair[0], pair[1])?;
        }
    }
    old_tokens_do_nothing(index)?;
    settled_tokens_stay_away(index)
}

fn tokens_name_one_delivery(index: &Index) -> Result<(), String> {
    let mut names = BTreeMap::new();
    for delivery in &index.deliveries {
        let given = &delivery.given;
        let what = (given.message, given.sequence, given.holder);
        let before = names.entry((given.queue, given.token)).or_insert((what, given));
        if before.0 != what {
            return Err(format!("one token for two deliveries: {:?} and {given:?}", before.1));
        }
    }
    // A receive that began when a delivery was there gets higher tokens.
    let mut highest: BTreeMap<u64, Vec<(usize, u64)>> = BTreeMap::new();
    for delivery in &index.deliveries {
        let seen = highest.entry(delivery.given.queue).or_default();
        let most = seen.last().map_or(0, |last| last.1).max(delivery.given.token);
        seen.push((delivery.at, most));
    }
    let mut requests = BTreeMap::new();
    for receive in &index.receives {
        // A repeated request gets its earlier tokens again.
        let began = *requests.entry(receive.call.request).or_insert(receive.span.began);
        let Some(first) = receive.known().and_then(|tokens| tokens.iter().min()) else { continue };
        let seen = highest.get(&receive.call.queue).map_or(&[][..], Vec::as_slice);
        let before = seen[..seen.partition_point(|(at, _)| *at < began)].last();
        if let Some((_, most)) = before.filter(|(_, most)| most >= first) {
            return Err(format!(
                "op {} was given token {first} when token {most} had been seen before",
                receive.op
            ));
        }
    }
    Ok(())
}

/// A lease that its holder never gave back ends by its deadline, not earlier.
fn lasts(index: &Index, earlier: &Delivery, later: &Delivery) -> Result<(), String> {
    if later.given.redelivery != Some(Returned::Expired) || later.given.attempt != earlier.given.attempt + 1 {
        return Ok(());
    }
    let until_us = |seen_us: u64, left_ms: u64| {
        (seen_us + left_ms * 1_000 / 105 * 100).saturating_sub(index.transit_us + SLACK_US)
    };
    let mut claims =
        vec![(earlier.at, until_us(earlier.at_us, earlier.given.left_ms), earlier.given.left_ms)];
    for settle in &index.settles {
        if (settle.call.queue, settle.call.token) == (earlier.given.queue, earlier.given.token)
            && settle.span.began < later.at
        {
            let claim = until_us(settle.span.began_us, settle.call.left_ms);
            claims.push((settle.span.began, claim, settle.call.left_ms));
        }
    }
    for (at, until_us, left_ms) in claims {
        if later.at_us < until_us && !index.jumped(earlier.at, later.at) {
            return Err(format!(
                "{:?} is said to have expired, but at event {at} {left_ms} ms were left of it; next came {:?}, {} ms too early",
                earlier.given,
                later.given,
                (until_us - later.at_us) / 1_000
            ));
        }
    }
    Ok(())
}

/// Nothing is delivered under a token after its holder has been told that it is settled.
fn settled_tokens_stay_away(index: &Index) -> Result<(), String> {
    let mut over: BTreeMap<(u64, u64), (usize, u64)> = BTreeMap::new();
    let done = |settle: &&_| {
        let settle: &Operation<SettleCall, Settled> = settle;
        settle.call.action != Action::Extend && settle.end == End::Known(Settled::Done)
    };
    for settle in index.settles.iter().filter(done) {
        over.entry((settle.call.queue, settle.call.token)).or_insert((settle.span.ended, settle.op));
    }
    for delivery in &index.deliveries {
        let settled = over.get(&(delivery.given.queue, delivery.given.token));
        if let Some((_, op)) = settled.filter(|(ended, _)| *ended < delivery.at) {
            return Err(format!("op {op} had settled the token of {:?}", delivery.given));
        }
    }
    Ok(())
}

fn old_tokens_do_nothing(index: &Index) -> Result<(), String> {
    let by_message = index.by_message();
    let mut place_of = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for delivery in &index.deliveries {
        place_of.insert((delivery.given.queue, delivery.given.token), delivery.given.sequence);
    }
    for settle in &index.settles {
        // A repetition may be answered from memory.
        let is_first =
            settle.call.action == Action::Extend || asked.insert((settle.call.queue, settle.call.token));
        if settle.end != End::Known(Settled::Done) {
            continue;
        }
        let Some(place) = place_of.get(&(settle.call.queue, settle.call.token)) else { continue };
        let removes = matches!(settle.call.action, Action::Ack | Action::Reject);
        let deliveries = &by_message[&(settle.call.queue, *place)];
        for later in deliveries.iter().filter(|delivery| delivery.given.token > settle.call.token) {
            // Whatever the order: had the later one been given before, the settle must fail; after, there was nothing to give.
            if removes {
                return Err(format!(
                    "{:?} (op {}) removed the message, and yet there is {:?}",
                    settle.call, settle.op, later.given
                ));
            }
            if later.at < settle.span.began && is_first {
                return Err(format!(
                    "{:?} (op {}) succeeded after {:?}",
                    settle.call, settle.op, later.given
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{Action, End, Returned, Settled};

    const NAME: &str = "one-live-token";

    #[test]
    fn a_lease_that_expired_is_over_for_its_old_holder() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).pass_ms(3_000);
        story.redelivered(2, 2, 1, 1, 2, Some(Returned::Expired));
        story.clone().over(1, 1).acked(2, 2).check(NAME, true);
        story.clone().acked(1, 1).check(NAME, false);
        story.clone().nacked(1, 1).check(NAME, false);
        let extend = End::Known(Settled::Done);
        story.settled(1, 1, Action::Extend, extend).check(NAME, false);
    }

    #[test]
    fn an_acknowledged_message_is_never_seen_again() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).acked(1, 1).check(NAME, true);
        story.redelivered(2, 2, 1, 1, 2, Some(Returned::Lost)).check(NAME, false);
    }

    #[test]
    fn a_lease_does_not_expire_before_its_time() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1);
        let mut early = story.clone();
        story.pass_ms(3_000).redelivered(2, 2, 1, 1, 2, Some(Returned::Expired)).check(NAME, true);
        early.pass_ms(500).redelivered(2, 2, 1, 1, 2, Some(Returned::Expired)).check(NAME, false);
    }

    #[test]
    fn a_settled_delivery_is_not_shown_again() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).delivered(1, 1, 1, 1).acked(1, 1).check(NAME, true);
        story.delivered(1, 1, 1, 1).check(NAME, false);
    }

    #[test]
    fn a_token_is_never_used_twice() {
        let mut story = Story::new();
        story.plain(1, 1).plain(2, 2).delivered(1, 1, 1, 1).delivered(1, 1, 1, 1).check(NAME, true);
        story.delivered(2, 1, 2, 2).check(NAME, false);
    }
}
