//! `phalanx.v1.Topics`: administration of topics and their subscriptions.
//!
//! To the catalog both are queues of another kind; a subscription's row is called `topic/subscription`.

use std::sync::Arc;

use phalanx_proto::v1;
use phalanx_proto::v1::topics_server::Topics;
use phalanx_state_machine::catalog::QueueEntry;
use phalanx_state_machine::command::{
    Command, CommandKind, CreateQueue, DeleteQueue, Mark, QueueKind, Seek, UpdateQueue,
};
use phalanx_state_machine::ids::{QueueUid, Sequence};
use phalanx_state_machine::reply::Reply;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::admin_call::{AdminCall, Whose, left};
use super::look;
use super::queues::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, change, confirmed, gone, unexpected};
use crate::authorize::{self, Rule, Target};
use crate::caller::{Caller, Listener};
use crate::convert::topics::{self, full_name, place_in, settings_of_subscription, settings_of_topic};
use crate::forward::Loss;
use crate::shard::Shard;
use crate::state::NodeState;
use crate::{catalog_read, convert, status};

/// The service, mounted on one listener.
#[derive(Clone)]
pub struct TopicsApi {
    pub(super) state: Arc<NodeState>,
    listener: Listener,
}

/// When the catalog has followed: the row as it was asked for, and as it is.
pub(super) type Done = fn(&QueueEntry, Option<&QueueEntry>) -> bool;

/// A call that may be made.
pub(super) struct Admitted<'a> {
    pub(super) caller: Caller,
    rule: &'a Rule,
    pub(super) namespace: String,
}

impl TopicsApi {
    /// On `listener`.
    #[must_use]
    pub fn new(state: Arc<NodeState>, listener: Listener) -> Self {
        Self { state, listener }
    }

    pub(super) fn admit<'a, Q>(
        &self,
        request: &Request<Q>,
        rule: &'a Rule,
        namespace: &str,
        topic: &str,
    ) -> Result<Admitted<'a>, Status> {
        let caller = Caller::of(self.listener, request)?;
        let namespace = convert::namespace(namespace)?.to_owned();
        self.state.admit(&caller, rule, &Target::Queue { namespace: &namespace, name: topic })?;
        convert::queue_name("topic", topic)?;
        Ok(Admitted { caller, rule, namespace })
    }

    /// Has the catalog changed, and waits until the shard has followed.
    pub(super) async fn change<Q, A>(
        &self,
        admitted: &Admitted<'_>,
        request: &Q,
        command: CommandKind,
        done: Done,
        out: fn(&QueueEntry) -> A,
    ) -> Result<Response<A>, Status>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let call = self.call(admitted, Whose::Catalog, Loss::Write, deadline);
        let serve = |shard, _| {
            let command = command.clone();
            async move { change(shard, deadline, command, done).await.map(|entry| out(&entry)) }
        };
        call.run(request, serve).await
    }

    /// Has a subscription's shard do something that answers with a place.
    async fn place<Q, A>(
        &self,
        admitted: &Admitted<'_>,
        name: &str,
        request: &Q,
        command: impl Fn(QueueUid) -> CommandKind,
        out: fn(Sequence) -> A,
    ) -> Result<Response<A>, Status>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let namespace = admitted.namespace.as_str();
        let call = self.call(admitted, Whose::Queue { namespace, name }, Loss::Write, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| {
            let entry = entry.unwrap_or_default();
            let command = (entry.kind() == QueueKind::Subscription).then(|| command(entry.uid));
            async move {
                let command = command.ok_or_else(|| status::queue_not_found(namespace, name))?;
                match shard.batcher.submit_within(Command::from(command), left(deadline)).await? {
                    Reply::Placed { sequence } => Ok(out(sequence)),
                    Reply::Rejected(rejection) => Err(status::from_rejection(&rejection)),
                    other => Err(unexpected(&other)),
                }
            }
        };
        call.run(request, serve).await
    }

    pub(super) fn call<'a>(
        &'a self,
        admitted: &'a Admitted<'a>,
        whose: Whose<'a>,
        loss: Loss,
        deadline: Instant,
    ) -> AdminCall<'a> {
        AdminCall { state: &self.state, caller: &admitted.caller, rule: admitted.rule, whose, deadline, loss }
    }
}

