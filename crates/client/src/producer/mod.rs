//! Producers: pipelined, idempotent sends with back-pressure.

mod confirmation;
mod connect;
mod ledger;
mod send_all;
mod state;
mod verdict;
mod waiting;
mod window;
mod worker;

pub use confirmation::{BatchConfirmation, Confirmation};
pub use send_all::SendAll;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::client::Shared;
use crate::error::Error;
use crate::limits;
use crate::message::{Message, Sent};
use crate::router::QueueKey;
use window::{Window, WindowLimits};

/// Sets a [`Producer`] up.
///
/// ```
/// # phalanx_memory::example(async |client| {
/// let producer = client.producer("orders").window(256).open().await?;
/// # drop(producer);
/// # Ok(())
/// # });
/// ```
#[must_use]
pub struct ProducerBuilder {
    shared: Arc<Shared>,
    queue: QueueKey,
    limits: WindowLimits,
    open_deadline: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, queue: QueueKey) -> Self {
        Self { shared, queue, limits: WindowLimits::default(), open_deadline: limits::OPEN_DEADLINE }
    }

    /// Messages that may be waiting and unconfirmed together; `enqueue` waits beyond that. Default 1,024.
    pub fn window(mut self, messages: usize) -> Self {
        self.limits.messages = messages.max(1);
        self
    }

    /// Payload bytes that may be waiting and unconfirmed together; one message is always allowed. Default 16 MiB.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes.max(1);
        self
    }

    /// Messages that share a batch at most when they are waiting at the same moment. Those that share a batch are appended
    /// or refused together. 1 to 1,024, default 64; 1: each message is a batch of its own.
    pub fn coalesce(mut self, messages: usize) -> Self {
        self.limits.coalesce = messages.clamp(1, limits::BATCH_MESSAGES_MAX);
        self
    }

    /// Payload bytes that share a batch at most. 1 byte to 1 MiB, default 64 KiB. A message of more than 16 KiB always is a
    /// batch of its own.
    pub fn coalesce_bytes(mut self, bytes: usize) -> Self {
        self.limits.coalesce_bytes = bytes.clamp(1, limits::SOLO_BYTES);
        self
    }

    /// How long a message waits for company, so that fewer and larger batches are sent. Default 0: nothing waits, and
    /// messages share a batch only if they are there at the same moment. At most 1 s, and at most half of the send
    /// deadline.
    ///
    /// A batch that is full goes at once, and so does what waits when the window has no room for more, at
    /// [`flush`](Producer::flush) and at [`close`](Producer::close).
    pub fn linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger.min(limits::LINGER_MAX);
        self
    }

    /// From `enqueue` to the confirmation; after it the outcome is reported: unknown if the message may have been
    /// sent, [`Error::Unavailable`] if it was not. Default 30 s.
    pub fn send_deadline(mut self, deadline: Duration) -> Self {
        self.limits.send_deadline = deadline;
        self
    }

    /// `open` may take this long. Default 30 s.
    pub fn open_deadline(mut self, deadline: Duration) -> Self {
        self.open_deadline = deadline;
        self
    }

    /// To a topic: a batch is refused as a whole, with [`Error::Unroutable`], unless each of its messages matches a subscription.
    pub fn mandatory(mut self) -> Self {
        self.limits.mandatory = true;
        self
    }

    /// Opens the producer's stream.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`] and whatever else the server refuses it with; [`Error::Unavailable`] when no node
    /// could serve it in time.
    pub async fn open(mut self) -> Result<Producer, Error> {
        self.limits.linger = self.limits.linger.min(self.limits.send_deadline / 2);
        let meter = self.shared.meter(&self.queue);
        let id = self.shared.entropy.id();
        let window = Arc::new(Window::new(self.limits, id, meter, self.shared.traceparent.clone()));
        let worker = worker::Worker { shared: self.shared, queue: self.queue, window: window.clone() };
        let first = worker.open(self.open_deadline).await?;
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run(first)));
        Ok(Producer { inner: Arc::new(Inner { window, _task: task }) })
    }
}

