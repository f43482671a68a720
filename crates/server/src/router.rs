//! Where a queue is, and who leads there.
//!
//! Every node holds a replica of the catalog. A name that the local copy knows is good enough: commands carry the uid, and a dead uid
//! is refused by its shard. A name that the local copy does not know is asked of the catalog's leader, so that a queue can be used
//! through any node as soon as its creation was answered.

use std::time::Duration;

use phalanx_proto::channel::Channel;
use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::QueueSettings;
use phalanx_state_machine::ids::{GroupId, NodeId, QueueUid};
use std::sync::Arc;
use tonic::Status;

use crate::caller::Caller;
use crate::shard::{CATALOG, Shard};
use crate::state::NodeState;
use crate::status::{self, Reason};

/// How long a request waits for a group to have a leader before it is told to come back.
pub const LEADER_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for the catalog's answer about a name.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);

/// Where a queue's commands go.
pub enum Route {
    /// This node leads.
    Local(Local),
    /// Another node leads: see [`crate::forward`].
    Remote(Remote),
}

/// A queue that this node leads.
#[derive(Clone)]
pub struct Local {
    /// Its shard.
    pub shard: Arc<Shard>,
    /// Which of its queues.
    pub uid: QueueUid,
    /// Settings in force, defaults filled in.
    pub settings: QueueSettings,
}

/// A node that leads.
#[derive(Clone)]
pub struct Remote {
    /// Which.
    pub node: NodeId,
    /// To its peer listener.
    pub channel: Channel,
}

/// Who leads a group.
pub enum Leader {
    /// This node.
    Here(Arc<Shard>),
    /// Another one.
    There(Remote),
}

/// Finds the queue and its leader; waits up to [`LEADER_WAIT`] for there to be one.
///
/// # Errors
/// `QUEUE_NOT_FOUND`, `QUEUE_NOT_READY`, `NO_LEADER`; for a forwarded caller `NOT_LEADER` instead of a remote route.
pub async fn resolve(
    state: &NodeState,
    caller: &Caller,
    namespace: &str,
    queue: &str,
) -> Result<Route, Status> {
    let entry = find(state, namespace, queue).await?;
    match lead(state, caller, entry.group).await? {
        Leader::There(remote) => Ok(Route::Remote(remote)),
        Leader::Here(shard) => {
            let settings = shard
                .group
                .read(|machine| machine.queue_settings(entry.uid).map(|(settings, _)| settings.clone()));
            // Between the catalog's row and the shard's copy there is a moment at both ends of a queue's life.
            let settings = settings.unwrap_or_else(|| entry.settings.clone());
            Ok(Route::Local(Local { shard, uid: entry.uid, settings }))
        }
    }
}

/// The row of a queue that can be used, from the local copy or the catalog's leader.
///
/// # Errors
/// `QUEUE_NOT_FOUND`, `QUEUE_NOT_READY`, or why the catalog could not be asked.
pub async fn find(state: &NodeState, namespace: &str, queue: &str) -> Result<QueueEntry, Status> {
    if let Some(entry) = lookup(state, namespace, queue)
        && entry.state == QueueState::Live as i32
    {
        return Ok(entry);
    }
    find_fresh(state, namespace, queue).await
}

/// As [`find`], but never from a copy that may be behind.
///
/// # Errors
/// As [`find`].
pub async fn find_fresh(state: &NodeState, namespace: &str, queue: &str) -> Result<QueueEntry, Status> {
    let entry = crate::catalog_read::entry(state, namespace, queue, LOOKUP_DEADLINE).await?;
    match entry {
        Some(entry) if entry.state == QueueState::Live as i32 => Ok(entry),
        Some(entry) if entry.state == QueueState::Creating as i32 => Err(status::retry(
            Reason::QueueNotReady,
            format!("queue {queue:?} is being created"),
            status::RETRY_LEADER,
        )),
        Some(_) | None => Err(status::queue_not_found(namespace, queue)),
    }
}

/// The row in this node's copy of the catalog, whatever its state.
#[must_use]
pub fn lookup(state: &NodeState, namespace: &str, queue: &str) -> Option<QueueEntry> {
    state.catalog().group.read(|machine| machine.catalog_state()?.lookup(namespace, queue).cloned())
}

/// Who leads `group`; waits up to [`LEADER_WAIT`] for somebody to.
///
/// # Errors
/// `NO_LEADER`; for a forwarded caller `NOT_LEADER` when it is not this node.
pub async fn lead(state: &NodeState, caller: &Caller, group: GroupId) -> Result<Leader, Status> {
    let Some(shard) = state.shard(group) else {
        return lead_elsewhere(state, caller, group).await;
    };
    let mut leadership = shard.group.leadership();
    if caller.forwarded {
        let now = leadership.borrow().clone();
        return if now.is_leader {
            Ok(Leader::Here(shard))
        } else {
            Err(status::not_leader(group, now.leader.map(|(_, node)| node)))
        };
    }
    let known =
        leadership.wait_for(|now| now.is_leader || now.leader.is_some_and(|(_, node)| node != state.node()));
    let leader = match tokio::time::timeout(LEADER_WAIT, known).await {
        Ok(Ok(now)) if now.is_leader => return Ok(Leader::Here(shard)),
        Ok(Ok(now)) => now.leader.map(|(_, node)| node),
        Ok(Err(_)) => return Err(status::unavailable("the node is stopping")),
        Err(_) => None,
    };
    let leader = leader.ok_or_else(|| status::no_leader(group))?;
    remote(state, leader).map(Leader::There)
}

/// For a group without a replica here: a node that has one knows its leader.
async fn lead_elsewhere(state: &NodeState, caller: &Caller, group: GroupId) -> Result<Leader, Status> {
    if caller.forwarded {
        return Err(status::not_leader(group, None));
    }
    let leader =
        state.peers.ask_leader(&state.identity.plan, group).await.ok_or_else(|| status::no_leader(group))?;
    remote(state, leader).map(Leader::There)
}

/// The way to a node.
///
/// # Errors
/// `PEER_UNREACHABLE` when the node is not one of this cluster.
pub fn remote(state: &NodeState, node: NodeId) -> Result<Remote, Status> {
    let channel = state.peers.channel(node).ok_or_else(|| {
        status::retry(
            Reason::PeerUnreachable,
            format!("node {node} has no known address"),
            status::RETRY_LEADER,
        )
    })?;
    Ok(Remote { node, channel })
}

/// The catalog's leader.
///
/// # Errors
/// As [`lead`].
pub async fn lead_catalog(state: &NodeState, caller: &Caller) -> Result<Leader, Status> {
    lead(state, caller, CATALOG).await
}
