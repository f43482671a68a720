//! Dispatch: from effects of `apply` to the streams of consumers and the waits of receives, on the node that leads.
//!
//! Effects are hints, the machine's leases are the truth. A stream that cannot take an effect, or whose node stops leading, is ended;
//! its consumer attaches again, and the leader then sends again every live lease that the consumer does not hold.
//!
//! Invariants: [`Dispatcher::applied`] never waits. What one stream gets keeps the order of the effects. A stream is registered before
//! its attach is proposed, so that it misses nothing.

mod stream;
#[cfg(phalanx_test)]
mod trusted;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use phalanx_state_machine::ids::{GroupId, Id128, QueueUid};
use phalanx_state_machine::reply::Effect;

use stream::Slot;
use waiters::Waiters;

pub use stream::{EVENTS_MAX, StreamEnd, StreamEvent, StreamEvents};
pub use waiters::{Waiter, Wake};

/// Streams that one queue may have on its leader, and likewise waiting receives.
pub const REGISTRATIONS_MAX: usize = 10_000;

/// Why a stream or a wait was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// This node does not lead the group.
    #[error("the group is not led here")]
    NotLeading,
    /// The queue has [`REGISTRATIONS_MAX`] already.
    #[error("too many streams or waiting receives on one queue")]
    TooMany,
}

/// See the module. One for a node.
#[derive(Default)]
pub struct Dispatcher {
    groups: RwLock<BTreeMap<GroupId, Arc<GroupDesk>>>,
}

/// What is registered for one group.
#[derive(Default)]
struct GroupDesk {
    state: Mutex<DeskState>,
}

#[derive(Default)]
struct DeskState {
    leading: bool,
    queues: BTreeMap<QueueUid, QueueDesk>,
    /// Tells registrations of the same consumer and incarnation apart.
    registered: u64,
    #[cfg(phalanx_test)]
    trusted: trusted::Trusted,
}

#[derive(Default)]
struct QueueDesk {
    streams: BTreeMap<Id128, Vec<Slot>>,
    stream_count: usize,
    waiters: Waiters,
}

impl Dispatcher {
    /// A dispatcher that leads nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// This node leads `group`: streams and waits may register.
    pub fn lead(&self, group: GroupId, term: u64) {
        tracing::debug!(group_id = group, term, "dispatches");
        self.desk(group).state.lock().leading = true;
    }

    /// This node leads `group` no more: everything registered ends.
    pub fn unlead(&self, group: GroupId) {
        let desk = self.desk(group);
        let ended = {
            let mut state = desk.state.lock();
            state.leading = false;
            #[cfg(phalanx_test)]
            state.trusted.clear();
            std::mem::take(&mut state.queues)
        };
        for queue in ended.into_values() {
            queue.end(StreamEnd::LeaderChanged);
        }
    }

    /// Registers a consumer's stream; to be done before its attach is proposed. When it is attached, [`StreamEvents::attached`] says so.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn register_stream(
        &self,
        group: GroupId,
        uid: QueueUid,
        consumer: Id128,
        incarnation: u64,
    ) -> Result<StreamEvents, RegisterError> {
        let desk = self.desk(group);
        let mut state = desk.state.lock();
        if !state.leading {
            return Err(RegisterError::NotLeading);
        }
        state.registered += 1;
        let registration = state.registered;
        let queue = state.queues.entry(uid).or_default();
        if queue.stream_count >= REGISTRATIONS_MAX {
            return Err(RegisterError::TooMany);
        }
        let (slot, mut events) =
            stream::open(Arc::downgrade(&desk), uid, consumer, incarnation, registration);
        let slots = queue.streams.entry(consumer).or_default();
        if let Some(same) = slots.iter().position(|slot| slot.incarnation() == incarnation) {
            // The same attach again: the answer of the first was lost on the way.
            std::mem::replace(&mut slots[same], slot).end(StreamEnd::Replaced);
            events = events.replacing();
        } else {
            slots.push(slot);
            queue.stream_count += 1;
        }
        #[cfg(phalanx_test)]
        state.show_trusted(uid, consumer, incarnation);
        Ok(events)
    }

    /// Registers a receive that is ready to wait; to be done before its first proposal, so that no wake is missed.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn register_waiter(
        &self,
        group: GroupId,
        uid: QueueUid,
        consumer: Id128,
    ) -> Result<Waiter, RegisterError> {
        let desk = self.desk(group);
        let mut state = desk.state.lock();
        if !state.leading {
            return Err(RegisterError::NotLeading);
        }
        state.registered += 1;
        let registration = state.registered;
        let queue = state.queues.entry(uid).or_default();
        if queue.waiters.len() >= REGISTRATIONS_MAX {
            return Err(RegisterError::TooMany);
        }
        Ok(queue.waiters.open(Arc::downgrade(&desk), uid, consumer, registration))
    }

    /// Takes the effects of one entry. Never waits.
    pub fn applied(&self, group: GroupId, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let Some(desk) = self.groups.read().get(&group).cloned() else { return };
        let mut state = desk.state.lock();
        if !state.leading {
            return;
        }
        for effect in effects {
            state.dispatch(effect);
        }
    }

    fn desk(&self, group: GroupId) -> Arc<GroupDesk> {
        if let Some(desk) = self.groups.read().get(&group) {
            return Arc::clone(desk);
        }
        Arc::clone(self.groups.write().entry(group).or_default())
    }
}

