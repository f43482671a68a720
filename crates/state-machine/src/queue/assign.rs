//! Assignment: which message goes to whom, and what ends a lease.
//!
//! Messages are offered in sequence order. One that belongs to no one goes to the least loaded consumer with room; the next of a
//! group goes to the group's holder, and waits for it, without holding up the others.

use phalanx_canary::Canary;

use super::Queue;
use super::Turn;
use super::leases::Lease;
use super::messages::{Slot, State};
use crate::ids::{Id128, Sequence, TimestampMs, Token};
use crate::limits::{LEASE_MAX_MS, LEASES_PER_QUEUE_MAX};
use crate::reply::{Delivery, Effect, Payload, ReturnReason, SettleResult};

impl Queue {
    /// Gives messages to attached consumers as long as there is a message and room for it.
    pub(crate) fn assign(&mut self, turn: &mut Turn<'_>) {
        self.refresh_consumers();
        let mut budget = self.pull_budget();
        while self.consumers.any_open() && self.leases.len() < LEASES_PER_QUEUE_MAX {
            let sticky = self.consumers.first_sticky();
            let first = self.first_general();
            if first.is_none() && sticky.is_none() && self.pull(turn, &mut budget) {
                self.refresh_consumers();
                continue;
            }
            let general = first.filter(|first| sticky.is_none_or(|(own, _)| *first < own));
            let picked = general.and_then(|sequence| {
                let slot = self.messages.get(sequence)?;
                Some((sequence, self.consumers.pick(slot.payload_bytes)?))
            });
            let Some((sequence, number)) = picked.or(sticky) else { break };
            let Some(consumer) = self.consumers.get(number) else { break };
            let (lease_ms, incarnation, id) = (consumer.lease_ms, consumer.incarnation, consumer.id);
            let delivery = self.deliver(turn, sequence, number, lease_ms);
            turn.effects.push(Effect::Deliver { uid: self.uid, consumer: id, incarnation, delivery });
            self.refresh_consumers();
        }
    }

    pub(super) fn refresh_consumers(&mut self) {
        let messages = &self.messages;
        self.consumers.refresh(|sequence| messages.get(sequence).map_or(0, |slot| slot.payload_bytes));
    }

    /// The earliest message that any consumer may get.
    pub(super) fn first_general(&mut self) -> Option<Sequence> {
        let fresh = self.messages.first_fresh();
        let returned = self.returned.first().copied();
        let head = self.heads.first().copied();
        [fresh, returned, head].into_iter().flatten().min()
    }

    /// Whether anybody's receive would get something.
    pub(crate) fn has_offer(&self) -> bool {
        let own = self.messages.has_fresh() || !self.returned.is_empty() || !self.heads.is_empty();
        (own || self.has_waiting()) && self.leases.len() < LEASES_PER_QUEUE_MAX
    }

    /// Consumers without a stream for which something became ready in this entry that only they may get.
    pub(crate) fn take_called(&mut self) -> Vec<Id128> {
        self.consumers.take_called()
    }

    /// Leases a ready message. The message must be the first of its lane that is not leased, and the consumer must
    /// be the lane's holder if it has one.
    pub(super) fn deliver(
        &mut self,
        turn: &Turn<'_>,
        sequence: Sequence,
        number: u64,
        lease_ms: u64,
    ) -> Delivery {
        let lease_ms = if lease_ms == 0 { self.settings.lease_ms } else { lease_ms.min(LEASE_MAX_MS) };
        let token = self.next_token;
        self.next_token += 1;
        let deadline_ms = turn.now_ms.saturating_add(lease_ms);
        let change = |slot: &mut Slot| {
            assert!(slot.state == State::Ready, "only a ready message is offered");
            slot.state = State::Leased;
            slot.at = token;
            slot.attempts = slot.attempts.saturating_add(1);
        };
        self.messages.change(sequence, change).expect("an offered message is live");
        let slot = self.messages.get(sequence).expect("an offered message is live");
        let (next, group, payload_bytes) = (slot.next, slot.group, slot.payload_bytes);
        let delivery = Delivery {
            token,
            sequence,
            attempt: slot.attempts,
            deadline_ms,
            enqueued_ms: slot.enqueued_ms,
            redelivery: reason_of(slot.reason),
            group: self.groups.key(group),
            payload: self.payload(sequence, slot, turn.topic.as_deref()),
        };
        match self.lane_of(group) {
            Some(lane) => self.lane_lease(lane, next, number),
            None => {
                if !self.messages.clear_fresh(sequence) {
                    self.returned.remove(&sequence);
                }
            }
        }
        let lease_ms = u32::try_from(lease_ms).unwrap_or(u32::MAX);
        let lease =
            Lease { sequence, deadline_ms, consumer: number, lease_ms, payload_bytes, ..Lease::default() };
        self.add_lease(token, lease);
        if let Some(consumer) = self.consumers.touch(number) {
            consumer.last_token = token;
        }
        self.totals.delivered += 1;
        self.totals.redelivered += u64::from(delivery.attempt > 1);
        self.dirty = true;
        delivery
    }

