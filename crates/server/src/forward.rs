//! Handing a request to the node that leads: one hop, never two.
//!
//! The peer gets the same RPC on its peer listener, with the principal that this node saw. Invariant: an error of the transport is
//! "nothing was written" only when no connection could be made; any other one of a write is an unknown outcome.

use std::time::Duration;

use futures::Stream;
use http::uri::PathAndQuery;
use phalanx_proto::channel::{CallError, Channel};
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{ConnectError, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::authorize::Rule;
use crate::caller::{Caller, HOP_HEADER, PRINCIPAL_HEADER};
use crate::config::GRPC_MESSAGE_BYTES_MAX;
use crate::router::Remote;
use crate::status::{self, Reason};

/// What a lost answer of the forwarded call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It may have written: the outcome is unknown.
    Write,
    /// It only looked: asking again is always right.
    Read,
}

/// Forwards a unary call and waits for the answer, at most `deadline`.
///
/// # Errors
/// The peer's status, or `PEER_UNREACHABLE`, `OUTCOME_UNKNOWN`, `DEADLINE_EXCEEDED` by the rule above.
pub async fn unary<Q, A>(
    caller: &Caller,
    remote: &Remote,
    rule: &Rule,
    message: Q,
    loss: Loss,
    deadline: Duration,
) -> Result<Response<A>, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut request = request(caller, message)?;
    request.set_timeout(deadline);
    let mut grpc = client(remote);
    let call = async {
        grpc.ready().await.map_err(|error| unreachable(remote, &error))?;
        let codec = ProstCodec::<Q, A>::default();
        grpc.unary(request, PathAndQuery::from_static(rule.path), codec)
            .await
            .map_err(|error| transport(remote, loss, error))
    };
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer,
        Err(_) => Err(late(loss)),
    }
}

/// Forwards a stream in both directions. The caller's frames go on as they come; when this call's answer stream is dropped, the
/// peer's is too.
///
/// # Errors
/// The peer's status before its first frame, or `PEER_UNREACHABLE`. Later errors come in the answer stream: pass them through
/// [`stream_error`].
pub async fn streaming<Q, A, S>(
    caller: &Caller,
    remote: &Remote,
    rule: &Rule,
    frames: S,
) -> Result<Response<Streaming<A>>, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
    S: Stream<Item = Q> + Send + 'static,
{
    let request = request(caller, frames)?;
    let mut grpc = client(remote);
    grpc.ready().await.map_err(|error| unreachable(remote, &error))?;
    let codec = ProstCodec::<Q, A>::default();
    grpc.streaming(request, PathAndQuery::from_static(rule.path), codec)
        .await
        .map_err(|error| stream_error(remote, error))
}

/// An error of a forwarded stream, as its client is to see it: the outcome of what it had not heard about is unknown, which the
/// streams' own protocols (numbered batches, tokens) resolve after a reconnect.
#[must_use]
pub fn stream_error(remote: &Remote, error: Status) -> Status {
    if status::reason_of(&error).is_some() {
        return error;
    }
    status::retry(
        Reason::PeerUnreachable,
        format!("the stream to node {} broke: {}", remote.node, error.message()),
        status::RETRY_LEADER,
    )
}

fn client(remote: &Remote) -> Grpc<Channel> {
    Grpc::new(remote.channel.clone())
        .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

fn request<T>(caller: &Caller, message: T) -> Result<Request<T>, Status> {
    if caller.forwarded {
        return Err(status::internal("a forwarded request must not be forwarded again"));
    }
    let principal = MetadataValue::try_from(caller.principal.to_header())
        .map_err(|_| status::unauthenticated("the caller's name cannot be carried to another node"))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert(HOP_HEADER, MetadataValue::from_static("1"));
    request.metadata_mut().insert(PRINCIPAL_HEADER, principal);
    Ok(request)
}

fn unreachable(remote: &Remote, error: &CallError) -> Status {
    let message = format!("node {} cannot be reached: {error}; nothing was written", remote.node);
    status::retry(Reason::PeerUnreachable, message, status::RETRY_LEADER)
}

pub(crate) fn transport(remote: &Remote, loss: Loss, error: Status) -> Status {
    if status::reason_of(&error).is_some() {
        return error;
    }
    let message = format!("node {}: {}", remote.node, error.message());
    if never_connected(&error) || loss == Loss::Read {
        return status::retry(Reason::PeerUnreachable, message, status::RETRY_LEADER);
    }
    status::outcome_unknown(message)
}

pub(crate) fn late(loss: Loss) -> Status {
    match loss {
        Loss::Write => status::outcome_unknown("the leader did not answer in time"),
        Loss::Read => status::new(Reason::DeadlineExceeded, "the leader did not answer in time"),
    }
}

fn never_connected(error: &Status) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