impl DeskState {
    fn dispatch(&mut self, effect: Effect) {
        #[cfg(phalanx_test)]
        self.trust(&effect);
        match effect {
            Effect::Deliver { uid, consumer, incarnation, delivery } => {
                let Some(queue) = self.queues.get_mut(&uid) else { return };
                queue.offer(consumer, Some(incarnation), StreamEvent::Deliver(delivery));
            }
            Effect::LeaseEnded { uid, consumer, token, reason } => {
                let Some(queue) = self.queues.get_mut(&uid) else { return };
                queue.offer(consumer, None, StreamEvent::Ended { token, reason });
            }
            Effect::Detached { uid, consumer, incarnation } => {
                let Some(queue) = self.queues.get_mut(&uid) else { return };
                queue.detach(consumer, incarnation);
            }
            Effect::Ready { uid } => {
                if let Some(queue) = self.queues.get_mut(&uid) {
                    queue.waiters.wake_first();
                }
            }
            Effect::GroupReady { uid, consumer } => {
                if let Some(queue) = self.queues.get_mut(&uid) {
                    queue.waiters.wake_first_of(consumer);
                }
            }
            Effect::QueueGone { uid } => {
                if let Some(queue) = self.queues.remove(&uid) {
                    queue.end(StreamEnd::QueueGone);
                }
            }
        }
    }

    /// Forgets a queue that nobody is registered for.
    fn tidy(&mut self, uid: QueueUid) {
        if self.queues.get(&uid).is_some_and(|queue| queue.stream_count == 0 && queue.waiters.len() == 0) {
            self.queues.remove(&uid);
        }
    }
}

impl QueueDesk {
    /// Hands an event to the stream of that incarnation, or to the newest. A stream that has no room for it ends.
    fn offer(&mut self, consumer: Id128, incarnation: Option<u64>, event: StreamEvent) {
        let Some(slots) = self.streams.get_mut(&consumer) else { return };
        let position = match incarnation {
            Some(incarnation) => slots.iter().position(|slot| slot.incarnation() == incarnation),
            None => (0..slots.len()).max_by_key(|position| slots[*position].incarnation()),
        };
        let Some(position) = position else { return };
        if slots[position].offer(event).is_err() {
            slots.swap_remove(position).end(StreamEnd::Overflow);
            self.stream_count -= 1;
            if slots.is_empty() {
                self.streams.remove(&consumer);
            }
        }
    }

    /// Ends the streams of a consumer up to `incarnation`.
    fn detach(&mut self, consumer: Id128, incarnation: u64) {
        let Some(slots) = self.streams.remove(&consumer) else { return };
        let (over, newer): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| slot.incarnation() <= incarnation);
        self.stream_count -= over.len();
        let reason = if newer.is_empty() { StreamEnd::Detached } else { StreamEnd::Replaced };
        for slot in over {
            slot.end(reason);
        }
        if !newer.is_empty() {
            self.streams.insert(consumer, newer);
        }
    }

    fn end(self, reason: StreamEnd) {
        for slot in self.streams.into_values().flatten() {
            slot.end(reason);
        }
        self.waiters.end();
    }
}

impl GroupDesk {
    /// A stream's receiver went away.
    fn unregister_stream(&self, uid: QueueUid, consumer: Id128, registration: u64) {
        let mut state = self.state.lock();
        let Some(queue) = state.queues.get_mut(&uid) else { return };
        let Some(slots) = queue.streams.get_mut(&consumer) else { return };
        let before = slots.len();
        slots.retain(|slot| slot.registration() != registration);
        queue.stream_count -= before - slots.len();
        if slots.is_empty() {
            queue.streams.remove(&consumer);
        }
        state.tidy(uid);
    }

    /// Does something with the waiters of a queue, if there are any.
    fn with_waiters<R>(&self, uid: QueueUid, work: impl FnOnce(&mut Waiters) -> R) -> Option<R> {
        let mut state = self.state.lock();
        let result = state.queues.get_mut(&uid).map(|queue| work(&mut queue.waiters));
        state.tidy(uid);
        result
    }
}