#[tonic::async_trait]
impl Topics for TopicsApi {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::Topic>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::CREATE_TOPIC, &ask.namespace, &ask.name)?;
        let command = CommandKind::CreateQueue(CreateQueue {
            namespace: admitted.namespace.clone(),
            name: ask.name.clone(),
            settings: settings_of_topic(ask.settings.unwrap_or_default()),
            kind: QueueKind::Topic.into(),
            ..CreateQueue::default()
        });
        self.change(&admitted, &ask, command, confirmed, topics::topic_out).await
    }

    async fn update_topic(
        &self,
        request: Request<v1::UpdateTopicRequest>,
    ) -> Result<Response<v1::Topic>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::UPDATE_TOPIC, &ask.namespace, &ask.name)?;
        let command = CommandKind::UpdateQueue(UpdateQueue {
            namespace: admitted.namespace.clone(),
            name: ask.name.clone(),
            settings: settings_of_topic(ask.settings.unwrap_or_default()),
            if_version: ask.if_version,
            uid: ask.uid,
            kind: QueueKind::Topic.into(),
            ..UpdateQueue::default()
        });
        self.change(&admitted, &ask, command, confirmed, topics::topic_out).await
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::DELETE_TOPIC, &ask.namespace, &ask.name)?;
        let (namespace, name) = (admitted.namespace.clone(), ask.name.clone());
        let command = CommandKind::DeleteQueue(DeleteQueue {
            namespace,
            name,
            kind: QueueKind::Topic.into(),
            uid: ask.uid,
        });
        self.change(&admitted, &ask, command, gone, |_| v1::DeleteTopicResponse {}).await
    }

    async fn get_topic(
        &self,
        request: Request<v1::GetTopicRequest>,
    ) -> Result<Response<v1::TopicInfo>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::GET_TOPIC, &ask.namespace, &ask.name)?;
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let (namespace, name) = (admitted.namespace.as_str(), ask.name.as_str());
        let call = self.call(&admitted, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let node = self.state.node();
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| async move {
            let entry = entry.unwrap_or_default();
            if entry.kind() != QueueKind::Topic {
                return Err(status::topic_not_found(namespace, name));
            }
            catalog_read::barrier(&shard, left(deadline)).await?;
            let info = shard.group.read(|machine| machine.queue_info(entry.uid)).ok_or_else(look::gone)?;
            Ok(topics::info_out(&entry, &info, shard.clock.now_ms(), node))
        };
        call.run(&ask, serve).await
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let ask = request.into_inner();
        let namespace = convert::namespace(&ask.namespace)?.to_owned();
        let rule = &authorize::LIST_TOPICS;
        self.state.admit(&caller, rule, &Target::Namespace(&namespace))?;
        let deadline = Instant::now() + caller.unary_deadline();
        let admitted = Admitted { caller, rule, namespace };
        let (size, after, namespace) = (page_size(ask.page_size), &ask.page_token, &admitted.namespace);
        let call = self.call(&admitted, Whose::Catalog, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, _| async move {
            catalog_read::barrier(&shard, left(deadline)).await?;
            let mut topics: Vec<v1::Topic> = shard.group.read(|machine| {
                let catalog = machine.catalog_state();
                let rows = catalog.map(|catalog| catalog.list(QueueKind::Topic, namespace, after, size + 1));
                rows.unwrap_or_default().into_iter().map(topics::topic_out).collect()
            });
            let more = topics.len() > size;
            topics.truncate(size);
            let next_page_token =
                topics.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
            Ok(v1::ListTopicsResponse { topics, next_page_token })
        };
        call.run(&ask, serve).await
    }

    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::Subscription>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::CREATE_SUBSCRIPTION, &ask.namespace, &ask.topic)?;
        let command = CommandKind::CreateQueue(CreateQueue {
            namespace: admitted.namespace.clone(),
            name: full_name(&ask.topic, &ask.name)?,
            settings: settings_of_subscription(ask.settings.unwrap_or_default()),
            kind: QueueKind::Subscription.into(),
            topic: ask.topic.clone(),
            pattern: ask.pattern.clone(),
            filter: ask.filter.clone(),
            start: ask.start.clone().map(|start| place_in("start", Some(start))).transpose()?,
            ..CreateQueue::default()
        });
        let answer = self.change(&admitted, &ask, command, confirmed, topics::subscription_out).await;
        answer.map_err(|error| topic_missing(error, &admitted.namespace, &ask.topic))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::Subscription>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::UPDATE_SUBSCRIPTION, &ask.namespace, &ask.topic)?;
        let command = CommandKind::UpdateQueue(UpdateQueue {
            namespace: admitted.namespace.clone(),
            name: full_name(&ask.topic, &ask.name)?,
            settings: settings_of_subscription(ask.settings.unwrap_or_default()),
            if_version: ask.if_version,
            uid: ask.uid,
            pattern: ask.pattern.clone(),
            filter: ask.filter.clone(),
            kind: QueueKind::Subscription.into(),
        });
        self.change(&admitted, &ask, command, confirmed, topics::subscription_out).await
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::DELETE_SUBSCRIPTION, &ask.namespace, &ask.topic)?;
        let (namespace, name) = (admitted.namespace.clone(), full_name(&ask.topic, &ask.name)?);
        let command = CommandKind::DeleteQueue(DeleteQueue {
            namespace,
            name,
            kind: QueueKind::Subscription.into(),
            uid: ask.uid,
        });
        self.change(&admitted, &ask, command, gone, |_| v1::DeleteSubscriptionResponse {}).await
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::LIST_SUBSCRIPTIONS, &ask.namespace, &ask.topic)?;
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let (size, after) = (page_size(ask.page_size), ask.page_token.as_str());
        let (namespace, topic) = (admitted.namespace.as_str(), ask.topic.as_str());
        let call = self.call(&admitted, Whose::Catalog, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, _| async move {
            catalog_read::barrier(&shard, left(deadline)).await?;
            page(&shard, namespace, topic, after, size)
        };
        call.run(&ask, serve).await
    }

    async fn seek_subscription(
        &self,
        request: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::SEEK_SUBSCRIPTION, &ask.namespace, &ask.topic)?;
        let (name, place) = (full_name(&ask.topic, &ask.name)?, place_in("place", ask.place.clone())?);
        let command = |uid| CommandKind::Seek(Seek { uid, place: place.clone() });
        let out = |sequence| v1::SeekSubscriptionResponse { sequence };
        self.place(&admitted, &name, &ask, command, out).await
    }

    async fn mark_subscription(
        &self,
        request: Request<v1::MarkSubscriptionRequest>,
    ) -> Result<Response<v1::MarkSubscriptionResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::MARK_SUBSCRIPTION, &ask.namespace, &ask.topic)?;
        let name = full_name(&ask.topic, &ask.name)?;
        convert::queue_name("mark", &ask.mark)?;
        let command = |uid| CommandKind::Mark(Mark { uid, name: ask.mark.clone(), remove: ask.remove });
        let out = |sequence| v1::MarkSubscriptionResponse { sequence };
        self.place(&admitted, &name, &ask, command, out).await
    }

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<v1::ReadLogResponse>, Status> {
        let ask = request.get_ref().clone();
        let admitted = self.admit(&request, &authorize::READ_LOG, &ask.namespace, &ask.name)?;
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let (namespace, name) = (admitted.namespace.as_str(), ask.name.as_str());
        let call = self.call(&admitted, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| {
            let asked = ask.clone();
            async move {
                let entry = entry.unwrap_or_default();
                if entry.kind() != QueueKind::Topic {
                    return Err(status::topic_not_found(namespace, name));
                }
                catalog_read::barrier(&shard, left(deadline)).await?;
                look::log(&shard, entry.uid, &asked).await
            }
        };
        call.run(&ask, serve).await
    }
}

