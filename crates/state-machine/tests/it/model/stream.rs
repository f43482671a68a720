//! Receives and consumers' streams as the contract says it.

use phalanx_state_machine::command::{Attach, Detach, Receive, SetWindow};
use phalanx_state_machine::ids::{Id128, Token};
use phalanx_state_machine::reply::{Effect, Rejection, Reply, ReturnReason, SettleResult};

use super::queue::{Check, Place, Queue, ReceiveRequest, Stream, ensure, same_delivery};
use super::send::REQUEST_MS;
use super::settle::told;
use super::time::Effects;

impl Queue {
    pub fn receive(&mut self, now_ms: u64, receive: &Receive, reply: &Reply) -> Check {
        let before = self.receives.iter().find(|before| before.id == receive.request).cloned();
        if before.as_ref().is_some_and(|before| before.consumer != receive.consumer) {
            let refused = matches!(reply, Reply::Rejected(Rejection::Invalid(_)));
            ensure!(refused, "the request of another consumer was answered {reply:?}");
            return Ok(());
        }
        let Reply::Received { deliveries, repeated } = reply else {
            return Err(format!("answered {reply:?}"));
        };
        ensure!(*repeated == before.is_some(), "a repetition is told as one: {reply:?}");
        if let Some(before) = before {
            let live = self.hand(receive.consumer);
            let again: Vec<_> = live.iter().filter(|(token, _)| before.tokens.contains(token)).collect();
            ensure!(deliveries.len() == again.len(), "{} instead of {} again", deliveries.len(), again.len());
            for (delivery, (_, message)) in deliveries.iter().zip(again) {
                same_delivery(message, message.lease().ok_or("not live")?, delivery)?;
            }
            return Ok(());
        }
        let mut bytes = 0;
        for place in 0..receive.messages_max.max(1) as usize {
            let own = self.first_for(receive.consumer);
            let next = self.first_for_anybody().into_iter().chain(own).min_by_key(|message| message.sequence);
            let Some(next) = next else {
                ensure!(deliveries.len() == place, "more than there is: {deliveries:?}");
                break;
            };
            bytes += next.payload.len() as u64;
            if place > 0 && receive.bytes_max > 0 && bytes > receive.bytes_max {
                ensure!(deliveries.len() == place, "more than the bytes asked for: {deliveries:?}");
                break;
            }
            let sequence = next.sequence;
            let delivery =
                deliveries.get(place).ok_or_else(|| format!("sequence {sequence} was not given"))?;
            ensure!(delivery.sequence == sequence, "{} was given before {sequence}", delivery.sequence);
            self.deliver(now_ms, receive.consumer, receive.lease_ms, delivery)?;
        }
        ensure!(
            deliveries.len() <= receive.messages_max.max(1) as usize,
            "more than asked for: {deliveries:?}"
        );
        if !deliveries.is_empty() || receive.last {
            let tokens = deliveries.iter().map(|delivery| delivery.token).collect();
            let (id, consumer) = (receive.request, receive.consumer);
            self.receives.push(ReceiveRequest { id, consumer, until_ms: now_ms + REQUEST_MS, tokens });
        }
        if !deliveries.is_empty() {
            let consumer = receive.consumer;
            let until_ms = now_ms + self.settings.resume_ms;
            let known = self.consumer_mut(consumer);
            if matches!(known.stream, Stream::None { .. }) {
                known.stream = Stream::None { until_ms };
            }
        }
        Ok(())
    }

    pub fn attach(&mut self, now_ms: u64, attach: &Attach, reply: &Reply, effects: &mut Effects) -> Check {
        let known = self.consumer_mut(attach.consumer);
        if known.stream == Stream::Attached && attach.incarnation < known.incarnation {
            let refused = *reply == Reply::Rejected(Rejection::ConsumerReplaced);
            ensure!(refused, "an older stream was answered {reply:?}");
            return Ok(());
        }
        if known.stream == Stream::Attached && attach.incarnation > known.incarnation {
            let old =
                Effect::Detached { uid: attach.uid, consumer: known.id, incarnation: known.incarnation };
            let front = effects.pop_front();
            ensure!(front.as_ref() == Some(&old), "the old stream was not told: {front:?}");
        }
        if matches!(known.stream, Stream::None { until_ms } if until_ms <= now_ms) {
            known.last_token = None; // it may have been forgotten meanwhile
        }
        known.stream = Stream::Attached;
        known.incarnation = attach.incarnation;
        known.name.clone_from(&attach.name);
        known.window_messages = attach.window_messages;
        known.window_bytes = attach.window_bytes;
        known.lease_ms = attach.lease_ms;
        let mut held: Vec<Token> = attach.held.iter().flat_map(|range| range.first..=range.last).collect();
        held.sort_unstable();
        held.dedup();
        let hand = self.hand(attach.consumer);
        let live = |token: &Token| hand.iter().any(|(known, _)| known == token);
        let expected: Vec<Token> = held.iter().copied().filter(|token| !live(token)).collect();
        ensure!(*reply == Reply::Attached { lost: expected.clone() }, "lost {reply:?}, not {expected:?}");
        for (token, message) in hand.iter().filter(|(token, _)| !held.contains(token)) {
            let front = effects.pop_front();
            let Some(Effect::Deliver { consumer, incarnation, delivery, .. }) = &front else {
                return Err(format!("token {token} was not sent again, but {front:?}"));
            };
            let right = *consumer == attach.consumer && *incarnation == attach.incarnation;
            ensure!(right, "sent again to the wrong stream: {front:?}");
            same_delivery(message, message.lease().ok_or("not live")?, delivery)?;
        }
        Ok(())
    }

