//! `Settle` as the contract says it.

use std::collections::VecDeque;

use phalanx_state_machine::command::{Settle, SettleAction, SettleItem};
use phalanx_state_machine::ids::{Id128, Token};
use phalanx_state_machine::reply::{Effect, Rejection, Reply, ReturnReason, SettleOutcome, SettleResult};

use super::queue::{Check, Place, Queue, Stream, ensure};
use super::time::Effects;

/// Longest lease and longest delay.
const LONGEST_MS: u64 = 12 * 3_600_000;

/// What a settle must be answered and tell, as far as it is known.
#[derive(Default)]
struct Expected {
    /// `false`: the outcome may also be missing, or be `LeaseOver`.
    outcomes: VecDeque<(SettleOutcome, bool)>,
    ended: Vec<(Id128, Token)>,
}

impl Queue {
    pub fn settle(&mut self, now_ms: u64, settle: &Settle, reply: &Reply, effects: &mut Effects) -> Check {
        let action =
            |item: &SettleItem| SettleAction::try_from(item.action).unwrap_or(SettleAction::Unspecified);
        if settle.items.iter().any(|item| action(item) == SettleAction::Unspecified) {
            let refused = matches!(reply, Reply::Rejected(Rejection::Invalid(_)));
            ensure!(refused, "a settle without an action was answered {reply:?}");
            return Ok(());
        }
        let Reply::Settled { outcomes } = reply else { return Err(format!("answered {reply:?}")) };
        if let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.id == settle.consumer)
            && let Stream::None { until_ms } = &mut consumer.stream
            && *until_ms > now_ms
        {
            *until_ms = now_ms + self.settings.resume_ms;
        }
        let mut expected = Expected::default();
        for item in &settle.items {
            for range in &item.tokens {
                self.settle_range(now_ms, settle.consumer, item, (range.first, range.last), &mut expected)?;
            }
            if item.up_to != 0 {
                let hand = self.hand(settle.consumer);
                let tokens: Vec<Token> =
                    hand.iter().map(|(token, _)| *token).filter(|token| *token <= item.up_to).collect();
                for token in tokens {
                    // One of them may end another: then that is no live token of the caller any more, but was named.
                    self.settle_token(now_ms, settle.consumer, item, token, &mut expected)?;
                }
            }
        }
        same_outcomes(outcomes, expected.outcomes)?;
        told(effects, expected.ended, ReturnReason::GroupReturned)
    }

    fn settle_range(
        &mut self,
        now_ms: u64,
        caller: Id128,
        item: &SettleItem,
        (first, last): (Token, Token),
        expected: &mut Expected,
    ) -> Check {
        if first == last {
            return self.settle_token(now_ms, caller, item, first, expected);
        }
        let within = |token: &Token| (first..=last).contains(token);
        let mut tokens: Vec<Token> =
            self.hand(caller).iter().map(|(token, _)| *token).filter(within).collect();
        if let Some(consumer) = self.consumer(caller) {
            let remembered = consumer.answers.iter().chain(&consumer.unsure);
            tokens.extend(remembered.map(|(token, _)| *token).filter(within));
        }
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            self.settle_token(now_ms, caller, item, token, expected)?;
        }
        Ok(())
    }

    fn settle_token(
        &mut self,
        now_ms: u64,
        caller: Id128,
        item: &SettleItem,
        token: Token,
        expected: &mut Expected,
    ) -> Check {
        let lease = self.find_token(token).filter(|(_, lease)| lease.holder == caller);
        let Some((place, lease)) = lease else {
            let find = |list: &[(Token, SettleResult)]| {
                list.iter().find(|(known, _)| *known == token).map(|(_, result)| *result)
            };
            let known = self.consumer(caller);
            let sure = known.and_then(|consumer| find(&consumer.answers));
            let unsure = known.and_then(|consumer| find(&consumer.unsure));
            let result = sure.or(unsure).unwrap_or(SettleResult::LeaseOver);
            let is_sure = sure.is_some() || unsure.is_none();
            expected.outcomes.push_back((SettleOutcome { token, result }, is_sure));
            return Ok(());
        };
        let action = SettleAction::try_from(item.action).map_err(|why| why.to_string())?;
        let result = match action {
            SettleAction::Ack | SettleAction::Reject => {
                self.messages.remove(place);
                let ack = action == SettleAction::Ack;
                self.totals.acked += u64::from(ack);
                let result = if ack { SettleResult::Acked } else { SettleResult::Rejected };
                self.consumer_mut(caller).answers.push((token, result));
                result
            }
            SettleAction::Nack => {
                self.give_back(token, ReturnReason::Nacked, SettleResult::Nacked)?;
                if item.delay_ms > 0 {
                    let until_ms = now_ms + item.delay_ms.min(LONGEST_MS);
                    self.messages[place].place = Place::Delayed { until_ms };
                }
                for orphan in self.orphans() {
                    let (_, lease) = self.find_token(orphan).ok_or("no lease")?;
                    self.give_back(orphan, ReturnReason::GroupReturned, SettleResult::LeaseOver)?;
                    expected.ended.push((lease.holder, orphan));
                }
                SettleResult::Nacked
            }
            SettleAction::Extend => {
                let lease_ms =
                    if item.lease_ms == 0 { lease.given_ms } else { item.lease_ms.min(LONGEST_MS) };
                let deadline_ms = now_ms + lease_ms;
                self.messages[place].place = Place::Leased(super::queue::Lease { deadline_ms, ..lease });
                SettleResult::Extended(deadline_ms)
            }
            SettleAction::Unspecified => return Err("checked before".into()),
        };
        expected.outcomes.push_back((SettleOutcome { token, result }, true));
        Ok(())
    }
}

/// Compares outcomes in order; one that is not sure may be missing or `LeaseOver`.
fn same_outcomes(got: &[SettleOutcome], mut expected: VecDeque<(SettleOutcome, bool)>) -> Check {
    for outcome in got {
        loop {
            let Some((wanted, sure)) = expected.pop_front() else {
                return Err(format!("{outcome:?} was not asked for"));
            };
            let over = SettleOutcome { result: SettleResult::LeaseOver, ..wanted };
            if wanted == *outcome || (!sure && over == *outcome) {
                break;
            }
            ensure!(!sure, "{outcome:?} instead of {wanted:?}");
        }
    }
    let missing = expected.iter().find(|(_, sure)| *sure);
    ensure!(missing.is_none(), "no outcome for {missing:?}");
    Ok(())
}

/// Takes the ends of these leases from the front of the effects, in whatever order.
pub fn told(effects: &mut Effects, mut ended: Vec<(Id128, Token)>, why: ReturnReason) -> Check {
    let mut got = Vec::new();
    while got.len() < ended.len() {
        let front = effects.pop_front();
        let Some(Effect::LeaseEnded { consumer, token, reason, .. }) = front else {
            return Err(format!("the ends of {ended:?} were not told, but {front:?}"));
        };
        ensure!(reason == why, "token {token} ended as {reason:?} instead of {why:?}");
        got.push((consumer, token));
    }
    got.sort();
    ended.sort();
    ensure!(got == ended, "told the ends of {got:?} instead of {ended:?}");
    Ok(())
}
