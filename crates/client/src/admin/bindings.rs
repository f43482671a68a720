//! Bindings: topics that feed queues and other topics.

use std::time::{Duration, SystemTime};

use phalanx_proto::v1;

use super::types::{some, time};
use super::{Admin, BINDING, Place, gone};
use crate::call::Repeat;
use crate::client::bindings_client;
use crate::error::Error;
use crate::limits;

/// Which messages of a topic a binding carries. Default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Over routing keys: words between dots, `*` for one word, `#` for any number. Empty: any key.
    pub pattern: String,
    /// Over headers, such as `region = 'eu' and amount >= 10.5`. Empty: any message.
    pub filter: String,
}

/// A binding as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where it lives.
    pub namespace: String,
    /// Its topic.
    pub topic: String,
    /// Its name within the topic, which no subscription has.
    pub name: String,
    /// The queue or topic that it feeds.
    pub target: String,
    /// Identity of this life of the binding.
    pub uid: u64,
    /// The group that holds it: its topic's.
    pub shard: u64,
    /// Rises with each change.
    pub version: u64,
    /// What it carries.
    pub conditions: Conditions,
    /// When it was created.
    pub created: SystemTime,
    /// `creating`, `live`, `deleting`, or `target-deleted`: what it fed is gone. The last only of bindings that were listed or looked at.
    pub state: String,
}

/// A binding, and what waits in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingInfo {
    /// The binding.
    pub binding: Binding,
    /// Messages that it has not carried yet: they count in the topic's limits.
    pub waiting: u64,
    /// Their payload bytes.
    pub waiting_bytes: u64,
    /// Age of the oldest of them; `None` when there is none.
    pub oldest_age: Option<Duration>,
    /// Messages that it has carried, ever.
    pub carried_total: u64,
    /// Messages of the past that its conditions have not been asked about.
    pub unseen: u64,
    /// What it fed was deleted: what waits goes nowhere until the binding is deleted.
    pub target_gone: bool,
}

impl Binding {
    fn from_wire(binding: v1::Binding) -> Self {
        Self {
            namespace: binding.namespace,
            topic: binding.topic,
            name: binding.name,
            target: binding.target,
            uid: binding.uid,
            shard: binding.shard,
            version: binding.version,
            conditions: Conditions { pattern: binding.pattern, filter: binding.filter },
            created: time(binding.created_ms),
            state: binding.state,
        }
    }
}

impl Admin {
    /// Creates a binding: the messages of a topic that meet the conditions go on to `target`, a queue or a topic, each once and in order. Begins
    /// at a place, or with what is published from now on. Answers with the binding of that name if it is the same.
    ///
    /// ```
    /// # phalanx_memory::example(async |client| {
    /// use phalanx_client::{Conditions, Message, QueueSettings, TopicSettings};
    ///
    /// let admin = client.admin();
    /// admin.create_topic("sales", TopicSettings::default()).await?;
    /// admin.create_queue("ledger", QueueSettings::default()).await?;
    /// let dear = Conditions { filter: "amount >= 100".into(), ..Conditions::default() };
    /// admin.create_binding("sales", "dear", "ledger", dear, None).await?;
    ///
    /// client.send("sales", [Message::new("anvil").header("amount", "250")]).await?;
    /// let mut consumer = client.consumer("ledger").open().await?;
    /// consumer.next().await.expect("it was carried")?.ack().await?;
    /// # Ok(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// [`Error::QueueNotFound`] when there is no such topic or target; [`Error::Invalid`] for conditions that are not understood, and when
    /// messages would go round; [`Error::AlreadyExists`].
    pub async fn create_binding(
        &self,
        topic: &str,
        name: &str,
        target: &str,
        conditions: Conditions,
        start: Option<Place>,
    ) -> Result<Binding, Error> {
        let request = v1::CreateBindingRequest {
            namespace: self.namespace(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            target: target.to_owned(),
            pattern: conditions.pattern,
            filter: conditions.filter,
            start: start.map(Place::into_wire),
        };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { bindings_client(&target).create_binding(request).await }
        });
        Ok(Binding::from_wire(call.await?))
    }

    /// Replaces the conditions of a binding, for what is published from then on. With `if_version`, only if it still has that version.
    ///
    /// # Errors
    /// As [`Admin::create_binding`]; [`Error::VersionMismatch`].
    pub async fn update_binding(
        &self,
        topic: &str,
        name: &str,
        conditions: Conditions,
        if_version: Option<u64>,
    ) -> Result<Binding, Error> {
        let full_name = format!("{topic}/{name}");
        let update = self.update(BINDING, &full_name, if_version, |life| {
            let request = v1::UpdateBindingRequest {
                namespace: self.namespace(),
                topic: topic.to_owned(),
                name: name.to_owned(),
                pattern: conditions.pattern.clone(),
                filter: conditions.filter.clone(),
                if_version: life.version,
                uid: life.uid,
            };
            self.client.shared.call(self.any(Repeat::Same), move |target, _| {
                let request = request.clone();
                async move { bindings_client(&target).update_binding(request).await }
            })
        });
        Ok(Binding::from_wire(update.await?))
    }

    /// Deletes a binding with all that waits in it. What it has carried stays where it is. Answers when the name is free again.
    ///
    /// # Errors
    /// As [`Admin::delete_queue`].
    pub async fn delete_binding(&self, topic: &str, name: &str) -> Result<(), Error> {
        let uid = self.life(BINDING, &format!("{topic}/{name}")).await?.uid;
        let (namespace, topic, name) = (self.namespace(), topic.to_owned(), name.to_owned());
        let request = v1::DeleteBindingRequest { namespace, topic, name, uid };
        let call = self.client.shared.call(self.any(Repeat::Same), |target, _| {
            let request = request.clone();
            async move { gone(bindings_client(&target).delete_binding(request).await) }
        });
        call.await.map(|_| ())
    }

    /// What a binding carries, and what waits in it. Linearizable.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn binding_info(&self, topic: &str, name: &str) -> Result<BindingInfo, Error> {
        let key = self.client.key(topic);
        let (namespace, topic, name) = (self.namespace(), topic.to_owned(), name.to_owned());
        let request = v1::GetBindingRequest { namespace, topic, name };
        let call = self.client.shared.call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
            let request = request.clone();
            async move { bindings_client(&target).get_binding(request).await }
        });
        let info = call.await?;
        Ok(BindingInfo {
            binding: Binding::from_wire(info.binding.unwrap_or_default()),
            waiting: info.waiting,
            waiting_bytes: info.waiting_bytes,
            oldest_age: some(info.oldest_age_ms).map(Duration::from_millis),
            carried_total: info.carried_total,
            unseen: info.unseen,
            target_gone: info.target_gone,
        })
    }

    /// All bindings of a topic, in the order of their names.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn list_bindings(&self, topic: &str) -> Result<Vec<Binding>, Error> {
        let mut bindings = Vec::new();
        let mut page_token = String::new();
        loop {
            let (namespace, topic, page_size) = (self.namespace(), topic.to_owned(), limits::PAGE_SIZE);
            let request = v1::ListBindingsRequest { namespace, topic, page_size, page_token };
            let call = self.client.shared.call(self.any(Repeat::Read), |target, _| {
                let request = request.clone();
                async move { bindings_client(&target).list_bindings(request).await }
            });
            let page = call.await?;
            bindings.extend(page.bindings.into_iter().map(Binding::from_wire));
            if page.next_page_token.is_empty() {
                return Ok(bindings);
            }
            page_token = page.next_page_token;
        }
    }
}
