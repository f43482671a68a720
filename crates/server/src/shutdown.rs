//! The graceful end: hand over, let go, stop.
//!
//! Bounded in time: what is not done in [`HANDOVER_MAX`] and [`DRAIN_MAX`] is cut. Nothing that was acknowledged depends on it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use phalanx_state_machine::ids::NodeId;

use crate::node::RunningNode;
use crate::shard::Shard;
use crate::state::NodeState;

/// Time to hand over all leaderships.
pub const HANDOVER_MAX: Duration = Duration::from_secs(3);
/// Time for clients' calls to finish after that.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Time for the groups to stop.
const STOP_MAX: Duration = Duration::from_secs(3);
/// How often it is looked at whether the log is free.
const FREE_LOOK: Duration = Duration::from_millis(5);

impl RunningNode {
    /// Stops accepting, hands leaderships to peers that are up to date, lets calls finish, stops.
    pub async fn shutdown(self) {
        let state = Arc::clone(self.state());
        tracing::info!(node = state.node(), "stops");
        self.base.health.set_ready(false);
        self.base.reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        self.base.clients.close.cancel();
        hand_over(&state).await;
        // Streams and waits end now; their clients find the new leaders through the other nodes.
        self.base.stop.cancel();
        if tokio::time::timeout(DRAIN_MAX, self.base.clients_done.cancelled()).await.is_err() {
            tracing::info!("calls of clients are cut off");
        }
        let node = state.node();
        drop(state);
        self.end().await;
        tracing::info!(node, "stopped");
    }

    /// Stops at once, handing nothing over: what a crash leaves, but with the data directory free again when this returns.
    pub async fn abort(self) {
        self.end().await;
    }

    async fn end(mut self) {
        self.base.stop.cancel();
        self.base.clients.cut.cancel();
        self.base.peers.cut.cancel();
        self.base.clients.close.cancel();
        self.base.peers.close.cancel();
        if tokio::time::timeout(STOP_MAX, self.state().groups.shutdown()).await.is_err() {
            tracing::warn!("the groups did not stop in time");
        }
        self.base.tasks.shutdown().await;
        let wal = Weak::clone(&self.base.wal);
        drop(self);
        // Tasks of connections that were cut hold the log, and with it the data directory, until they have noticed.
        let freed = async {
            while wal.strong_count() > 0 {
                tokio::time::sleep(FREE_LOOK).await;
            }
        };
        if tokio::time::timeout(STOP_MAX, freed).await.is_err() {
            tracing::warn!("something still holds the log of the stopped node");
        }
    }
}

async fn hand_over(state: &NodeState) {
    hand_over_to(state, |_| true).await;
}

/// Hands over every group that this node leads, side by side, to nodes that may have them.
pub(crate) async fn hand_over_to(state: &NodeState, may: impl Fn(NodeId) -> bool) {
    let shards = state.shards();
    let led: Vec<_> = shards.iter().filter(|shard| shard.is_leader()).collect();
    let work = join_all(led.iter().map(|shard| hand_over_one(state, shard, &may)));
    if tokio::time::timeout(HANDOVER_MAX, work).await.is_err() {
        tracing::warn!("not every leadership was handed over in time");
    }
}

async fn hand_over_one(state: &NodeState, shard: &Shard, may: impl Fn(NodeId) -> bool) {
    let own = state.node();
    let reachable =
        |node: NodeId| state.peers.iter().any(|(peer, known)| peer == node && known.is_reachable());
    let voters = shard.group.status().voters;
    let candidate = |node: NodeId| node != own && may(node) && reachable(node);
    for (replica, to) in voters.into_iter().filter(|(_, peer)| candidate(peer.node)) {
        match shard.group.transfer_leader(replica).await {
            Ok(()) => {
                tracing::info!(group_id = shard.id(), to = to.node, "leadership handed over");
                return;
            }
            Err(error) => {
                tracing::info!(group_id = shard.id(), to = to.node, %error, "leadership not handed over");
            }
        }
    }
}
