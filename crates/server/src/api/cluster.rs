//! `phalanx.v1.Cluster`: who is there and who leads, as this node sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use phalanx_proto::v1;
use phalanx_proto::v1::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use crate::authorize::{self, Target};
use crate::caller::{Caller, Listener};
use crate::convert;
use crate::router;
use crate::shard::Shard;
use crate::state::NodeState;

/// The service, mounted on one listener.
#[derive(Clone)]
pub struct ClusterApi {
    state: Arc<NodeState>,
    listener: Listener,
}

impl ClusterApi {
    /// On `listener`.
    #[must_use]
    pub fn new(state: Arc<NodeState>, listener: Listener) -> Self {
        Self { state, listener }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterApi {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        self.state.admit(&caller, &authorize::STATUS, &Target::Cluster)?;
        let nodes = self.state.peers.iter().map(|(node, peer)| v1::NodeStatus {
            node,
            client_address: peer.client_address.clone(),
            peer_address: peer.peer_address.clone(),
            zone: peer.zone.clone(),
            reachable: peer.is_reachable(),
        });
        Ok(Response::new(v1::StatusResponse {
            cluster_id: convert::id_bytes(self.state.cluster()),
            node: self.state.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nodes: nodes.collect(),
            groups: groups(&self.state),
        }))
    }

    async fn topology(
        &self,
        request: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        let caller = Caller::of(self.listener, &request)?;
        let message = request.into_inner();
        let namespace = convert::namespace(&message.namespace)?;
        self.state.admit(&caller, &authorize::TOPOLOGY, &Target::Namespace(namespace))?;
        let nodes = self
            .state
            .peers
            .iter()
            .map(|(node, peer)| v1::NodeAddress { node, client_address: peer.client_address.clone() });
        let nodes = nodes.collect();
        if message.queue.is_empty() {
            return Ok(Response::new(v1::TopologyResponse { nodes, leader_node: 0, leader_term: 0 }));
        }
        let name = convert::queue_name("queue", &message.queue)?;
        let entry = router::find(&self.state, namespace, name).await?;
        let leader = match self.state.shard(entry.group) {
            Some(shard) => {
                let now = shard.group.leadership().borrow().clone();
                now.leader.map(|(_, node)| (now.term, node))
            }
            None => {
                let node = self.state.peers.ask_leader(&self.state.identity.plan, entry.group).await;
                node.map(|node| (0, node))
            }
        };
        let (leader_term, leader_node) = leader.unwrap_or_default();
        Ok(Response::new(v1::TopologyResponse { nodes, leader_node, leader_term }))
    }
}

/// Entries that a replica may be behind without being said to catch up.
const LAG_NORMAL: u64 = 1_000;

/// One line for each replica that this node is to have, whether it is open or not.
fn groups(state: &NodeState) -> Vec<v1::GroupStatus> {
    let node = state.node();
    let planned = state.identity.plan.groups.iter();
    let hosted = planned.filter(|group| group.replicas.iter().any(|row| row.1 == node));
    hosted
        .map(|planned| match state.shard(planned.group) {
            Some(shard) => group_status(&shard),
            None => v1::GroupStatus {
                group: planned.group,
                state: "not open: it is being started or refilled".to_owned(),
                ..Default::default()
            },
        })
        .collect()
}

fn group_status(shard: &Shard) -> v1::GroupStatus {
    let status = shard.group.status();
    let mut voter_nodes: Vec<_> = status.voters.values().map(|peer| peer.node).collect();
    voter_nodes.sort_unstable();
    let own = status.leader.is_some_and(|(replica, _)| replica == status.replica);
    let state = match status.leader {
        None => "no leader known",
        Some(_) if own && !status.is_leader => "leads without a quorum",
        Some(_) if !status.voters.contains_key(&status.replica) => "has no vote",
        Some(_) if shard.diverged_at.load(Ordering::Relaxed) > 0 => "differs from its leader",
        Some(_) if status.committed.saturating_sub(status.applied) > LAG_NORMAL => "catching up",
        Some(_) => "healthy",
    };
    v1::GroupStatus {
        group: shard.id(),
        leader_node: status.leader.map_or(0, |(_, node)| node),
        term: status.term,
        voter_nodes,
        applied_index: status.applied,
        last_index: status.last_index,
        digest: status.digest,
        state: state.to_owned(),
    }
}
