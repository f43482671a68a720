//! The deliveries that `for_each_concurrent` has in hand: their handlers, and the answers to their settles.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::{Id as TaskId, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::Consumer;
use super::delivery::{Delivery, ReturnReason, Settlement};
use super::desk::Action;
use super::lanes::{Key, Lanes, Turn};
use super::nack::Nack;
use crate::limits;
use crate::metrics::{HandlerOutcome, Meter};
use crate::trace;

/// What a handler's task came to.
enum Outcome {
    Finished(Result<(), Nack>),
    Lost(ReturnReason),
    Panicked(String),
}

impl Outcome {
    fn as_error(&self) -> Option<&'static str> {
        match self {
            Self::Finished(Ok(())) => None,
            Self::Finished(Err(nack)) if nack.delay.is_some() => Some("nack"),
            Self::Finished(Err(_)) => Some("reject"),
            Self::Lost(_) => Some("lease_over"),
            Self::Panicked(_) => Some("panic"),
        }
    }

    fn as_metric(&self) -> HandlerOutcome {
        match self {
            Self::Finished(Ok(())) => HandlerOutcome::Done,
            Self::Finished(Err(nack)) if nack.delay.is_some() => HandlerOutcome::Returned,
            Self::Finished(Err(_)) => HandlerOutcome::Rejected,
            Self::Lost(_) => HandlerOutcome::LeaseLost,
            Self::Panicked(_) => HandlerOutcome::Panicked,
        }
    }
}

/// A delivery that is worked on.
struct Job {
    delivery: Arc<Delivery>,
    key: Key,
    /// When its handler was started.
    since: Option<Instant>,
    span: Span,
}

/// Something the server has answered.
enum Answer {
    /// Whether the lease of a doubtful delivery holds.
    Confirmed(Job, bool),
    /// What was not done is out of hand.
    Returned(Key),
    /// What was done is. `over`: it was not, and will come again.
    Settled { key: Key, over: bool },
}

