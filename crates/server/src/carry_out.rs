//! Commands that nodes give one another, not clients: to the leader of a group, wherever it is.

use std::time::Duration;

use phalanx_proto::raft::v1::CarryOutRequest;
use phalanx_proto::raft::v1::node_client::NodeClient;
use phalanx_state_machine::command::{Command, CommandKind};
use phalanx_state_machine::ids::{GroupId, Sequence};
use phalanx_state_machine::reply::Reply;
use prost::Message as _;
use tonic::Status;

use crate::authorize::Principal;
use crate::caller::Caller;
use crate::config::GRPC_MESSAGE_BYTES_MAX;
use crate::forward::{self, Loss};
use crate::router::{self, Leader};
use crate::shard::Shard;
use crate::state::NodeState;
use crate::status;

/// Has the leader of `group` carry out a command. All of these may be repeated. Answers up to where a target has what a transfer brought, and
/// 0 to any other command.
///
/// # Errors
/// Why it was refused, or could not be asked.
pub async fn carry_out(
    state: &NodeState,
    group: GroupId,
    command: Command,
    deadline: Duration,
) -> Result<Sequence, Status> {
    let caller = Caller { principal: Principal::Anonymous, forwarded: false, timeout: None };
    match router::lead(state, &caller, group).await? {
        Leader::Here(shard) => here(&shard, command).await,
        Leader::There(remote) => {
            let request = CarryOutRequest { group, command: command.encode_to_vec().into() };
            let client = NodeClient::new(remote.channel.clone());
            let mut client = client.max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
            let answer = tokio::time::timeout(deadline, client.carry_out(request)).await;
            let answer = answer.map_err(|_| forward::late(Loss::Read))?;
            answer
                .map(|response| response.into_inner().through)
                .map_err(|error| forward::transport(&remote, Loss::Read, error))
        }
    }
}

/// Has this node's leader carry out a command. Of a transfer only what its target has room for goes to the log: a full target costs no entry.
///
/// # Errors
/// Why it was refused.
pub async fn here(shard: &Shard, mut command: Command) -> Result<Sequence, Status> {
    if let Some(CommandKind::Transfer(transfer)) = &mut command.kind {
        let room = shard.group.read(|machine| machine.transfer_room(transfer));
        if let Some(room) = room.transpose().map_err(|rejection| status::from_rejection(&rejection))? {
            transfer.messages.truncate(room);
        }
    }
    answer(&shard.batcher.submit(command).await?)
}

/// Whether a peer may ask for it.
#[must_use]
pub fn may_be(command: &Command) -> bool {
    match &command.kind {
        Some(
            CommandKind::PutQueue(_)
            | CommandKind::DropQueue(_)
            | CommandKind::OpenInbox(_)
            | CommandKind::CloseInbox(_)
            | CommandKind::Transfer(_),
        ) => true,
        // A deletion only of one life of a name: of a queue that has expired.
        Some(CommandKind::DeleteQueue(delete)) => delete.uid != 0,
        _ => false,
    }
}

/// What is said to whoever asked.
///
/// # Errors
/// The rejection.
pub fn answer(reply: &Reply) -> Result<Sequence, Status> {
    match reply {
        Reply::Rejected(rejection) => Err(status::from_rejection(rejection)),
        Reply::Transferred { through } => Ok(*through),
        _ => Ok(0),
    }
}
