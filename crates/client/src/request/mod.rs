//! Request and reply: a message, and the one that answers it.
//!
//! Replies come to a queue of the requester's own, which has one consumer and is deleted a while after that is gone. A reply finds its
//! request by its correlation id. Requests are messages of a queue like any other: many may serve it, one that dies with a request in hand
//! does not lose it, and each request is answered at least once.

mod desk;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::QueueSettings;
use crate::client::Client;
use crate::error::Error;
use crate::limits::{REPLIES_WINDOW, REPLY_QUEUE_EXPIRES};
use crate::message::Message;
use desk::{Desk, Registered};

/// The requester that a client and its clones share, once there is one.
pub(crate) type Slot = Arc<Mutex<Option<Arc<Requester>>>>;

/// Sends requests and waits for their replies, as many at a time as you like. Made by [`Client::requester`].
///
/// Dropping it deletes its reply queue; requests that wait then fail.
#[derive(Debug)]
pub struct Requester {
    /// A client of its own, which knows of no requester.
    client: Client,
    reply_to: String,
    desk: Arc<Desk>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Requester {
    async fn open(client: Client) -> Result<Self, Error> {
        let id = client.random_id();
        let reply_to = format!("~reply.{id}");
        let settings =
            QueueSettings { expires: Some(REPLY_QUEUE_EXPIRES), exclusive: true, ..QueueSettings::default() };
        client.admin().create_queue(&reply_to, settings).await?;
        let consumer = client.consumer(&reply_to).consumer_id(id).name("replies").window(REPLIES_WINDOW);
        let consumer = consumer.open().await?;
        let (desk, stop) = (Arc::new(Desk::default()), CancellationToken::new());
        let task = desk::take_replies(consumer, client.clone(), reply_to.clone(), desk.clone(), stop.clone());
        Ok(Self { client, reply_to, desk, stop, task: Mutex::new(Some(tokio::spawn(task))) })
    }

    /// Sends a request and waits for its reply, for at most `deadline` together.
    ///
    /// The message's reply-to is set, and its correlation id if it has none.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when no reply came in time: the request may be worked on, or have been. Otherwise as
    /// [`Client::send`]; everything but that error means that the request was not sent.
    pub async fn request(
        &self,
        queue: impl AsRef<str>,
        message: impl Into<Message>,
        deadline: Duration,
    ) -> Result<Message, Error> {
        let until = Instant::now() + deadline;
        let mut message = message.into().reply_to(self.reply_to.clone());
        if message.correlation_id.is_empty() {
            message.correlation_id = self.client.random_id().to_string();
        }
        let Registered { reply, _place } = self.desk.register(&message.correlation_id)?;
        let sending = self.client.send(queue, [message]);
        match tokio::time::timeout_at(until, sending).await {
            Ok(sent) => drop(sent?),
            Err(_) => {
                return Err(unanswered("it could not be sent in time, or was and nobody said so", deadline));
            }
        }
        self.answer(reply, until, deadline).await
    }

    async fn answer(
        &self,
        reply: oneshot::Receiver<Message>,
        until: Instant,
        deadline: Duration,
    ) -> Result<Message, Error> {
        match tokio::time::timeout_at(until, reply).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) => Err(unanswered("the reply queue is gone", deadline)),
            Err(_) => Err(unanswered("nobody replied", deadline)),
        }
    }

    /// Takes no more replies, and deletes the reply queue. Dropping the requester does the same, some time later.
    pub async fn close(self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::warn!(reply_to = self.reply_to, %error, "the task of a reply queue failed");
        }
    }

    /// Whether it takes no replies any more.
    fn is_over(&self) -> bool {
        self.desk.is_closed()
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn unanswered(why: &str, deadline: Duration) -> Error {
    let message = format!("no reply within {} ms: {why}", deadline.as_millis());
    Error::OutcomeUnknown { message }
}

impl Client {
    /// For requests: has a reply queue of its own. Clones of a client share one for [`Client::request`].
    ///
    /// # Errors
    /// As [`Admin::create_queue`](crate::Admin::create_queue) and opening a consumer.
    pub async fn requester(&self) -> Result<Requester, Error> {
        Requester::open(self.detached()).await
    }

    /// Sends a request to a queue and waits for its reply, for at most `deadline` together. The first request of a client opens its reply
    /// queue; the others use it.
    ///
    /// ```
    /// # phalanx_memory::example(async |client| {
    /// use std::time::Duration;
    ///
    /// use phalanx_client::{Message, QueueSettings};
    ///
    /// client.admin().create_queue("upper", QueueSettings::default()).await?;
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let server = client.clone();
    /// let serving = tokio::spawn(async move {
    ///     let upper = |request: std::sync::Arc<phalanx_client::Delivery>| async move {
    ///         Ok(Message::new(request.body().to_ascii_uppercase()))
    ///     };
    ///     server.serve("upper", 8, stopped, upper).await
    /// });
    /// let reply = client.request("upper", "anvil", Duration::from_secs(30)).await?;
    /// assert_eq!(&reply.body[..], b"ANVIL");
    /// drop(stop);
    /// serving.await.expect("it does not panic")?;
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Requester::request`] and [`Client::requester`].
    pub async fn request(
        &self,
        queue: impl AsRef<str>,
        message: impl Into<Message>,
        deadline: Duration,
    ) -> Result<Message, Error> {
        let until = Instant::now() + deadline;
        let requester = tokio::time::timeout_at(until, self.shared_requester()).await;
        let requester = requester
            .map_err(|_| Error::Unavailable { message: "no reply queue could be made in time".into() })??;
        requester.request(queue, message, until.saturating_duration_since(Instant::now())).await
    }

    async fn shared_requester(&self) -> Result<Arc<Requester>, Error> {
        let mut slot = self.requests.lock().await;
        if let Some(requester) = slot.as_ref().filter(|requester| !requester.is_over()) {
            return Ok(Arc::clone(requester));
        }
        let requester = Arc::new(Requester::open(self.detached()).await?);
        *slot = Some(Arc::clone(&requester));
        Ok(requester)
    }

    /// The same client without its requester, which can thus own one.
    fn detached(&self) -> Self {
        Self { shared: self.shared.clone(), namespace: self.namespace.clone(), requests: Slot::default() }
    }
}