    pub fn detach(&mut self, now_ms: u64, detach: &Detach, reply: &Reply, effects: &mut Effects) -> Check {
        ensure!(*reply == Reply::Done, "answered {reply:?}");
        let until_ms = now_ms + self.settings.resume_ms;
        let known = self.consumer_mut(detach.consumer);
        if known.stream != Stream::Attached || known.incarnation != detach.incarnation {
            return Ok(());
        }
        if !detach.clean {
            known.stream = Stream::Broken { until_ms };
            return Ok(());
        }
        known.stream = Stream::None { until_ms };
        // Which of them counts as closed and which as following its group is the same to everyone: none is counted.
        while let Some(Effect::LeaseEnded { consumer, token, reason, .. }) = effects.front() {
            let (consumer, token, reason) = (*consumer, *token, *reason);
            if self.find_token(token).is_none_or(|(_, lease)| lease.holder != detach.consumer) {
                break; // the next command's doing
            }
            ensure!(consumer == detach.consumer, "the end of token {token} was told to {consumer}");
            let orphan = reason == ReturnReason::GroupReturned && self.orphans().contains(&token);
            ensure!(orphan || reason == ReturnReason::ConsumerClosed, "token {token} ended as {reason:?}");
            self.give_back(token, reason, SettleResult::LeaseOver)?;
            effects.pop_front();
        }
        let left = self.hand(detach.consumer).len();
        ensure!(left == 0, "{left} leases survived a clean close");
        self.check_order()
    }

    pub fn set_window(&mut self, window: &SetWindow, reply: &Reply) -> Check {
        let known = self.consumer_mut(window.consumer);
        if known.stream != Stream::Attached || known.incarnation != window.incarnation {
            let refused =
                matches!(reply, Reply::Rejected(Rejection::NotAttached | Rejection::ConsumerReplaced));
            ensure!(refused, "a window without its stream was answered {reply:?}");
            return Ok(());
        }
        ensure!(*reply == Reply::Done, "answered {reply:?}");
        known.window_messages = window.window_messages;
        known.window_bytes = window.window_bytes;
        Ok(())
    }

    /// A new leader: no stream is left.
    pub fn term_start(&mut self, now_ms: u64, effects: &mut Effects) -> Check {
        let until_ms = now_ms + self.settings.resume_ms;
        let mut attached: Vec<(Id128, u64)> = Vec::new();
        for consumer in self.consumers.iter_mut().filter(|consumer| consumer.stream == Stream::Attached) {
            consumer.stream = Stream::Broken { until_ms };
            attached.push((consumer.id, consumer.incarnation));
        }
        let mut told = Vec::new();
        while told.len() < attached.len() {
            let front = effects.pop_front();
            let Some(Effect::Detached { consumer, incarnation, .. }) = front else {
                return Err(format!("{attached:?} were not told of the new term, but {front:?}"));
            };
            told.push((consumer, incarnation));
        }
        told.sort();
        attached.sort();
        ensure!(told == attached, "told {told:?} of the new term instead of {attached:?}");
        Ok(())
    }

    pub fn purge(&mut self, reply: &Reply, effects: &mut Effects) -> Check {
        let count = self.messages.len() as u64;
        ensure!(*reply == Reply::Purged { count }, "{count} messages purged, answered {reply:?}");
        let mut ended = Vec::new();
        for message in std::mem::take(&mut self.messages) {
            if let Place::Leased(lease) = message.place {
                ended.push((lease.holder, lease.token));
                self.consumer_mut(lease.holder).unsure.push((lease.token, SettleResult::LeaseOver));
            }
        }
        told(effects, ended, ReturnReason::Unspecified)
    }
}
