//! Phalanx in memory, for the tests of programs that use it.
//!
//! A [`MemoryBroker`] is the real node in this process: the same API, log, state machine and timing rules as a cluster, so leases, groups,
//! deduplication and limits behave as they do in production. What it lacks is what tests do not want: its disk is memory, its network is
//! memory, it is one node, and one request may have 1.5 MiB at most. Nothing is listened on, no file is written, no thread is started, and when the broker is dropped
//! everything is gone.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use phalanx_client::QueueSettings;
//! use phalanx_memory::MemoryBroker;
//!
//! let broker = MemoryBroker::start().await?;
//! let client = broker.client().await?;
//! client.admin().create_queue("orders", QueueSettings::default()).await?;
//! client.send("orders", ["three anvils"]).await?;
//!
//! let mut consumer = client.consumer("orders").open().await?;
//! let delivery = consumer.next().await.expect("it was sent")?;
//! assert_eq!(&delivery.body()[..], b"three anvils");
//! delivery.ack().await?;
//! # Ok(())
//! # }
//! ```
//!
//! All its time is tokio's. Under `#[tokio::test(start_paused = true)]` a lease of 30 seconds ends as soon as everybody waits for it (the node's
//! own timers run all the same: an hour of paused time takes a while):
//!
//! ```
//! # use std::time::Duration;
//! # use phalanx_client::QueueSettings;
//! # use phalanx_memory::MemoryBroker;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! tokio::time::pause(); // what start_paused does
//! let broker = MemoryBroker::start().await?;
//! let client = broker.client().await?;
//! client.admin().create_queue("orders", QueueSettings::default()).await?;
//! client.send("orders", ["three anvils"]).await?;
//!
//! let receiver = client.receiver("orders").lease(Duration::from_secs(30));
//! let first = receiver.receive(1, Duration::ZERO).await?;
//! drop(first); // never settled
//! tokio::time::sleep(Duration::from_secs(30)).await;
//! let again = receiver.receive(1, Duration::from_secs(5)).await?;
//! assert_eq!(again[0].attempt(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`MemoryBroker::crash`] and [`MemoryBroker::restart`] show a program what it sees when the cluster is away for a while.
//!
//! This crate knows the node through its seams and the client through its connector; it has no logic of queues.
#![deny(missing_docs)]

mod broker;
mod network;

pub use broker::{MemoryBroker, StartError};

/// Runs an example of the documentation against a broker that has a queue `orders` with one message.
///
/// # Panics
/// When the example fails.
#[doc(hidden)]
pub fn example(example: impl AsyncFnOnce(phalanx_client::Client) -> Result<(), phalanx_client::Error>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("examples run where a runtime can be made").block_on(async {
        let broker = MemoryBroker::start().await.expect("nothing is in its way");
        let client = broker.client().await.expect("it runs");
        let made = client.admin().create_queue("orders", phalanx_client::QueueSettings::default()).await;
        made.expect("a new queue");
        client.send("orders", ["three anvils"]).await.expect("it takes a message");
        example(client).await.expect("the example works");
    });
}
