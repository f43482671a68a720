//! `phalanx.v1.Queues`: administration of queues.
//!
//! What changes the catalog is done by the catalog's leader, which answers when the shard has followed; what looks is linearizable.

use std::sync::Arc;

use phalanx_proto::v1;
use phalanx_proto::v1::queues_server::Queues;
use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::{
    Command, CommandKind, CreateQueue, DeleteQueue, Purge, QueueKind, UpdateQueue,
};
use phalanx_state_machine::reply::Reply;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::admin_call::{AdminCall, Whose, left};
use super::look;
use crate::authorize::{self, Rule, Target};
use crate::caller::{Caller, Listener};
use crate::forward::Loss;
use crate::shard::Shard;
use crate::state::NodeState;
use crate::{catalog_read, convert, status};

/// Queues on a page when the request names no number.
pub(super) const PAGE_SIZE_DEFAULT: u32 = 100;
/// Most queues on a page.
pub(super) const PAGE_SIZE_MAX: u32 = 1_000;

/// The service, mounted on one listener.
#[derive(Clone)]
pub struct QueuesApi {
    state: Arc<NodeState>,
    listener: Listener,
}

impl QueuesApi {
    /// On `listener`.
    #[must_use]
    pub fn new(state: Arc<NodeState>, listener: Listener) -> Self {
        Self { state, listener }
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        rule: &'a Rule,
        whose: Whose<'a>,
        loss: Loss,
        deadline: Instant,
    ) -> AdminCall<'a> {
        AdminCall { state: &self.state, caller, rule, whose, deadline, loss }
    }
}

/// Proposes a change of the catalog, and waits until its shard has followed: `done` looks at what the catalog has.
pub(super) async fn change(
    shard: Arc<Shard>,
    deadline: Instant,
    command: CommandKind,
    done: fn(&QueueEntry, Option<&QueueEntry>) -> bool,
) -> Result<QueueEntry, Status> {
    // A cluster's first entry may still be on its way: calls that come before it wait for it.
    let founded = shard.until(|machine| machine.catalog_state()?.cluster().map(|_| ()));
    if !matches!(tokio::time::timeout_at(deadline, founded).await, Ok(Some(()))) {
        return Err(status::unavailable("the cluster is being founded"));
    }
    let row = match shard.batcher.submit_within(Command::from(command), left(deadline)).await? {
        Reply::Queue(row) => *row,
        Reply::Rejected(rejection) => return Err(status::from_rejection(&rejection)),
        other => return Err(unexpected(&other)),
    };
    let finished = shard.until(|machine| {
        let now = machine.catalog_state()?.queue(row.uid);
        done(&row, now).then(|| now.cloned())
    });
    match tokio::time::timeout_at(deadline, finished).await {
        Ok(Some(now)) => Ok(now.unwrap_or(row)),
        Ok(None) => Err(status::outcome_unknown("the node is stopping")),
        Err(_) => Err(status::outcome_unknown(format!(
            "the change of {:?} is in the catalog, but its shard has not followed in time: it will",
            row.name
        ))),
    }
}

/// The shard has followed, or the row is gone, overtaken by a deletion.
pub(super) fn confirmed(asked: &QueueEntry, now: Option<&QueueEntry>) -> bool {
    now.is_none_or(|now| now.confirmed_version >= asked.version && now.state != QueueState::Creating as i32)
}

pub(super) fn gone(_: &QueueEntry, now: Option<&QueueEntry>) -> bool {
    now.is_none()
}

pub(super) fn unexpected(reply: &Reply) -> Status {
    tracing::error!(?reply, "the machine gave a reply of another kind");
    status::internal("unexpected reply")
}

