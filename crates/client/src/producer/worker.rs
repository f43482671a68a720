//! The producer's task: keeps a stream open while there is something to send, and repeats what is unconfirmed.

use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::v1;
use tokio::time::Instant;

use super::connect::{Wire, connect};
use super::verdict::End;
use super::window::Window;
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::doubt::Doubt;
use crate::error::Error;
use crate::metrics::StreamKind;
use crate::router::QueueKey;
use crate::stall::Stall;
use crate::status::{Class, Failure};

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: QueueKey,
    pub(super) window: Arc<Window>,
}

impl Worker {
    /// The first stream: tells whether the queue can be sent to at all.
    pub(super) async fn open(&self, deadline: Duration) -> Result<Wire, Error> {
        let deadline = Instant::now() + deadline;
        let mut backoff = Backoff::default();
        let mut last = Error::Unavailable { message: String::from("no node answered") };
        loop {
            let producer_id = self.window.lock().producer_id;
            let attempt = connect(&self.shared, &self.queue, producer_id);
            let failure = match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(last),
            };
            self.tell_failed(&failure);
            if failure.class == Class::Refused {
                return Err(failure.error);
            }
            let pause = backoff.next(&self.shared.entropy, failure.retry_after);
            // Opening a stream sends nothing: there is no outcome to be unknown.
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
        let meter = &self.window.meter;
        meter.tell(|metrics, queue| metrics.stream_failed(queue, StreamKind::Producer, &failure.error));
    }

    /// Runs until the producer is closed and all is answered.
    pub(super) async fn run(self, first: Wire) {
        tokio::select! {
            biased;
            () = self.drive(first) => {}
            () = self.expire() => {}
        }
    }

    async fn expire(&self) {
        loop {
            let next = self.window.expire();
            tokio::time::sleep_until(next).await;
        }
    }

    async fn drive(&self, first: Wire) {
        let mut wire = Some(first);
        let mut backoff = Backoff::default();
        let mut again = false;
        loop {
            let stream = match wire.take() {
                Some(wire) => Ok(wire),
                None if !self.wait_for_work().await => return,
                None => {
                    let producer_id = self.window.lock().producer_id;
                    connect(&self.shared, &self.queue, producer_id).await
                }
            };
            let end = match stream {
                Ok(wire) => {
                    let opened = StreamKind::Producer;
                    self.window.meter.tell(|metrics, queue| metrics.stream_opened(queue, opened, again));
                    again = true;
                    match self.pump(wire, &mut backoff).await {
                        Some(end) => end,
                        None => return,
                    }
                }
                Err(failure) => failure.into(),
            };
            self.window.lock().stream_ended(&end, || self.shared.entropy.id());
            self.window.moved_on();
            tracing::debug!(queue = %self.queue.name, error = %end.failure.error, "stream of sends ended");
            self.tell_failed(&end.failure);
            let pause = backoff.next(&self.shared.entropy, end.failure.retry_after);
            tokio::time::sleep(pause).await;
        }
    }

    /// `false`: there will be none.
    async fn wait_for_work(&self) -> bool {
        loop {
            {
                let state = self.window.lock();
                if state.is_over() {
                    return false;
                }
                if state.has_work() {
                    return true;
                }
            }
            self.window.work.notified().await;
        }
    }

    /// Writes and reads until the stream ends; `None`: closed, and all is answered.
    async fn pump(&self, wire: Wire, backoff: &mut Backoff) -> Option<End> {
        let Wire { target, frames, mut responses } = wire;
        let mut stall = Stall::new(self.shared.settings.stall_timeout);
        let mut doubt = Doubt::new(&self.shared.router, &self.queue, &target);
        let mut writable = true;
        loop {
            let now = Instant::now();
            let (over, unwritten, owed, lingers_until) = {
                let state = self.window.lock();
                (state.is_over(), state.has_unwritten(now), state.written > 0, state.lingers_until())
            };
            let lingers_until = lingers_until.filter(|due| *due > now);
            if over {
                return None;
            }
            stall.watch(owed);
            doubt.watch(owed);
            // Answers first: they make room.
            let failure: End = tokio::select! {
                biased;
                answer = responses.message() => match answer {
                    Ok(Some(response)) => match self.book(response, &target.address) {
                        Ok(()) => {
                            stall.progress();
                            doubt.progress();
                            backoff.reset();
                            continue;
                        }
                        Err(end) => end,
                    },
                    Ok(None) => Failure::ended(&target.address).into(),
                    Err(status) => Failure::from_status(&status).into(),
                },
                () = stall.elapsed(), if owed => {
                    Failure::stalled(&target.address, self.shared.settings.stall_timeout).into()
                }
                () = doubt.confirmed(), if owed => Failure::left(&target.address).into(),
                permit = frames.reserve(), if unwritten && writable => {
                    match permit {
                        Ok(permit) => {
                            let batches = self.window.lock().next_frame();
                            permit.send(v1::SendStreamRequest { open: None, batches });
                        }
                        // The call is over; why, the answers will tell.
                        Err(_) => writable = false,
                    }
                    continue;
                }
                () = self.window.work.notified(), if !unwritten || !writable => continue,
                () = until(lingers_until), if lingers_until.is_some() => continue,
            };
            self.shared.note(Some(&self.queue), &target, &failure.failure);
            return Some(failure);
        }
    }

    fn book(&self, response: v1::SendStreamResponse, address: &str) -> Result<(), End> {
        let mut state = self.window.lock();
        let mut result = Ok(());
        for confirmation in response.confirmations {
            result = state.confirm(confirmation, address);
            if result.is_err() {
                break;
            }
        }
        drop(state);
        self.window.moved_on();
        result
    }
}

/// Resolves at that time; never without one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
