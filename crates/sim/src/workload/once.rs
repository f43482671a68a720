//! Calls that are made once and never repeated, from the protocol files alone.
//!
//! What such a call is known to have done it has done once, in one life of the queue: a repetition that arrives late may find the next one.

use std::time::Duration;

use bytes::Bytes;
use phalanx_proto::v1;
use phalanx_proto::v1::confirmation;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_proto::v1::queues_client::QueuesClient;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::Actor;
use super::nodes::Nodes;
use super::receiver::told;
use crate::history::{Action, End, Settled, Stored};

/// A call may take this long: some elections, and a shard that follows the catalog.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Why a call did not succeed.
pub(super) enum Failed {
    /// There is no such queue.
    Gone,
    /// Nothing was done.
    Refused,
    /// Nobody knows, or it is still to come.
    Unknown(String),
}

/// Makes the calls.
pub(super) struct Once {
    nodes: Nodes,
}

impl Once {
    pub fn new(actor: &Actor) -> Self {
        Self { nodes: Nodes::of(actor, PATIENCE) }
    }

    /// Makes the queue; its uid.
    pub async fn create(&mut self, actor: &mut Actor, settings: v1::QueueSettings) -> Result<u64, Failed> {
        let mut node = QueuesClient::new(self.nodes.pick(&mut actor.random));
        let settings = Some(settings);
        let ask = v1::CreateQueueRequest { name: actor.queue.name(), settings, ..Default::default() };
        let answer = self.answer(node.create_queue(ask)).await?;
        Ok(answer.uid)
    }

    pub async fn delete(&mut self, actor: &mut Actor) -> Result<(), Failed> {
        let mut node = QueuesClient::new(self.nodes.pick(&mut actor.random));
        let ask = v1::DeleteQueueRequest { name: actor.queue.name(), ..Default::default() };
        self.answer(node.delete_queue(ask)).await.map(|_| ())
    }

    /// Sends `batches` of one message each on a stream of their own, numbered from `first`; what is known of each, in order.
    pub async fn send(
        &mut self,
        actor: &mut Actor,
        producer: u64,
        first: u64,
        batches: Vec<v1::Message>,
    ) -> (Vec<Stored>, Result<(), Failed>) {
        let mut node = MessagesClient::new(self.nodes.pick(&mut actor.random));
        let count = batches.len();
        let numbered = (first..).zip(batches);
        let batches = numbered
            .map(|(number, message)| v1::ProducerBatch {
                number,
                messages: vec![message],
                ..Default::default()
            })
            .collect();
        let open =
            v1::ProducerOpen { queue: actor.queue.name(), producer_id: id(producer), ..Default::default() };
        let frame = v1::SendStreamRequest { open: Some(open), batches };
        let mut stored = Vec::new();
        let confirmed = async {
            let frames = futures::stream::iter([frame]);
            let mut answers = node.send_stream(frames).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                for confirmation in answer.confirmations {
                    match confirmation.result {
                        Some(confirmation::Result::Sent(sent)) => stored.push(place(&sent)),
                        other => return Err(Status::unknown(format!("{other:?}"))),
                    }
                }
            }
            if stored.len() < count { Err(Status::unknown("the stream ended early")) } else { Ok(().into()) }
        };
        let end = answer(confirmed).await;
        self.look(&end);
        (stored, end)
    }

    /// Asks for up to `count` messages.
    pub async fn receive(
        &mut self,
        actor: &mut Actor,
        holder: u64,
        count: u32,
    ) -> Result<Vec<v1::Delivery>, Failed> {
        let mut node = MessagesClient::new(self.nodes.pick(&mut actor.random));
        let ask = v1::ReceiveRequest {
            queue: actor.queue.name(),
            consumer_id: id(holder),
            max_messages: count,
            wait_ms: actor.random.within(0..200),
            ..Default::default()
        };
        let answer = self.answer(node.receive(ask)).await?;
        Ok(answer.deliveries)
    }

    pub async fn settle(
        &mut self,
        actor: &mut Actor,
        holder: u64,
        token: u64,
        action: Action,
    ) -> Result<End<Settled>, Failed> {
        let mut node = MessagesClient::new(self.nodes.pick(&mut actor.random));
        let (kind, delay_ms) = match action {
            Action::Ack => (v1::SettleAction::Ack, 0),
            Action::Nack { delay_ms } => (v1::SettleAction::Nack, delay_ms),
            Action::Reject => (v1::SettleAction::Reject, 0),
            Action::Extend => (v1::SettleAction::Extend, 0),
        };
        let tokens = vec![v1::TokenRange { first: token, last: token }];
        let item = v1::SettleItem { action: kind as i32, tokens, delay_ms, ..Default::default() };
        let ask = v1::SettleRequest {
            queue: actor.queue.name(),
            consumer_id: id(holder),
            items: vec![item],
            ..Default::default()
        };
        let answer = self.answer(node.settle(ask)).await?;
        Ok(told(&answer, token, kind))
    }

    async fn answer<T>(
        &mut self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Failed> {
        let answer = answer(call).await;
        self.look(&answer);
        answer
    }

    /// Goes elsewhere next time if this was no success.
    fn look<T>(&mut self, answer: &Result<T, Failed>) {
        if matches!(answer, Err(Failed::Refused | Failed::Unknown(_))) {
            self.nodes.failed();
        }
    }
}

async fn answer<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Failed> {
    match tokio::time::timeout(PATIENCE, call).await {
        Err(_) => Err(Failed::Unknown("no answer".to_owned())),
        Ok(Err(status)) => Err(failed(&status)),
        Ok(Ok(response)) => Ok(response.into_inner()),
    }
}

/// What a status that a node made says; any other says nothing.
fn failed(status: &Status) -> Failed {
    let reason = status.get_details_error_info().filter(|info| info.domain == "phalanx");
    match reason.as_ref().map(|info| info.reason.as_str()) {
        Some("QUEUE_NOT_FOUND" | "QUEUE_GONE") => Failed::Gone,
        Some(
            "QUEUE_NOT_READY" | "ALREADY_EXISTS" | "NOT_LEADER" | "NO_LEADER" | "PEER_UNREACHABLE"
            | "OVERLOADED" | "UNAVAILABLE",
        ) => Failed::Refused,
        Some(_) | None => Failed::Unknown(format!("{:?}: {}", status.code(), status.message())),
    }
}

fn id(number: u64) -> Bytes {
    Bytes::copy_from_slice(&u128::from(number).to_be_bytes())
}

fn place(sent: &v1::SendResponse) -> Stored {
    let repeated = sent.repeated;
    match sent.duplicates.first() {
        Some(duplicate) => Stored { sequence: duplicate.original_sequence, duplicate: true, repeated },
        None => Stored { sequence: sent.first_sequence, duplicate: false, repeated },
    }
}
