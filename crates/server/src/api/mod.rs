//! The public API, `phalanx.v1`: a file per service, or per RPC where one is large.
//!
//! The same services are mounted on the client listener and on the peer listener; [`crate::caller`] tells them apart.

pub mod bindings;
pub mod cluster;
pub mod messages;
pub mod queues;
pub mod topics;

mod admin_call;
mod consume;
mod look;
mod receive;
mod send;
mod send_stream;
mod settle;

pub(crate) use messages::{payloads, raw_payloads};

use std::sync::Arc;

use phalanx_proto::v1::bindings_server::BindingsServer;
use phalanx_proto::v1::cluster_server::ClusterServer;
use phalanx_proto::v1::messages_server::MessagesServer;
use phalanx_proto::v1::queues_server::QueuesServer;
use phalanx_proto::v1::topics_server::TopicsServer;
use tonic::service::Routes;

use crate::caller::Listener;
use crate::config::GRPC_MESSAGE_BYTES_MAX;
use crate::state::NodeState;

/// The services of `phalanx.v1` on `listener`.
#[must_use]
pub fn routes(state: &Arc<NodeState>, listener: Listener) -> Routes {
    let request_bytes_max = match listener {
        Listener::Client => state.config.limits.request_bytes as usize,
        Listener::Peer => GRPC_MESSAGE_BYTES_MAX,
    };
    let queues = QueuesServer::new(queues::QueuesApi::new(Arc::clone(state), listener));
    let cluster = ClusterServer::new(cluster::ClusterApi::new(Arc::clone(state), listener));
    let topics = TopicsServer::new(topics::TopicsApi::new(Arc::clone(state), listener));
    let bindings = BindingsServer::new(bindings::BindingsApi::new(Arc::clone(state), listener));
    let messages = MessagesServer::new(messages::MessagesApi::new(Arc::clone(state), listener));
    Routes::new(queues.max_decoding_message_size(request_bytes_max))
        .add_service(bindings.max_decoding_message_size(request_bytes_max))
        .add_service(topics.max_decoding_message_size(request_bytes_max))
        .add_service(cluster.max_decoding_message_size(request_bytes_max))
        .add_service(messages.max_decoding_message_size(request_bytes_max))
}
