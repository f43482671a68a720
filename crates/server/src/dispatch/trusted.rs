//! The canary [`Canary::EffectsTrusted`]: dispatch as it would be if effects were the truth.
//!
//! It remembers what it has delivered, forgets what it was told has ended, and shows the rest to a consumer that comes back. No effect tells
//! of a lease that its holder has settled.

use std::collections::BTreeMap;

use phalanx_canary::Canary;
use phalanx_state_machine::ids::{Id128, QueueUid};
use phalanx_state_machine::reply::{Delivery, Effect};

use super::{DeskState, StreamEvent};

/// Deliveries by their consumers.
pub(super) type Trusted = BTreeMap<(QueueUid, Id128), Vec<Delivery>>;

impl DeskState {
    pub(super) fn trust(&mut self, effect: &Effect) {
        match effect {
            Effect::Deliver { uid, consumer, delivery, .. } => {
                self.trusted.entry((*uid, *consumer)).or_default().push(delivery.clone());
            }
            Effect::LeaseEnded { uid, consumer, token, .. } => {
                let known = self.trusted.entry((*uid, *consumer)).or_default();
                known.retain(|delivery| delivery.token != *token);
            }
            Effect::Detached { .. }
            | Effect::Ready { .. }
            | Effect::GroupReady { .. }
            | Effect::QueueGone { .. } => {}
        }
    }

    pub(super) fn show_trusted(&mut self, uid: QueueUid, consumer: Id128, incarnation: u64) {
        if !Canary::EffectsTrusted.is_planted() {
            return;
        }
        let Some(queue) = self.queues.get_mut(&uid) else { return };
        for delivery in self.trusted.get(&(uid, consumer)).into_iter().flatten() {
            queue.offer(consumer, Some(incarnation), StreamEvent::Deliver(delivery.clone()));
        }
    }
}
