//! One message in hand: what came, and how to settle it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use phalanx_proto::v1;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::desk::{Action, Desk};
use super::lease::Lease;
use crate::admin::time;
use crate::error::Error;
use crate::message::Message;
use crate::trace::TraceParent;

/// Why an earlier lease of a message ended, or this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReturnReason {
    /// Not told.
    Unspecified,
    /// The consumer returned it.
    Nacked,
    /// The deadline passed.
    Expired,
    /// The consumer went away and did not come back in time.
    ConsumerLost,
    /// An earlier message of its group was returned.
    GroupReturned,
    /// The consumer was closed with the message in hand.
    ConsumerClosed,
}

impl ReturnReason {
    /// `None`: it is a first delivery.
    pub(crate) fn of_redelivery(reason: i32) -> Option<Self> {
        (reason != v1::ReturnReason::Unspecified as i32).then(|| Self::from_wire(reason))
    }

    pub(crate) fn from_wire(reason: i32) -> Self {
        match v1::ReturnReason::try_from(reason) {
            Ok(v1::ReturnReason::Nacked) => Self::Nacked,
            Ok(v1::ReturnReason::Expired) => Self::Expired,
            Ok(v1::ReturnReason::ConsumerLost) => Self::ConsumerLost,
            Ok(v1::ReturnReason::GroupReturned) => Self::GroupReturned,
            Ok(v1::ReturnReason::ConsumerClosed) => Self::ConsumerClosed,
            Ok(v1::ReturnReason::Unspecified) | Err(_) => Self::Unspecified,
        }
    }
}

/// A message in hand, under a lease.
///
/// Settle it with [`ack`](Self::ack), [`nack`](Self::nack) or [`reject`](Self::reject). One that is dropped without is
/// left alone: its lease is no longer extended, and when it ends the message is delivered again.
///
/// While a delivery of a [`Consumer`](crate::Consumer) is held its lease is extended by itself, up to
/// `max_processing`. Work that must not be done twice at once watches [`lost`](Self::lost), and hands the
/// [`token`](Self::token) to whatever it changes: a later delivery of the message has a higher one.
#[must_use = "a delivery that is dropped is delivered again when its lease ends"]
pub struct Delivery {
    message: Message,
    sequence: u64,
    attempt: u32,
    enqueued_ms: u64,
    redelivery: Option<ReturnReason>,
    lease: Arc<Lease>,
    desk: Arc<Desk>,
    /// For deliveries that can outlive the handle they came from.
    keep: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Delivery {
    pub(crate) fn new(
        delivery: v1::Delivery,
        lease: Arc<Lease>,
        desk: Arc<Desk>,
        keep: Option<Arc<AbortOnDropHandle<()>>>,
    ) -> Self {
        let redelivery = ReturnReason::of_redelivery(delivery.redelivery);
        Self {
            message: Message::from_wire(delivery.message.unwrap_or_default()),
            sequence: delivery.sequence,
            attempt: delivery.attempt,
            enqueued_ms: delivery.enqueued_ms,
            redelivery,
            lease,
            desk,
            keep,
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// Fencing token: rises strictly with every delivery of the queue.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.lease.token
    }

    /// Place of the message in its queue.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// From 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When it was sent, by the cluster's time.
    #[must_use]
    pub fn enqueued(&self) -> SystemTime {
        time(self.enqueued_ms)
    }

    /// Why the attempt before this one ended; `None` for a first delivery.
    #[must_use]
    pub fn redelivery(&self) -> Option<ReturnReason> {
        self.redelivery
    }

    /// The trace context that the message was sent with; `None` when there is none, or it is malformed.
    ///
    /// [`Consumer::for_each_concurrent`](crate::Consumer::for_each_concurrent) runs each handler in a span that has its ids
    /// as the fields `trace_id` and `parent_id`. With the crate `tracing-opentelemetry`, a handler makes itself part of
    /// the trace by giving `message().traceparent` to `TraceContextPropagator::extract`, and what comes out of it to
    /// `tracing::Span::current().set_parent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.message.traceparent.parse().ok()
    }

    /// What is left of the lease, by the local clock.
    #[must_use]
    pub fn lease_left(&self) -> Duration {
        self.lease.deadline().saturating_duration_since(Instant::now())
    }

    /// Whether the lease is over: the message is, or will be, delivered to someone. Stop working on it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost(Instant::now())
    }

    /// Resolves when the lease is over, with the reason.
    pub async fn lost(&self) -> ReturnReason {
        self.lease.lost().await
    }

    /// Done: the message is gone for good.
    ///
    /// It is on its way when this returns; the future tells how it went, and may be dropped.
    pub fn ack(self) -> Settlement {
        self.settle(Action::Ack)
    }

    /// Not done: the message goes back to its own place, to be offered again after `delay` (zero: at once; at most
    /// 12 h). Sent as [`ack`](Self::ack) is.
    pub fn nack(self, delay: Duration) -> Settlement {
        self.settle(Action::nack(delay))
    }

    /// Never to be done: the message is dropped, or dead-lettered where the queue names a target. Sent as
    /// [`ack`](Self::ack) is.
    pub fn reject(self) -> Settlement {
        self.settle(Action::Reject)
    }

    /// Still at it: the lease lasts `lease` from now; `None`: as long as it was given for.
    ///
    /// Deliveries of a [`Consumer`](crate::Consumer) need this only beyond `max_processing`.
    pub fn extend(&self, lease: Option<Duration>) -> Settlement {
        let lease_ms = lease.map_or(0, |lease| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1));
        let (receiver, keep) = (self.desk.extend(&self.lease, lease_ms, true), self.keep.clone());
        Settlement { receiver, _keep: keep }
    }

    fn settle(mut self, action: Action) -> Settlement {
        let keep = self.keep.take();
        Settlement { _keep: keep, ..self.settle_shared(action) }
    }

    /// Settles it while others still look at it.
    pub(super) fn settle_shared(&self, action: Action) -> Settlement {
        self.lease.settle();
        Settlement { receiver: Some(self.desk.settle(&self.lease, action)), _keep: None }
    }

    /// Nobody works on it any more: its lease is left to run out.
    pub(super) fn let_go(&self) {
        self.lease.let_go();
    }

    /// Whether the server has said that the lease is over.
    pub(super) fn has_ended(&self) -> bool {
        self.lease.has_ended()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.lease.let_go();
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("token", &self.token())
            .field("sequence", &self.sequence)
            .field("attempt", &self.attempt)
            .field("redelivery", &self.redelivery)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// How a settle went: `Ok` when the server carried it out.
///
/// [`Error::LeaseOver`]: the lease had ended before, nothing was changed. [`Error::OutcomeUnknown`]: no answer came
/// before the deadline, and the settle is repeated all the same while its consumer lives; or a repetition found the lease over, which the attempt
/// before may have ended. Dropping this does not undo it.
#[derive(Debug)]
pub struct Settlement {
    receiver: Option<oneshot::Receiver<Result<(), Error>>>,
    _keep: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Future for Settlement {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = self.receiver.as_mut() else { return Poll::Ready(Ok(())) };
        let gone =
            || Error::OutcomeUnknown { message: String::from("the consumer ended before the answer came") };
        Poll::Ready(ready!(Pin::new(receiver).poll(cx)).unwrap_or_else(|_| Err(gone())))
    }
}
