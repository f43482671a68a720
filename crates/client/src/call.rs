//! One unary call with its retries.
//!
//! Invariant: a call that may have been carried out is only repeated if the server recognises the repetition, and once
//! an attempt of a change may have been carried out, a later refusal no longer proves that nothing happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Response, Status};

use crate::backoff::Backoff;
use crate::client::Shared;
use crate::doubt::Doubt;
use crate::error::Error;
use crate::router::{QueueKey, Target};
use crate::status::{Class, Failure};

/// What a repetition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Changes nothing at all.
    Read,
    /// Is recognised by the server, or has the same effect as doing it once.
    Same,
    /// Does it again.
    Never,
}

/// Where a call goes, and how long it may take.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) queue: Option<&'a QueueKey>,
    /// Only to this node.
    pub(crate) only: Option<&'a Target>,
    pub(crate) repeat: Repeat,
    pub(crate) deadline: Instant,
    /// An attempt that lasts longer is given up.
    pub(crate) attempt_max: Duration,
    /// Silence says something: the call is not one that waits for messages.
    pub(crate) answers_soon: bool,
    /// Set when an attempt may have been carried out and was not answered.
    pub(crate) unsure: Option<&'a AtomicBool>,
}

impl Shared {
    /// Attempts `rpc` until it succeeds, is refused, or the deadline has passed.
    pub(crate) async fn call<T, F>(
        &self,
        call: Call<'_>,
        mut rpc: impl FnMut(Target, Instant) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut backoff = Backoff::default();
        let mut maybe = false;
        loop {
            let Some(target) = self.find(call).await else {
                return Err(over(
                    call.repeat,
                    maybe,
                    Error::Unavailable { message: "no node answered".into() },
                ));
            };
            let begin = Instant::now();
            let until = call.deadline.min(begin + call.attempt_max);
            let failure = tokio::select! {
                biased;
                outcome = tokio::time::timeout_at(until, rpc(target.clone(), until)) => match outcome {
                    Ok(Ok(response)) => {
                        self.router.worked(&target);
                        return Ok(response.into_inner());
                    }
                    Ok(Err(status)) => Failure::from_status(&status),
                    Err(_) => Failure::stalled(&target.address, until - begin),
                },
                () = self.is_left(call, &target) => Failure::left(&target.address),
            };
            self.note(call.queue, &target, &failure);
            maybe |= failure.class == Class::Maybe;
            if let Some(unsure) = call.unsure.filter(|_| maybe) {
                unsure.store(true, Ordering::Relaxed);
            }
            let again = match failure.class {
                Class::Refused => false,
                Class::Again => true,
                Class::Maybe => call.repeat != Repeat::Never,
            };
            let pause = backoff.next(&self.entropy, failure.retry_after);
            if !again || Instant::now() + pause >= call.deadline {
                return Err(over(call.repeat, maybe, failure.error));
            }
            if let Some(metrics) = &self.metrics {
                metrics.retried(call.queue.map(QueueKey::as_name), &failure.error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Resolves when another node leads the queue that the call is for.
    async fn is_left(&self, call: Call<'_>, target: &Target) {
        match call.queue {
            Some(queue) if call.only.is_none() && call.answers_soon => {
                let mut doubt = Doubt::new(&self.router, queue, target);
                doubt.watch(true);
                doubt.confirmed().await;
            }
            Some(_) | None => std::future::pending().await,
        }
    }

    async fn find(&self, call: Call<'_>) -> Option<Target> {
        match (call.only, call.queue) {
            (Some(target), _) => Some(target.clone()),
            (None, None) => Some(self.router.any()),
            (None, Some(queue)) => {
                tokio::time::timeout_at(call.deadline, self.router.target(queue)).await.ok()
            }
        }
    }

    /// Lets the router learn from a failed attempt.
    pub(crate) fn note(&self, queue: Option<&QueueKey>, target: &Target, failure: &Failure) {
        if failure.transport {
            self.router.failed(target);
        } else if failure.class != Class::Refused
            && !matches!(failure.error, Error::Overloaded { .. })
            && let Some(queue) = queue
        {
            self.router.moved(queue);
        }
    }
}

fn over(repeat: Repeat, maybe: bool, error: Error) -> Error {
    match error {
        // A read has no outcome that could matter: it just got no answer.
        Error::OutcomeUnknown { message } if repeat == Repeat::Read => Error::Unavailable { message },
        error if maybe && repeat != Repeat::Read => error.into_unknown(),
        error => error,
    }
}
