//! The consumer's task: keeps a stream attached, takes deliveries in, writes settles and extensions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phalanx_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connect::{Wire, connect};
use super::desk::Desk;
use super::hand::Hand;
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::doubt::Doubt;
use crate::error::Error;
use crate::id::Id;
use crate::metrics::{Meter, StreamKind};
use crate::router::QueueKey;
use crate::stall::Stall;
use crate::status::{Class, Failure};

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: QueueKey,
    pub(super) consumer_id: Id,
    /// Of the next stream.
    pub(super) incarnation: AtomicU64,
    pub(super) name: String,
    pub(super) lease_ms: u64,
    pub(super) hand: Arc<Hand>,
    pub(super) desk: Arc<Desk>,
    pub(super) meter: Meter,
}

/// How a stream ended.
enum End {
    /// The owner wanted it, and all settles are answered.
    Closed,
    Failed(Failure),
}

impl Worker {
    /// The first stream: tells whether the queue can be consumed at all.
    pub(super) async fn open(&self, deadline: Duration) -> Result<Wire, Error> {
        let deadline = Instant::now() + deadline;
        let mut backoff = Backoff::default();
        let mut last = Error::Unavailable { message: String::from("no node answered") };
        loop {
            let failure = match tokio::time::timeout_at(deadline, self.attach()).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(last),
            };
            self.tell_failed(&failure);
            if failure.class == Class::Refused {
                return Err(failure.error);
            }
            let pause = backoff.next(&self.shared.entropy, failure.retry_after);
            // Attaching changes nothing that outlives the consumer: there is no outcome to be unknown.
            last = match failure.error {
                Error::OutcomeUnknown { message } => Error::Unavailable { message },
                error => error,
            };
            if Instant::now() + pause >= deadline {
                return Err(last);
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn tell_failed(&self, failure: &Failure) {
        self.meter.tell(|metrics, queue| metrics.stream_failed(queue, StreamKind::Consumer, &failure.error));
    }

    async fn attach(&self) -> Result<Wire, Failure> {
        let attach = v1::ConsumerAttach {
            namespace: self.queue.namespace.to_string(),
            queue: self.queue.name.to_string(),
            consumer_id: self.consumer_id.to_bytes(),
            incarnation: self.incarnation.fetch_add(1, Ordering::Relaxed),
            name: self.name.clone(),
            window: Some(self.hand.window()),
            lease_ms: self.lease_ms,
            held: self.hand.tokens(),
        };
        connect(&self.shared, &self.queue, attach).await
    }

    /// Runs until the consumer is closed or the server refuses it for good.
    pub(super) async fn run(self, first: Wire) -> Result<(), Error> {
        // Also when the task is dropped midway: whoever holds a delivery learns of it.
        let farewell = Farewell { hand: self.hand.clone(), desk: self.desk.clone() };
        let result = tokio::select! {
            biased;
            result = self.drive(first) => result,
            never = self.sweep() => match never {},
        };
        if let Err(error) = &result {
            self.desk.close(error);
            self.hand.end(Some(error.clone()));
        }
        drop(farewell);
        result
    }

    /// Extends leases, and reports settles that are overdue.
    async fn sweep(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.hand.sweep_interval()).await;
            for lease in self.hand.sweep() {
                self.desk.extend(&lease, 0, false);
            }
            self.desk.expire(Instant::now());
        }
    }

    async fn drive(&self, first: Wire) -> Result<(), Error> {
        let mut wire = Some(first);
        let mut backoff = Backoff::default();
        let mut again = false;
        loop {
            let stream = match wire.take() {
                Some(wire) => Ok(wire),
                // Nothing left to say: the leases that are open end by themselves.
                None if self.hand.is_closing() && self.desk.len() == 0 => return Ok(()),
                None => self.attach().await,
            };
            let failure = match stream {
                Ok(wire) => {
                    backoff.reset();
                    self.meter
                        .tell(|metrics, queue| metrics.stream_opened(queue, StreamKind::Consumer, again));
                    again = true;
                    match self.pump(wire).await {
                        End::Closed => return Ok(()),
                        End::Failed(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            self.hand.answered(self.desk.rewind());
            tracing::debug!(queue = %self.queue.name, error = %failure.error, "stream of deliveries ended");
            self.tell_failed(&failure);
            if failure.class == Class::Refused && !failure.error.is_retryable() {
                return Err(failure.error);
            }
            tokio::time::sleep(backoff.next(&self.shared.entropy, failure.retry_after)).await;
        }
    }

    async fn pump(&self, wire: Wire) -> End {
        let Wire { target, frames, mut responses, first } = wire;
        let limit = self.shared.settings.stall_timeout;
        let mut stall = Stall::new(limit);
        let mut doubt = Doubt::new(&self.shared.router, &self.queue, &target);
        let mut writable = true;
        let mut said_goodbye = false;
        let mut next = Some(first);
        let failure = loop {
            if let Some(response) = next.take() {
                if let Err(what) = self.book(response) {
                    break Failure::protocol(&target.address, what);
                }
                stall.progress();
                doubt.progress();
            }
            let unwritten = self.desk.has_unwritten() || self.hand.has_changed_window();
            let owed = self.desk.is_owed() || said_goodbye;
            let goodbye = self.hand.is_closing() && !unwritten && !owed;
            stall.watch(owed);
            doubt.watch(owed);
            tokio::select! {
                biased;
                answer = responses.message() => match answer {
                    Ok(Some(response)) => next = Some(response),
                    Ok(None) if said_goodbye => return End::Closed,
                    Ok(None) => break Failure::ended(&target.address),
                    Err(status) => break Failure::from_status(&status),
                },
                () = stall.elapsed(), if owed => break Failure::stalled(&target.address, limit),
                () = doubt.confirmed(), if owed => break Failure::left(&target.address),
                permit = frames.reserve(), if (unwritten || goodbye) && writable => match permit {
                    Ok(permit) => said_goodbye = self.write(permit, goodbye),
                    // The call is over; why, the answers will tell.
                    Err(_) => writable = false,
                },
                () = self.desk.work.notified(), if !unwritten && !goodbye => {}
            }
        };
        if said_goodbye {
            return End::Closed; // all was answered before, and the server ends leases of a broken stream by itself
        }
        self.shared.note(Some(&self.queue), &target, &failure);
        End::Failed(failure)
    }

    fn write(&self, permit: mpsc::Permit<'_, v1::ConsumeRequest>, goodbye: bool) -> bool {
        let window = self.hand.changed_window();
        let settle = self.desk.next_frame();
        permit.send(v1::ConsumeRequest { attach: None, settle, window, close: goodbye });
        goodbye
    }

    fn book(&self, response: v1::ConsumeResponse) -> Result<(), &'static str> {
        if let Some(attached) = &response.attached {
            self.hand.attached(attached);
        }
        for outcome in &response.settled {
            self.hand.answered(self.desk.answer(outcome));
        }
        // A lease is delivered before it ends.
        if !response.deliveries.is_empty() {
            self.hand.take(response.deliveries)?;
        }
        for ended in &response.ended {
            self.hand.lost(ended);
            self.desk.lease_ended(ended.token);
        }
        Ok(())
    }
}

/// Tells everyone that it is over.
struct Farewell {
    hand: Arc<Hand>,
    desk: Arc<Desk>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.desk.close(&Error::Closed);
        self.hand.end(None);
    }
}
