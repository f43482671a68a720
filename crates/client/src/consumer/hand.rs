//! What a consumer holds: deliveries waiting to be taken by the application, and those it works on.
//!
//! Invariant: every delivery that came and is neither settled nor lost is in `held`, so that a reconnect can name it;
//! those of them that the application has not taken yet are also in `ready`, in the order in which they came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use phalanx_proto::v1;
use tokio::time::Instant;

use super::delivery::ReturnReason;
use super::desk::Answer;
use super::lease::Lease;
use crate::error::Error;
use crate::limits;
use crate::metrics::Meter;

/// Deliveries held that are taken at most, and not for a broken server's: the largest window, since a consumer that was started anew
/// gets what its earlier self had in hand, and what settles on their way have made room for.
const HELD_MAX: usize = 2 * limits::CONSUMER_WINDOW_MESSAGES_MAX as usize;

/// A delivery, and its lease.
pub(super) type Arrived = (v1::Delivery, Arc<Lease>);

pub(super) struct Hand {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// `None`: leases are not extended.
    max_processing: Option<Duration>,
    meter: Meter,
}

struct State {
    held: BTreeMap<u64, Held>,
    ready: VecDeque<Arrived>,
    window: v1::Window,
    window_changed: bool,
    lease: Duration,
    strict: bool,
    closing: bool,
    ended: Option<Option<Error>>,
}

struct Held {
    lease: Arc<Lease>,
    extend_until: Option<Instant>,
    /// An extension is on its way.
    extending: bool,
}

impl Hand {
    pub(super) fn new(window: v1::Window, max_processing: Option<Duration>, meter: Meter) -> Self {
        let state = State {
            held: BTreeMap::new(),
            ready: VecDeque::new(),
            window,
            window_changed: false,
            lease: Duration::ZERO,
            strict: false,
            closing: false,
            ended: None,
        };
        Self { state: Mutex::new(state), waker: AtomicWaker::new(), max_processing, meter }
    }

