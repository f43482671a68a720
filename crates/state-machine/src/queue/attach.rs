//! Consumers' streams: attach, detach, change the window, and the first entry of a leader's term.

use super::consumers::{Consumer, Phase};
use super::{Queue, Turn};
use crate::command::{Attach, Detach, SetWindow, TokenRange};
use crate::ids::{Id128, Token};
use crate::limits::{
    CONSUMER_NAME_BYTES_MAX, CONSUMERS_PER_QUEUE_MAX, HELD_TOKENS_MAX, LEASE_MAX_MS, SETTLE_RANGES_MAX,
    WINDOW_MESSAGES_MAX,
};
use crate::reply::{Effect, Rejection, Reply, ReturnReason};

impl Queue {
    pub(crate) fn attach(&mut self, turn: &mut Turn<'_>, attach: &Attach) -> Reply {
        if attach.consumer == (Id128 { hi: 0, lo: 0 }) {
            return Reply::Rejected(Rejection::Invalid("an id of zero is no identity".into()));
        }
        if attach.held.len() > SETTLE_RANGES_MAX {
            return Reply::Rejected(Rejection::Invalid("too many ranges of held tokens".into()));
        }
        if let Err(rejection) = self.admits(attach.consumer, turn.now_ms) {
            return Reply::Rejected(rejection);
        }
        self.use_now(turn.now_ms);
        let number = match self.admit(turn, attach) {
            Ok(number) => number,
            Err(rejection) => return Reply::Rejected(rejection),
        };
        self.consumers.set_phase(number, Phase::Attached);
        if let Some(consumer) = self.consumers.touch(number) {
            consumer.incarnation = attach.incarnation;
            consumer.name.clear();
            consumer.name.push_str(cut(&attach.name));
            consumer.window_messages = attach.window_messages.min(WINDOW_MESSAGES_MAX);
            consumer.window_bytes = attach.window_bytes;
            consumer.lease_ms = attach.lease_ms.min(LEASE_MAX_MS);
        }
        let held = expand(&attach.held);
        let lost = self.lost_of(turn, number, &held);
        self.deliver_again(turn, number, attach, &held);
        self.dirty = true;
        self.assign(turn);
        Reply::Attached { lost }
    }

    /// The consumer's number, with what stands in the way of a new stream out of it.
    fn admit(&mut self, turn: &mut Turn<'_>, attach: &Attach) -> Result<u64, Rejection> {
        let Some(number) = self.consumers.number_of(attach.consumer) else {
            if self.consumers.len() >= CONSUMERS_PER_QUEUE_MAX {
                return Err(Rejection::TooManyConsumers);
            }
            return Ok(self.consumers.add(Consumer::new(attach.consumer, Phase::Attached)));
        };
        let Some(consumer) = self.consumers.get(number) else { return Ok(number) };
        if consumer.attached() && consumer.incarnation > attach.incarnation {
            return Err(Rejection::ConsumerReplaced);
        }
        if consumer.attached() && consumer.incarnation < attach.incarnation {
            turn.effects.push(Effect::Detached {
                uid: self.uid,
                consumer: attach.consumer,
                incarnation: consumer.incarnation,
            });
        }
        if consumer.is_over(turn.now_ms) {
            // The sweep has not come to it yet; its leases are over all the same.
            self.end_hand(turn, number, ReturnReason::ConsumerLost, usize::MAX);
        }
        Ok(number)
    }

    /// Those of the named tokens that are not live leases of the consumer.
    fn lost_of(&self, turn: &Turn<'_>, number: u64, held: &[Token]) -> Vec<Token> {
        let lost = |token: &&Token| {
            self.leases
                .get(**token)
                .is_none_or(|lease| lease.consumer != number || !self.is_live(lease, turn.now_ms))
        };
        held.iter().filter(lost).copied().collect()
    }

