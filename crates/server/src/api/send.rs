//! `Messages.Send`: one batch, answered when it is on disk on a majority and applied.

use phalanx_proto::v1;
use phalanx_state_machine::command::{Command, CommandKind, Send};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::reply::{Reply, Sent};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::messages::{Call, MessagesApi, at_leader, check_messages, new_messages, target, unexpected};
use crate::authorize;
use crate::convert;
use crate::forward::Loss;
use crate::router::Local;

pub(super) async fn send(
    api: &MessagesApi,
    request: Request<v1::SendRequest>,
) -> Result<Response<v1::SendResponse>, Status> {
    let caller = api.caller(&request)?;
    let request = request.into_inner();
    api.state.admit(&caller, &authorize::SEND, &target(&request.namespace, &request.queue))?;
    let namespace = convert::namespace(&request.namespace)?;
    let queue = convert::queue_name("queue", &request.queue)?;
    let id = convert::optional_id("request_id", &request.request_id)?;
    check_messages(&request.messages)?;
    let deadline = Instant::now() + caller.unary_deadline();
    let rule = &authorize::SEND;
    let call =
        Call { state: &api.state, caller: &caller, rule, namespace, queue, deadline, loss: Loss::Write };
    at_leader(&call, &request, |local| serve(local, &request, id, deadline)).await
}

async fn serve(
    local: Local,
    request: &v1::SendRequest,
    id: Option<Id128>,
    deadline: Instant,
) -> Result<v1::SendResponse, Status> {
    let messages = new_messages(&request.messages, local.settings.body_bytes_max)?;
    let send = Send {
        uid: local.uid,
        producer: None,
        producer_sequence: 0,
        request: id,
        messages,
        mandatory: request.mandatory,
    };
    let reply = local.shard.batcher.enqueue(Command::from(CommandKind::Send(send)), deadline)?.await?;
    match reply {
        Reply::Sent(sent) => Ok(sent_out(sent)),
        other => Err(unexpected(other)),
    }
}

/// The result of a send as clients read it.
pub(super) fn sent_out(sent: Sent) -> v1::SendResponse {
    let duplicates = sent.duplicates.into_iter();
    v1::SendResponse {
        first_sequence: sent.first,
        count: sent.count,
        duplicates: duplicates
            .map(|(position, original_sequence)| v1::Duplicate { position, original_sequence })
            .collect(),
        repeated: sent.repeated,
        matched: sent.matched,
    }
}
