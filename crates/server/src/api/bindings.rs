//! `phalanx.v1.Bindings`: administration of bindings.
//!
//! To the catalog a binding is a queue of another kind, called `topic/binding`.

use std::sync::Arc;

use phalanx_proto::v1;
use phalanx_proto::v1::bindings_server::Bindings;
use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::{CommandKind, CreateQueue, DeleteQueue, QueueKind, UpdateQueue};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::admin_call::{Whose, left};
use super::look;
use super::queues::{confirmed, gone};
use super::topics::{TopicsApi, children, page_size, topic_missing};
use crate::authorize::{self, Target};
use crate::caller::Listener;
use crate::convert::topics::{TARGET_DELETED, binding_info_out, binding_out, full_name, place_in};
use crate::forward::Loss;
use crate::shard::Shard;
use crate::state::NodeState;
use crate::{catalog_read, convert, router, status};

/// The service, mounted on one listener.
#[derive(Clone)]
pub struct BindingsApi {
    topics: TopicsApi,
}

impl BindingsApi {
    /// On `listener`.
    #[must_use]
    pub fn new(state: Arc<NodeState>, listener: Listener) -> Self {
        Self { topics: TopicsApi::new(state, listener) }
    }
}

#[tonic::async_trait]
impl Bindings for BindingsApi {
    async fn create_binding(
        &self,
        request: Request<v1::CreateBindingRequest>,
    ) -> Result<Response<v1::Binding>, Status> {
        let ask = request.get_ref().clone();
        let (rule, state) = (&authorize::CREATE_BINDING, &self.topics.state);
        let admitted = self.topics.admit(&request, rule, &ask.namespace, &ask.topic)?;
        let (namespace, name) = (admitted.namespace.as_str(), ask.target.as_str());
        state.admit(&admitted.caller, &authorize::FEED, &Target::Queue { namespace, name })?;
        convert::queue_name("target", name)?;
        let full_name = full_name(&ask.topic, &ask.name)?;
        if !admitted.caller.forwarded {
            // Says so of the target, should it not be there.
            router::find_fresh(state, namespace, name).await?;
        }
        let command = CommandKind::CreateQueue(CreateQueue {
            namespace: namespace.to_owned(),
            name: full_name,
            kind: QueueKind::Binding.into(),
            topic: ask.topic.clone(),
            pattern: ask.pattern.clone(),
            filter: ask.filter.clone(),
            start: ask.start.clone().map(|start| place_in("start", Some(start))).transpose()?,
            target: name.to_owned(),
            ..CreateQueue::default()
        });
        let answer = self.topics.change(&admitted, &ask, command, confirmed, binding_out).await;
        answer.map_err(|error| topic_missing(error, &admitted.namespace, &ask.topic))
    }

    async fn update_binding(
        &self,
        request: Request<v1::UpdateBindingRequest>,
    ) -> Result<Response<v1::Binding>, Status> {
        let ask = request.get_ref().clone();
        let rule = &authorize::UPDATE_BINDING;
        let admitted = self.topics.admit(&request, rule, &ask.namespace, &ask.topic)?;
        let (namespace, name) = (admitted.namespace.as_str(), full_name(&ask.topic, &ask.name)?);
        if !admitted.caller.forwarded {
            // Other conditions let other messages through: asked for again, as when it was made.
            let state = &self.topics.state;
            let target = router::find_fresh(state, namespace, &name).await?.target;
            let target = Target::Queue { namespace, name: &target };
            state.admit(&admitted.caller, &authorize::FEED_OTHERWISE, &target)?;
        }
        let command = CommandKind::UpdateQueue(UpdateQueue {
            namespace: admitted.namespace.clone(),
            name,
            if_version: ask.if_version,
            uid: ask.uid,
            pattern: ask.pattern.clone(),
            filter: ask.filter.clone(),
            kind: QueueKind::Binding.into(),
            ..UpdateQueue::default()
        });
        self.topics.change(&admitted, &ask, command, confirmed, binding_out).await
    }

    async fn delete_binding(
        &self,
        request: Request<v1::DeleteBindingRequest>,
    ) -> Result<Response<v1::DeleteBindingResponse>, Status> {
        let ask = request.get_ref().clone();
        let rule = &authorize::DELETE_BINDING;
        let admitted = self.topics.admit(&request, rule, &ask.namespace, &ask.topic)?;
        let (namespace, name) = (admitted.namespace.clone(), full_name(&ask.topic, &ask.name)?);
        let kind = QueueKind::Binding.into();
        let command = CommandKind::DeleteQueue(DeleteQueue { namespace, name, kind, uid: ask.uid });
        self.topics.change(&admitted, &ask, command, gone, |_| v1::DeleteBindingResponse {}).await
    }

    async fn get_binding(
        &self,
        request: Request<v1::GetBindingRequest>,
    ) -> Result<Response<v1::BindingInfo>, Status> {
        let ask = request.get_ref().clone();
        let rule = &authorize::GET_BINDING;
        let admitted = self.topics.admit(&request, rule, &ask.namespace, &ask.topic)?;
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let (namespace, name) = (admitted.namespace.as_str(), full_name(&ask.topic, &ask.name)?);
        let name = name.as_str();
        let call = self.topics.call(&admitted, Whose::Queue { namespace, name }, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, entry: Option<QueueEntry>| async move {
            let entry = entry.unwrap_or_default();
            if entry.kind() != QueueKind::Binding {
                return Err(status::queue_not_found(namespace, name));
            }
            catalog_read::barrier(&shard, left(deadline)).await?;
            let info = shard.group.read(|machine| machine.queue_info(entry.uid)).ok_or_else(look::gone)?;
            let shown = shown(&self.topics.state, &entry);
            Ok(binding_info_out(shown, &info, shard.clock.now_ms()))
        };
        call.run(&ask, serve).await
    }

    async fn list_bindings(
        &self,
        request: Request<v1::ListBindingsRequest>,
    ) -> Result<Response<v1::ListBindingsResponse>, Status> {
        let ask = request.get_ref().clone();
        let rule = &authorize::LIST_BINDINGS;
        let admitted = self.topics.admit(&request, rule, &ask.namespace, &ask.topic)?;
        let deadline = Instant::now() + admitted.caller.unary_deadline();
        let (size, after) = (page_size(ask.page_size), ask.page_token.as_str());
        let (namespace, topic) = (admitted.namespace.as_str(), ask.topic.as_str());
        let call = self.topics.call(&admitted, Whose::Catalog, Loss::Read, deadline);
        let serve = |shard: Arc<Shard>, _| async move {
            catalog_read::barrier(&shard, left(deadline)).await?;
            let (rows, next_page_token) =
                children(&shard, QueueKind::Binding, namespace, topic, after, size)?;
            let bindings = rows.iter().map(|entry| shown(&self.topics.state, entry)).collect();
            Ok(v1::ListBindingsResponse { bindings, next_page_token })
        };
        call.run(&ask, serve).await
    }
}

/// A binding as it is shown: also whether what it feeds is gone.
fn shown(state: &NodeState, entry: &QueueEntry) -> v1::Binding {
    let mut binding = binding_out(entry);
    if entry.state() == QueueState::Live && target_is_gone(state, entry) {
        TARGET_DELETED.clone_into(&mut binding.state);
    }
    binding
}

/// As this node's copy of the catalog has it.
fn target_is_gone(state: &NodeState, binding: &QueueEntry) -> bool {
    let target = binding.source.as_ref().map_or(0, |source| source.target);
    state
        .catalog()
        .group
        .read(|machine| machine.catalog_state().is_some_and(|catalog| catalog.is_gone(target)))
}
