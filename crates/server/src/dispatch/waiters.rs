//! Receives that wait for something to receive: first come, first served.
//!
//! `Ready` says that something can be had, not how much. So it wakes the first waiter, and a waiter that leaves after it was woken
//! wakes the next one. Invariant: after a `Ready`, somebody proposes again until a proposal came back empty, whoever goes away
//! meanwhile. `GroupReady` is the same among the waiters of one consumer: the others would find nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use phalanx_state_machine::ids::{Id128, QueueUid};
use tokio::sync::Notify;

use super::GroupDesk;

/// The waiters of one queue, in the order of their coming.
#[derive(Default)]
pub(super) struct Waiters {
    places: BTreeMap<u64, Place>,
    by_consumer: BTreeSet<(Id128, u64)>,
}

struct Place {
    consumer: Id128,
    wake: Arc<Notify>,
    /// Told to propose (again), and has not begun to.
    woken: bool,
    /// Proposing: if it goes away now, it may leave something behind.
    working: bool,
    /// It was told of something that only its consumer may have, and has not looked for it.
    called: bool,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn open(
        &mut self,
        desk: Weak<GroupDesk>,
        uid: QueueUid,
        consumer: Id128,
        number: u64,
    ) -> Waiter {
        let wake = Arc::new(Notify::new());
        let place = Place { consumer, wake: Arc::clone(&wake), woken: false, working: true, called: false };
        self.places.insert(number, place);
        self.by_consumer.insert((consumer, number));
        Waiter { desk, uid, number, wake }
    }

    /// Wakes the first that is not woken already.
    pub(super) fn wake_first(&mut self) {
        if let Some(place) = self.places.values_mut().find(|place| !place.woken) {
            place.wake();
        }
    }

    /// The same, among those of one consumer.
    pub(super) fn wake_first_of(&mut self, consumer: Id128) {
        let mine = || self.by_consumer.range((consumer, 0)..=(consumer, u64::MAX)).map(|(_, number)| *number);
        let sleeps = |number: &u64| self.places.get(number).is_some_and(|place| !place.woken);
        // If all are woken already, one of them is to pass it on.
        let Some(number) = mine().find(sleeps).or_else(|| mine().next()) else { return };
        if let Some(place) = self.places.get_mut(&number) {
            place.called = true;
            place.wake();
        }
    }

    /// Ends all waits: their places are gone, which is what they find.
    pub(super) fn end(self) {
        for place in self.places.into_values() {
            place.wake.notify_one();
        }
    }

    fn rest(&mut self, number: u64) -> bool {
        let Some(place) = self.places.get_mut(&number) else { return false };
        place.working = false;
        place.called &= place.woken;
        true
    }

    fn resume(&mut self, number: u64) -> bool {
        let Some(place) = self.places.get_mut(&number) else { return false };
        let woken = std::mem::take(&mut place.woken);
        place.working |= woken;
        woken
    }

    fn leave(&mut self, number: u64) {
        let Some(place) = self.places.remove(&number) else { return };
        self.by_consumer.remove(&(place.consumer, number));
        if place.woken || place.working {
            self.wake_first();
        }
        if place.called {
            self.wake_first_of(place.consumer);
        }
    }
}

impl Place {
    fn wake(&mut self) {
        self.woken = true;
        self.wake.notify_one();
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Propose again.
    Ready,
    /// The queue is gone, or this node leads no more: look again where it is.
    Over,
}

/// One waiting receive. Dropping it gives up its place.
pub struct Waiter {
    desk: Weak<GroupDesk>,
    uid: QueueUid,
    number: u64,
    wake: Arc<Notify>,
}

impl Waiter {
    /// Waits until a proposal may find something. Cancel safe. To be called only after a proposal came back empty.
    pub async fn ready(&mut self) -> Wake {
        loop {
            let here = self.with(|waiters, number| waiters.rest(number));
            if here != Some(true) {
                return Wake::Over;
            }
            if self.with(|waiters, number| waiters.resume(number)) == Some(true) {
                return Wake::Ready;
            }
            self.wake.notified().await;
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Waiters, u64) -> R) -> Option<R> {
        let number = self.number;
        self.desk.upgrade()?.with_waiters(self.uid, |waiters| work(waiters, number))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.with(Waiters::leave);
    }
}
