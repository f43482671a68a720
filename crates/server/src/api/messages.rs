//! `phalanx.v1.Messages`: sending, receiving, settling. One file for each RPC; here is what they share.

pub mod limits;

mod at_leader;
mod payload;
mod pipeline;
mod stream;

use std::sync::Arc;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_server::Messages;
use phalanx_state_machine::reply::Reply;
use tonic::{Request, Response, Status, Streaming};

use crate::authorize::Target;
use crate::caller::{Caller, Listener};
use crate::convert;
use crate::state::NodeState;
use crate::status;

pub(super) use at_leader::{Call, at_leader};
pub(super) use payload::{check_messages, deliveries_out, new_messages};
pub(crate) use payload::{payloads, raw_payloads};
pub(super) use pipeline::Pipeline;
pub(super) use stream::{Frames, first_frame, frames, relay};

/// The service, mounted on one listener.
#[derive(Clone)]
pub struct MessagesApi {
    pub(super) state: Arc<NodeState>,
    pub(super) listener: Listener,
}

impl MessagesApi {
    /// On `listener`.
    #[must_use]
    pub fn new(state: Arc<NodeState>, listener: Listener) -> Self {
        Self { state, listener }
    }

    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        Caller::of(self.listener, request)
    }
}

#[tonic::async_trait]
impl Messages for MessagesApi {
    async fn send(&self, request: Request<v1::SendRequest>) -> Result<Response<v1::SendResponse>, Status> {
        super::send::send(self, request).await
    }

    type SendStreamStream = Frames<v1::SendStreamResponse>;

    async fn send_stream(
        &self,
        request: Request<Streaming<v1::SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        super::send_stream::send_stream(self, request).await
    }

    async fn receive(
        &self,
        request: Request<v1::ReceiveRequest>,
    ) -> Result<Response<v1::ReceiveResponse>, Status> {
        super::receive::receive(self, request).await
    }

    type ConsumeStream = Frames<v1::ConsumeResponse>;

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        super::consume::consume(self, request).await
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        super::settle::settle(self, request).await
    }
}

/// The queue that a request names, as access rules see it: before anything about the request was checked.
pub(super) fn target<'a>(namespace: &'a str, name: &'a str) -> Target<'a> {
    let namespace = if namespace.is_empty() { convert::NAMESPACE_DEFAULT } else { namespace };
    Target::Queue { namespace, name }
}

/// A reply of another kind than the command asked for.
pub(super) fn unexpected(reply: Reply) -> Status {
    match reply {
        Reply::Rejected(rejection) => status::from_rejection(&rejection),
        other => {
            tracing::error!(?other, "a command was answered with the reply of another");
            status::internal("the state machine gave an answer of another kind")
        }
    }
}
