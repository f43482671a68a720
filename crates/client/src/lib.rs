//! The Rust client of Phalanx.
//!
//! A [`Client`] knows a cluster by the addresses of some of its nodes. It finds the leader of each queue by itself, goes
//! there directly or is forwarded, and gets through leader changes, lost connections and lost answers without losing or
//! repeating what it was told to do.
//!
//! - [`Producer`]: pipelined, idempotent sends with back-pressure. A send resolves when its message is on disk on a
//!   majority. [`linger`](ProducerBuilder::linger) makes batches larger, [`send_all`](Producer::send_all) takes a stream.
//! - [`Consumer`]: a [`Stream`](futures::Stream) of [`Delivery`], settled one by one, leases extended while they are
//!   worked on. [`for_each_concurrent`](Consumer::for_each_concurrent) runs a handler for each, groups in order.
//! - [`Receiver`]: the same by single calls. [`Client::send`]: a send by a single call.
//! - [`blocking`]: all of it for programs without async.
//! - [`Admin`]: queues and the cluster.
//! - [`ClientBuilder`]: deadlines, connections and TLS, [`Metrics`], trace contexts ([`TraceParent`]).
//!
//! Spans are those of the `tracing` crate, with the fields of OpenTelemetry's conventions for messaging: `send`, `receive`
//! and `process` at level `INFO`, `settle` at `DEBUG`.
//!
//! ```no_run
//! # async fn example() -> Result<(), phalanx_client::Error> {
//! use phalanx_client::{Client, QueueSettings};
//!
//! let client = Client::connect(["http://127.0.0.1:7420"]).await?;
//! client.admin().create_queue("orders", QueueSettings::default()).await?;
//!
//! let producer = client.producer("orders").open().await?;
//! let first = producer.enqueue("one").await?; // waits only while the window is full
//! let second = producer.enqueue("two").await?; // order of calls = order of sends
//! println!("at {} and {}", first.await?.sequence, second.await?.sequence);
//! producer.close().await?;
//!
//! let mut consumer = client.consumer("orders").open().await?;
//! while let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     println!("{:?}", delivery.body());
//!     delivery.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows the public API (`phalanx.v1`) and nothing of what is behind it. It keeps no unbounded queue, and
//! every task it starts ends with the handle it serves.
#![deny(missing_docs)]

mod admin;
mod backoff;
pub mod blocking;
mod builder;
mod call;
mod channel;
mod client;
mod connector;
mod consumer;
mod doubt;
mod error;
mod id;
pub mod limits;
mod message;
mod metrics;
mod producer;
mod receiver;
mod request;
mod router;
mod stall;
mod status;
mod trace;

pub use admin::{
    Admin, Binding, BindingInfo, ClusterStatus, Conditions, ConsumerInfo, GroupStatus, Holder, LogMessage,
    LogPage, Mark, NodeAddress, NodeStatus, OrderingGroup, Peek, PeekPage, PeekState, Peeked, Place, Queue,
    QueueInfo, QueueSettings, Subscription, SubscriptionSettings, Topic, TopicInfo, TopicSettings, Topology,
};
pub use builder::ClientBuilder;
pub use channel::ChannelSettings;
pub use client::Client;
pub use connector::{Connector, TcpConnector};
pub use consumer::{Consumer, ConsumerBuilder, Delivery, Nack, ReturnReason, Settlement};
pub use error::Error;
pub use id::{Id, ParseIdError};
pub use message::{Message, Sent};
pub use metrics::{HandlerOutcome, Metrics, QueueName, SettleKind, StreamKind};
pub use phalanx_proto::channel::Channel;
pub use producer::{BatchConfirmation, Confirmation, NotEnqueued, Producer, ProducerBuilder, SendAll};
pub use receiver::Receiver;
pub use request::Requester;
pub use trace::{ParseTraceParentError, TraceParent};
