//! What a client tells about its work, to whatever counts it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::consumer::ReturnReason;
use crate::error::Error;
use crate::router::QueueKey;

/// Hears what a client does: set by [`ClientBuilder::metrics`](crate::ClientBuilder::metrics), to be joined to whatever
/// metrics an application has. Every method does nothing unless it is implemented.
///
/// The methods are called from the client's tasks, with no lock held, and must return at once: what takes longer holds up
/// sends and deliveries.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
/// use std::time::Duration;
///
/// use phalanx_client::{Client, Error, Metrics, QueueName, SettleKind};
///
/// #[derive(Default)]
/// struct Counters {
///     sent: AtomicU64,
///     send_micros: AtomicU64,
///     unconfirmed: AtomicI64,
///     late_acks: AtomicU64,
/// }
///
/// impl Metrics for Counters {
///     fn sent(&self, _: QueueName<'_>, messages: usize, latency: Duration) {
///         self.sent.fetch_add(messages as u64, Relaxed);
///         self.send_micros.fetch_add(latency.as_micros() as u64, Relaxed);
///     }
///     fn unconfirmed(&self, _: QueueName<'_>, change: i64) {
///         self.unconfirmed.fetch_add(change, Relaxed);
///     }
///     fn settled(&self, _: QueueName<'_>, kind: SettleKind, result: Result<(), &Error>, _: Duration) {
///         if kind == SettleKind::Ack && matches!(result, Err(Error::LeaseOver { .. })) {
///             self.late_acks.fetch_add(1, Relaxed);
///         }
///     }
/// }
///
/// let counters = Arc::new(Counters::default());
/// let builder = Client::builder().metrics(counters.clone());
/// # drop(builder);
/// ```
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Metrics: Send + Sync + 'static {
    /// A call of `send`, `enqueue` or `enqueue_batch` was confirmed. `latency`: from the call to the confirmation.
    fn sent(&self, queue: QueueName<'_>, messages: usize, latency: Duration) {}

    /// Such a call was reported as failed, or as unknown ([`Error::is_outcome_unknown`]).
    fn send_failed(&self, queue: QueueName<'_>, messages: usize, error: &Error, latency: Duration) {}

    /// So many more messages (or fewer, below zero) are in the windows of producers: waiting or unconfirmed.
    fn unconfirmed(&self, queue: QueueName<'_>, change: i64) {}

    /// A unary call failed with this and is attempted again. `None`: it is about no queue.
    fn retried(&self, queue: Option<QueueName<'_>>, error: &Error) {}

    /// A producer or consumer has opened a stream. `again`: it had one before.
    fn stream_opened(&self, queue: QueueName<'_>, kind: StreamKind, again: bool) {}

    /// A stream ended without its owner's doing, or could not be opened.
    fn stream_failed(&self, queue: QueueName<'_>, kind: StreamKind, error: &Error) {}

    /// A delivery came. `redelivery`: why the attempt before it ended; `None` for a first one.
    fn delivered(&self, queue: QueueName<'_>, redelivery: Option<ReturnReason>) {}

    /// So many more deliveries (or fewer, below zero) are in the hands of consumers, those waiting in the client included.
    fn in_hand(&self, queue: QueueName<'_>, change: i64) {}

    /// A settle or extension, the automatic ones included, came to its end. [`Error::LeaseOver`]: too late.
    /// `latency`: from the call to the answer.
    fn settled(&self, queue: QueueName<'_>, kind: SettleKind, result: Result<(), &Error>, latency: Duration) {
    }

    /// The lease of a delivery in hand was lost before it was settled.
    fn lease_lost(&self, queue: QueueName<'_>, reason: ReturnReason) {}

    /// A handler of `for_each_concurrent` came to its end after this long.
    fn handled(&self, queue: QueueName<'_>, outcome: HandlerOutcome, duration: Duration) {}
}

/// Which queue an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct QueueName<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Whose stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamKind {
    /// A producer's.
    Producer,
    /// A consumer's.
    Consumer,
}

/// What was asked of the server about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SettleKind {
    /// Done.
    Ack,
    /// To be offered again.
    Nack,
    /// Never to be done.
    Reject,
    /// Still worked on.
    Extend,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandlerOutcome {
    /// With `Ok`.
    Done,
    /// With an error that returns the message.
    Returned,
    /// With an error that rejects it.
    Rejected,
    /// By a panic.
    Panicked,
    /// It was dropped, since the lease was lost.
    LeaseLost,
}

/// The events of one queue, on their way to the application's [`Metrics`], if it has any.
#[derive(Clone)]
pub(crate) struct Meter {
    pub(crate) queue: QueueKey,
    metrics: Option<Arc<dyn Metrics>>,
}

impl Meter {
    pub(crate) fn new(queue: QueueKey, metrics: Option<Arc<dyn Metrics>>) -> Self {
        Self { queue, metrics }
    }

    /// Whether anybody listens.
    pub(crate) fn is_on(&self) -> bool {
        self.metrics.is_some()
    }

    /// Tells, if anybody listens. The caller holds no lock.
    pub(crate) fn tell(&self, event: impl FnOnce(&dyn Metrics, QueueName<'_>)) {
        if let Some(metrics) = &self.metrics {
            event(metrics.as_ref(), self.queue.as_name());
        }
    }

    /// Tells how a send that began `since` went.
    pub(crate) fn tell_sent<T>(&self, messages: usize, since: Instant, result: &Result<T, Error>) {
        let latency = since.elapsed();
        self.tell(|metrics, queue| match result {
            Ok(_) => metrics.sent(queue, messages, latency),
            Err(error) => metrics.send_failed(queue, messages, error, latency),
        });
    }
}

impl QueueKey {
    pub(crate) fn as_name(&self) -> QueueName<'_> {
        QueueName { namespace: &self.namespace, name: &self.name }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("queue", &self.queue).finish_non_exhaustive()
    }
}
