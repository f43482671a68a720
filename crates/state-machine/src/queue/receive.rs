//! `Receive`: leases messages to a caller that keeps no stream.
//!
//! The request id makes it retriable: a remembered request gets those of its leases that are still live, again, and
//! nothing else. An answer without a new lease leaves no trace: it neither changes the queue nor wakes another receive, or
//! receives that wait for what they cannot have would wake each other for ever. Unless it is the last of a call of which a copy may come later:
//! the copy must not lease what nobody would hear of.

use super::consumers::{Consumer, Phase};
use super::remembered::Memory;
use super::{Queue, Turn};
use crate::command::Receive;
use crate::digest;
use crate::ids::{Id128, Sequence, TimestampMs, Token};
use crate::limits::{
    CONSUMERS_PER_QUEUE_MAX, FORGET_PER_ENTRY_MAX, LEASES_PER_QUEUE_MAX, RECEIVE_BYTES_MAX,
    RECEIVE_MESSAGES_MAX, REQUEST_WINDOW_MS, REQUESTS_MAX, WINDOW_MESSAGES_MAX,
};
use crate::reply::{Delivery, Rejection, Reply, ReturnReason};
use crate::rows::MemoryValue;

/// What a receive was given: the tokens `first..first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) consumer: Id128,
    pub(super) first: Token,
    pub(super) count: u32,
}

impl Memory for Received {
    fn hash(&self) -> u64 {
        digest::words(13, &[self.consumer.hi, self.consumer.lo, self.first, u64::from(self.count)])
    }
    fn to_row(&self) -> MemoryValue {
        MemoryValue { first: self.first, count: self.count, consumer: Some(self.consumer), result: None }
    }
    fn from_row(row: MemoryValue) -> Option<Self> {
        Some(Self { consumer: row.consumer?, first: row.first, count: row.count })
    }
}

impl Queue {
    /// The answer, if it is one that changes nothing.
    pub(crate) fn receive_without_trace(&mut self, turn: &Turn<'_>, receive: &Receive) -> Option<Reply> {
        let zero = Id128 { hi: 0, lo: 0 };
        if receive.consumer == zero || receive.request == zero {
            return Some(Reply::Rejected(Rejection::Invalid("an id of zero is no identity".into())));
        }
        if let Some(before) = self.receives.get(receive.request, turn.now_ms).copied() {
            return Some(self.receive_again(receive, before, turn));
        }
        if let Err(rejection) = self.admits(receive.consumer, turn.now_ms) {
            return Some(Reply::Rejected(rejection));
        }
        let number = self.consumers.number_of(receive.consumer);
        if number.and_then(|number| self.consumers.get(number)).is_some_and(holds_all_it_may) {
            let text =
                format!("the consumer holds {WINDOW_MESSAGES_MAX} messages: it must settle some first");
            return Some(Reply::Rejected(Rejection::Invalid(text)));
        }
        let nothing = Reply::Received { deliveries: Vec::new(), repeated: false };
        let may_take_in = self.has_waiting() && self.leases.len() < LEASES_PER_QUEUE_MAX;
        (!may_take_in && !receive.last && self.next_for(number).is_none()).then_some(nothing)
    }

    /// To be called after [`Self::receive_without_trace`] had no answer.
    pub(crate) fn receive(&mut self, turn: &mut Turn<'_>, receive: &Receive) -> Reply {
        self.use_now(turn.now_ms);
        self.give_up_if_over(turn, receive.consumer);
        let mut budget = self.pull_budget();
        let number = self.consumers.number_of(receive.consumer);
        let first = self.next_or_pull(turn, number, &mut budget);
        if (first.is_some() || receive.last) && !self.may_remember_a_receive(turn.now_ms) {
            return Reply::Rejected(Rejection::DedupFull(format!("{REQUESTS_MAX} requests")));
        }
        let Some(first) = first else {
            if receive.last {
                self.remember_receive(turn, receive, 0, 0);
            }
            // What was taken in may be for others.
            self.assign(turn);
            return Reply::Received { deliveries: Vec::new(), repeated: false };
        };
        let Some(number) = self.unary_consumer(receive.consumer, turn.now_ms) else {
            return Reply::Rejected(Rejection::TooManyConsumers);
        };
        let deliveries = self.hand_out(turn, receive, number, first, &mut budget);
        if let Some(delivery) = deliveries.first() {
            self.remember_receive(turn, receive, delivery.token, deliveries.len() as u32);
        }
        // What was in the way of a message that others have room for may be gone now.
        self.assign(turn);
        Reply::Received { deliveries, repeated: false }
    }

    /// Whether there is room for one more request id, forgetting old ones if need be.
    fn may_remember_a_receive(&mut self, now_ms: TimestampMs) -> bool {
        if self.receives.len() >= REQUESTS_MAX {
            let mut budget = FORGET_PER_ENTRY_MAX;
            self.receives.forget(now_ms, &mut budget);
            self.dirty = true;
        }
        self.receives.len() < REQUESTS_MAX
    }

