//! One consumer's stream, where its queue is led.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use phalanx_proto::v1;
use phalanx_state_machine::command::{Command, CommandKind, Detach, SetWindow};
use phalanx_state_machine::ids::Token;
use phalanx_state_machine::limits::resolve;
use phalanx_state_machine::reply::{Delivery, Payload, Rejection, Reply, ReturnReason};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::outbox::Outbox;
use super::{Wanted, Window, items_in, outcomes_out, settle_command, unexpected};
use crate::api::messages::limits::FRAME_DELIVERIES_MAX;
use crate::api::messages::{Pipeline, deliveries_out};
use crate::batcher::WriteError;
use crate::dispatch::{Dispatcher, RegisterError, StreamEnd, StreamEvent, StreamEvents};
use crate::router::Local;
use crate::state::NodeState;
use crate::status::{self, Reason};

type Sender = mpsc::Sender<Result<v1::ConsumeResponse, Status>>;

/// Pause between two attempts to detach.
const DETACH_PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Session {
    local: Local,
    wanted: Wanted,
    dispatcher: Arc<Dispatcher>,
    stop: CancellationToken,
    /// The term it attaches in, at the earliest.
    term: u64,
}

/// What a command of the stream was.
enum Asked {
    Settle,
    Window,
    /// The clean goodbye: the last command of a stream.
    Goodbye,
}

/// How a stream came to its end.
enum End {
    /// The client said goodbye, and the machine has heard it.
    Clean,
    /// The client went away.
    Broken,
    /// This, for the client; its leases wait for it.
    Failed(Status),
    /// The dispatcher ended it.
    Dispatched(StreamEnd),
}

/// An attach that came to nothing.
struct Refused {
    status: Status,
    /// The machine may think otherwise, of this attach or of the one before it.
    may_be_attached: bool,
}

/// A stream while it is attached.
struct Attached<'a> {
    local: &'a Local,
    wanted: &'a Wanted,
    stop: &'a CancellationToken,
    events: StreamEvents,
    taken: Vec<StreamEvent>,
    /// A run of events whose bodies are being read back, in order.
    reading: Option<BoxFuture<'a, Result<Ready, Status>>>,
    pipeline: Pipeline<Asked>,
    outbox: Outbox,
    input_over: bool,
    end: Option<End>,
}

/// Events that can be written.
struct Ready {
    deliveries: Vec<v1::Delivery>,
    ended: Vec<(Token, ReturnReason)>,
}

impl Session {
    pub(super) fn new(local: Local, wanted: Wanted, state: &NodeState) -> Self {
        let term = local.shard.group.leadership().borrow().term;
        Self { local, wanted, dispatcher: Arc::clone(&state.dispatcher), stop: state.stop.clone(), term }
    }

    /// From the attach to the detach.
    pub(super) async fn run(
        self,
        first: v1::ConsumeRequest,
        inbound: Streaming<v1::ConsumeRequest>,
        sender: Sender,
        attached: oneshot::Sender<Result<(), Status>>,
    ) {
        let mut stream = match self.attach().await {
            Ok(stream) => stream,
            Err(Refused { status, may_be_attached }) => {
                // Nobody listens when the client went away; there is nothing to tell then.
                let _ = attached.send(Err(status));
                if may_be_attached {
                    self.detach().await;
                }
                return;
            }
        };
        // When the client went away meanwhile, `serve` finds its channel closed.
        let _ = attached.send(Ok(()));
        let end = stream.serve(first, inbound, &sender).await;
        let registered_until = stream.events.end_reason();
        drop(stream);
        let detaches = needs_detach(&end, registered_until);
        let tell = async {
            if let Some(error) = self.status_of(end) {
                // Fails when the client has gone away: as above.
                let _ = sender.send(Err(error)).await;
            }
            drop(sender);
        };
        let leave = async {
            if detaches {
                self.detach().await;
            }
        };
        tokio::join!(tell, leave);
    }