    /// The next delivery for the application; `None`: there will be no more.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrived, Error>>> {
        self.waker.register(cx.waker());
        let now = Instant::now();
        let mut state = self.state.lock();
        while let Some((delivery, lease)) = state.ready.pop_front() {
            if lease.is_lost(now) {
                lease.let_go();
                continue;
            }
            if let Some(held) = state.held.get_mut(&lease.token) {
                held.extend_until = self.max_processing.map(|max| now + max);
            }
            return Poll::Ready(Some(Ok((delivery, lease))));
        }
        let closing = state.closing;
        match &mut state.ended {
            None if closing => Poll::Ready(None),
            None => Poll::Pending,
            Some(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    /// A stream is attached: the leases that were lost meanwhile, unless a settle of them is still to be answered.
    pub(super) fn attached(&self, attached: &v1::ConsumerAttached) {
        let mut state = self.state.lock();
        state.lease = Duration::from_millis(attached.lease_ms);
        state.strict = attached.strict;
        let mut lost = Vec::new();
        for token in &attached.lost {
            if state.held.get(token).is_some_and(|held| !held.lease.is_settling()) {
                lost.extend(state.held.remove(token));
            }
        }
        drop(state);
        self.tell_left(lost.len());
        lost.into_iter().for_each(|held| self.lose(&held, ReturnReason::ConsumerLost));
    }

    /// Whether the queue is one group.
    pub(super) fn is_strict(&self) -> bool {
        self.state.lock().strict
    }

    /// Takes deliveries in. `Err`: more than any window allows.
    pub(super) fn take(&self, deliveries: Vec<v1::Delivery>) -> Result<(), &'static str> {
        let now = Instant::now();
        let mut taken = Vec::new();
        let mut state = self.state.lock();
        let mut result = Ok(());
        for delivery in deliveries {
            let deadline = now + Duration::from_millis(delivery.lease_left_ms);
            if let Some(held) = state.held.get(&delivery.token) {
                // Sent again after a reconnect, and still in hand.
                held.lease.set_deadline(deadline);
                continue;
            }
            if state.held.len() >= HELD_MAX {
                result = Err("more deliveries than the window allows");
                break;
            }
            let lease = Arc::new(Lease::new(delivery.token, deadline, state.lease));
            let extend_until = self.max_processing.map(|max| now + max);
            let held = Held { lease: lease.clone(), extend_until, extending: false };
            state.held.insert(delivery.token, held);
            taken.push(delivery.redelivery);
            state.ready.push_back((delivery, lease));
        }
        drop(state);
        self.waker.wake();
        self.meter.tell(|metrics, queue| {
            metrics.in_hand(queue, taken.len() as i64);
            taken.into_iter().for_each(|why| metrics.delivered(queue, ReturnReason::of_redelivery(why)));
        });
        result
    }

    /// The server took a lease away.
    pub(super) fn lost(&self, ended: &v1::LeaseEnded) {
        let held = self.state.lock().held.remove(&ended.token);
        if let Some(held) = held {
            self.tell_left(1);
            self.lose(&held, ReturnReason::from_wire(ended.reason));
        }
    }

    /// The caller holds no lock.
    fn lose(&self, held: &Held, reason: ReturnReason) {
        let wanted = held.lease.is_wanted();
        held.lease.lose(reason);
        if wanted {
            self.meter.tell(|metrics, queue| metrics.lease_lost(queue, reason));
        }
    }

    /// The caller holds no lock.
    fn tell_left(&self, count: usize) {
        if count > 0 {
            self.meter.tell(|metrics, queue| metrics.in_hand(queue, -(count as i64)));
        }
    }

    /// Books what was said about settles and extensions.
    pub(super) fn answered(&self, answers: Vec<Answer>) {
        let mut state = self.state.lock();
        let in_force = state.lease;
        let before = state.held.len();
        for answer in answers {
            match answer {
                Answer::Over { token, lost } => {
                    if let Some(held) = state.held.remove(&token)
                        && lost
                    {
                        held.lease.lose(ReturnReason::Expired);
                    }
                }
                Answer::Extended { token, written_at, lease_ms } => {
                    if let Some(held) = state.held.get_mut(&token) {
                        let lease = if lease_ms == 0 { in_force } else { Duration::from_millis(lease_ms) };
                        held.extending = false;
                        held.lease.set_deadline(written_at + lease);
                    }
                }
            }
        }
        let left = before - state.held.len();
        drop(state);
        self.tell_left(left);
    }

    /// Tokens to name to the server, as ranges without a foreign token in between.
    pub(super) fn tokens(&self) -> Vec<v1::TokenRange> {
        let mut ranges: Vec<v1::TokenRange> = Vec::new();
        for token in self.state.lock().held.keys().copied() {
            match ranges.last_mut() {
                Some(range) if range.last + 1 == token => range.last = token,
                _ => ranges.push(v1::TokenRange { first: token, last: token }),
            }
        }
        ranges
    }

    /// How often to look for leases that need an extension.
    pub(super) fn sweep_interval(&self) -> Duration {
        (self.state.lock().lease / 6).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// Leases to be extended now: those past half of their time. Forgets those that ended and nobody holds.
    pub(super) fn sweep(&self) -> Vec<Arc<Lease>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let half = state.lease / 2;
        let before = state.held.len();
        state.held.retain(|_, held| {
            held.lease.is_wanted() || held.lease.is_settling() || held.lease.deadline() > now
        });
        let mut due = Vec::new();
        for held in state.held.values_mut() {
            let allowed = held.extend_until.is_some_and(|until| now < until);
            if allowed && !held.extending && held.lease.is_wanted() && held.lease.deadline() <= now + half {
                held.extending = true;
                due.push(held.lease.clone());
            }
        }
        let left = before - state.held.len();
        drop(state);
        self.tell_left(left);
        due
    }

    pub(super) fn set_window(&self, window: v1::Window) {
        let mut state = self.state.lock();
        state.window = window;
        state.window_changed = true;
    }

    /// The window to attach with.
    pub(super) fn window(&self) -> v1::Window {
        let mut state = self.state.lock();
        state.window_changed = false;
        state.window
    }

    pub(super) fn changed_window(&self) -> Option<v1::Window> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.window_changed).then_some(state.window)
    }

    pub(super) fn has_changed_window(&self) -> bool {
        self.state.lock().window_changed
    }

    /// The application wants no more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        state.ready.clear();
        drop(state);
        self.waker.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// There will be no more deliveries, and those in hand are lost. `None`: the application wanted it so.
    pub(super) fn end(&self, error: Option<Error>) {
        let mut state = self.state.lock();
        let wanted = error.is_none();
        if state.ended.is_none() {
            state.ended = Some(error);
        }
        let held = std::mem::take(&mut state.held);
        drop(state);
        self.waker.wake();
        self.tell_left(held.len());
        for held in held.values() {
            match wanted {
                true => held.lease.lose(ReturnReason::ConsumerClosed),
                false => self.lose(held, ReturnReason::ConsumerClosed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::QueueKey;

    #[tokio::test]
    async fn what_an_earlier_self_had_in_hand_is_taken_whatever_the_window_is_now() {
        let queue = QueueKey { namespace: "default".into(), name: "q".into() };
        let hand = Hand::new(v1::Window { messages: 1, bytes: 1 }, None, Meter::new(queue, None));
        let delivery = |token| v1::Delivery { token, lease_left_ms: 60_000, ..v1::Delivery::default() };
        let all = u64::from(limits::CONSUMER_WINDOW_MESSAGES_MAX);
        assert_eq!(hand.take((1..=all).map(delivery).collect()), Ok(()));
        assert_eq!(hand.tokens(), [v1::TokenRange { first: 1, last: all }]);
        assert!(hand.take((all + 1..=3 * all).map(delivery).collect()).is_err(), "no server gives so many");
    }
}