pub(super) fn page_size(asked: u32) -> usize {
    let size = if asked == 0 { PAGE_SIZE_DEFAULT } else { asked.min(PAGE_SIZE_MAX) };
    size as usize
}

/// The name that was not found is the topic's.
pub(super) fn topic_missing(error: Status, namespace: &str, topic: &str) -> Status {
    if status::is(&error, status::Reason::QueueNotFound) {
        status::topic_not_found(namespace, topic)
    } else {
        error
    }
}

fn page(
    shard: &Shard,
    namespace: &str,
    topic: &str,
    after: &str,
    size: usize,
) -> Result<v1::ListSubscriptionsResponse, Status> {
    let (rows, next_page_token) = children(shard, QueueKind::Subscription, namespace, topic, after, size)?;
    let subscriptions = rows.iter().map(topics::subscription_out).collect();
    Ok(v1::ListSubscriptionsResponse { subscriptions, next_page_token })
}

/// A page of the subscriptions or bindings of a topic, and the token of the next one: the last name, or nothing.
pub(super) fn children(
    shard: &Shard,
    kind: QueueKind,
    namespace: &str,
    topic: &str,
    after: &str,
    size: usize,
) -> Result<(Vec<QueueEntry>, String), Status> {
    let found = shard.group.read(|machine| {
        let catalog = machine.catalog_state()?;
        let topic = catalog.lookup(namespace, topic).filter(|entry| entry.kind() == QueueKind::Topic)?;
        let all = catalog.subscriptions(topic).filter(|entry| entry.kind() == kind);
        let all = all.filter(|entry| entry.name.as_str() > after);
        Some(all.take(size + 1).cloned().collect::<Vec<_>>())
    });
    let mut rows = found.ok_or_else(|| status::topic_not_found(namespace, topic))?;
    let more = rows.len() > size;
    rows.truncate(size);
    let next_page_token = rows.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
    Ok((rows, next_page_token))
}
