//! Topics and their subscriptions.

use std::time::{Duration, SystemTime};

use phalanx_proto::v1;

use super::types::{millis, some, time};
use super::{Admin, SUBSCRIPTION, TOPIC, gone};
use crate::call::Repeat;
use crate::client::topics_client;
use crate::error::Error;
use crate::limits;

/// How a topic behaves. `None` stands for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// Most messages that are kept for subscriptions which have not settled them, beyond those that retention keeps. Default 10,000,000.
    pub length_max: Option<u64>,
    /// Most payload bytes of these. Default 8 GiB.
    pub bytes_max: Option<u64>,
    /// How long deduplication ids are remembered. Default 5 min.
    pub dedup_window: Option<Duration>,
    /// Largest body of a message, bytes. Default 1 MiB; at most 16 MiB.
    pub body_bytes_max: Option<u64>,
    /// The newest messages are kept for so long, whoever has settled them. Default: without a limit by time if there is one by bytes, otherwise
    /// none is kept.
    pub retain: Option<Duration>,
    /// The newest messages are kept up to so many payload bytes. Default: 8 GiB if there is a limit by time.
    pub retain_bytes: Option<u64>,
    /// Fixed when it is made: of each ordering key the newest message is kept. One without a body deletes its key.
    pub compact: bool,
}

/// A topic as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Identity of this life of the topic; a namesake created later has another.
    pub uid: u64,
    /// The group that holds it, and its subscriptions.
    pub shard: u64,
    /// Rises with each change of the settings.
    pub version: u64,
    /// How it behaves.
    pub settings: TopicSettings,
    /// When it was created.
    pub created: SystemTime,
    /// `creating`, `live` or `deleting`.
    pub state: String,
}

/// A topic, and what is stored for its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic.
    pub topic: Topic,
    /// Messages that are there: for subscriptions that have not settled them, and retained ones.
    pub stored: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Age of the oldest of them; `None` when there is none.
    pub oldest_age: Option<Duration>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// The next message gets this place.
    pub next_sequence: u64,
    /// Idempotent producers remembered.
    pub producers: u64,
    /// Messages published, ever.
    pub published_total: u64,
    /// Node that leads the shard.
    pub leader_node: u64,
    /// All messages from here on are there.
    pub first_sequence: u64,
}

/// How a subscription behaves, and what it takes. `None` stands for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionSettings {
    /// Over routing keys: words between dots, `*` for one word, `#` for any number. Empty: any key.
    pub pattern: String,
    /// Over headers, such as `region = 'eu' and amount >= 10.5`. Empty: any message.
    pub filter: String,
    /// How long a delivery is its consumer's. Default 30 s; at most 12 h.
    pub lease: Option<Duration>,
    /// The whole subscription is one ordering group.
    pub strict: bool,
    /// How long the leases of a lost consumer wait for it. Default 10 s.
    pub resume: Option<Duration>,
    /// Fixed when it is made: of each ordering key only the newest message waits.
    pub latest_only: bool,
    /// Deleted after so long without a consumer and a receive; at most 365 days. Default: never.
    pub expires: Option<Duration>,
    /// Has one consumer: others are refused while it is there.
    pub exclusive: bool,
}

/// A subscription as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Where it lives.
    pub namespace: String,
    /// Its topic.
    pub topic: String,
    /// Its name within the topic.
    pub name: String,
    /// `topic/name`: its name as a queue, for [`Client::consumer`](crate::Client::consumer), [`Client::receiver`](crate::Client::receiver) and
    /// [`Admin::queue_info`].
    pub queue: String,
    /// Identity of this life of the subscription.
    pub uid: u64,
    /// The group that holds it: its topic's.
    pub shard: u64,
    /// Rises with each change.
    pub version: u64,
    /// How it behaves, and what it takes.
    pub settings: SubscriptionSettings,
    /// When it was created.
    pub created: SystemTime,
    /// `creating`, `live` or `deleting`.
    pub state: String,
}

impl TopicSettings {
    fn into_wire(self) -> v1::TopicSettings {
        v1::TopicSettings {
            length_max: self.length_max.unwrap_or(0),
            bytes_max: self.bytes_max.unwrap_or(0),
            dedup_window_ms: millis(self.dedup_window),
            body_bytes_max: self.body_bytes_max.unwrap_or(0),
            retain_ms: millis(self.retain),
            retain_bytes: self.retain_bytes.unwrap_or(0),
            compact: self.compact,
        }
    }
}

impl SubscriptionSettings {
    fn wire(&self) -> v1::SubscriptionSettings {
        v1::SubscriptionSettings {
            lease_ms: millis(self.lease),
            strict: self.strict,
            resume_ms: millis(self.resume),
            latest_only: self.latest_only,
            expires_ms: millis(self.expires),
            exclusive: self.exclusive,
        }
    }
}