/// Sends messages to one queue, in order, many at a time, none twice.
///
/// Cheap to clone. Order of calls to [`enqueue`](Self::enqueue) = order in the queue, across reconnects and leader
/// changes. When the last clone is dropped its task ends, and what is not confirmed then has an unknown outcome: call
/// [`flush`](Self::flush) or [`close`](Self::close) before.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

/// A message that [`Producer::try_enqueue`] did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEnqueued {
    /// The message.
    pub message: Message,
    /// `None`: the window has no room now.
    pub error: Option<Error>,
}

struct Inner {
    window: Arc<Window>,
    _task: AbortOnDropHandle<()>,
}

impl Producer {
    /// Sends a message and waits for its confirmation: [`enqueue`](Self::enqueue), and then the future it gave.
    ///
    /// # Errors
    /// See [`Confirmation`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<Sent, Error> {
        self.enqueue(message).await?.await
    }

    /// Takes a message, as soon as the window has room. The future it gives resolves when the message is confirmed; it
    /// may be dropped, the message is sent all the same.
    ///
    /// Dropping the call itself before it has answered leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the window stayed full until the send deadline; [`Error::Invalid`] for a message
    /// that no queue takes; [`Error::Closed`].
    pub async fn enqueue(&self, message: impl Into<Message>) -> Result<Confirmation, Error> {
        self.inner.window.enqueue(message.into()).await
    }

    /// Takes a message if the window has room now.
    ///
    /// # Errors
    /// The message again, and why it can never be taken, if there is more to it than no room.
    pub fn try_enqueue(&self, message: Message) -> Result<Confirmation, Box<NotEnqueued>> {
        self.inner.window.try_enqueue(message)
    }

    /// Takes a batch that is appended as a whole or not at all, as soon as the window has room.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); [`Error::Invalid`] also when it is empty or has more than 1,024 messages or
    /// 20 MiB.
    pub async fn enqueue_batch<I>(&self, messages: I) -> Result<BatchConfirmation, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.inner.window.enqueue_batch(messages.into_iter().map(Into::into).collect()).await
    }

    /// Sends the messages of a stream, as fast as the window has room, and gives what became of each, in their order.
    ///
    /// Nothing is taken from `messages` but when what is returned is polled, and no more than a window beyond what it has
    /// given. An error is the item of its message, and the next ones are sent all the same; but after one that each of
    /// them would get too ([`Error::Closed`], [`Error::QueueGone`], [`Error::QueueNotFound`], [`Error::Denied`]) no more
    /// is taken, what was taken is still told, and the stream ends.
    ///
    /// ```
    /// # phalanx_memory::example(async |client| {
    /// # let producer = client.producer("orders").open().await?;
    /// use futures::{TryStreamExt as _, stream};
    ///
    /// let messages = (0..10_000).map(|i| format!("order {i}"));
    /// let mut sent = producer.send_all(stream::iter(messages));
    /// while let Some(sent) = sent.try_next().await? {
    ///     println!("at {}", sent.sequence);
    /// }
    /// # Ok(())
    /// # });
    /// ```
    pub fn send_all<S>(&self, messages: S) -> SendAll<S>
    where
        S: futures::Stream,
        S::Item: Into<Message>,
    {
        SendAll::new(self.clone(), messages)
    }

    /// Waits until all that was enqueued before is resolved.
    ///
    /// # Errors
    /// The first error, since the last flush, of a confirmation that was dropped: what a confirmation told its owner is not told again.
    /// So confirmations may be dropped, and `flush` asked whether all is well.
    pub async fn flush(&self) -> Result<(), Error> {
        self.inner.window.flush().await
    }

    /// Flushes, and closes this producer and all its clones.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(self) -> Result<(), Error> {
        self.inner.window.refuse_more();
        self.inner.window.flush().await
    }

    /// Messages waiting and unconfirmed.
    #[must_use]
    pub fn in_window(&self) -> usize {
        self.inner.window.used()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("in_window", &self.in_window()).finish_non_exhaustive()
    }
}
