//! What time does: leases end, delays end, consumers that did not come back are given up, ids are forgotten.
//!
//! Bounded per entry: what is left is due at once in the next one.

use super::consumers::Phase;
use super::messages::State;
use super::{Queue, Turn};
use crate::ids::{Sequence, TimestampMs, Token};
use crate::limits::FORGET_STEP_MS;
use crate::reply::ReturnReason;

/// The first thing that is due.
enum Due {
    Lease(Token),
    Delay(TimestampMs, Sequence),
    Consumer(u64),
}

impl Queue {
    /// Ends up to `budget` due leases and delays, forgets up to `forget` ids, and assigns what became ready.
    pub(crate) fn sweep(&mut self, turn: &mut Turn<'_>, budget: &mut usize, forget: &mut usize) {
        while *budget > 0 {
            let Some(due) = self.first_due(turn.now_ms) else { break };
            let ended = match due {
                Due::Lease(token) => self.end_and_return(turn, token, ReturnReason::Expired, None),
                Due::Delay(due_ms, sequence) => self.end_delay(due_ms, sequence),
                Due::Consumer(number) => self.end_consumer(turn, number, *budget),
            };
            *budget = budget.saturating_sub(ended.max(1));
        }
        if self.forget_due_ms().is_some_and(|due| due <= turn.now_ms) {
            self.dedup.forget(turn.now_ms, forget);
            self.sends.forget(turn.now_ms, forget);
            self.receives.forget(turn.now_ms, forget);
            self.producers.forget(turn.now_ms, forget);
        }
        self.expire_by_disuse(turn.now_ms);
        self.retain(turn.now_ms, 0);
        if self.is_untrimmed() {
            self.trim(0);
        }
        self.dirty = true;
        self.assign(turn);
    }

    /// By time; leases before delays before consumers.
    fn first_due(&self, now_ms: TimestampMs) -> Option<Due> {
        let lease = self.leases.deadlines.first().map(|(due, token)| (*due, 0, Due::Lease(*token)));
        let delay = self.delayed.first().map(|(due, sequence)| (*due, 1, Due::Delay(*due, *sequence)));
        let consumer = self.consumers.due.first().map(|(due, number)| (*due, 2, Due::Consumer(*number)));
        let first =
            [lease, delay, consumer].into_iter().flatten().min_by_key(|(due, kind, _)| (*due, *kind))?;
        (first.0 <= now_ms).then_some(first.2)
    }

    fn end_delay(&mut self, due_ms: TimestampMs, sequence: Sequence) -> usize {
        self.delayed.remove(&(due_ms, sequence));
        let slot = self.messages.change(sequence, |slot| {
            slot.state = State::Ready;
            slot.at = 0;
        });
        let group = slot.expect("a delay always names a live message").group;
        match self.lane_of(group) {
            None => {
                self.returned.insert(sequence);
            }
            Some(lane) => self.lane_refresh(lane),
        }
        1
    }

    /// A consumer's time is over. Returns how many leases ended.
    fn end_consumer(&mut self, turn: &mut Turn<'_>, number: u64, budget: usize) -> usize {
        let Some(consumer) = self.consumers.get(number) else { return 1 };
        if let Phase::Unary(_) = consumer.phase
            && consumer.in_hand > 0
        {
            let later_ms = turn.now_ms.saturating_add(self.settings.resume_ms);
            self.consumers.set_phase(number, Phase::Unary(later_ms));
            return 1;
        }
        let ended = self.end_hand(turn, number, ReturnReason::ConsumerLost, budget);
        if self.consumers.get(number).is_some_and(|consumer| consumer.in_hand == 0) {
            self.consumers.remove(number);
        }
        ended
    }

    /// When remembered ids should be freed: in steps, so that they cause few ticks.
    pub(super) fn forget_due_ms(&self) -> Option<TimestampMs> {
        let all = [self.dedup.due_ms(), self.sends.due_ms(), self.receives.due_ms(), self.producers.due_ms()];
        let first = all.into_iter().flatten().min()?;
        Some(first.div_ceil(FORGET_STEP_MS).saturating_mul(FORGET_STEP_MS))
    }
}