    /// Sends every live lease that the client did not name once more: same token, same attempt.
    fn deliver_again(&self, turn: &mut Turn<'_>, number: u64, attach: &Attach, held: &[Token]) {
        let now_ms = turn.now_ms;
        let missing = self
            .hand(number)
            .filter(|(token, lease)| self.is_live(lease, now_ms) && held.binary_search(token).is_err());
        for (token, _) in missing {
            if let Some(delivery) = self.delivery_again(token, turn.topic.as_deref()) {
                turn.effects.push(Effect::Deliver {
                    uid: self.uid,
                    consumer: attach.consumer,
                    incarnation: attach.incarnation,
                    delivery,
                });
            }
        }
    }

    pub(crate) fn detach(&mut self, turn: &mut Turn<'_>, detach: &Detach) -> Reply {
        let Some(number) = self.consumers.number_of(detach.consumer) else { return Reply::Done };
        let current = self
            .consumers
            .get(number)
            .is_some_and(|consumer| consumer.attached() && consumer.incarnation == detach.incarnation);
        if !current {
            return Reply::Done;
        }
        let until_ms = turn.now_ms.saturating_add(self.settings.resume_ms);
        self.dirty = true;
        self.use_now(turn.now_ms);
        if detach.clean {
            // What it was answered is remembered as long as if its stream had broken.
            self.consumers.set_phase(number, Phase::Unary(until_ms));
            self.end_hand(turn, number, ReturnReason::ConsumerClosed, usize::MAX);
        } else {
            self.consumers.set_phase(number, Phase::Detached(until_ms));
        }
        self.assign(turn);
        Reply::Done
    }

    pub(crate) fn has_attached(&self) -> bool {
        self.consumers.by_number.values().any(Consumer::attached)
    }

    /// A new leader's term begins: no consumer has a stream any more.
    pub(crate) fn detach_all(&mut self, turn: &mut Turn<'_>) {
        let attached: Vec<u64> = self
            .consumers
            .by_number
            .iter()
            .filter(|(_, consumer)| consumer.attached())
            .map(|(number, _)| *number)
            .collect();
        let until_ms = turn.now_ms.saturating_add(self.settings.resume_ms);
        self.use_now(turn.now_ms);
        for number in attached {
            self.consumers.set_phase(number, Phase::Detached(until_ms));
            if let Some(consumer) = self.consumers.get(number) {
                let (consumer, incarnation) = (consumer.id, consumer.incarnation);
                turn.effects.push(Effect::Detached { uid: self.uid, consumer, incarnation });
            }
        }
        self.refresh_consumers();
    }

    pub(crate) fn set_window(&mut self, turn: &mut Turn<'_>, window: &SetWindow) -> Reply {
        let number = self.consumers.number_of(window.consumer);
        let Some(consumer) = number.and_then(|number| self.consumers.get(number)) else {
            return Reply::Rejected(Rejection::NotAttached);
        };
        if !consumer.attached() || consumer.incarnation < window.incarnation {
            return Reply::Rejected(Rejection::NotAttached);
        }
        if consumer.incarnation > window.incarnation {
            return Reply::Rejected(Rejection::ConsumerReplaced);
        }
        if let Some(consumer) = number.and_then(|number| self.consumers.touch(number)) {
            consumer.window_messages = window.window_messages.min(WINDOW_MESSAGES_MAX);
            consumer.window_bytes = window.window_bytes;
        }
        self.assign(turn);
        Reply::Done
    }

    /// Ends up to `budget` leases of a consumer, the oldest first. Returns how many ended.
    pub(super) fn end_hand(
        &mut self,
        turn: &mut Turn<'_>,
        number: u64,
        reason: ReturnReason,
        budget: usize,
    ) -> usize {
        let mut ended = 0;
        while ended < budget {
            let token = self.consumers.get(number).map_or(0, |consumer| consumer.head);
            if token == 0 {
                break;
            }
            ended += self.end_and_return(turn, token, reason, None).max(1);
        }
        ended
    }
}

/// The named tokens, rising, each once, as far as anyone may hold.
fn expand(ranges: &[TokenRange]) -> Vec<Token> {
    let mut tokens: Vec<Token> =
        ranges.iter().flat_map(|range| range.first..=range.last).take(HELD_TOKENS_MAX).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// The name as far as it is kept.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(CONSUMER_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