impl Topic {
    fn from_wire(topic: v1::Topic) -> Self {
        let settings = topic.settings.unwrap_or_default();
        Self {
            namespace: topic.namespace,
            name: topic.name,
            uid: topic.uid,
            shard: topic.shard,
            version: topic.version,
            settings: TopicSettings {
                length_max: some(settings.length_max),
                bytes_max: some(settings.bytes_max),
                dedup_window: some(settings.dedup_window_ms).map(Duration::from_millis),
                body_bytes_max: some(settings.body_bytes_max),
                retain: some(settings.retain_ms).map(Duration::from_millis),
                retain_bytes: some(settings.retain_bytes),
                compact: settings.compact,
            },
            created: time(topic.created_ms),
            state: topic.state,
        }
    }
}

impl Subscription {
    fn from_wire(subscription: v1::Subscription) -> Self {
        let settings = subscription.settings.unwrap_or_default();
        Self {
            namespace: subscription.namespace,
            topic: subscription.topic,
            name: subscription.name,
            queue: subscription.queue,
            uid: subscription.uid,
            shard: subscription.shard,
            version: subscription.version,
            settings: SubscriptionSettings {
                pattern: subscription.pattern,
                filter: subscription.filter,
                lease: some(settings.lease_ms).map(Duration::from_millis),
                strict: settings.strict,
                resume: some(settings.resume_ms).map(Duration::from_millis),
                latest_only: settings.latest_only,
                expires: some(settings.expires_ms).map(Duration::from_millis),
                exclusive: settings.exclusive,
            },
            created: time(subscription.created_ms),
            state: subscription.state,
        }
    }
}

