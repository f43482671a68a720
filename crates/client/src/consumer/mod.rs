//! Consumers: a stream of deliveries that survives reconnects and leader changes.

mod connect;
mod delivery;
pub(crate) mod desk;
mod for_each;
mod hand;
mod lanes;
pub(crate) mod lease;
mod nack;
mod session;
mod worker;

pub use delivery::{Delivery, ReturnReason, Settlement};
pub use nack::Nack;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures::Stream;
use phalanx_proto::v1;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Shared;
use crate::error::Error;
use crate::id::Id;
use crate::limits;
use crate::metrics::Meter;
use crate::router::QueueKey;
use desk::Desk;
use hand::Hand;
use worker::Worker;

/// Sets a [`Consumer`] up.
///
/// ```
/// # phalanx_memory::example(async |client| {
/// use std::time::Duration;
///
/// let consumer = client.consumer("orders").name("billing-3").window(32).lease(Duration::from_secs(60)).open().await?;
/// # drop(consumer);
/// # Ok(())
/// # });
/// ```
#[must_use]
pub struct ConsumerBuilder {
    shared: Arc<Shared>,
    queue: QueueKey,
    consumer_id: Option<Id>,
    name: String,
    window: v1::Window,
    lease_ms: u64,
    max_processing: Option<Duration>,
    settle_deadline: Duration,
    open_deadline: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, queue: QueueKey) -> Self {
        let window =
            v1::Window { messages: limits::CONSUMER_WINDOW_MESSAGES, bytes: limits::CONSUMER_WINDOW_BYTES };
        Self {
            shared,
            queue,
            consumer_id: None,
            name: String::new(),
            window,
            lease_ms: 0,
            max_processing: Some(limits::MAX_PROCESSING),
            settle_deadline: limits::SETTLE_DEADLINE,
            open_deadline: limits::OPEN_DEADLINE,
        }
    }

    /// Most deliveries in hand, those waiting in the client included; settling one makes room. 1 to 65,536, default 256.
    /// With 1, messages are worked on strictly in the order of the queue.
    pub fn window(mut self, messages: u32) -> Self {
        self.window.messages = messages.clamp(1, limits::CONSUMER_WINDOW_MESSAGES_MAX);
        self
    }

    /// Most payload bytes in hand; one delivery is always allowed. Default 8 MiB.
    pub fn window_bytes(mut self, bytes: u64) -> Self {
        self.window.bytes = bytes.max(1);
        self
    }

    /// The lease of the deliveries, at most 12 h. Default: the queue's.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// For people, in listings.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// An identity of your own: a consumer that starts again with it takes over from its earlier self and gets the
    /// deliveries that one held. Two that run at once push each other out. Default: random.
    pub fn consumer_id(mut self, id: Id) -> Self {
        self.consumer_id = Some(id);
        self
    }

    /// How long leases are extended by themselves: from the arrival of a delivery until it is taken, and from then
    /// again until it is settled or dropped. Default 1 h; `None`: never.
    pub fn max_processing(mut self, limit: Option<Duration>) -> Self {
        self.max_processing = limit;
        self
    }

    /// From a settle to its answer; after it the outcome is reported as unknown. Default 30 s.
    pub fn settle_deadline(mut self, deadline: Duration) -> Self {
        self.settle_deadline = deadline;
        self
    }

    /// `open` may take this long. Default 30 s.
    pub fn open_deadline(mut self, deadline: Duration) -> Self {
        self.open_deadline = deadline;
        self
    }

    /// Attaches the consumer.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`] and whatever else the server refuses it with; [`Error::Unavailable`] when no node could
    /// serve it in time.
    pub async fn open(self) -> Result<Consumer, Error> {
        let meter = self.shared.meter(&self.queue);
        let hand = Arc::new(Hand::new(self.window, self.max_processing, meter.clone()));
        let desk = Arc::new(Desk::new(self.settle_deadline, meter.clone()));
        // An identity of old may have been attached before, by a process that counted from an earlier time.
        let first_incarnation = match self.consumer_id {
            None => 1,
            Some(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |age| age.as_millis() as u64),
        };
        let consumer_id = self.consumer_id.unwrap_or_else(|| self.shared.entropy.id());
        let worker = Worker {
            shared: self.shared,
            queue: self.queue,
            consumer_id,
            incarnation: AtomicU64::new(first_incarnation),
            name: self.name,
            lease_ms: self.lease_ms,
            hand: hand.clone(),
            desk: desk.clone(),
            meter: meter.clone(),
        };
        let first = worker.open(self.open_deadline).await?;
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run(first)));
        Ok(Consumer { consumer_id, hand, desk, meter, task })
    }
}

/// A stream of deliveries of one queue.
///
/// It ends after [`close`](Self::close), or with an error when the server refuses it for good: the queue was deleted, or
/// another consumer took over its identity. Lost connections and leader changes it gets through by itself.
///
/// When it is dropped its task ends at once: leases in hand run out, and settles that were not answered may not have
/// been written. [`close`](Self::close) is the clean way.
pub struct Consumer {
    consumer_id: Id,
    hand: Arc<Hand>,
    desk: Arc<Desk>,
    meter: Meter,
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Consumer {
    /// The next delivery; `None`: there will be no more. The same as the `next` of `StreamExt`.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> Id {
        self.consumer_id
    }

    /// Changes the window. A smaller one takes nothing back: it fills less.
    pub fn set_window(&self, messages: u32, bytes: u64) {
        let messages = messages.clamp(1, limits::CONSUMER_WINDOW_MESSAGES_MAX);
        self.hand.set_window(v1::Window { messages, bytes: bytes.max(1) });
        self.desk.work.notify_one();
    }

    /// Says goodbye: waits until all settles are answered, then gives back at once what was not settled, whether taken
    /// or still waiting in the client.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when that did not succeed within 5 s.
    pub async fn close(mut self) -> Result<(), Error> {
        self.hand.close();
        self.desk.work.notify_one();
        match tokio::time::timeout(limits::CLOSE_DEADLINE, &mut self.task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => {
                Err(Error::OutcomeUnknown { message: String::from("no answer to the goodbye in time") })
            }
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.hand.poll_next(cx));
        Poll::Ready(next.map(|item| {
            item.map(|(delivery, lease)| Delivery::new(delivery, lease, self.desk.clone(), None))
        }))
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("id", &self.consumer_id).finish_non_exhaustive()
    }
}