    /// Puts a lease at the end of its holder's chain.
    pub(super) fn add_lease(&mut self, token: Token, mut lease: Lease) {
        let consumer = self.consumers.touch(lease.consumer).expect("the holder is known");
        consumer.in_hand += 1;
        consumer.in_hand_bytes += u64::from(lease.payload_bytes);
        lease.prev = consumer.tail;
        consumer.tail = token;
        if lease.prev == 0 {
            consumer.head = token;
        } else {
            self.leases.links(lease.prev).next = token;
        }
        self.leases.insert(token, lease);
    }

    /// Takes a lease out of the table and out of its holder's hand. The message is the caller's to settle.
    fn take_lease(&mut self, token: Token) -> Option<Lease> {
        let lease = self.leases.remove(token)?;
        if lease.prev != 0 {
            self.leases.links(lease.prev).next = lease.next;
        }
        if lease.next != 0 {
            self.leases.links(lease.next).prev = lease.prev;
        }
        if let Some(consumer) = self.consumers.touch(lease.consumer) {
            consumer.in_hand -= 1;
            consumer.in_hand_bytes -= u64::from(lease.payload_bytes);
            if consumer.head == token {
                consumer.head = lease.next;
            }
            if consumer.tail == token {
                consumer.tail = lease.prev;
            }
        }
        self.dirty = true;
        Some(lease)
    }

    /// Remembers what became of a token.
    pub(super) fn remember_answer(&mut self, number: u64, token: Token, result: SettleResult) {
        if let Some(consumer) = self.consumers.touch(number) {
            consumer.answers.remember(number, token, result);
        }
    }

    /// Ends a lease and removes its message for good.
    pub(super) fn end_and_remove(&mut self, token: Token, result: SettleResult) {
        let Some(lease) = self.take_lease(token) else { return };
        let slot = self.messages.remove(lease.sequence).expect("a lease always names a live message");
        if let Some(lane) = self.lane_of(slot.group) {
            self.lane_unlease(lane);
            self.lane_unlink(lane, &slot, lease.sequence);
        }
        self.groups.leave(slot.group);
        if let Some(feed) = self.feed_mut() {
            feed.released.push(lease.sequence);
        }
        self.remember_answer(lease.consumer, token, result);
    }

    /// Ends a lease and puts its message back to its own place. All later leases of its group end with it. Returns
    /// how many leases ended.
    ///
    /// `nacked_until` is set for a nack: until when the message waits. Otherwise the holder is told.
    pub(super) fn end_and_return(
        &mut self,
        turn: &mut Turn<'_>,
        token: Token,
        reason: ReturnReason,
        nacked_until: Option<TimestampMs>,
    ) -> usize {
        let Some(lease) = self.take_lease(token) else { return 0 };
        let result = if nacked_until.is_some() { SettleResult::Nacked } else { SettleResult::LeaseOver };
        self.remember_answer(lease.consumer, token, result);
        if nacked_until.is_none() {
            self.tell_ended(turn, lease.consumer, token, reason);
        }
        let due_ms = nacked_until.filter(|due| *due > turn.now_ms);
        let sequence = lease.sequence;
        let slot = self.return_slot(sequence, reason, due_ms);
        let (lane, next) = (self.lane_of_sequence(sequence), slot);
        let mut ended = 1;
        match lane {
            None if due_ms.is_none() => {
                self.returned.insert(sequence);
            }
            None => {}
            Some(lane) => {
                if nacked_until.is_none() || !Canary::GroupOrderOnNack.is_planted() {
                    ended += self.end_later(turn, lane, next);
                }
                self.lane_unlease(lane);
                self.groups.lane_mut(lane).offer = sequence;
                self.lane_refresh(lane);
            }
        }
        if let Some(due) = due_ms {
            self.delayed.insert((due, sequence));
        }
        self.conflate_lane(turn.topic.as_deref(), lane, sequence);
        ended
    }

