//! What time and free windows do: the machine's effects are checked one by one against what may happen, and at the end
//! nothing that had to happen may be missing.

use std::collections::VecDeque;

use phalanx_state_machine::ids::{Id128, Token};
use phalanx_state_machine::reply::{Effect, ReturnReason, SettleResult};

use super::queue::{Check, Consumer, Place, Queue, Stream, ensure};

/// The effects of one queue that no check has taken yet, in order.
pub type Effects = VecDeque<Effect>;

impl Queue {
    /// Everything that is due at `now_ms`: leases, lost consumers, delays.
    pub fn sweep(&mut self, now_ms: u64, effects: &mut Effects) -> Check {
        while let Some(Effect::LeaseEnded { consumer, token, reason, .. }) = effects.front() {
            let (consumer, token, reason) = (*consumer, *token, *reason);
            let Some((_, lease)) = self.find_token(token) else { break };
            let allowed = match reason {
                ReturnReason::Expired => lease.deadline_ms <= now_ms,
                ReturnReason::ConsumerLost => self.is_lost(lease.holder, now_ms),
                ReturnReason::GroupReturned => self.orphans().contains(&token),
                _ => false,
            };
            if !allowed {
                break; // the command's doing
            }
            ensure!(consumer == lease.holder, "the end of token {token} was told to {consumer}");
            self.give_back(token, reason, SettleResult::LeaseOver)?;
            effects.pop_front();
        }
        for message in &self.messages {
            let Some(lease) = message.lease() else { continue };
            let over = lease.deadline_ms <= now_ms || self.is_lost(lease.holder, now_ms);
            ensure!(!over, "token {} is still live past its time", lease.token);
        }
        self.check_order()?;
        for message in &mut self.messages {
            if matches!(message.place, Place::Delayed { until_ms } if until_ms <= now_ms) {
                message.place = Place::Ready;
            }
        }
        for consumer in &mut self.consumers {
            if matches!(consumer.stream, Stream::Broken { until_ms } if until_ms <= now_ms) {
                consumer.stream = Stream::None { until_ms: 0 };
            }
        }
        self.forget(now_ms);
        self.assign(now_ms, effects)
    }

    fn is_lost(&self, consumer: Id128, now_ms: u64) -> bool {
        self.consumer(consumer)
            .is_some_and(|known| matches!(known.stream, Stream::Broken { until_ms } if until_ms <= now_ms))
    }

    /// What need not be remembered any longer.
    fn forget(&mut self, now_ms: u64) {
        let busy: Vec<Id128> =
            self.messages.iter().filter_map(|message| Some(message.lease()?.holder)).collect();
        for consumer in &mut self.consumers {
            let over = matches!(consumer.stream, Stream::None { until_ms } if until_ms <= now_ms);
            if over && !busy.contains(&consumer.id) {
                consumer.last_token = None;
                let answers = std::mem::take(&mut consumer.answers);
                consumer.unsure.extend(answers);
            }
        }
        self.originals.retain(|original| original.until_ms > now_ms);
        self.sends.retain(|request| request.until_ms > now_ms);
        self.receives.retain(|request| request.until_ms > now_ms);
    }

    /// Checks that the machine hands out all that can be handed out, in order, to those who should get it.
    pub fn assign(&mut self, now_ms: u64, effects: &mut Effects) -> Check {
        while let Some((sequence, candidates)) = self.next_assignment() {
            let front = effects.pop_front();
            let Some(Effect::Deliver { consumer, incarnation, delivery, .. }) = front else {
                return Err(format!(
                    "sequence {sequence} should go to one of {candidates:?}, but: {front:?}"
                ));
            };
            let got = delivery.sequence;
            ensure!(got == sequence, "sequence {got} was delivered, but {sequence} comes first");
            ensure!(
                candidates.contains(&consumer),
                "sequence {got} went to {consumer}, not to {candidates:?}"
            );
            let known = self.consumer_mut(consumer);
            let (expected, lease_ms) = (known.incarnation, known.lease_ms);
            ensure!(incarnation == expected, "delivered to incarnation {incarnation}, not {expected}");
            self.deliver(now_ms, consumer, lease_ms, &delivery)?;
        }
        Ok(())
    }

    /// The next message that someone must get now, and who it may be.
    fn next_assignment(&self) -> Option<(u64, Vec<Id128>)> {
        let general = self.first_for_anybody().and_then(|message| {
            let candidates = self.least_loaded(message.payload.len() as u64);
            (!candidates.is_empty()).then_some((message.sequence, candidates))
        });
        let own = self.consumers.iter().filter_map(|consumer| {
            let message = self.first_for(consumer.id)?;
            let room = self.has_room(consumer, message.payload.len() as u64);
            room.then(|| (message.sequence, vec![consumer.id]))
        });
        general.into_iter().chain(own).min_by_key(|(sequence, _)| *sequence)
    }

    /// Of the consumers with room those with the fewest messages in hand; of these the longest idle, if that is known.
    fn least_loaded(&self, payload_bytes: u64) -> Vec<Id128> {
        let open: Vec<&Consumer> =
            self.consumers.iter().filter(|consumer| self.has_room(consumer, payload_bytes)).collect();
        let fewest = open.iter().map(|consumer| self.hand(consumer.id).len()).min();
        let mut least: Vec<&Consumer> = open;
        least.retain(|consumer| Some(self.hand(consumer.id).len()) == fewest);
        let idle: Option<Vec<Token>> = least.iter().map(|consumer| consumer.last_token).collect();
        if let Some(longest) = idle.and_then(|tokens| tokens.into_iter().min()) {
            least.retain(|consumer| consumer.last_token == Some(longest));
        }
        least.iter().map(|consumer| consumer.id).collect()
    }
}