    fn remember_receive(&mut self, turn: &Turn<'_>, receive: &Receive, first: Token, count: u32) {
        let given = Received { consumer: receive.consumer, first, count };
        let expires_ms = turn.now_ms.saturating_add(REQUEST_WINDOW_MS);
        self.receives.insert(receive.request, expires_ms, given, turn.now_ms);
    }

    /// A consumer that did not come back in time, which the sweep has not come to yet, begins anew: a lease it got now would be
    /// over at once.
    fn give_up_if_over(&mut self, turn: &mut Turn<'_>, id: Id128) {
        let Some(number) = self.consumers.number_of(id) else { return };
        if self.consumers.get(number).is_some_and(|consumer| consumer.is_over(turn.now_ms)) {
            self.end_hand(turn, number, ReturnReason::ConsumerLost, usize::MAX);
            let until_ms = turn.now_ms.saturating_add(self.settings.resume_ms);
            self.consumers.set_phase(number, Phase::Unary(until_ms));
        }
    }

    fn receive_again(&self, receive: &Receive, before: Received, turn: &Turn<'_>) -> Reply {
        if before.consumer != receive.consumer {
            let text = "this request id was used by another consumer";
            return Reply::Rejected(Rejection::Invalid(text.into()));
        }
        let tokens = before.first..before.first.saturating_add(u64::from(before.count));
        let live = |token: &Token| {
            self.leases.get(*token).is_some_and(|lease| {
                let own =
                    self.consumers.get(lease.consumer).is_some_and(|holder| holder.id == before.consumer);
                own && self.is_live(lease, turn.now_ms)
            })
        };
        let topic = turn.topic.as_deref();
        let deliveries = tokens.filter(live).filter_map(|token| self.delivery_again(token, topic)).collect();
        Reply::Received { deliveries, repeated: true }
    }

    /// The message this consumer would get next, whether it has a window or not.
    fn next_for(&mut self, number: Option<u64>) -> Option<Sequence> {
        let consumer = number.and_then(|number| self.consumers.get(number));
        if consumer.is_some_and(holds_all_it_may) || self.leases.len() >= LEASES_PER_QUEUE_MAX {
            return None;
        }
        let own = consumer.and_then(|consumer| consumer.own.first().copied());
        [own, self.first_general()].into_iter().flatten().min()
    }

    /// As [`Self::next_for`]; a subscription takes in what waits until there is one.
    fn next_or_pull(
        &mut self,
        turn: &mut Turn<'_>,
        number: Option<u64>,
        budget: &mut usize,
    ) -> Option<Sequence> {
        loop {
            if let Some(next) = self.next_for(number) {
                return Some(next);
            }
            let consumer = number.and_then(|number| self.consumers.get(number));
            let is_full = consumer.is_some_and(holds_all_it_may) || self.leases.len() >= LEASES_PER_QUEUE_MAX;
            if is_full || !self.pull(turn, budget) {
                return None;
            }
        }
    }

    /// The consumer, made if it is new; `None` if there are too many.
    fn unary_consumer(&mut self, id: Id128, now_ms: TimestampMs) -> Option<u64> {
        let phase = Phase::Unary(now_ms.saturating_add(self.settings.resume_ms));
        let Some(number) = self.consumers.number_of(id) else {
            let room = self.consumers.len() < CONSUMERS_PER_QUEUE_MAX;
            return room.then(|| self.consumers.add(Consumer::new(id, phase)));
        };
        if matches!(self.consumers.get(number)?.phase, Phase::Unary(_)) {
            self.consumers.set_phase(number, phase);
        }
        Some(number)
    }

    fn hand_out(
        &mut self,
        turn: &mut Turn<'_>,
        receive: &Receive,
        number: u64,
        first: Sequence,
        budget: &mut usize,
    ) -> Vec<Delivery> {
        let count_max = receive.messages_max.clamp(1, RECEIVE_MESSAGES_MAX) as usize;
        let bytes_max =
            if receive.bytes_max == 0 { RECEIVE_BYTES_MAX } else { receive.bytes_max.min(RECEIVE_BYTES_MAX) };
        let mut deliveries = Vec::new();
        let mut bytes = 0_u64;
        let mut next = Some(first);
        while let Some(sequence) = next {
            let payload_bytes = self.messages.get(sequence).map_or(0, |slot| u64::from(slot.payload_bytes));
            bytes = bytes.saturating_add(payload_bytes);
            if !deliveries.is_empty() && bytes > bytes_max {
                break;
            }
            deliveries.push(self.deliver(turn, sequence, number, receive.lease_ms));
            if deliveries.len() >= count_max {
                break;
            }
            next = self.next_or_pull(turn, Some(number), budget);
        }
        deliveries
    }
}

fn holds_all_it_may(consumer: &Consumer) -> bool {
    consumer.in_hand >= WINDOW_MESSAGES_MAX
}