    async fn attach(&self) -> Result<Attached<'_>, Refused> {
        let (local, wanted) = (&self.local, &self.wanted);
        let shard = &local.shard;
        let registered =
            self.dispatcher.register_stream(shard.id(), local.uid, wanted.consumer, wanted.incarnation);
        let events = registered.map_err(|error| match error {
            RegisterError::NotLeading => self.moved(),
            RegisterError::TooMany => status::new(Reason::TooManyConsumers, error.to_string()),
        });
        let events = events.map_err(|status| Refused { status, may_be_attached: false })?;
        let mut unknown = false;
        let status: Status = match shard.batcher.submit(wanted.command(local.uid)).await {
            Ok(Reply::Attached { lost }) => {
                events.attached(wanted.window.messages);
                return Ok(self.attached(events, lost));
            }
            Ok(other) => unexpected(other),
            Err(error) => {
                unknown = matches!(error, WriteError::OutcomeUnknown { .. });
                error.into()
            }
        };
        // Even if nothing was attached now, the stream whose place this one took may have been, and nobody reads for it any more. If another
        // has taken this one's place, it is the other's to see to.
        let may_be_attached = (unknown || events.replaces()) && events.end_reason().is_none();
        Err(Refused { status, may_be_attached })
    }

    fn attached(&self, events: StreamEvents, lost: Vec<Token>) -> Attached<'_> {
        let (local, wanted) = (&self.local, &self.wanted);
        let mut outbox = Outbox::default();
        let lease_ms = match wanted.lease_ms {
            0 => resolve(&local.settings).lease_ms,
            lease_ms => lease_ms,
        };
        outbox.attached(lost, lease_ms, local.settings.strict);
        Attached {
            local,
            wanted,
            stop: &self.stop,
            events,
            taken: Vec::new(),
            reading: None,
            pipeline: Pipeline::new(Arc::clone(&local.shard.batcher)),
            outbox,
            input_over: false,
            end: None,
        }
    }

    /// Detaches, however often it takes: an attached consumer without a stream would be given messages that nobody gets.
    async fn detach(&self) {
        loop {
            let command = detach(self.local.uid, &self.wanted, false);
            match self.local.shard.batcher.submit(command).await {
                Ok(_) | Err(WriteError::Stopped { .. } | WriteError::TooLarge { .. }) => return,
                Err(WriteError::NotLeader { .. }) if self.term_is_over().await => return,
                Err(
                    WriteError::NotLeader { .. }
                    | WriteError::Overloaded { .. }
                    | WriteError::NotInTime { .. }
                    | WriteError::OutcomeUnknown { .. },
                ) => tokio::time::sleep(DETACH_PAUSE).await,
            }
        }
    }

    /// Waits until it is known whether the term goes on here, as after a short loss of the quorum. The start of another term detaches
    /// everybody.
    async fn term_is_over(&self) -> bool {
        let mut leadership = self.local.shard.group.leadership();
        let known = leadership.wait_for(|now| now.term > self.term || now.is_leader);
        match self.stop.run_until_cancelled(known).await {
            Some(Ok(now)) => now.term > self.term,
            Some(Err(_)) | None => true,
        }
    }

    fn status_of(&self, end: End) -> Option<Status> {
        match end {
            End::Clean | End::Broken => None,
            End::Failed(error) => Some(error),
            End::Dispatched(StreamEnd::Replaced) => {
                Some(status::from_rejection(&Rejection::ConsumerReplaced))
            }
            End::Dispatched(StreamEnd::Detached) => Some(status::from_rejection(&Rejection::NotAttached)),
            End::Dispatched(StreamEnd::QueueGone) => Some(status::from_rejection(&Rejection::QueueGone)),
            End::Dispatched(StreamEnd::LeaderChanged) => Some(self.moved()),
            End::Dispatched(StreamEnd::Overflow) => Some(status::overloaded(
                "the stream was read too slowly and was ended; attach again",
                status::RETRY_OVERLOAD,
            )),
        }
    }

    fn moved(&self) -> Status {
        let leader = self.local.shard.group.leadership().borrow().leader.map(|(_, node)| node);
        status::not_leader(self.local.shard.id(), leader)
    }
}

