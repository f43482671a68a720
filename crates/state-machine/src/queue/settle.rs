//! `Settle`: acknowledges, returns, rejects or extends leases of one consumer.
//!
//! Settling twice is answered the same way twice; an old token never touches a later delivery.

use super::consumers::Phase;
use super::{Queue, Turn};
use crate::command::{Settle, SettleAction, SettleItem, TokenRange};
use crate::ids::Token;
use crate::limits::{
    LEASE_MAX_MS, SETTLE_ITEMS_MAX, SETTLE_OUTCOMES_MAX, SETTLE_RANGES_MAX, SETTLE_STEPS_MAX,
};
use crate::reply::{Rejection, Reply, ReturnReason, SettleOutcome, SettleResult};

impl Queue {
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>, settle: &Settle) -> Reply {
        if let Err(rejection) = check_items(settle) {
            return Reply::Rejected(rejection);
        }
        let number = self.consumers.number_of(settle.consumer);
        if let Some(number) = number {
            self.note_activity(turn, number);
            self.use_now(turn.now_ms);
        }
        let mut outcomes = Vec::new();
        let mut steps = SETTLE_STEPS_MAX;
        for item in &settle.items {
            let Ok(action) = SettleAction::try_from(item.action) else { continue };
            for range in &item.tokens {
                if range.first == range.last {
                    if outcomes.len() < SETTLE_OUTCOMES_MAX {
                        outcomes.push(self.settle_one(turn, number, action, item, range.first));
                    }
                    continue;
                }
                let Some(number) = number.filter(|_| outcomes.len() < SETTLE_OUTCOMES_MAX) else { continue };
                let tokens = self.own_tokens(number, *range, &mut steps);
                self.settle_all(turn, number, action, item, &tokens, &mut outcomes);
            }
            if item.up_to != 0
                && let Some(number) = number.filter(|_| outcomes.len() < SETTLE_OUTCOMES_MAX)
            {
                let tokens = self.live_up_to(turn, number, item.up_to, &mut steps);
                self.settle_all(turn, number, action, item, &tokens, &mut outcomes);
            }
        }
        self.assign(turn);
        Reply::Settled { outcomes }
    }

    fn settle_all(
        &mut self,
        turn: &mut Turn<'_>,
        number: u64,
        action: SettleAction,
        item: &SettleItem,
        tokens: &[Token],
        outcomes: &mut Vec<SettleOutcome>,
    ) {
        let room = SETTLE_OUTCOMES_MAX.saturating_sub(outcomes.len());
        for token in tokens.iter().take(room) {
            outcomes.push(self.settle_one(turn, Some(number), action, item, *token));
        }
    }

    fn live_up_to(&self, turn: &Turn<'_>, number: u64, up_to: Token, steps: &mut usize) -> Vec<Token> {
        let in_hand = self.consumers.get(number).map_or(0, |consumer| consumer.in_hand);
        if !take(steps, u64::from(in_hand)) {
            return Vec::new();
        }
        self.hand(number)
            .take_while(|(token, _)| *token <= up_to)
            .filter(|(_, lease)| self.is_live(lease, turn.now_ms))
            .map(|(token, _)| token)
            .collect()
    }

    /// The tokens of a range that are, or were, the consumer's: live leases and remembered answers, rising.
    fn own_tokens(&self, number: u64, range: TokenRange, steps: &mut usize) -> Vec<Token> {
        let Some(consumer) = self.consumers.get(number) else { return Vec::new() };
        let (width, in_hand) = (range.last.saturating_sub(range.first), u64::from(consumer.in_hand));
        if !take(steps, width.min(in_hand)) {
            return Vec::new();
        }
        let remembered = consumer.answers.range(range.first, range.last);
        let mut tokens: Vec<Token> = remembered.into_iter().map(|(token, _)| token).collect();
        let before = tokens.len();
        // The shorter way: probe each token of the range, or walk the hand.
        if width < in_hand {
            let own = |token: &Token| self.leases.get(*token).is_some_and(|lease| lease.consumer == number);
            tokens.extend((range.first..=range.last).filter(own));
        } else {
            let hand = self.hand(number).map(|(token, _)| token);
            tokens.extend(
                hand.skip_while(|token| *token < range.first).take_while(|token| *token <= range.last),
            );
        }
        if before > 0 {
            tokens.sort_unstable();
            tokens.dedup();
        }
        tokens
    }

    fn settle_one(
        &mut self,
        turn: &mut Turn<'_>,
        number: Option<u64>,
        action: SettleAction,
        item: &SettleItem,
        token: Token,
    ) -> SettleOutcome {
        let over = SettleOutcome { token, result: SettleResult::LeaseOver };
        let Some(number) = number else { return over };
        let Some(lease) = self.leases.get(token).filter(|lease| lease.consumer == number) else {
            let answer = self.consumers.get(number).and_then(|consumer| consumer.answers.answer(token));
            return SettleOutcome { token, result: answer.unwrap_or(SettleResult::LeaseOver) };
        };
        if !self.is_live(lease, turn.now_ms) {
            return over;
        }
        let given_ms = u64::from(lease.lease_ms);
        self.dirty = true;
        let result = match action {
            SettleAction::Ack => {
                self.end_and_remove(token, SettleResult::Acked);
                self.totals.acked += 1;
                SettleResult::Acked
            }
            SettleAction::Reject => {
                self.end_and_remove(token, SettleResult::Rejected);
                self.totals.rejected += 1;
                SettleResult::Rejected
            }
            SettleAction::Nack => {
                let until_ms = turn.now_ms.saturating_add(item.delay_ms.min(LEASE_MAX_MS));
                self.end_and_return(turn, token, ReturnReason::Nacked, Some(until_ms));
                SettleResult::Nacked
            }
            SettleAction::Extend => {
                let lease_ms = if item.lease_ms == 0 { given_ms } else { item.lease_ms.min(LEASE_MAX_MS) };
                let deadline_ms = turn.now_ms.saturating_add(lease_ms);
                self.leases.extend(token, deadline_ms);
                SettleResult::Extended(deadline_ms)
            }
            SettleAction::Unspecified => return over,
        };
        SettleOutcome { token, result }
    }

    /// A consumer without a stream is remembered for a while after it last settled something.
    fn note_activity(&mut self, turn: &Turn<'_>, number: u64) {
        let until_ms = turn.now_ms.saturating_add(self.settings.resume_ms);
        if let Some(consumer) = self.consumers.get(number)
            && let Phase::Unary(before) = consumer.phase
            && before < until_ms
        {
            self.consumers.set_phase(number, Phase::Unary(until_ms));
        }
    }
}

/// Takes what looking at so many tokens costs; `false`: there is too little left.
fn take(steps: &mut usize, tokens: u64) -> bool {
    let cost = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_add(1);
    steps.checked_sub(cost).map(|left| *steps = left).is_some()
}

/// A settle is refused as a whole before it changes anything.
fn check_items(settle: &Settle) -> Result<(), Rejection> {
    let invalid = |text: &str| Err(Rejection::Invalid(text.into()));
    if settle.items.len() > SETTLE_ITEMS_MAX {
        return invalid("too many items in one settle");
    }
    let ranges: usize = settle.items.iter().map(|item| item.tokens.len()).sum();
    if ranges > SETTLE_RANGES_MAX {
        return invalid("too many token ranges in one settle");
    }
    let known = |item: &SettleItem| {
        SettleAction::try_from(item.action).is_ok_and(|action| action != SettleAction::Unspecified)
    };
    if settle.items.iter().all(known) { Ok(()) } else { invalid("a settle item without a known action") }
}