pub(super) struct Session<H> {
    limit: usize,
    handler: H,
    /// No handler is started any more.
    pub(super) stopped: bool,
    meter: Meter,
    pub(super) lanes: Lanes,
    tasks: JoinSet<Outcome>,
    /// By their tasks.
    jobs: HashMap<TaskId, Job>,
    /// Deliveries whose leases are being confirmed.
    confirming: usize,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl<H, F> Session<H>
where
    H: FnMut(Arc<Delivery>) -> F,
    F: Future<Output = Result<(), Nack>> + Send + 'static,
{
    pub(super) fn new(limit: usize, handler: H, meter: Meter) -> Self {
        Self {
            limit,
            handler,
            stopped: false,
            meter,
            lanes: Lanes::default(),
            tasks: JoinSet::new(),
            jobs: HashMap::new(),
            confirming: 0,
            answers: FuturesUnordered::new(),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.jobs.is_empty() || !self.answers.is_empty()
    }

    /// Starts as much as may be worked on now.
    pub(super) fn start(&mut self) {
        while self.jobs.len() + self.confirming < self.limit
            && let Some(Turn { delivery, key, doubtful }) = self.lanes.next()
        {
            let job = Job { delivery, key, since: None, span: Span::none() };
            if job.delivery.is_lost() {
                // While it waited.
                self.settle(job, Outcome::Lost(ReturnReason::Expired));
            } else if doubtful {
                self.confirm(job);
            } else {
                self.run(job);
            }
        }
    }

    /// Asks the server whether the lease holds: an extension is carried out only if it does.
    fn confirm(&mut self, job: Job) {
        self.confirming += 1;
        let extension = job.delivery.extend(None);
        self.answers.push(async move { Answer::Confirmed(job, extension.await.is_ok()) }.boxed());
    }

    fn run(&mut self, mut job: Job) {
        job.since = Some(Instant::now());
        let span = trace::process_span(&self.meter.queue, &job.delivery);
        job.span = span.clone();
        // What a handler has broken by a panic it sees again only if it shares it, as tasks do.
        let work =
            match catch_unwind(AssertUnwindSafe(|| span.in_scope(|| (self.handler)(job.delivery.clone())))) {
                Ok(work) => work,
                Err(panic) => {
                    let text = panic_text(panic.as_ref());
                    return self.settle(job, Outcome::Panicked(text));
                }
            };
        let delivery = job.delivery.clone();
        let task = async move {
            tokio::select! {
                biased;
                reason = delivery.lost() => Outcome::Lost(reason),
                result = work => Outcome::Finished(result),
            }
        };
        let task = self.tasks.spawn(task.instrument(span));
        self.jobs.insert(task.id(), job);
    }

    /// One handler's end, or one answer. May be dropped and called again.
    pub(super) async fn step(&mut self) {
        tokio::select! {
            biased;
            Some(answer) = self.answers.next() => self.answered(answer),
            Some(ended) = self.tasks.join_next_with_id() => {
                let (id, outcome) = match ended {
                    Ok(ended) => ended,
                    Err(error) => (error.id(), Outcome::Panicked(text_of(error))),
                };
                let job = self.jobs.remove(&id).expect("every task has its job");
                self.settle(job, outcome);
            }
            else => std::future::pending().await,
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Confirmed(job, holds) => {
                self.confirming -= 1;
                if self.stopped {
                    self.returned(job.delivery.settle_shared(Action::nack(Duration::ZERO)), job.key);
                } else if holds {
                    self.lanes.confirmed(&job.key);
                    self.run(job);
                } else {
                    job.delivery.let_go();
                    self.lanes.done(job.key, true);
                }
            }
            Answer::Returned(key) => self.lanes.done(key, true),
            Answer::Settled { key, over: true } => self.lanes.doubt(key),
            Answer::Settled { over: false, .. } => {}
        }
    }

    fn settle(&mut self, job: Job, outcome: Outcome) {
        let Job { delivery, key, since, span } = job;
        if let Some(kind) = outcome.as_error() {
            trace::failed_as(&span, kind);
        }
        if let Some(since) = since {
            let (handled, duration) = (outcome.as_metric(), since.elapsed());
            self.meter.tell(|metrics, queue| metrics.handled(queue, handled, duration));
        }
        let (token, sequence) = (delivery.token(), delivery.sequence());
        // The settle is part of it.
        let _inside = span.entered();
        match outcome {
            Outcome::Finished(Ok(())) => self.settled(delivery.settle_shared(Action::Ack), key),
            Outcome::Finished(Err(nack)) => {
                let reason = nack.reason().unwrap_or_default();
                tracing::debug!(token, sequence, delay = ?nack.delay, reason, "handler did not do its work");
                match nack.delay {
                    Some(delay) => self.returned(delivery.settle_shared(Action::nack(delay)), key),
                    None => self.settled(delivery.settle_shared(Action::Reject), key),
                }
            }
            Outcome::Panicked(text) => {
                tracing::error!(token, sequence, panic = text, "handler panicked");
                self.returned(delivery.settle_shared(Action::nack(limits::NACK_DELAY)), key);
            }
            Outcome::Lost(reason) => {
                tracing::debug!(token, sequence, ?reason, "lease was lost");
                if key.is_some() && !delivery.has_ended() {
                    // By the server's clock it may hold a moment longer. Nothing of its group begins before it is over.
                    self.returned(delivery.settle_shared(Action::nack(Duration::ZERO)), key);
                } else {
                    delivery.let_go();
                    self.lanes.done(key, true);
                }
            }
        }
    }

    /// It is done, and the next of its group may begin.
    fn settled(&mut self, settlement: Settlement, key: Key) {
        self.lanes.done(key.clone(), false);
        let answer = async move { Answer::Settled { key, over: settlement.await.is_err() } };
        self.answers.push(answer.boxed());
    }

    /// It is not done, and the next of its group waits for what the server says to that.
    fn returned(&mut self, settlement: Settlement, key: Key) {
        let answer = async move {
            // Whatever the answer: what follows is asked for before it is worked on.
            let _answer = settlement.await;
            Answer::Returned(key)
        };
        self.answers.push(answer.boxed());
    }

    /// Waits for the running handlers, and returns meanwhile whatever else is or comes in hand. When none runs, the
    /// goodbye does that better: it is not counted as an attempt.
    pub(super) async fn wind_up(&mut self, consumer: &mut Consumer) {
        if self.jobs.is_empty() {
            return;
        }
        consumer.set_window(1, 1);
        for delivery in self.lanes.clear() {
            self.returned(delivery.settle_shared(Action::nack(Duration::ZERO)), None);
        }
        let mut open = true;
        while !self.jobs.is_empty() {
            tokio::select! {
                biased;
                () = self.step() => {}
                delivery = consumer.next(), if open => match delivery {
                    Some(Ok(delivery)) => self.returned(delivery.settle_shared(Action::nack(Duration::ZERO)), None),
                    // What it ended with, closing it tells.
                    Some(Err(_)) | None => open = false,
                },
            }
        }
    }
}

fn text_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()),
        Err(error) => error.to_string(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| String::from("no text"))
}
