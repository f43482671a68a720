//! The client: what all handles share, and the calls that need no handle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::channel::Channel;
use phalanx_proto::v1;
use phalanx_proto::v1::bindings_client::BindingsClient;
use phalanx_proto::v1::cluster_client::ClusterClient;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_proto::v1::queues_client::QueuesClient;
use phalanx_proto::v1::topics_client::TopicsClient;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::admin::Admin;
use crate::backoff::Entropy;
use crate::builder::{ClientBuilder, Settings};
use crate::call::{Call, Repeat};
use crate::consumer::ConsumerBuilder;
use crate::error::Error;
use crate::id::Id;
use crate::limits;
use crate::message::{Message, Sent, sent_of};
use crate::metrics::{Meter, Metrics};
use crate::producer::ProducerBuilder;
use crate::receiver::Receiver;
use crate::request::Slot;
use crate::router::{QueueKey, Router, Target};
use crate::trace::{self, TraceSource};

/// A connection to a cluster. Cheap to clone; all clones share their connections.
///
/// Must be used inside a tokio runtime. There is nothing to close: producers and consumers are closed one by one, and the
/// connections end with the last handle that uses them.
///
/// ```no_run
/// # async fn example() -> Result<(), phalanx_client::Error> {
/// use phalanx_client::Client;
///
/// let client = Client::connect(["http://127.0.0.1:7420", "http://127.0.0.1:7421"]).await?;
/// let sent = client.send("orders", ["three anvils"]).await?;
/// println!("at {}", sent[0].sequence);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Arc<str>,
    pub(crate) requests: Slot,
}

/// What all handles of a client share.
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) entropy: Entropy,
    pub(crate) settings: Settings,
    pub(crate) metrics: Option<Arc<dyn Metrics>>,
    pub(crate) traceparent: Option<TraceSource>,
}

impl Client {
    /// Connects to a cluster by the addresses of one or more of its nodes (`http://host:port` or `host:port`), with
    /// defaults for all else. No address at all means the three nodes of `phalanx dev` on this machine.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none, [`Error::Unavailable`] when no node answered in time.
    pub async fn connect<I>(addresses: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::builder().addresses(addresses).connect().await
    }