impl Admin {
    /// Creates a topic; answers with the one of that name if its settings are the same.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when it has other settings, is being deleted, or is a queue.
    pub async fn create_topic(&self, name: &str, settings: TopicSettings) -> Result<Topic, Error> {
        let (namespace, name) = (self.namespace(), name.to_owned());
        let request = v1::CreateTopicRequest { namespace, name, settings: Some(settings.into_wire()) };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).create_topic(request).await }
        });
        Ok(Topic::from_wire(call.await?))
    }

    /// Replaces all settings of a topic. With `if_version`, only if the topic still has that version.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::VersionMismatch`] when someone else changed the settings.
    pub async fn update_topic(
        &self,
        name: &str,
        settings: TopicSettings,
        if_version: Option<u64>,
    ) -> Result<Topic, Error> {
        let settings = settings.into_wire();
        let update = self.update(TOPIC, name, if_version, |life| {
            let request = v1::UpdateTopicRequest {
                namespace: self.namespace(),
                name: name.to_owned(),
                settings: Some(settings),
                if_version: life.version,
                uid: life.uid,
            };
            self.client.shared.call(self.any(Repeat::Same), move |target, _| {
                let request = request.clone();
                async move { topics_client(&target).update_topic(request).await }
            })
        });
        Ok(Topic::from_wire(update.await?))
    }

    /// Deletes a topic with all its subscriptions; answers when the names are free again.
    ///
    /// # Errors
    /// As [`Admin::delete_queue`].
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let uid = self.life(TOPIC, name).await?.uid;
        let request = v1::DeleteTopicRequest { namespace: self.namespace(), name: name.to_owned(), uid };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { gone(topics_client(&target).delete_topic(request).await) }
        });
        call.await.map(|_| ())
    }

    /// Settings of a topic, and what is stored for its subscriptions. Linearizable.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn topic_info(&self, name: &str) -> Result<TopicInfo, Error> {
        let key = self.client.key(name);
        let request = v1::GetTopicRequest { namespace: self.namespace(), name: name.to_owned() };
        let call = self.client.shared.call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).get_topic(request).await }
        });
        let info = call.await?;
        Ok(TopicInfo {
            topic: Topic::from_wire(info.topic.unwrap_or_default()),
            stored: info.stored,
            bytes: info.bytes,
            oldest_age: some(info.oldest_age_ms).map(Duration::from_millis),
            subscriptions: info.subscriptions,
            next_sequence: info.next_sequence,
            producers: info.producers,
            published_total: info.published_total,
            leader_node: info.leader_node,
            first_sequence: info.first_sequence,
        })
    }

    /// All topics of the namespace, in the order of their names.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_topics(&self) -> Result<Vec<Topic>, Error> {
        let mut topics = Vec::new();
        let mut page_token = String::new();
        loop {
            let (namespace, page_size) = (self.namespace(), limits::PAGE_SIZE);
            let request = v1::ListTopicsRequest { namespace, page_size, page_token };
            let call = self.client.shared.call(self.any(Repeat::Read), |target, _| {
                let request = request.clone();
                async move { topics_client(&target).list_topics(request).await }
            });
            let page = call.await?;
            topics.extend(page.topics.into_iter().map(Topic::from_wire));
            if page.next_page_token.is_empty() {
                return Ok(topics);
            }
            page_token = page.next_page_token;
        }
    }

    /// Creates a subscription, which gets what is published from then on; answers with the one of that name if it is the same.
    ///
    /// ```
    /// # phalanx_memory::example(async |client| {
    /// use phalanx_client::{Message, SubscriptionSettings, TopicSettings};
    ///
    /// let admin = client.admin();
    /// admin.create_topic("prices", TopicSettings::default()).await?;
    /// let settings = SubscriptionSettings { pattern: "*.eu".into(), ..SubscriptionSettings::default() };
    /// let europe = admin.create_subscription("prices", "europe", settings).await?;
    ///
    /// client.send("prices", [Message::new("17.50").routing_key("anvils.eu")]).await?;
    /// let mut consumer = client.consumer(&europe.queue).open().await?;
    /// consumer.next().await.expect("it matches")?.ack().await?;
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// [`Error::QueueNotFound`] when there is no such topic; [`Error::Invalid`] for a pattern or filter that is not understood: it says
    /// where; [`Error::AlreadyExists`].
    pub async fn create_subscription(
        &self,
        topic: &str,
        name: &str,
        settings: SubscriptionSettings,
    ) -> Result<Subscription, Error> {
        self.create_subscription_from(topic, name, settings, None).await
    }

    pub(super) async fn create_subscription_from(
        &self,
        topic: &str,
        name: &str,
        settings: SubscriptionSettings,
        start: Option<v1::Place>,
    ) -> Result<Subscription, Error> {
        let request = v1::CreateSubscriptionRequest {
            namespace: self.namespace(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            settings: Some(settings.wire()),
            pattern: settings.pattern,
            filter: settings.filter,
            start,
        };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { topics_client(&target).create_subscription(request).await }
        });
        Ok(Subscription::from_wire(call.await?))
    }

    /// Replaces all settings of a subscription, pattern and filter among them: these hold for what is published from then on, and what
    /// waits goes on waiting. With `if_version`, only if the subscription still has that version.
    ///
    /// # Errors
    /// As [`Admin::create_subscription`]; [`Error::VersionMismatch`].
    pub async fn update_subscription(
        &self,
        topic: &str,
        name: &str,
        settings: SubscriptionSettings,
        if_version: Option<u64>,
    ) -> Result<Subscription, Error> {
        let full_name = format!("{topic}/{name}");
        let update = self.update(SUBSCRIPTION, &full_name, if_version, |life| {
            let request = v1::UpdateSubscriptionRequest {
                namespace: self.namespace(),
                topic: topic.to_owned(),
                name: name.to_owned(),
                settings: Some(settings.wire()),
                pattern: settings.pattern.clone(),
                filter: settings.filter.clone(),
                if_version: life.version,
                uid: life.uid,
            };
            self.client.shared.call(self.any(Repeat::Same), move |target, _| {
                let request = request.clone();
                async move { topics_client(&target).update_subscription(request).await }
            })
        });
        Ok(Subscription::from_wire(update.await?))
    }

    /// Deletes a subscription with all that waits for it; others are not touched. Answers when the name is free again.
    ///
    /// # Errors
    /// As [`Admin::delete_queue`].
    pub async fn delete_subscription(&self, topic: &str, name: &str) -> Result<(), Error> {
        let uid = self.life(SUBSCRIPTION, &format!("{topic}/{name}")).await?.uid;
        let (namespace, topic, name) = (self.namespace(), topic.to_owned(), name.to_owned());
        let request = v1::DeleteSubscriptionRequest { namespace, topic, name, uid };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { gone(topics_client(&target).delete_subscription(request).await) }
        });
        call.await.map(|_| ())
    }

    /// All subscriptions of a topic, in the order of their names.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn list_subscriptions(&self, topic: &str) -> Result<Vec<Subscription>, Error> {
        let mut subscriptions = Vec::new();
        let mut page_token = String::new();
        loop {
            let (namespace, topic, page_size) = (self.namespace(), topic.to_owned(), limits::PAGE_SIZE);
            let request = v1::ListSubscriptionsRequest { namespace, topic, page_size, page_token };
            let call = self.client.shared.call(self.any(Repeat::Read), |target, _| {
                let request = request.clone();
                async move { topics_client(&target).list_subscriptions(request).await }
            });
            let page = call.await?;
            subscriptions.extend(page.subscriptions.into_iter().map(Subscription::from_wire));
            if page.next_page_token.is_empty() {
                return Ok(subscriptions);
            }
            page_token = page.next_page_token;
        }
    }
}
