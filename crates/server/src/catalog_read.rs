//! Linearizable looks into the catalog, wherever its leader is.

use std::time::Duration;

use phalanx_state_machine::catalog::QueueEntry;
use tonic::Status;

use crate::authorize::Principal;
use crate::caller::Caller;
use crate::router::{self, Leader};
use crate::shard::{CATALOG, Shard};
use crate::state::NodeState;
use crate::status::{self, Reason};

/// Tries to find the catalog's leader again when it moved during the question.
const TRIES: usize = 3;

/// The row under a name, as of now.
///
/// # Errors
/// Why the catalog could not be asked.
pub async fn entry(
    state: &NodeState,
    namespace: &str,
    name: &str,
    deadline: Duration,
) -> Result<Option<QueueEntry>, Status> {
    // The question is the node's own: it may go to a peer even while a forwarded request is being answered.
    let caller = Caller { principal: Principal::Anonymous, forwarded: false, timeout: None };
    let mut last = status::no_leader(CATALOG);
    for _ in 0..TRIES {
        let answer = match router::lead(state, &caller, CATALOG).await? {
            Leader::Here(shard) => entry_here(&shard, namespace, name, deadline).await,
            Leader::There(remote) => state.peers.ask_entry(&remote, namespace, name, deadline).await,
        };
        match answer {
            Err(error) if moved(&error) => last = error,
            answer => return answer,
        }
        tokio::time::sleep(status::RETRY_LEADER).await;
    }
    Err(last)
}

fn moved(error: &Status) -> bool {
    [Reason::NotLeader, Reason::NoLeader, Reason::PeerUnreachable, Reason::Unavailable]
        .iter()
        .any(|reason| status::is(error, *reason))
}

/// The row under a name, as of now, when this node leads the catalog.
///
/// # Errors
/// `NOT_LEADER` when it does not.
pub async fn entry_here(
    shard: &Shard,
    namespace: &str,
    name: &str,
    deadline: Duration,
) -> Result<Option<QueueEntry>, Status> {
    barrier(shard, deadline).await?;
    Ok(shard.group.read(|machine| machine.catalog_state()?.lookup(namespace, name).cloned()))
}

/// Waits until this replica, which leads, has applied all that was answered to anybody before.
///
/// # Errors
/// `NOT_LEADER`, `DEADLINE_EXCEEDED` and the like; never an unknown outcome, since nothing is written.
pub async fn barrier(shard: &Shard, deadline: Duration) -> Result<(), Status> {
    shard.group.read_barrier(deadline).await.map_err(|error| status::from_propose(&error))
}