/// Whether the machine still takes the consumer for attached to this stream.
fn needs_detach(end: &End, dispatched: Option<StreamEnd>) -> bool {
    let detached = |reason| match reason {
        StreamEnd::Replaced | StreamEnd::Detached | StreamEnd::QueueGone => true,
        StreamEnd::Overflow | StreamEnd::LeaderChanged => false,
    };
    match end {
        End::Clean => false,
        End::Dispatched(reason) => !detached(*reason),
        End::Broken | End::Failed(_) => !dispatched.is_some_and(detached),
    }
}

fn detach(uid: u64, wanted: &Wanted, clean: bool) -> Command {
    let (consumer, incarnation) = (wanted.consumer, wanted.incarnation);
    Command::from(CommandKind::Detach(Detach { uid, consumer, incarnation, clean }))
}

impl Attached<'_> {
    async fn serve(
        &mut self,
        first: v1::ConsumeRequest,
        mut inbound: Streaming<v1::ConsumeRequest>,
        sender: &Sender,
    ) -> End {
        self.take(first);
        loop {
            if let Some(end) = self.end.take() {
                self.last_frame(sender);
                return end;
            }
            self.step(&mut inbound, sender).await;
        }
    }

    /// One thing that happens.
    async fn step(&mut self, inbound: &mut Streaming<v1::ConsumeRequest>, sender: &Sender) {
        let reads = !self.input_over && self.pipeline.takes_more() && self.outbox.takes_outcomes();
        let takes = self.reading.is_none() && self.outbox.takes_events();
        tokio::select! {
            biased;
            () = sender.closed() => self.end = Some(End::Broken),
            () = self.stop.cancelled() => {
                self.end = Some(End::Failed(status::unavailable("the node is stopping")));
            }
            reason = self.events.ended() => self.end = Some(End::Dispatched(reason)),
            (asked, answer) = self.pipeline.next(), if self.outbox.takes_outcomes() => {
                self.answered(asked, answer);
                self.answer_more();
            }
            ready = reading(&mut self.reading) => {
                self.reading = None;
                self.ready(ready);
            }
            permit = sender.reserve(), if !self.outbox.is_empty() => match permit {
                Ok(permit) => permit.send(Ok(self.outbox.frame(self.local.shard.clock.now_ms()))),
                Err(_) => self.end = Some(End::Broken),
            },
            frame = inbound.message(), if reads => match frame {
                Ok(Some(frame)) => self.take(frame),
                // The client has nothing more to say; it may still listen, and settle by unary calls.
                Ok(None) => self.input_over = true,
                Err(_) => self.end = Some(End::Broken),
            },
            taken = self.events.take(&mut self.taken, FRAME_DELIVERIES_MAX), if takes => match taken {
                Ok(()) => self.read_back(),
                Err(reason) => self.end = Some(End::Dispatched(reason)),
            },
        }
    }

    fn take(&mut self, frame: v1::ConsumeRequest) {
        if let Err(error) = self.try_take(frame) {
            self.end = Some(End::Failed(error));
        }
    }

    fn try_take(&mut self, frame: v1::ConsumeRequest) -> Result<(), Status> {
        if frame.attach.is_some() {
            return Err(status::invalid("attach", "only the first frame of a stream may attach"));
        }
        if let Some(window) = frame.window {
            let window = Window::of("window", window)?;
            self.events.set_window(window.messages);
            let change = SetWindow {
                uid: self.local.uid,
                consumer: self.wanted.consumer,
                incarnation: self.wanted.incarnation,
                window_messages: window.messages,
                window_bytes: window.bytes,
            };
            self.pipeline.push(Asked::Window, Command::from(CommandKind::SetWindow(change)));
        }
        if !frame.settle.is_empty() {
            let command = settle_command(self.local.uid, self.wanted.consumer, items_in(&frame.settle)?);
            self.pipeline.push(Asked::Settle, command);
        }
        if frame.close {
            self.input_over = true;
            self.pipeline.push(Asked::Goodbye, detach(self.local.uid, self.wanted, true));
        }
        Ok(())
    }

    fn answered(&mut self, asked: Asked, answer: Result<Reply, WriteError>) {
        match (asked, answer) {
            (Asked::Settle, Ok(Reply::Settled { outcomes })) => self.outbox.settled(outcomes_out(&outcomes)),
            (Asked::Window, Ok(Reply::Done)) => {}
            (Asked::Goodbye, Ok(_)) => self.end = Some(End::Clean),
            (_, Ok(other)) => self.end = Some(End::Failed(unexpected(other))),
            (_, Err(error)) => self.end = Some(End::Failed(error.into())),
        }
    }

    fn answer_more(&mut self) {
        while self.end.is_none()
            && self.outbox.takes_outcomes()
            && let Some((asked, answer)) = self.pipeline.try_next()
        {
            self.answered(asked, answer);
        }
    }

    /// Makes frames' contents of the events just taken; those with spilled bodies in the background, the later ones after them.
    fn read_back(&mut self) {
        let spilled = |event: &StreamEvent| match event {
            StreamEvent::Deliver(delivery) => matches!(delivery.payload, Payload::Spilled(_)),
            StreamEvent::Ended { .. } => false,
        };
        let local = self.local;
        let must_wait = self.taken.iter().any(spilled);
        let run = ready_run(local, std::mem::take(&mut self.taken));
        if must_wait {
            self.reading = Some(Box::pin(run));
            return;
        }
        match futures::FutureExt::now_or_never(run) {
            Some(ready) => self.ready(ready),
            None => {
                self.end = Some(End::Failed(status::internal("a body in memory could not be had at once")))
            }
        }
    }

    fn ready(&mut self, ready: Result<Ready, Status>) {
        match ready {
            Ok(run) => {
                self.outbox.deliver(run.deliveries);
                run.ended.into_iter().for_each(|(token, reason)| self.outbox.ended(token, reason));
            }
            Err(error) => self.end = Some(End::Failed(error)),
        }
    }

    /// Outcomes that are there are told before the end, if the client reads.
    fn last_frame(&mut self, sender: &Sender) {
        while let Some((asked, answer)) = self.pipeline.try_next() {
            if let (Asked::Settle, Ok(Reply::Settled { outcomes })) = (asked, answer) {
                self.outbox.settled(outcomes_out(&outcomes));
            }
        }
        while !self.outbox.is_empty()
            && let Ok(permit) = sender.try_reserve()
        {
            permit.send(Ok(self.outbox.frame(self.local.shard.clock.now_ms())));
        }
    }
}

/// The run that is being read back; for ever when there is none. Cancel safe.
async fn reading(run: &mut Option<BoxFuture<'_, Result<Ready, Status>>>) -> Result<Ready, Status> {
    match run {
        Some(run) => run.await,
        None => std::future::pending().await,
    }
}

/// Reads the bodies of a run of events, in order. The ends of leases come after them: a lease is delivered before it ends.
async fn ready_run(local: &Local, events: Vec<StreamEvent>) -> Result<Ready, Status> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    let mut ended = Vec::new();
    for event in events {
        match event {
            StreamEvent::Deliver(delivery) => deliveries.push(delivery),
            StreamEvent::Ended { token, reason } => ended.push((token, reason)),
        }
    }
    let deliveries = deliveries_out(local, deliveries).await?;
    Ok(Ready { deliveries, ended })
}
