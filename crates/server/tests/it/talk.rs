//! Clients of `phalanx.v1.Messages` as tests use them: nothing is retried unless a test does it.

use std::time::Duration;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_server::status::{self, Reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::support::{SOON, TestCluster, eventually};

/// A 16-byte id.
pub fn id(number: u8) -> bytes::Bytes {
    vec![number; 16].into()
}

pub fn message(text: &str) -> v1::Message {
    v1::Message { body: text.to_owned().into(), ..v1::Message::default() }
}

/// Creates a queue with these settings, through node `through`.
pub async fn create(cluster: &TestCluster, through: u64, name: &str, settings: v1::QueueSettings) {
    eventually("the queue is created", async || {
        let request = v1::CreateQueueRequest {
            name: name.to_owned(),
            settings: Some(settings),
            ..v1::CreateQueueRequest::default()
        };
        cluster.queues(through).create_queue(request).await.ok()
    })
    .await;
}

pub async fn info(cluster: &TestCluster, through: u64, name: &str) -> v1::QueueInfo {
    eventually("the queue is looked at", async || {
        let request = v1::GetQueueRequest { name: name.to_owned(), ..v1::GetQueueRequest::default() };
        cluster.queues(through).get_queue(request).await.ok().map(tonic::Response::into_inner)
    })
    .await
}

/// The node that leads a queue's shard.
pub async fn leader_of(cluster: &TestCluster, through: u64, name: &str) -> u64 {
    info(cluster, through, name).await.leader_node
}

pub fn send_request(queue: &str, texts: &[&str]) -> v1::SendRequest {
    v1::SendRequest {
        queue: queue.to_owned(),
        messages: texts.iter().map(|text| message(text)).collect(),
        ..v1::SendRequest::default()
    }
}

pub fn receive_request(queue: &str, consumer: u8, max_messages: u32, wait: Duration) -> v1::ReceiveRequest {
    v1::ReceiveRequest {
        queue: queue.to_owned(),
        consumer_id: id(consumer),
        max_messages,
        wait_ms: wait.as_millis() as u64,
        ..v1::ReceiveRequest::default()
    }
}

pub fn range(first: u64, last: u64) -> v1::TokenRange {
    v1::TokenRange { first, last }
}

pub fn settle_item(action: v1::SettleAction, tokens: &[u64]) -> v1::SettleItem {
    let tokens = tokens.iter().map(|token| range(*token, *token)).collect();
    v1::SettleItem { action: action as i32, tokens, ..v1::SettleItem::default() }
}

pub fn settle_request(queue: &str, consumer: u8, item: v1::SettleItem) -> v1::SettleRequest {
    v1::SettleRequest {
        queue: queue.to_owned(),
        consumer_id: id(consumer),
        items: vec![item],
        ..v1::SettleRequest::default()
    }
}

pub fn text(delivery: &v1::Delivery) -> String {
    let body = &delivery.message.as_ref().expect("a message").body;
    String::from_utf8(body.to_vec()).expect("text")
}

pub fn texts(deliveries: &[v1::Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

pub fn tokens(deliveries: &[v1::Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.token).collect()
}

#[track_caller]
pub fn assert_reason<T: std::fmt::Debug>(result: Result<T, Status>, reason: Reason) -> Status {
    let error = result.expect_err("it is refused");
    assert!(status::is(&error, reason), "{reason:?} was expected, not {error:?}");
    error
}

/// Whether a client may simply try again.
pub fn retryable(error: &Status) -> bool {
    status::retry_delay_of(error).is_some() || status::reason_of(error).is_none()
}

/// A consumer's stream.
pub struct Consumer {
    pub say: mpsc::Sender<v1::ConsumeRequest>,
    frames: Streaming<v1::ConsumeResponse>,
    pub attached: v1::ConsumerAttached,
    /// Taken from frames and not looked at yet.
    pub deliveries: Vec<v1::Delivery>,
    pub settled: Vec<v1::SettleOutcome>,
    pub ended: Vec<v1::LeaseEnded>,
}

pub fn attach(queue: &str, consumer: u8, incarnation: u64, window: u32) -> v1::ConsumerAttach {
    v1::ConsumerAttach {
        queue: queue.to_owned(),
        consumer_id: id(consumer),
        incarnation,
        window: Some(v1::Window { messages: window, bytes: 0 }),
        ..v1::ConsumerAttach::default()
    }
}

impl Consumer {
    pub async fn attach(channel: Channel, attach: v1::ConsumerAttach) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(64);
        let first = v1::ConsumeRequest { attach: Some(attach), ..v1::ConsumeRequest::default() };
        say.send(first).await.expect("there is room");
        let mut frames = MessagesClient::new(channel).consume(ReceiverStream::new(said)).await?.into_inner();
        let first = frames.message().await?.expect("a first frame");
        let attached = first.attached.expect("attached comes first");
        Ok(Self {
            say,
            frames,
            attached,
            deliveries: first.deliveries,
            settled: first.settled,
            ended: first.ended,
        })
    }

    /// As [`Consumer::attach`], through node `through`, until a leader takes it.
    pub async fn attach_soon(cluster: &TestCluster, through: u64, attach: v1::ConsumerAttach) -> Self {
        eventually("the consumer is attached", async || {
            Consumer::attach(cluster.channel(through), attach.clone()).await.ok()
        })
        .await
    }

    /// Takes one frame; `None` when the stream has ended well.
    pub async fn frame(&mut self) -> Result<Option<()>, Status> {
        let frame = tokio::time::timeout(SOON, self.frames.message()).await.expect("a frame comes");
        let Some(frame) = frame? else { return Ok(None) };
        assert!(frame.attached.is_none(), "attached comes once");
        self.deliveries.extend(frame.deliveries);
        self.settled.extend(frame.settled);
        self.ended.extend(frame.ended);
        Ok(Some(()))
    }

    /// Takes frames until `count` deliveries are there, and hands them over.
    pub async fn take(&mut self, count: usize) -> Vec<v1::Delivery> {
        while self.deliveries.len() < count {
            self.frame().await.expect("the stream goes on").expect("the stream goes on");
        }
        self.deliveries.drain(..count).collect()
    }

    pub async fn settle(&mut self, item: v1::SettleItem) {
        let frame = v1::ConsumeRequest { settle: vec![item], ..v1::ConsumeRequest::default() };
        self.say.send(frame).await.expect("the stream goes on");
    }

    pub async fn ack(&mut self, tokens: &[u64]) {
        self.settle(settle_item(v1::SettleAction::Ack, tokens)).await;
    }

    /// Takes frames until there is an outcome for each of `count` tokens.
    pub async fn outcomes(&mut self, count: u64) -> Vec<v1::SettleOutcome> {
        let answered = |outcomes: &[v1::SettleOutcome]| -> u64 {
            outcomes.iter().filter_map(|one| one.tokens).map(|tokens| tokens.last - tokens.first + 1).sum()
        };
        while answered(&self.settled) < count {
            self.frame().await.expect("the stream goes on").expect("the stream goes on");
        }
        std::mem::take(&mut self.settled)
    }

    /// Takes frames until the stream is over: its error, or `None`.
    pub async fn end(&mut self) -> Option<Status> {
        loop {
            match self.frame().await {
                Ok(Some(())) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    /// Takes all that was caused before now: the answer to a settle of a token that never was comes after it.
    pub async fn mark(&mut self) {
        let mark = range(u64::MAX, u64::MAX);
        self.settle(settle_item(v1::SettleAction::Ack, &[u64::MAX])).await;
        loop {
            if let Some(position) = self.settled.iter().position(|one| one.tokens == Some(mark)) {
                let outcome = self.settled.remove(position);
                assert_eq!(outcome.result, v1::SettleResult::LeaseOver as i32);
                return;
            }
            self.frame().await.expect("the stream goes on").expect("the stream goes on");
        }
    }
}

/// A producer's stream.
pub struct Producer {
    pub say: mpsc::Sender<v1::SendStreamRequest>,
    frames: Streaming<v1::SendStreamResponse>,
}

impl Producer {
    pub async fn open(channel: Channel, queue: &str, producer: u8) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(64);
        let open = v1::ProducerOpen {
            queue: queue.to_owned(),
            producer_id: id(producer),
            ..v1::ProducerOpen::default()
        };
        let first = v1::SendStreamRequest { open: Some(open), batches: Vec::new() };
        say.send(first).await.expect("there is room");
        let frames = MessagesClient::new(channel).send_stream(ReceiverStream::new(said)).await?.into_inner();
        Ok(Self { say, frames })
    }

    pub async fn open_soon(cluster: &TestCluster, through: u64, queue: &str, producer: u8) -> Self {
        eventually("the producer's stream is open", async || {
            Producer::open(cluster.channel(through), queue, producer).await.ok()
        })
        .await
    }

    /// Sends batches of one message each, text = number. Errors mean that the stream is over, which its answers tell.
    pub async fn send(&self, numbers: impl Iterator<Item = u64>) {
        let batches = numbers.map(|number| batch(number, &[&number.to_string()])).collect();
        let _ = self.say.send(v1::SendStreamRequest { open: None, batches }).await;
    }

    pub async fn confirmations(&mut self) -> Result<Option<Vec<v1::Confirmation>>, Status> {
        let frame = tokio::time::timeout(SOON, self.frames.message()).await.expect("a frame comes");
        Ok(frame?.map(|frame| frame.confirmations))
    }
}

pub fn batch(number: u64, texts: &[&str]) -> v1::ProducerBatch {
    v1::ProducerBatch { number, messages: texts.iter().map(|text| message(text)).collect(), mandatory: false }
}

/// Moves the leadership of a queue's shard to another node; the new leader.
pub async fn move_leader(cluster: &TestCluster, queue: &str) -> u64 {
    let before = info(cluster, 1, queue).await;
    let group = before.queue.expect("a queue").shard;
    let shard = cluster.node(before.leader_node).state().shard(group).expect("a replica").clone();
    eventually("another node leads", async || {
        let voters = shard.group.status().voters;
        let other = voters.iter().find(|(_, peer)| peer.node != before.leader_node)?;
        // It may be refused while the other one lags; the next round asks again.
        let _ = shard.group.transfer_leader(*other.0).await;
        let now = info(cluster, 1, queue).await.leader_node;
        (now != before.leader_node && now != 0).then_some(now)
    })
    .await
}
