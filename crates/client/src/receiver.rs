//! Receiving by single calls, for those that keep no stream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phalanx_proto::v1;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::call::{Call, Repeat};
use crate::client::{Shared, messages_client};
use crate::consumer::desk::Desk;
use crate::consumer::lease::Lease;
use crate::consumer::{Delivery, ReturnReason};
use crate::error::Error;
use crate::id::Id;
use crate::limits;
use crate::router::QueueKey;
use crate::trace;

/// Settles that may wait for an answer before `receive` waits for them.
const SETTLES_WAITING_MAX: usize = 16 * 1024;
/// How often `receive` looks whether they were answered.
const SETTLES_POLL: Duration = Duration::from_millis(20);

/// Receives messages by single calls.
///
/// Leases of its deliveries are *not* extended by themselves; [`Delivery::extend`] does. Settles are written by a task
/// of the receiver's, which lives as long as the receiver, its deliveries, and what their settles returned.
///
/// ```
/// # phalanx_memory::example(async |client| {
/// use std::time::Duration;
///
/// let receiver = client.receiver("orders");
/// for delivery in receiver.receive(10, Duration::from_secs(5)).await? {
///     delivery.ack().await?;
/// }
/// # Ok(())
/// # });
/// ```
pub struct Receiver {
    shared: Arc<Shared>,
    queue: QueueKey,
    consumer_id: Id,
    lease_ms: u64,
    desk: Arc<Desk>,
    task: Arc<AbortOnDropHandle<()>>,
}

impl Receiver {
    pub(crate) fn new(shared: Arc<Shared>, queue: QueueKey) -> Self {
        let consumer_id = shared.entropy.id();
        let desk = Arc::new(Desk::new(limits::SETTLE_DEADLINE, shared.meter(&queue)));
        let clerk = Clerk { shared: shared.clone(), queue: queue.clone(), consumer_id, desk: desk.clone() };
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(clerk.run())));
        Self { shared, queue, consumer_id, lease_ms: 0, desk, task }
    }

    /// With a lease of its own instead of the queue's.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// Its identity, the holder of the leases.
    #[must_use]
    pub fn id(&self) -> Id {
        self.consumer_id
    }

    /// Leases up to `messages` (1 to 1,024) messages, waiting up to `wait` for the first. Empty when none came.
    ///
    /// Retried under one request id: an answer that got lost is had again.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]. [`Error::Unavailable`] also when earlier settles are not answered. [`Error::OutcomeUnknown`] when no answer came: messages may be leased that nobody
    /// holds; they are delivered again when their leases end.
    pub async fn receive(&self, messages: u32, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let span = trace::receive_span(&self.queue);
        let result = self.receive_in_time(messages, wait).instrument(span.clone()).await;
        match &result {
            Ok(deliveries) => drop(span.record("messaging.batch.message_count", deliveries.len())),
            Err(error) => trace::failed(&span, error),
        }
        result
    }

    async fn receive_in_time(&self, messages: u32, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let patience = Instant::now() + self.shared.settings.request_deadline;
        while self.desk.len() > SETTLES_WAITING_MAX {
            if Instant::now() >= patience {
                let message = format!("more than {SETTLES_WAITING_MAX} settles are not answered");
                return Err(Error::Unavailable { message });
            }
            tokio::time::sleep(SETTLES_POLL).await;
        }
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let deliveries = self.receive_once(messages, left.min(limits::RECEIVE_WAIT_MAX)).await?;
            if !deliveries.is_empty() || left <= limits::RECEIVE_WAIT_MAX {
                return Ok(deliveries);
            }
        }
    }

    async fn receive_once(&self, messages: u32, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let request = v1::ReceiveRequest {
            namespace: self.queue.namespace.to_string(),
            queue: self.queue.name.to_string(),
            consumer_id: self.consumer_id.to_bytes(),
            request_id: self.shared.entropy.id().to_bytes(),
            max_messages: messages.clamp(1, limits::RECEIVE_MESSAGES_MAX),
            wait_ms: 0,
            lease_ms: self.lease_ms,
            repeated: false,
        };
        // Set once an attempt may still be on its way.
        let repeated = AtomicBool::new(false);
        let until = Instant::now() + wait;
        let mut call = self.shared.to_queue(&self.queue, Repeat::Same);
        call.deadline += wait;
        call.attempt_max += wait;
        call.answers_soon = wait.is_zero();
        call.unsure = Some(&repeated);
        let response = self
            .shared
            .call(call, |target, _| {
                let left = until.saturating_duration_since(Instant::now());
                let wait_ms = left.as_millis() as u64;
                let repeated = repeated.load(Ordering::Relaxed);
                let request = v1::ReceiveRequest { wait_ms, repeated, ..request.clone() };
                async move { messages_client(&target).receive(request).await }
            })
            .await?;
        self.shared.meter(&self.queue).tell(|metrics, queue| {
            for delivery in &response.deliveries {
                metrics.delivered(queue, ReturnReason::of_redelivery(delivery.redelivery));
            }
        });
        let now = Instant::now();
        let deliveries = response.deliveries.into_iter().map(|delivery| {
            let given = Duration::from_millis(delivery.lease_left_ms);
            let lease = Arc::new(Lease::new(delivery.token, now + given, given));
            Delivery::new(delivery, lease, self.desk.clone(), Some(self.task.clone()))
        });
        Ok(deliveries.collect())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("id", &self.consumer_id).finish_non_exhaustive()
    }
}

/// Writes the settles of a receiver, one call at a time: what waits meanwhile goes into the next.
struct Clerk {
    shared: Arc<Shared>,
    queue: QueueKey,
    consumer_id: Id,
    desk: Arc<Desk>,
}

impl Clerk {
    async fn run(self) {
        tokio::select! {
            biased;
            () = self.write() => {}
            () = self.expire() => {}
        }
    }

    async fn expire(&self) {
        loop {
            tokio::time::sleep(limits::SETTLE_DEADLINE / 10).await;
            self.desk.expire(Instant::now());
        }
    }

    async fn write(&self) {
        let mut backoff = Backoff::default();
        loop {
            if !self.desk.has_unwritten() {
                self.desk.work.notified().await;
                continue;
            }
            let unsure = AtomicBool::new(false);
            match self.settle(self.desk.next_frame(), &unsure).await {
                Ok(response) => {
                    backoff.reset();
                    if unsure.into_inner() {
                        self.desk.note_repetition();
                    }
                    for outcome in &response.outcomes {
                        self.desk.answer(outcome);
                    }
                    self.desk.all_answered();
                }
                Err(
                    error @ (Error::QueueGone { .. } | Error::QueueNotFound { .. } | Error::Denied { .. }),
                ) => {
                    self.desk.close(&error);
                    return;
                }
                Err(error) => {
                    tracing::debug!(queue = %self.queue.name, %error, "settle failed");
                    self.desk.rewind();
                    tokio::time::sleep(backoff.next(&self.shared.entropy, error.retry_after())).await;
                }
            }
        }
    }

    async fn settle(
        &self,
        items: Vec<v1::SettleItem>,
        unsure: &AtomicBool,
    ) -> Result<v1::SettleResponse, Error> {
        let request = v1::SettleRequest {
            namespace: self.queue.namespace.to_string(),
            queue: self.queue.name.to_string(),
            consumer_id: self.consumer_id.to_bytes(),
            items,
        };
        let call = Call { unsure: Some(unsure), ..self.shared.to_queue(&self.queue, Repeat::Same) };
        self.shared
            .call(call, |target, _| {
                let request = request.clone();
                async move { messages_client(&target).settle(request).await }
            })
            .await
    }
}
