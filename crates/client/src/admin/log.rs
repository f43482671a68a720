//! A topic's log: subscriptions that move in it, and reading it.

use std::time::{SystemTime, UNIX_EPOCH};

use phalanx_proto::v1;

use super::types::time;
use super::{Admin, Subscription, SubscriptionSettings};
use crate::call::Repeat;
use crate::client::topics_client;
use crate::error::Error;
use crate::limits::EPHEMERAL_EXPIRES;
use crate::message::Message;

/// A place in a topic's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first message that is kept.
    Earliest,
    /// Behind the last message.
    Latest,
    /// This message, or the first behind it.
    Sequence(u64),
    /// The first message that was published then or later, by the cluster's time.
    Time(SystemTime),
    /// Where a mark of the subscription is: see [`Admin::mark_subscription`].
    Mark(String),
}

impl Place {
    pub(super) fn into_wire(self) -> v1::Place {
        use v1::place::Kind;
        let kind = match self {
            Self::Earliest => Kind::Earliest(true),
            Self::Latest => Kind::Latest(true),
            Self::Sequence(sequence) => Kind::Sequence(sequence),
            Self::Time(time) => Kind::TimeMs(unix_millis(time)),
            Self::Mark(name) => Kind::Mark(name),
        };
        v1::Place { kind: Some(kind) }
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A named place of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// The first message from there on.
    pub sequence: u64,
}

/// A message of a topic's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMessage {
    /// Its place.
    pub sequence: u64,
    /// When it was published, by the cluster's time.
    pub published: SystemTime,
    /// What was published.
    pub message: Message,
}

/// A page of a topic's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPage {
    /// In the order of their sequences. May be fewer than asked for, or none, although there are more.
    pub messages: Vec<LogMessage>,
    /// Where the next page begins; behind the last message, the sequence of the next one that will be published.
    pub next_sequence: u64,
    /// The first message that is kept. Higher than what was asked for: those before it are gone.
    pub first_sequence: u64,
    /// There is more now.
    pub more: bool,
}

impl Admin {
    /// Creates a subscription that begins at a place of its topic's log, or with the first message behind it that is kept. Otherwise as
    /// [`Admin::create_subscription`]; one that exists is not moved.
    ///
    /// ```
    /// # phalanx_memory::example(async |client| {
    /// use std::time::Duration;
    ///
    /// use phalanx_client::{Message, Place, SubscriptionSettings, TopicSettings};
    ///
    /// let admin = client.admin();
    /// let kept = TopicSettings { retain: Some(Duration::from_secs(3600)), ..TopicSettings::default() };
    /// admin.create_topic("readings", kept).await?;
    /// client.send("readings", [Message::new("17.5")]).await?;
    ///
    /// let late = SubscriptionSettings::default();
    /// let late = admin.create_subscription_at("readings", "late", late, Place::Earliest).await?;
    /// let mut consumer = client.consumer(&late.queue).open().await?;
    /// consumer.next().await.expect("it was kept")?.ack().await?;
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Admin::create_subscription`]; [`Error::Invalid`] for a mark, since it has none yet.
    pub async fn create_subscription_at(
        &self,
        topic: &str,
        name: &str,
        settings: SubscriptionSettings,
        place: Place,
    ) -> Result<Subscription, Error> {
        self.create_subscription_from(topic, name, settings, Some(place.into_wire())).await
    }

    /// Creates a subscription that lives as long as its one consumer: it has a random name, refuses other consumers, and is deleted a minute after
    /// its consumer is gone (or as long after as the settings say). Begins at a place, or with what is published from now on.
    ///
    /// # Errors
    /// As [`Admin::create_subscription_at`].
    pub async fn create_ephemeral_subscription(
        &self,
        topic: &str,
        settings: SubscriptionSettings,
        place: Option<Place>,
    ) -> Result<Subscription, Error> {
        let name = format!("~{}", self.client.random_id());
        let expires = settings.expires.or(Some(EPHEMERAL_EXPIRES));
        let settings = SubscriptionSettings { expires, exclusive: true, ..settings };
        self.create_subscription_from(topic, &name, settings, place.map(Place::into_wire)).await
    }

    /// Moves a subscription: all that it has is given up, deliveries in consumers' hands included, and it waits for what is at the place
    /// and behind. Answers with the sequence of the place.
    ///
    /// Not repeated when the answer is lost: it would give up what was done since.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::Invalid`] when messages from there on are gone, or there is no such mark;
    /// [`Error::OutcomeUnknown`] when no answer came.
    pub async fn seek_subscription(&self, topic: &str, name: &str, place: Place) -> Result<u64, Error> {
        let request = v1::SeekSubscriptionRequest {
            namespace: self.namespace(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            place: Some(place.into_wire()),
        };
        let call = self.client.shared.call(self.any(Repeat::Never), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).seek_subscription(request).await }
        });
        Ok(call.await?.sequence)
    }

    /// Names the place where a subscription stands: its first message that is not settled. Answers with the sequence of that. A mark of that
    /// name is moved. Not repeated when the answer is lost: the mark would be where the subscription stands then.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::Invalid`] when there are 64 others; [`Error::OutcomeUnknown`] when no answer came.
    pub async fn mark_subscription(&self, topic: &str, name: &str, mark: &str) -> Result<u64, Error> {
        self.place_mark(topic, name, mark, false).await
    }

    /// Forgets a mark; answers with where it was.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::Invalid`] when there is no such mark.
    pub async fn remove_mark(&self, topic: &str, name: &str, mark: &str) -> Result<u64, Error> {
        self.place_mark(topic, name, mark, true).await
    }

    async fn place_mark(&self, topic: &str, name: &str, mark: &str, remove: bool) -> Result<u64, Error> {
        let request = v1::MarkSubscriptionRequest {
            namespace: self.namespace(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            mark: mark.to_owned(),
            remove,
        };
        let call = self.client.shared.call(self.any(Repeat::Never), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).mark_subscription(request).await }
        });
        Ok(call.await?.sequence)
    }

    /// A page of a topic's log from a sequence on (0: the first that is kept), at most 1,000 messages. Nothing is settled or counted.
    /// Linearizable.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn read_log(
        &self,
        topic: &str,
        from_sequence: u64,
        max_messages: u32,
    ) -> Result<LogPage, Error> {
        let (namespace, name) = (self.namespace(), topic.to_owned());
        let request = v1::ReadLogRequest { namespace, name, from_sequence, max_messages };
        let key = self.client.key(topic);
        let call = self.client.shared.call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).read_log(request).await }
        });
        let page = call.await?;
        let message = |message: v1::LogMessage| LogMessage {
            sequence: message.sequence,
            published: time(message.enqueued_ms),
            message: Message::from_wire(message.message.unwrap_or_default()),
        };
        Ok(LogPage {
            messages: page.messages.into_iter().map(message).collect(),
            next_sequence: page.next_sequence,
            first_sequence: page.first_sequence,
            more: page.more,
        })
    }
}