#[tonic::async_trait]
impl Queues for QueuesApi {
    async fn create_queue(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::CREATE_QUEUE;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let command = CommandKind::CreateQueue(CreateQueue {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            settings: convert::settings_in(message.settings),
            ..CreateQueue::default()
        });
        let call = self.call(&caller, rule, Whose::Catalog, Loss::Write, deadline);
        let serve = |shard, _| {
            let command = command.clone();
            async move { Ok(convert::queue_out(&change(shard, deadline, command, confirmed).await?)) }
        };
        call.run(&message, serve).await
    }

    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::UPDATE_QUEUE;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let command = CommandKind::UpdateQueue(UpdateQueue {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            settings: convert::settings_in(message.settings),
            if_version: message.if_version,
            uid: message.uid,
            ..UpdateQueue::default()
        });
        let call = self.call(&caller, rule, Whose::Catalog, Loss::Write, deadline);
        let serve = |shard, _| {
            let command = command.clone();
            async move { Ok(convert::queue_out(&change(shard, deadline, command, confirmed).await?)) }
        };
        call.run(&message, serve).await
    }

    async fn delete_queue(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::DELETE_QUEUE;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let command = CommandKind::DeleteQueue(DeleteQueue {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: message.uid,
            ..DeleteQueue::default()
        });
        let call = self.call(&caller, rule, Whose::Catalog, Loss::Write, deadline);
        let serve = |shard, _| {
            let command = command.clone();
            async move { change(shard, deadline, command, gone).await.map(|_| v1::DeleteQueueResponse {}) }
        };
        call.run(&message, serve).await
    }

    async fn purge_queue(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::PURGE_QUEUE;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let call = self.call(&caller, rule, Whose::Queue { namespace, name }, Loss::Write, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| async move {
            let uid = entry.map_or(0, |entry| entry.uid);
            let command = Command::from(CommandKind::Purge(Purge { uid }));
            match shard.batcher.submit_within(command, left(deadline)).await? {
                Reply::Purged { count } => Ok(v1::PurgeQueueResponse { removed: count }),
                Reply::Rejected(rejection) => Err(status::from_rejection(&rejection)),
                other => Err(unexpected(&other)),
            }
        };
        call.run(&message, serve).await
    }

    async fn lookup(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::LOOKUP;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let call = self.call(&caller, rule, Whose::Catalog, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, _| async move {
            let entry = catalog_read::entry_here(&shard, namespace, name, left(deadline)).await?;
            let entry = entry.ok_or_else(|| status::queue_not_found(namespace, name))?;
            let kind = entry.kind().noun().to_owned();
            Ok(v1::LookupResponse { uid: entry.uid, version: entry.version, kind })
        };
        call.run(&message, serve).await
    }

    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::QueueInfo>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::GET_QUEUE;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let call = self.call(&caller, rule, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let node = self.state.node();
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| async move {
            catalog_read::barrier(&shard, left(deadline)).await?;
            let entry = entry.unwrap_or_default();
            let info = shard.group.read(|machine| machine.queue_info(entry.uid));
            let info = info.ok_or_else(look::gone)?;
            Ok(convert::info_out(&entry, info, shard.clock.now_ms(), node))
        };
        call.run(&message, serve).await
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::LIST_QUEUES;
        self.state.admit(&caller, rule, &Target::Namespace(namespace))?;
        let deadline = Instant::now() + caller.unary_deadline();
        let size = match message.page_size {
            0 => PAGE_SIZE_DEFAULT,
            size => size.min(PAGE_SIZE_MAX),
        } as usize;
        let after = message.page_token.as_str();
        let call = self.call(&caller, rule, Whose::Catalog, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, _| async move {
            catalog_read::barrier(&shard, left(deadline)).await?;
            Ok(page(&shard, namespace, after, size))
        };
        call.run(&message, serve).await
    }

    async fn peek(&self, request: Request<v1::PeekRequest>) -> Result<Response<v1::PeekResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::PEEK;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let call = self.call(&caller, rule, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| {
            let asked = message.clone();
            async move {
                catalog_read::barrier(&shard, left(deadline)).await?;
                look::peek(&shard, entry.unwrap_or_default().uid, &asked).await
            }
        };
        call.run(&message, serve).await
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        let rule = &authorize::LIST_GROUPS;
        self.state.admit(&caller, rule, &Target::Queue { namespace, name: &message.name })?;
        let name = convert::queue_name("name", &message.name)?;
        let deadline = Instant::now() + caller.unary_deadline();
        let call = self.call(&caller, rule, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| {
            let asked = message.clone();
            async move {
                catalog_read::barrier(&shard, left(deadline)).await?;
                look::groups(&shard, entry.unwrap_or_default().uid, &asked)
            }
        };
        call.run(&message, serve).await
    }
}

fn page(shard: &Shard, namespace: &str, after: &str, size: usize) -> v1::ListQueuesResponse {
    let mut queues: Vec<v1::Queue> = shard.group.read(|machine| {
        let rows =
            machine.catalog_state().map(|catalog| catalog.list(QueueKind::Queue, namespace, after, size + 1));
        rows.unwrap_or_default().into_iter().map(convert::queue_out).collect()
    });
    let more = queues.len() > size;
    queues.truncate(size);
    let next_page_token = match queues.last() {
        Some(last) if more => last.name.clone(),
        Some(_) | None => String::new(),
    };
    v1::ListQueuesResponse { queues, next_page_token }
}
