//! Lease exclusivity: tokens rise, an old token does nothing, and a lease lasts as long as its holder was told.

use std::collections::BTreeMap;

use super::most::Most;
use super::{Finding, time_may_jump};
use crate::history::{F, Index, Op};

/// Machine time may run faster than true time by this many percent.
const SLEW_PERCENT: u64 = 5;
/// What rounding to milliseconds and a change of leaders may take from a lease, ms.
const SLACK_MS: u64 = 100;

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("lease-exclusivity");
    for queue in index.queues.keys() {
        let mut deliveries: Vec<&Op> =
            index.deliveries(queue).filter(|op| op.facts.token.is_some()).collect();
        deliveries.sort_by_key(|op| op.facts.token);
        tokens_rise(queue, &deliveries, &mut finding);
        let mut of_value: BTreeMap<u64, Vec<&Op>> = BTreeMap::new();
        for delivery in &deliveries {
            of_value.entry(delivery.value.unwrap_or_default()).or_default().push(delivery);
        }
        let settles = settles(index, queue);
        for deliveries in of_value.values() {
            for pair in deliveries.windows(2).filter(|pair| pair[0].facts.token != pair[1].facts.token) {
                lasts(index, queue, (pair[0], pair[1]), &settles, &mut finding);
                given_back(queue, (pair[0], pair[1]), &settles, &mut finding);
                old_token_does_nothing(queue, (pair[0], pair[1]), &settles, &mut finding);
                finding.count("redelivered", 1);
            }
        }
        finding.count("deliveries", deliveries.len());
    }
    finding
}

type Settles<'a> = BTreeMap<u64, Vec<&'a Op>>;

fn settles<'a>(index: &'a Index, queue: &'a str) -> Settles<'a> {
    let mut settles = Settles::new();
    for op in index.of(queue, F::Ack).chain(index.of(queue, F::Nack)) {
        settles.entry(op.facts.token.unwrap_or_default()).or_default().push(op);
    }
    settles
}

/// A token names one delivery, and a receive that began when a delivery was there gets a higher one.
fn tokens_rise(queue: &str, deliveries: &[&Op], finding: &mut Finding) {
    for pair in deliveries.windows(2).filter(|pair| pair[0].facts.token == pair[1].facts.token) {
        let what = |op: &Op| (op.value, op.facts.attempt, op.facts.holder);
        if what(pair[0]) != what(pair[1]) {
            finding.fault(format!(
                "token {:?} of {queue} names two deliveries: of {:?} to {:?} and of {:?} to {:?}",
                pair[0].facts.token, pair[0].value, pair[0].facts.holder, pair[1].value, pair[1].facts.holder
            ));
        }
    }
    let seen = Most::new(deliveries.iter().filter_map(|op| Some((op.ended, op.facts.token?))));
    // What a stream brings was given at some time since its beginning; only a call says when it was asked.
    for op in deliveries.iter().filter(|op| op.facts.asked_ns.is_some()) {
        let token = op.facts.token.unwrap_or_default();
        if let Some(most) = seen.before(op.began).filter(|most| *most > token) {
            finding.fault(format!("{queue}: a receive got token {token} when {most} had been seen before"));
        }
    }
}

/// A lease that its holder did not give back ends by its deadline, not earlier.
fn lasts(index: &Index, queue: &str, pair: (&Op, &Op), settles: &Settles<'_>, finding: &mut Finding) {
    let (earlier, later) = pair;
    let (Some(asked_ns), Some(left_ms)) = (earlier.facts.asked_ns, earlier.facts.left_ms) else { return };
    // Other reasons than these end leases early, and so does a delivery between them that nobody saw.
    let reason = later.facts.note.as_deref().unwrap_or("expired");
    let direct = later.facts.attempt == earlier.facts.attempt.map(|attempt| attempt + 1);
    let token = earlier.facts.token.unwrap_or_default();
    let gave_back = settles.get(&token).into_iter().flatten().any(|settle| settle.began < later.ended);
    if reason != "expired" || !direct || gave_back {
        return;
    }
    let lasting_ms = (left_ms * 100 / (100 + SLEW_PERCENT)).saturating_sub(SLACK_MS);
    let until_ns = asked_ns + lasting_ms * 1_000_000;
    finding.count("expired", 1);
    if later.ended_ns < until_ns && !time_may_jump(index, asked_ns, later.ended_ns) {
        finding.fault(format!(
            "{queue}: two live leases of {:?}: token {token} was to last {left_ms} ms, and token {:?} was given {} ms too early",
            earlier.value,
            later.facts.token,
            (until_ns - later.ended_ns) / 1_000_000
        ));
    }
}