    /// Ends the leases of a lane from `next` on: a message before them was returned. Not counted as attempts.
    fn end_later(&mut self, turn: &mut Turn<'_>, lane: u32, mut next: Sequence) -> usize {
        let mut ended = 0;
        while let Some(slot) = self.messages.get(next) {
            if slot.state != State::Leased {
                break;
            }
            let token = slot.at;
            let sequence = next;
            let lease = self.take_lease(token).expect("a leased message has a lease");
            self.remember_answer(lease.consumer, token, SettleResult::LeaseOver);
            self.tell_ended(turn, lease.consumer, token, ReturnReason::GroupReturned);
            next = self.return_slot(sequence, ReturnReason::GroupReturned, None);
            self.lane_unlease(lane);
            ended += 1;
        }
        ended
    }

    /// Makes a leased message ready or delayed again. Returns the next one of its lane.
    fn return_slot(
        &mut self,
        sequence: Sequence,
        reason: ReturnReason,
        due_ms: Option<TimestampMs>,
    ) -> Sequence {
        let counts = !matches!(reason, ReturnReason::GroupReturned | ReturnReason::ConsumerClosed);
        let change = |slot: &mut Slot| {
            slot.state = if due_ms.is_some() { State::Delayed } else { State::Ready };
            slot.at = due_ms.unwrap_or(0);
            slot.attempts -= u32::from(!counts && slot.attempts > 0);
            slot.reason = reason as u8;
        };
        self.messages.change(sequence, change).expect("a lease always names a live message").next
    }

    fn lane_of_sequence(&self, sequence: Sequence) -> Option<u32> {
        self.messages.get(sequence).and_then(|slot| self.lane_of(slot.group))
    }

    fn tell_ended(&self, turn: &mut Turn<'_>, number: u64, token: Token, reason: ReturnReason) {
        if let Some(consumer) = self.consumers.get(number) {
            turn.effects.push(Effect::LeaseEnded { uid: self.uid, consumer: consumer.id, token, reason });
        }
    }

    /// The delivery that a live lease stands for, once more.
    pub(super) fn delivery_again(&self, token: Token, topic: Option<&Self>) -> Option<Delivery> {
        let lease = self.leases.get(token)?;
        let slot = self.messages.get(lease.sequence)?;
        Some(Delivery {
            token,
            sequence: lease.sequence,
            attempt: slot.attempts,
            deadline_ms: lease.deadline_ms,
            enqueued_ms: slot.enqueued_ms,
            redelivery: reason_of(slot.reason),
            group: self.groups.key(slot.group),
            payload: self.payload(lease.sequence, slot, topic),
        })
    }

    /// Whether a lease still counts for its holder.
    pub(super) fn is_live(&self, lease: &Lease, now_ms: TimestampMs) -> bool {
        lease.deadline_ms > now_ms
            && self.consumers.get(lease.consumer).is_some_and(|consumer| !consumer.is_over(now_ms))
    }

    /// The live leases of a consumer, rising.
    pub(super) fn hand(&self, number: u64) -> impl Iterator<Item = (Token, &Lease)> {
        let mut token = self.consumers.get(number).map_or(0, |consumer| consumer.head);
        std::iter::from_fn(move || {
            let lease = self.leases.get(token)?;
            let item = (token, lease);
            token = lease.next;
            Some(item)
        })
    }
}

pub(super) fn payload_of(slot: &Slot) -> Payload {
    if slot.spilled { Payload::Spilled(slot.payload_bytes) } else { Payload::Resident(slot.payload.clone()) }
}

pub(super) fn reason_of(reason: u8) -> Option<ReturnReason> {
    ReturnReason::try_from(i32::from(reason)).ok().filter(|reason| *reason != ReturnReason::Unspecified)
}
