//! The other nodes: one connection each for what is asked and forwarded, made when first used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_proto::channel::Channel;
use phalanx_proto::raft::v1::node_client::NodeClient;
use phalanx_proto::raft::v1::{HelloRequest, LeaderRequest, LookupRequest, TimeRequest, TimeResponse};
use phalanx_raft::{Dialer, Purpose};
use phalanx_state_machine::catalog::QueueEntry;
use phalanx_state_machine::ids::{GroupId, Id128, NodeId};
use prost::Message as _;
use tonic::{Request, Status};

use crate::convert::id_bytes;
use crate::forward::Loss;
use crate::identity::Plan;
use crate::router::Remote;
use crate::status;

/// Time a node has to say who leads a group.
const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// Time between two looks at whether a peer answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// All nodes of the cluster, this one included.
pub struct Peers {
    dialer: Arc<dyn Dialer>,
    peers: BTreeMap<NodeId, Peer>,
    channels: Mutex<BTreeMap<NodeId, Channel>>,
}

/// What is known of a node.
pub struct Peer {
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Failure domain.
    pub zone: String,
    reachable: AtomicBool,
}

impl Peer {
    /// It answered when it was last asked.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }
}

impl Peers {
    /// The nodes of a plan.
    #[must_use]
    pub fn new(dialer: Arc<dyn Dialer>, plan: &Plan, own: NodeId) -> Self {
        let peers = plan.nodes.iter().map(|node| {
            let peer = Peer {
                peer_address: node.peer_address.clone(),
                client_address: node.client_address.clone(),
                zone: node.zone.clone(),
                reachable: AtomicBool::new(node.node == own),
            };
            (node.node, peer)
        });
        Self { dialer, peers: peers.collect(), channels: Mutex::new(BTreeMap::new()) }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.peers.iter().map(|(node, peer)| (*node, peer))
    }

    /// The connection to a node's peer listener.
    #[must_use]
    pub fn channel(&self, node: NodeId) -> Option<Channel> {
        let peer = self.peers.get(&node)?;
        let mut channels = self.channels.lock();
        let channel =
            channels.entry(node).or_insert_with(|| self.dialer.channel(&peer.peer_address, Purpose::Bulk));
        Some(channel.clone())
    }

    /// Who leads a group, when this node cannot know: asks the nodes that have a replica, in turn.
    pub async fn ask_leader(&self, plan: &Plan, group: GroupId) -> Option<NodeId> {
        let planned = plan.groups.iter().find(|planned| planned.group == group)?;
        for &(_, node) in &planned.replicas {
            if let Some(leader) = self.leader_by(node, group).await {
                return Some(leader);
            }
        }
        None
    }

    /// The node that leads a group and has its quorum, by its own word.
    pub async fn serving_leader(&self, plan: &Plan, group: GroupId) -> Option<NodeId> {
        let leader = self.ask_leader(plan, group).await?;
        self.leader_by(leader, group).await.filter(|confirmed| *confirmed == leader)
    }

    /// The leader as one node knows it.
    async fn leader_by(&self, node: NodeId, group: GroupId) -> Option<NodeId> {
        let mut request = Request::new(LeaderRequest { group });
        request.set_timeout(ASK_DEADLINE);
        let mut client = NodeClient::new(self.channel(node)?);
        let answer = tokio::time::timeout(ASK_DEADLINE, client.leader(request)).await.ok()?.ok()?;
        Some(answer.into_inner().leader_node).filter(|leader| *leader > 0)
    }

    /// The time of a group as a node's replica keeps it; `None` when it does not answer.
    pub async fn ask_time(&self, node: NodeId, group: GroupId) -> Option<TimeResponse> {
        let mut request = Request::new(TimeRequest { group });
        request.set_timeout(ASK_DEADLINE);
        let mut client = NodeClient::new(self.channel(node)?);
        let answer = tokio::time::timeout(ASK_DEADLINE, client.time(request)).await.ok()?.ok()?;
        Some(answer.into_inner())
    }

    /// Asks the catalog's leader for the row under a name.
    ///
    /// # Errors
    /// Its status, or that it did not answer.
    pub async fn ask_entry(
        &self,
        remote: &Remote,
        namespace: &str,
        name: &str,
        deadline: Duration,
    ) -> Result<Option<QueueEntry>, Status> {
        let mut request =
            Request::new(LookupRequest { namespace: namespace.to_owned(), name: name.to_owned() });
        request.set_timeout(deadline);
        let mut client = NodeClient::new(remote.channel.clone());
        let answer = tokio::time::timeout(deadline, client.lookup(request)).await;
        let answer = answer
            .map_err(|_| crate::forward::late(Loss::Read))?
            .map_err(|error| crate::forward::transport(remote, Loss::Read, error))?;
        let entry = answer.into_inner().entry;
        if entry.is_empty() {
            return Ok(None);
        }
        QueueEntry::decode(entry).map(Some).map_err(|_| status::internal("a catalog row does not decode"))
    }

    /// Keeps an eye on who answers, for the cluster's status. Ends with the node.
    pub async fn probe(&self, own: NodeId, cluster: Id128, store: Id128) {
        loop {
            for (node, peer) in self.iter().filter(|(node, _)| *node != own) {
                let Some(channel) = self.channel(node) else { continue };
                let hello =
                    HelloRequest { node: own, cluster_id: id_bytes(cluster), store_id: id_bytes(store) };
                let mut client = NodeClient::new(channel);
                let answer = tokio::time::timeout(ASK_DEADLINE, client.hello(hello)).await;
                peer.reachable.store(matches!(answer, Ok(Ok(_))), Ordering::Relaxed);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }
}