/// A lease that is said to have been given back was given back.
fn given_back(queue: &str, pair: (&Op, &Op), settles: &Settles<'_>, finding: &mut Finding) {
    let (earlier, later) = pair;
    let direct = later.facts.attempt == earlier.facts.attempt.map(|attempt| attempt + 1);
    if later.facts.note.as_deref() != Some("nacked") || !direct {
        return;
    }
    let nacks = settles.get(&earlier.facts.token.unwrap_or_default()).into_iter().flatten();
    if !nacks.clone().any(|settle| settle.f == F::Nack && settle.began < later.ended && settle.is_possible())
    {
        finding.fault(format!(
            "{queue}: two live leases of {:?}: nobody gave token {:?} back, and {:?} was given",
            earlier.value, earlier.facts.token, later.facts.token
        ));
    }
}

/// Settling under an old token does nothing once a newer one was seen.
fn old_token_does_nothing(queue: &str, pair: (&Op, &Op), settles: &Settles<'_>, finding: &mut Finding) {
    let (earlier, later) = pair;
    let token = earlier.facts.token.unwrap_or_default();
    for settle in settles.get(&token).into_iter().flatten().filter(|settle| settle.began > later.ended) {
        if settle.is_ok() {
            finding.fault(format!(
                "{queue}: token {token} of {:?} was settled though {:?} had been given before",
                earlier.value, later.facts.token
            ));
        } else if settle.ended != usize::MAX {
            finding.count("late-settles-refused", 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::{F, Facts, Kind};

    const NAME: &str = "lease-exclusivity";

    fn one() -> Story {
        let mut story = Story::of_class("mutex");
        story.sent(1, 1);
        story
    }

    fn attempt(attempt: u64, left_ms: u64, reason: Option<&str>) -> Facts {
        let note = reason.map(str::to_owned);
        let again = (attempt > 1).then_some(1);
        Facts { attempt: Some(attempt), left_ms: Some(left_ms), note, again, ..Facts::default() }
    }

    #[test]
    fn a_token_names_one_delivery_and_tokens_rise() {
        one().sent(2, 2).given(1, 1, 1, 1).given(2, 2, 2, 1).valid(NAME);
        one().sent(2, 2).given(1, 1, 1, 1).given(2, 2, 1, 1).invalid(NAME);
        one().sent(2, 2).given(1, 1, 2, 1).given(2, 2, 1, 1).invalid(NAME);
    }

    #[test]
    fn no_two_leases_of_a_message_live_at_once() {
        let told = |left_ms, reason| {
            let mut story = one();
            story.given_as(1, 1, 1, 1, attempt(1, left_ms, None));
            story.given_as(1, 1, 2, 2, attempt(2, left_ms, Some(reason)));
            story
        };
        told(60, "expired").valid(NAME);
        told(60_000, "expired").invalid(NAME);
        told(60_000, "consumer-lost").valid(NAME);
    }

    #[test]
    fn a_lease_that_was_given_back_may_be_given_again_at_once() {
        let mut story = one();
        story.given_as(1, 1, 1, 1, attempt(1, 60_000, None)).settled(F::Nack, 1, 1, Kind::Ok);
        story.given_as(1, 1, 2, 2, attempt(2, 60_000, Some("nacked"))).valid(NAME);
        // Nobody gave it back.
        let mut story = one();
        story.given_as(1, 1, 1, 1, attempt(1, 60_000, None));
        story.given_as(1, 1, 2, 2, attempt(2, 60_000, Some("nacked"))).invalid(NAME);
    }

    #[test]
    fn an_old_token_settles_nothing() {
        let told = |kind| {
            let mut story = one();
            story.given_as(1, 1, 1, 1, attempt(1, 50, None));
            story.given_as(1, 1, 2, 2, attempt(2, 50, Some("expired"))).settled(F::Ack, 1, 1, kind);
            story
        };
        told(Kind::Fail).valid(NAME);
        told(Kind::Ok).invalid(NAME);
    }
}
