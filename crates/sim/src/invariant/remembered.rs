//! Remembered answers: what is asked again under the same identity is answered the same way.

use std::collections::BTreeMap;

use super::Index;
use super::index::{Operation, SettleCall};
use crate::history::{Action, End, History, Identity, Settled};

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    sends(index)?;
    receives(index)?;
    for settles in index.settles_of().values() {
        answers_agree(index, settles)?;
    }
    Ok(())
}

fn sends(index: &Index) -> Result<(), String> {
    let mut first: BTreeMap<Identity, &Operation<_, _>> = BTreeMap::new();
    for send in &index.sends {
        let Some(placed) = send.known() else { continue };
        let before = *first.entry(send.call.identity).or_insert(send);
        if before.known() != Some(placed) && !index.jumped(before.span.began, send.span.ended) {
            return Err(format!(
                "{:?}: op {} was answered {:?}, op {} {placed:?}",
                send.call.identity,
                before.op,
                before.known(),
                send.op
            ));
        }
    }
    Ok(())
}

/// A repeated receive gets those of its leases that still live, and nothing else.
fn receives(index: &Index) -> Result<(), String> {
    let mut given: BTreeMap<u64, (u64, &Vec<u64>)> = BTreeMap::new();
    for receive in &index.receives {
        let Some(tokens) = receive.known().filter(|tokens| !tokens.is_empty()) else { continue };
        let (op, before) = *given.entry(receive.call.request).or_insert((receive.op, tokens));
        let span = receive.span;
        if !tokens.iter().all(|token| before.contains(token)) && !index.jumped(0, span.ended) {
            return Err(format!(
                "request {}: op {op} was given {before:?}, op {} {tokens:?}",
                receive.call.request, receive.op
            ));
        }
    }
    Ok(())
}

fn answers_agree(index: &Index, settles: &[&Operation<SettleCall, Settled>]) -> Result<(), String> {
    let final_ones = settles.iter().filter(|settle| settle.call.action != Action::Extend);
    let known: Vec<_> = final_ones.filter_map(|settle| Some((*settle, *settle.known()?))).collect();
    for (place, (earlier, answer)) in known.iter().enumerate() {
        for (later, again) in &known[place + 1..] {
            if later.span.began < earlier.span.ended {
                continue;
            }
            let (first, second) = (kind(earlier), kind(later));
            let revived = *answer == Settled::Over && *again == Settled::Done;
            // The answer is the first one's, whatever is asked for: with another question it cannot be told apart from here.
            let kept_for_us = later.span.ended_us.saturating_sub(earlier.span.began_us);
            let forgot = *answer == Settled::Done
                && *again == Settled::Over
                && first == second
                && kept_for_us < index.remembered_us()
                && !index.jumped(earlier.span.began, later.span.ended);
            if revived || forgot {
                return Err(format!(
                    "{:?}: op {} was answered {answer:?}, op {} {again:?}",
                    later.call, earlier.op, later.op
                ));
            }
        }
    }
    Ok(())
}

fn kind(settle: &Operation<SettleCall, Settled>) -> u8 {
    match (&settle.call.action, &settle.end) {
        (Action::Ack, End::Known(_)) => 0,
        (Action::Nack { .. }, End::Known(_)) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, sending};
    use crate::history::{End, Identity, What};

    const NAME: &str = "remembered-answers";

    #[test]
    fn a_settle_is_answered_twice_the_same_way_while_it_is_remembered() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).acked(1, 1);
        story.clone().acked(1, 1).check(NAME, true);
        story.clone().pass_ms(2_500).over(1, 1).check(NAME, true);
        story.over(1, 1).check(NAME, false);
    }

    #[test]
    fn a_lease_that_is_over_stays_over() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1).over(1, 1).over(1, 1).check(NAME, true);
        story.acked(1, 1).check(NAME, false);
    }

    #[test]
    fn a_repeated_receive_gets_nothing_new() {
        let told = |second: Vec<u64>| {
            let mut story = Story::new();
            story.plain(1, 1).plain(2, 2).plain(3, 3);
            for (round, tokens) in [vec![1, 2], second].into_iter().enumerate() {
                let op = story.begin(|op| What::Receive { op, queue: 1, holder: 1, request: 8 });
                for token in &tokens {
                    if round == 0 || *token > 2 {
                        story.delivered(1, *token, *token, *token);
                    }
                }
                story.add(What::ReceiveEnd { op, end: End::Known(tokens) });
            }
            story
        };
        told(vec![2]).check(NAME, true);
        told(vec![]).check(NAME, true);
        told(vec![2, 3]).check(NAME, false);
    }

    #[test]
    fn a_repeated_send_is_answered_with_the_same_place() {
        let mut story = Story::new();
        story.sent(Identity::Request(3), sending(1), 1);
        story.clone().sent(Identity::Request(3), sending(1), 1).check(NAME, true);
        story.sent(Identity::Request(3), sending(1), 2);
        let broken: Vec<String> =
            super::super::check(&story.end()).into_iter().map(|v| v.invariant).collect();
        assert!(broken.contains(&NAME.to_owned()), "{broken:?}");
    }
}
