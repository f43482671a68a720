//! Administration: queues, topics, and the cluster itself.

mod bindings;
mod log;
mod look;
mod topics;
mod types;

pub use bindings::{Binding, BindingInfo, Conditions};
pub use log::{LogMessage, LogPage, Mark, Place};
pub use look::{Holder, OrderingGroup, Peek, PeekPage, PeekState, Peeked};
pub use topics::{Subscription, SubscriptionSettings, Topic, TopicInfo, TopicSettings};
pub(crate) use types::time;
pub use types::{
    ClusterStatus, ConsumerInfo, GroupStatus, NodeAddress, NodeStatus, Queue, QueueInfo, QueueSettings,
    Topology,
};

use phalanx_proto::v1;
use tonic::{Response, Status};

use crate::call::{Call, Repeat};
use crate::client::{Client, cluster_client, queues_client};
use crate::error::Error;
use crate::limits;
use crate::status::Failure;

/// Kinds of what has a name, as `LookupResponse.kind` says them.
const QUEUE: &str = "queue";
const TOPIC: &str = "topic";
const SUBSCRIPTION: &str = "subscription";
const BINDING: &str = "binding";

/// Updates that say no version try again so often when someone else's comes between.
const UPDATE_ROUNDS_MAX: u32 = 8;

/// Creates, changes, lists and deletes queues, and looks at the cluster.
///
/// ```
/// # phalanx_memory::example(async |client| {
/// use phalanx_client::QueueSettings;
///
/// let admin = client.admin();
/// admin.create_queue("audit", QueueSettings { strict: true, ..QueueSettings::default() }).await?;
/// println!("{} waiting", admin.queue_info("audit").await?.ready);
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a queue; answers with the one of that name if its settings are the same.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when it has other settings or is being deleted.
    pub async fn create_queue(&self, name: &str, settings: QueueSettings) -> Result<Queue, Error> {
        let request = v1::CreateQueueRequest {
            namespace: self.namespace(),
            name: name.to_owned(),
            settings: Some(settings.into_wire()),
        };
        let queue = self
            .client
            .shared
            .call(self.any(Repeat::Same), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).create_queue(request).await }
            })
            .await?;
        Ok(Queue::from_wire(queue))
    }

    /// Replaces all settings of a queue. With `if_version`, only if the queue still has that version.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::VersionMismatch`] when someone else changed the settings; [`Error::OutcomeUnknown`] also when
    /// someone else changed them after an attempt of this call that may have changed them.
    pub async fn update_queue(
        &self,
        name: &str,
        settings: QueueSettings,
        if_version: Option<u64>,
    ) -> Result<Queue, Error> {
        let settings = settings.into_wire();
        let queue = self
            .update(QUEUE, name, if_version, |life| {
                let request = v1::UpdateQueueRequest {
                    namespace: self.namespace(),
                    name: name.to_owned(),
                    settings: Some(settings),
                    if_version: life.version,
                    uid: life.uid,
                };
                self.client.shared.call(self.any(Repeat::Same), move |target, _| {
                    let request = request.clone();
                    async move { queues_client(&target).update_queue(request).await }
                })
            })
            .await?;
        Ok(Queue::from_wire(queue))
    }

    /// Deletes a queue with its messages; answers when the name is free again. It is the queue that there is when the call begins: one
    /// that is created under its name meanwhile stays.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`] when there is none.
    pub async fn delete_queue(&self, name: &str) -> Result<(), Error> {
        let uid = self.life(QUEUE, name).await?.uid;
        let request = v1::DeleteQueueRequest { namespace: self.namespace(), name: name.to_owned(), uid };
        self.client
            .shared
            .call(self.any(Repeat::Same), |target, _| {
                let request = request.clone();
                async move { gone(queues_client(&target).delete_queue(request).await) }
            })
            .await?;
        Ok(())
    }

    /// Removes all messages of a queue, those in consumers' hands included; answers how many. Not repeated when the
    /// answer is lost: it would remove what was sent since.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`]; [`Error::OutcomeUnknown`] when no answer came.
    pub async fn purge_queue(&self, name: &str) -> Result<u64, Error> {
        let key = self.client.key(name);
        let request = v1::PurgeQueueRequest { namespace: self.namespace(), name: name.to_owned() };
        let response = self
            .client
            .shared
            .call(self.client.shared.to_queue(&key, Repeat::Never), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).purge_queue(request).await }
            })
            .await?;
        Ok(response.removed)
    }

    /// Settings, depth and consumers of a queue. Linearizable.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn queue_info(&self, name: &str) -> Result<QueueInfo, Error> {
        let key = self.client.key(name);
        let request = v1::GetQueueRequest { namespace: self.namespace(), name: name.to_owned() };
        let info = self
            .client
            .shared
            .call(self.client.shared.to_queue(&key, Repeat::Read), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).get_queue(request).await }
            })
            .await?;
        Ok(QueueInfo::from_wire(info))
    }

    /// A page of the queues of the namespace, in the order of their names, and the token of the next page (`None`: that
    /// was the last). `page_size` is at most 1,000.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that no page gave.
    pub async fn list_queues_page(
        &self,
        page_size: u32,
        page_token: Option<String>,
    ) -> Result<(Vec<Queue>, Option<String>), Error> {
        let page_token = page_token.unwrap_or_default();
        let request = v1::ListQueuesRequest { namespace: self.namespace(), page_size, page_token };
        let response = self
            .client
            .shared
            .call(self.any(Repeat::Read), |target, _| {
                let request = request.clone();
                async move { queues_client(&target).list_queues(request).await }
            })
            .await?;
        let next = (!response.next_page_token.is_empty()).then_some(response.next_page_token);
        Ok((response.queues.into_iter().map(Queue::from_wire).collect(), next))
    }

    /// All queues of the namespace, in the order of their names.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_queues(&self) -> Result<Vec<Queue>, Error> {
        let mut queues = Vec::new();
        let mut token = None;
        loop {
            let (page, next) = self.list_queues_page(limits::PAGE_SIZE, token).await?;
            queues.extend(page);
            match next {
                Some(next) => token = Some(next),
                None => return Ok(queues),
            }
        }
    }

    /// Nodes, groups and their leaders, as one node, whichever answers, sees them.
    ///
    /// # Errors
    /// None of its own.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        self.status_by(self.any(Repeat::Read)).await
    }

    /// The same, as the node at this address sees it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that node does not answer.
    pub async fn status_at(&self, address: &str) -> Result<ClusterStatus, Error> {
        let target = self.client.shared.router.at(address)?;
        self.status_by(Call { only: Some(&target), ..self.any(Repeat::Read) }).await
    }

    async fn status_by(&self, call: Call<'_>) -> Result<ClusterStatus, Error> {
        let status = self
            .client
            .shared
            .call(call, |target, _| async move { cluster_client(&target).status(v1::StatusRequest {}).await })
            .await?;
        Ok(ClusterStatus::from_wire(status))
    }

    /// Which node leads the shard of a queue, and where the nodes are.
    ///
    /// # Errors
    /// [`Error::QueueNotFound`].
    pub async fn topology(&self, queue: &str) -> Result<Topology, Error> {
        let request = v1::TopologyRequest { namespace: self.namespace(), queue: queue.to_owned() };
        let topology = self
            .client
            .shared
            .call(self.any(Repeat::Read), |target, _| {
                let request = request.clone();
                async move { cluster_client(&target).topology(request).await }
            })
            .await?;
        Ok(Topology::from_wire(topology))
    }

    /// What there is now under a name, if it is of that kind.
    async fn life(&self, kind: &str, name: &str) -> Result<Life, Error> {
        let request = v1::LookupRequest { namespace: self.namespace(), name: name.to_owned() };
        let call = self.client.shared.call(self.any(Repeat::Read), |target, _| {
            let request = request.clone();
            async move { queues_client(&target).lookup(request).await }
        });
        let found = call.await?;
        if found.kind != kind {
            return Err(Error::QueueNotFound {
                message: format!("no {kind} {name:?}: it is a {}", found.kind),
            });
        }
        Ok(Life { uid: found.uid, version: found.version })
    }

    /// Replaces settings. A copy of the change that comes late must not undo a later one, so it always says what it replaces: without
    /// `if_version`, what there is now, and if someone else was quicker, what there is then.
    async fn update<T, F>(
        &self,
        kind: &str,
        name: &str,
        if_version: Option<u64>,
        attempt: impl Fn(Life) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut rounds = UPDATE_ROUNDS_MAX;
        loop {
            let life = self.life(kind, name).await?;
            let version = if_version.unwrap_or(life.version);
            rounds -= 1;
            match attempt(Life { version, ..life }).await {
                Err(Error::VersionMismatch { .. }) if if_version.is_none() && rounds > 0 => {}
                outcome => return outcome,
            }
        }
    }

    fn any(&self, repeat: Repeat) -> Call<'static> {
        self.client.shared.to_any(repeat)
    }

    fn namespace(&self) -> String {
        self.client.namespace().to_owned()
    }
}

/// A name's life, and the version of its settings.
#[derive(Clone, Copy)]
struct Life {
    uid: u64,
    version: u64,
}

/// That a life is not there is what its deletion asked for, whichever attempt or whoever did it.
fn gone<T: Default>(answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
    answer.or_else(|status| match Failure::from_status(&status).error {
        Error::QueueNotFound { .. } => Ok(Response::new(T::default())),
        _ => Err(status),
    })
}