    /// Connects with settings of your own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The same client, looking for queues in another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: impl Into<String>) -> Self {
        Self { shared: self.shared.clone(), namespace: namespace.into().into(), requests: Slot::default() }
    }

    /// The namespace in which queues are looked for.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A random identity, from the client's source of randomness.
    #[must_use]
    pub fn random_id(&self) -> Id {
        self.shared.entropy.id()
    }

    /// A producer: pipelined, idempotent, with back-pressure. `open` starts it.
    pub fn producer(&self, queue: impl AsRef<str>) -> ProducerBuilder {
        ProducerBuilder::new(self.shared.clone(), self.key(queue))
    }

    /// A consumer: a stream of deliveries. `open` attaches it.
    pub fn consumer(&self, queue: impl AsRef<str>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.shared.clone(), self.key(queue))
    }

    /// For receiving by single calls, without a stream.
    #[must_use]
    pub fn receiver(&self, queue: impl AsRef<str>) -> Receiver {
        Receiver::new(self.shared.clone(), self.key(queue))
    }

    /// Queues, and the cluster itself.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Sends a batch by one call: all of it, in order, or none. One answer for each message.
    ///
    /// Retried until the deadline under one request id: nothing is sent twice. For more than a few messages use a
    /// [`Producer`](crate::Producer).
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the batch may have been appended but no answer came; everything else means that
    /// it was not.
    pub async fn send<I>(&self, queue: impl AsRef<str>, messages: I) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.send_with_id(queue, messages, self.random_id()).await
    }

    /// As [`Client::send`] to a topic, but refused as a whole unless every message matches a subscription.
    ///
    /// # Errors
    /// [`Error::Unroutable`] when one matches none; otherwise as [`Client::send`].
    pub async fn send_mandatory<I>(&self, topic: impl AsRef<str>, messages: I) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.send_once(topic, messages, self.random_id(), true).await
    }

    /// As [`Client::send`], with a request id of the caller's: the same call again, even from another process, is the
    /// same send. Ids are remembered for two minutes at least.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_with_id<I>(
        &self,
        queue: impl AsRef<str>,
        messages: I,
        request_id: Id,
    ) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.send_once(queue, messages, request_id, false).await
    }

    async fn send_once<I>(
        &self,
        queue: impl AsRef<str>,
        messages: I,
        request_id: Id,
        mandatory: bool,
    ) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        let key = self.key(queue);
        let mut messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        let count = messages.len();
        let span = trace::send_span(&key, count, messages.iter().map(|message| message.body.len()).sum());
        for message in &mut messages {
            trace::stamp(self.shared.traceparent.as_ref(), &span, message);
        }
        let messages: Vec<v1::Message> = messages.into_iter().map(Message::into_wire).collect();
        let request = v1::SendRequest {
            namespace: key.namespace.to_string(),
            queue: key.name.to_string(),
            messages,
            request_id: request_id.to_bytes(),
            mandatory,
        };
        let since = Instant::now();
        let call = self.shared.to_queue(&key, Repeat::Same);
        let result = self
            .shared
            .call(call, |target, _| {
                let request = request.clone();
                async move { messages_client(&target).send(request).await }
            })
            .instrument(span.clone())
            .await;
        self.shared.meter(&key).tell_sent(count, since, &result);
        match &result {
            Ok(response) => drop(span.record("messaging.message.id", response.first_sequence)),
            Err(error) => trace::failed(&span, error),
        }
        Ok(sent_of(&result?, count).collect())
    }

    pub(crate) fn key(&self, queue: impl AsRef<str>) -> QueueKey {
        QueueKey { namespace: self.namespace.clone(), name: queue.as_ref().into() }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Shared {
    /// Who hears of the events of this queue.
    pub(crate) fn meter(&self, queue: &QueueKey) -> Meter {
        Meter::new(queue.clone(), self.metrics.clone())
    }

    /// Asks any node who is there.
    pub(crate) async fn probe(&self) -> Result<v1::TopologyResponse, Error> {
        let deadline = self.settings.request_deadline.min(limits::CONNECT_DEADLINE);
        let call = Call { deadline: Instant::now() + deadline, ..self.to_any(Repeat::Read) };
        let request = v1::TopologyRequest::default();
        self.call(call, |target, _| {
            let request = request.clone();
            async move { cluster_client(&target).topology(request).await }
        })
        .await
    }

    pub(crate) fn to_any(&self, repeat: Repeat) -> Call<'static> {
        Call {
            queue: None,
            only: None,
            repeat,
            deadline: Instant::now() + self.settings.request_deadline,
            attempt_max: self.attempt_max(),
            answers_soon: true,
            unsure: None,
        }
    }

    pub(crate) fn to_queue<'a>(&self, key: &'a QueueKey, repeat: Repeat) -> Call<'a> {
        Call {
            queue: Some(key),
            only: None,
            repeat,
            deadline: Instant::now() + self.settings.request_deadline,
            attempt_max: self.attempt_max(),
            answers_soon: true,
            unsure: None,
        }
    }

    /// A unary attempt may take longer than a stream may stall: the node may be waiting for an election itself.
    fn attempt_max(&self) -> Duration {
        self.settings.stall_timeout * 2
    }
}

pub(crate) fn messages_client(target: &Target) -> MessagesClient<Channel> {
    MessagesClient::new(target.channel.clone()).max_decoding_message_size(target.decode_bytes_max)
}

pub(crate) fn queues_client(target: &Target) -> QueuesClient<Channel> {
    QueuesClient::new(target.channel.clone()).max_decoding_message_size(target.decode_bytes_max)
}

pub(crate) fn topics_client(target: &Target) -> TopicsClient<Channel> {
    TopicsClient::new(target.channel.clone()).max_decoding_message_size(target.decode_bytes_max)
}

pub(crate) fn bindings_client(target: &Target) -> BindingsClient<Channel> {
    BindingsClient::new(target.channel.clone()).max_decoding_message_size(target.decode_bytes_max)
}

pub(crate) fn cluster_client(target: &Target) -> ClusterClient<Channel> {
    ClusterClient::new(target.channel.clone()).max_decoding_message_size(target.decode_bytes_max)
}
