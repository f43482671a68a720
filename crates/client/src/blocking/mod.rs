//! The client for programs without async: the same handles, and every call waits.
//!
//! A [`Client`] has a runtime of its own with one thread, which ends with the last handle. Calls may be made from any thread. Inside async
//! code they work, and hold up the thread they are made on: use the async client there.
//!
//! ```no_run
//! # fn main() -> Result<(), phalanx_client::Error> {
//! use phalanx_client::blocking::Client;
//!
//! let client = Client::connect(["http://127.0.0.1:7420"])?;
//! client.send("orders", ["three anvils"])?;
//! for delivery in client.consumer("orders")? {
//!     let delivery = delivery?;
//!     println!("{:?}", delivery.body());
//!     delivery.ack()?;
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod consumer;
mod producer;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub use admin::Admin;
pub use consumer::{Consumer, Delivery, Receiver};
pub use producer::{Confirmation, Producer};

use crate::consumer::ConsumerBuilder;
use crate::error::Error;
use crate::message::{Message, Sent};
use crate::producer::ProducerBuilder;
use crate::{ClientBuilder, Id};

/// The runtime behind all handles of a client.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Running>);

struct Running(Option<Runtime>);

impl Engine {
    fn start() -> Result<Self, Error> {
        let built =
            Builder::new_multi_thread().worker_threads(1).thread_name("phalanx-client").enable_all().build();
        let runtime = built.map_err(|error| Error::Unavailable {
            message: format!("the client's thread cannot be started: {error}"),
        })?;
        Ok(Self(Arc::new(Running(Some(runtime)))))
    }

    /// Waits for a future on this thread; its timers and tasks are the runtime's.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        let _context = self.0.0.as_ref().map(Runtime::enter);
        futures::executor::block_on(future)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropping a runtime waits for it, which async code must not do.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection to a cluster. Cheap to clone; all clones share their connections and their thread.
#[derive(Clone)]
pub struct Client {
    engine: Engine,
    client: crate::Client,
}

impl Client {
    /// As [`crate::Client::connect`].
    ///
    /// # Errors
    /// As there; [`Error::Unavailable`] also when no thread can be started.
    pub fn connect<I>(addresses: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::connect_with(crate::Client::builder().addresses(addresses))
    }

    /// With settings of your own.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(builder: ClientBuilder) -> Result<Self, Error> {
        let engine = Engine::start()?;
        let client = engine.wait(builder.connect())?;
        Ok(Self { engine, client })
    }

    /// The async client behind it: its builders set up what [`open_producer`](Self::open_producer) and
    /// [`open_consumer`](Self::open_consumer) open.
    #[must_use]
    pub fn asynchronous(&self) -> &crate::Client {
        &self.client
    }

    /// As [`crate::Client::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send<I>(&self, queue: impl AsRef<str>, messages: I) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.engine.wait(self.client.send(queue, messages))
    }

    /// As [`crate::Client::send_with_id`].
    ///
    /// # Errors
    /// As there.
    pub fn send_with_id<I>(
        &self,
        queue: impl AsRef<str>,
        messages: I,
        request_id: Id,
    ) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.engine.wait(self.client.send_with_id(queue, messages, request_id))
    }

    /// As [`crate::Client::request`].
    ///
    /// # Errors
    /// As there.
    pub fn request(
        &self,
        queue: impl AsRef<str>,
        message: impl Into<Message>,
        deadline: Duration,
    ) -> Result<Message, Error> {
        self.engine.wait(self.client.request(queue, message, deadline))
    }

    /// Opens a producer with the defaults.
    ///
    /// # Errors
    /// As [`ProducerBuilder::open`].
    pub fn producer(&self, queue: impl AsRef<str>) -> Result<Producer, Error> {
        self.open_producer(self.client.producer(queue))
    }

    /// Opens a producer that [`asynchronous`](Self::asynchronous)`().producer(queue)` set up.
    ///
    /// # Errors
    /// As [`ProducerBuilder::open`].
    pub fn open_producer(&self, builder: ProducerBuilder) -> Result<Producer, Error> {
        let producer = self.engine.wait(builder.open())?;
        Ok(Producer::new(self.engine.clone(), producer))
    }

    /// Attaches a consumer with the defaults.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::open`].
    pub fn consumer(&self, queue: impl AsRef<str>) -> Result<Consumer, Error> {
        self.open_consumer(self.client.consumer(queue))
    }

    /// Attaches a consumer that [`asynchronous`](Self::asynchronous)`().consumer(queue)` set up.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::open`].
    pub fn open_consumer(&self, builder: ConsumerBuilder) -> Result<Consumer, Error> {
        let consumer = self.engine.wait(builder.open())?;
        Ok(Consumer::new(self.engine.clone(), consumer))
    }

    /// For receiving by single calls.
    #[must_use]
    pub fn receiver(&self, queue: impl AsRef<str>) -> Receiver {
        // It starts a task, which needs the runtime.
        let receiver = self.engine.wait(async { self.client.receiver(queue) });
        Receiver::new(self.engine.clone(), receiver)
    }

    /// Queues, and the cluster itself.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.engine.clone(), self.client.admin())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("blocking::Client").field(&self.client).finish()
    }
}
