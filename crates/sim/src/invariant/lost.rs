//! Nothing lost, nothing invented: what was acknowledged is consumed, where it was put, as it was given; what was refused is not.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use crate::history::{End, History};

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    delivered_as_given(index)?;
    if index.drained { consumed(index) } else { Ok(()) }
}

fn delivered_as_given(index: &Index) -> Result<(), String> {
    let mut refused: BTreeMap<u64, bool> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for send in &index.sends {
        for (at, message) in send.call.messages.iter().enumerate() {
            let is_refused = matches!(send.end, End::Refused(_));
            refused.entry(message.message).and_modify(|all| *all &= is_refused).or_insert(is_refused);
            if let Some(placed) =
                send.known().and_then(|placed| placed.get(at)).filter(|placed| !placed.duplicate)
            {
                places.insert(message.message, placed.sequence);
            }
        }
    }
    let forgotten = super::dedup::forgotten(index);
    for delivery in &index.deliveries {
        let given = &delivery.given;
        let Some((queue, _)) = index.messages.get(&given.message) else {
            return Err(format!("{given:?} was never sent"));
        };
        if *queue != given.queue {
            return Err(format!("message {} was sent to queue {queue}: {given:?}", given.message));
        }
        if refused[&given.message] {
            return Err(format!("message {} was refused: {given:?}", given.message));
        }
        if let Some(sequence) = places.get(&given.message)
            && *sequence != given.sequence
            && !forgotten.contains(&given.message)
        {
            return Err(format!("message {} was confirmed at {sequence}: {given:?}", given.message));
        }
    }
    Ok(())
}

/// Every confirmed message has a delivery with a settle that may have removed it.
fn consumed(index: &Index) -> Result<(), String> {
    let settles = index.settles_of();
    let mut removed = BTreeSet::new();
    let mut seen: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    for delivery in &index.deliveries {
        let (queue, token) = (delivery.given.queue, delivery.given.token);
        let place = (queue, delivery.given.sequence);
        seen.entry(place).or_default().push(token);
        let may = |settle: &&_| index.may_have_removed(settle);
        if settles.get(&(queue, token)).is_some_and(|settles| settles.iter().any(may)) {
            removed.insert(place);
        }
    }
    for send in &index.sends {
        for (message, placed) in send.call.messages.iter().zip(send.known().into_iter().flatten()) {
            let place = (send.call.queue, placed.sequence);
            if !placed.duplicate && !removed.contains(&place) {
                let tokens = seen.get(&place);
                return Err(format!(
                    "message {} of queue {} was confirmed at {} (op {}), and the queue is empty, but nobody acknowledged it; delivered under {tokens:?}",
                    message.message, send.call.queue, placed.sequence, send.op
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, sending};
    use crate::history::{Action, End, Identity, Returned, Settled, What};

    const NAME: &str = "nothing-lost";

    #[test]
    fn consumed_once_after_a_return_is_sound_and_never_consumed_is_not() {
        let mut story = Story::new();
        story.plain(1, 1).plain(2, 2).delivered(1, 1, 1, 1).delivered(1, 2, 2, 2).acked(1, 2).nacked(1, 1);
        let mut lost = story.clone();
        story.redelivered(1, 3, 1, 1, 2, Some(Returned::Nacked)).acked(1, 3).drained().check(NAME, true);
        lost.drained().check(NAME, false);
    }

    #[test]
    fn never_delivered_is_lost_unless_its_outcome_was_unknown() {
        let mut story = Story::new();
        let identity = Identity::Request(5);
        let op = story.begin(|op| What::Send { op, queue: 1, identity, messages: vec![sending(1)] });
        story.add(What::SendEnd { op, end: End::Unknown("no answer".into()) });
        story.clone().drained().check(NAME, true);
        story.plain(2, 1).drained().check(NAME, false);
    }

    #[test]
    fn an_unknown_ack_may_have_removed_the_message_and_a_prompt_refusal_did_not() {
        let mut story = Story::new();
        story.plain(1, 1).delivered(1, 1, 1, 1);
        let mut unknown = story.clone();
        unknown.settled(1, 1, Action::Ack, End::Unknown("no answer".into())).drained().check(NAME, true);
        let mut late = story.clone();
        let op = late.begin(|op| What::Settle {
            op,
            queue: 1,
            holder: 1,
            token: 1,
            action: Action::Ack,
            left_ms: 2_900,
        });
        late.pass_ms(2_000).add(What::SettleEnd { op, end: End::Known(Settled::Over) });
        late.drained().check(NAME, true);
        story.over(1, 1).drained().check(NAME, false);
    }

    #[test]
    fn a_message_that_nobody_sent_or_at_another_place_is_rejected() {
        Story::new().plain(1, 1).delivered(1, 1, 1, 1).check(NAME, true);
        Story::new().plain(1, 1).delivered(1, 1, 2, 1).check(NAME, false);
        Story::new().plain(1, 1).delivered(1, 1, 1, 2).check(NAME, false);
    }

    #[test]
    fn a_refused_message_must_not_appear() {
        let mut story = Story::new();
        let identity = Identity::Request(5);
        let op = story.begin(|op| What::Send { op, queue: 1, identity, messages: vec![sending(1)] });
        story.add(What::SendEnd { op, end: End::Refused("full".into()) });
        story.check(NAME, true);
        story.delivered(1, 1, 1, 1).check(NAME, false);
    }
}
