//! `Messages.SendStream`: pipelined sends of one idempotent producer, confirmed in order.
//!
//! Batches go to the log in the order of the stream, many at a time; a stream that is ahead of the log is read no further, so that the
//! producer is slowed down. Invariant: after a batch that was not consumed, nothing of the stream is confirmed, and the stream ends with
//! that reason; the producer sends again from there, and the machine recognises what it has.

use phalanx_proto::v1;
use phalanx_proto::v1::confirmation;
use phalanx_raft::Leadership;
use phalanx_state_machine::command::{Command, CommandKind, Send};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::reply::{Rejection, Reply};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::messages::limits::STREAM_COMMANDS_MAX;
use super::messages::{
    Frames, MessagesApi, Pipeline, check_messages, first_frame, frames, new_messages, relay, target,
    unexpected,
};
use super::send::sent_out;
use crate::authorize;
use crate::batcher::WriteError;
use crate::convert;
use crate::router::{self, Local, Route};
use crate::status;

type Sender = mpsc::Sender<Result<v1::SendStreamResponse, Status>>;

pub(super) async fn send_stream(
    api: &MessagesApi,
    request: Request<Streaming<v1::SendStreamRequest>>,
) -> Result<Response<Frames<v1::SendStreamResponse>>, Status> {
    let caller = api.caller(&request)?;
    let mut inbound = request.into_inner();
    let first = first_frame(&mut inbound).await?;
    let open = first.open.clone().unwrap_or_default();
    let rule = &authorize::SEND_STREAM;
    api.state.admit(&caller, rule, &target(&open.namespace, &open.queue))?;
    if first.open.is_none() {
        return Err(status::invalid("open", "must be in the first frame"));
    }
    let namespace = convert::namespace(&open.namespace)?;
    let queue = convert::queue_name("open.queue", &open.queue)?;
    let producer = convert::id("open.producer_id", &open.producer_id)?;
    match router::resolve(&api.state, &caller, namespace, queue).await? {
        Route::Remote(remote) => relay(&caller, remote, rule, first, inbound).await,
        Route::Local(local) => {
            let (sender, frames) = frames();
            let stop = api.state.stop.clone();
            tokio::spawn(Session::new(local, producer, stop).run(first, inbound, sender));
            Ok(Response::new(frames))
        }
    }
}

/// One stream, where its queue is led.
struct Session {
    local: Local,
    producer: Id128,
    stop: CancellationToken,
    leadership: watch::Receiver<Leadership>,
    term: u64,
    /// Numbers of the batches.
    pipeline: Pipeline<u64>,
    confirmed: Vec<v1::Confirmation>,
    /// Nothing more is read.
    input_over: bool,
    /// A batch that was refused before the log, to be answered after all before it; the stream ends with it.
    refused: Option<(u64, Status)>,
    /// The stream ends with this when what is confirmed has been sent.
    end: Option<Status>,
}

impl Session {
    fn new(local: Local, producer: Id128, stop: CancellationToken) -> Self {
        let leadership = local.shard.group.leadership();
        let term = leadership.borrow().term;
        let pipeline = Pipeline::new(local.shard.batcher.clone());
        Self {
            local,
            producer,
            stop,
            leadership,
            term,
            pipeline,
            confirmed: Vec::new(),
            input_over: false,
            refused: None,
            end: None,
        }
    }

    async fn run(
        mut self,
        first: v1::SendStreamRequest,
        mut inbound: Streaming<v1::SendStreamRequest>,
        sender: Sender,
    ) {
        self.take(first);
        while !self.is_done() {
            if !self.step(&mut inbound, &sender).await {
                return; // the producer went away: it learns on its next stream what became of its batches
            }
        }
        if let Some(end) = self.end {
            // Sending fails when the producer went away just now.
            let _ = sender.send(Err(end)).await;
        }
    }

    /// One thing that happens; `false`: the producer went away.
    async fn step(&mut self, inbound: &mut Streaming<v1::SendStreamRequest>, sender: &Sender) -> bool {
        let reads =
            !self.input_over && self.pipeline.takes_more() && self.confirmed.len() < STREAM_COMMANDS_MAX;
        let confirms = self.end.is_none() && self.confirmed.len() < STREAM_COMMANDS_MAX;
        tokio::select! {
            biased;
            () = sender.closed() => return false,
            () = self.stop.cancelled(), if self.end.is_none() => {
                self.end = Some(status::unavailable("the node is stopping"));
            }
            (number, answer) = self.pipeline.next(), if confirms => {
                self.confirm(number, answer);
                while self.end.is_none() && let Some((number, answer)) = self.pipeline.try_next() {
                    self.confirm(number, answer);
                }
            }
            permit = sender.reserve(), if !self.confirmed.is_empty() => {
                let Ok(permit) = permit else { return false };
                permit.send(Ok(v1::SendStreamResponse { confirmations: std::mem::take(&mut self.confirmed) }));
            }
            frame = inbound.message(), if reads => match frame {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => self.input_over = true,
                // A frame that cannot be taken, such as one over the limit: the producer must learn why. If it is gone
                // instead, the channel says so.
                Err(error) => self.refuse(0, error),
            },
            () = term_over(&mut self.leadership, self.term), if !self.input_over => {
                // What is on its way is answered still; then the producer goes to the new leader.
                self.refuse(0, self.not_leader());
            }
        }
        true
    }

