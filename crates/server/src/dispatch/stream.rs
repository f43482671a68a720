//! One consumer's stream: a bounded channel out of the apply path.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use phalanx_state_machine::ids::{Id128, QueueUid, Token};
use phalanx_state_machine::reply::{Delivery, ReturnReason};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::GroupDesk;

/// Events that may wait for one stream, whatever its window.
pub const EVENTS_MAX: usize = 2 * 65_536 + EVENTS_SPARE;
/// Beyond twice the window: a window's deliveries and the ends of their leases always find room.
const EVENTS_SPARE: usize = 64;

/// Something for a consumer.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// A message in its hands.
    Deliver(Delivery),
    /// A message out of its hands, without its doing.
    Ended {
        /// Which.
        token: Token,
        /// Why.
        reason: ReturnReason,
    },
}

/// Why a stream was ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// A newer stream of the same consumer is attached.
    Replaced,
    /// The machine detached it, as at the start of a term: attach again.
    Detached,
    /// The queue is gone.
    QueueGone,
    /// The consumer took its events too slowly: attach again.
    Overflow,
    /// This node leads no more: attach at the leader.
    LeaderChanged,
}

/// The sending half, kept by the dispatcher.
pub(super) struct Slot {
    incarnation: u64,
    registration: u64,
    events: mpsc::Sender<StreamEvent>,
    limit: Arc<AtomicUsize>,
    end: Arc<End>,
}

#[derive(Default)]
struct End {
    reason: OnceLock<StreamEnd>,
    token: CancellationToken,
}

impl End {
    fn reason(&self) -> StreamEnd {
        // A slot is only ever dropped by ending it, or with the whole dispatcher.
        self.reason.get().copied().unwrap_or(StreamEnd::LeaderChanged)
    }
}

/// No room.
pub(super) struct Full;

impl Slot {
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn registration(&self) -> u64 {
        self.registration
    }

    pub(super) fn offer(&self, event: StreamEvent) -> Result<(), Full> {
        let waiting = self.events.max_capacity() - self.events.capacity();
        if waiting >= self.limit.load(Ordering::Relaxed) {
            return Err(Full);
        }
        self.events.try_send(event).map_err(|_| Full)
    }

    /// Ends the stream. The first reason stands.
    pub(super) fn end(self, reason: StreamEnd) {
        let _ = self.end.reason.set(reason);
        self.end.token.cancel();
    }
}

/// The receiving half, kept by the stream's task. Dropping it unregisters the stream.
pub struct StreamEvents {
    desk: Weak<GroupDesk>,
    uid: QueueUid,
    consumer: Id128,
    registration: u64,
    replaces: bool,
    events: mpsc::Receiver<StreamEvent>,
    limit: Arc<AtomicUsize>,
    end: Arc<End>,
}

pub(super) fn open(
    desk: Weak<GroupDesk>,
    uid: QueueUid,
    consumer: Id128,
    incarnation: u64,
    registration: u64,
) -> (Slot, StreamEvents) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let limit = Arc::new(AtomicUsize::new(EVENTS_MAX));
    let end = Arc::new(End::default());
    let slot =
        Slot { incarnation, registration, events: sender, limit: Arc::clone(&limit), end: Arc::clone(&end) };
    let events =
        StreamEvents { desk, uid, consumer, registration, replaces: false, events: receiver, limit, end };
    (slot, events)
}

/// A consumer has at most so much in hand, and each of these may end and come again before it reads.
fn limit_of(in_hand: usize) -> usize {
    in_hand.saturating_mul(2).saturating_add(EVENTS_SPARE).min(EVENTS_MAX)
}

impl StreamEvents {
    /// Takes up to `count_max` events, in order; waits for the first. Cancel safe.
    ///
    /// # Errors
    /// Why the stream is over. Events before its end are handed out first.
    pub async fn take(&mut self, events: &mut Vec<StreamEvent>, count_max: usize) -> Result<(), StreamEnd> {
        if self.events.recv_many(events, count_max).await > 0 { Ok(()) } else { Err(self.end.reason()) }
    }

    /// Resolves when the stream was ended by the dispatcher.
    pub fn ended(&self) -> impl Future<Output = StreamEnd> + Send + use<> {
        let end = Arc::clone(&self.end);
        async move {
            end.token.cancelled().await;
            end.reason()
        }
    }

    pub(super) fn replacing(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// It has taken the place of one with the same incarnation, which may be attached: the machine knows them as one.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// The stream is attached, with this window; what its consumer had in hand from before, be it more than that, waits for it by now.
    pub fn attached(&self, window_messages: u32) {
        let in_hand = self.events.len().max(window_messages as usize);
        self.limit.store(limit_of(in_hand), Ordering::Relaxed);
    }

    /// The window changed: a larger one lets more events wait. A smaller one does not end a stream that was within its bounds.
    pub fn set_window(&self, window_messages: u32) {
        self.limit.fetch_max(limit_of(window_messages as usize), Ordering::Relaxed);
    }

    /// Why the dispatcher has ended the stream, if it has.
    #[must_use]
    pub fn end_reason(&self) -> Option<StreamEnd> {
        self.end.reason.get().copied()
    }
}

impl Drop for StreamEvents {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.upgrade() {
            desk.unregister_stream(self.uid, self.consumer, self.registration);
        }
    }
}