    /// Everything was answered and sent, or the stream has failed and what was confirmed before has been sent.
    fn is_done(&mut self) -> bool {
        if self.end.is_none() && self.input_over && self.pipeline.is_empty() {
            let Some((number, refusal)) = self.refused.take() else { return self.confirmed.is_empty() };
            self.fail(number, refusal);
        }
        self.end.is_some() && self.confirmed.is_empty()
    }

    fn take(&mut self, frame: v1::SendStreamRequest) {
        for batch in frame.batches {
            let messages = check_messages(&batch.messages)
                .and_then(|()| new_messages(&batch.messages, self.local.settings.body_bytes_max));
            let messages = match messages {
                Ok(_) if batch.number == 0 => Err(status::invalid("batches.number", "must be at least 1")),
                messages => messages,
            };
            match messages {
                Ok(messages) => {
                    let send = Send {
                        uid: self.local.uid,
                        producer: Some(self.producer),
                        producer_sequence: batch.number,
                        request: None,
                        messages,
                        mandatory: batch.mandatory,
                    };
                    self.pipeline.push(batch.number, Command::from(CommandKind::Send(send)));
                }
                Err(refusal) => return self.refuse(batch.number, refusal),
            }
        }
    }

    /// Reads no further, and fails with `refusal` after all that came before.
    fn refuse(&mut self, number: u64, refusal: Status) {
        self.input_over = true;
        self.refused.get_or_insert((number, refusal));
    }

    fn confirm(&mut self, number: u64, answer: Result<Reply, WriteError>) {
        match answer {
            Ok(Reply::Sent(sent)) => {
                let result = Some(confirmation::Result::Sent(sent_out(sent)));
                self.confirmed.push(v1::Confirmation { number, result });
            }
            Ok(Reply::Rejected(rejection)) if is_consumed(&rejection) => {
                let failure = failure(&status::from_rejection(&rejection), true);
                self.confirmed.push(v1::Confirmation { number, result: Some(failure) });
            }
            Ok(other) => self.fail(number, unexpected(other)),
            Err(error) => self.fail(number, Status::from(error)),
        }
    }

    fn fail(&mut self, number: u64, error: Status) {
        self.input_over = true;
        if number > 0 {
            let result = Some(failure(&error, false));
            self.confirmed.push(v1::Confirmation { number, result });
        }
        self.end = Some(error);
    }

    fn not_leader(&self) -> Status {
        let leader = self.leadership.borrow().leader.map(|(_, node)| node);
        status::not_leader(self.local.shard.id(), leader)
    }
}

/// Resolves when another term than `term` has begun. A leader that has lost its quorum for a moment keeps its streams.
async fn term_over(leadership: &mut watch::Receiver<Leadership>, term: u64) {
    // An error means that the group has stopped, which is no other answer.
    let _ = leadership.wait_for(|now| now.term > term).await;
}

/// Whether the machine counts the refused batch as sent, for the numbering.
fn is_consumed(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::Invalid(_)
        | Rejection::QueueFull(_)
        | Rejection::Unroutable(_)
        | Rejection::DedupFull(_)
        | Rejection::Duplicate => true,
        Rejection::QueueGone
        | Rejection::SequenceGap { .. }
        | Rejection::ProducerForgotten
        | Rejection::ConsumerReplaced
        | Rejection::NotAttached
        | Rejection::TooManyConsumers
        | Rejection::Exclusive
        | Rejection::AlreadyExists(_)
        | Rejection::NotFound
        | Rejection::VersionMismatch { .. }
        | Rejection::Unsupported => false,
    }
}

fn failure(error: &Status, consumed: bool) -> confirmation::Result {
    confirmation::Result::Failure(v1::Failure {
        reason: status::reason_of(error).unwrap_or_default(),
        message: error.message().to_owned(),
        consumed,
        retry_delay_ms: status::retry_delay_of(error).map_or(0, |delay| delay.as_millis() as u64),
    })
}
