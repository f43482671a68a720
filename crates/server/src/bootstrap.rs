//! The first start of a cluster, and the refusal of disks that do not belong to it.
//!
//! An empty node asks all configured nodes. Only when every one of them answers, and every one is empty, does the lowest of
//! them make a plan; every node keeps the plan on disk before it answers `Prepare`; groups are opened only when all nodes are known
//! to have kept it. Invariants: a plan names each disk by its store id, so that a wiped node never passes for its old self; two empty
//! nodes of three found nothing; every step may be repeated after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use phalanx_proto::channel::Channel;
use phalanx_proto::raft::v1::node_client::NodeClient;
use phalanx_proto::raft::v1::{HelloRequest, HelloResponse, PrepareRequest};
use phalanx_raft::{Dialer, Purpose};
use phalanx_state_machine::ids::{Id128, NodeId};

use crate::config::NodeConfig;
use crate::convert::id_bytes;
use crate::desk::Desk;
use crate::identity::{Identity, Plan, PlanGroup, PlanNode, read_id};
use crate::seams::Entropy;

/// Time a node has to answer one question.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// Pause between two rounds of questions.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// Rounds between two log lines about who is still missing.
const ROUNDS_PER_LINE: u64 = 25;

/// This node must not take part.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The cluster knows this node with another disk.
    #[error(
        "this disk is empty or new (store {own}), but node {node} of cluster {cluster} had store {recorded}: its data are gone, and it is refused \
         under its old identity. The cluster goes on without it as long as a majority of each group's replicas is left. Put the old disk back, or \
         replace the node under a new id as docs/operating/configuration.md describes; do not wipe further nodes"
    )]
    Wiped {
        /// This node.
        node: NodeId,
        /// The cluster that knows it.
        cluster: Id128,
        /// The disk it had.
        recorded: Id128,
        /// The disk it has.
        own: Id128,
    },
    /// The configured peers are a cluster without this node.
    #[error(
        "node {asked} belongs to cluster {cluster}, which does not know node {node}: check node.id and peers"
    )]
    NotMember {
        /// This node.
        node: NodeId,
        /// Who answered.
        asked: NodeId,
        /// Its cluster.
        cluster: Id128,
    },
    /// The node belongs to another cluster than a peer.
    #[error("this node belongs to cluster {own}, node {asked} to cluster {other}: check peers")]
    OtherCluster {
        /// Who answered.
        asked: NodeId,
        /// Its cluster.
        other: Id128,
        /// This node's.
        own: Id128,
    },
    /// An address leads to another node than configured.
    #[error(
        "{address} is configured as node {expected}, but answers as node {found}: check node.id and peers"
    )]
    WrongNode {
        /// The address.
        address: String,
        /// Configured.
        expected: NodeId,
        /// Found.
        found: NodeId,
    },
    /// A peer would not keep the plan.
    #[error("node {asked} refuses the plan of the new cluster: {why}")]
    Refused {
        /// Who.
        asked: NodeId,
        /// Its words.
        why: String,
    },
    /// This node could not keep the plan.
    #[error("keep the plan of the new cluster: {0}")]
    Keep(String),
}

/// The other nodes of the configuration, as they are asked during a first start.
pub struct Rounds {
    config: NodeConfig,
    desk: Arc<Desk>,
    entropy: Arc<dyn Entropy>,
    channels: BTreeMap<NodeId, (String, Channel)>,
}

impl Rounds {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(config: &NodeConfig, desk: Arc<Desk>, entropy: Arc<dyn Entropy>, dialer: &dyn Dialer) -> Self {
        let others = config.members().into_iter().filter(|member| member.id != config.node.id);
        let channels = others.map(|member| {
            let channel = dialer.channel(&member.peer, Purpose::Control);
            (member.id, (member.peer, channel))
        });
        Self { config: config.clone(), channels: channels.collect(), desk, entropy }
    }

    /// Makes this node a member: at once when its disk says so, otherwise by a first start with all the others.
    ///
    /// # Errors
    /// When this node must not take part. Being alone is no error: it waits.
    pub async fn join(&self) -> Result<Identity, BootstrapError> {
        for round in 0.. {
            if let Some(identity) = self.desk.identity() {
                if self.desk.started() || self.all_prepared(&identity, round).await? {
                    return Ok(identity);
                }
            } else {
                self.found(round).await?;
                if self.desk.identity().is_some() {
                    continue;
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        unreachable!("the rounds have no end")
    }

    /// One round of an empty node.
    async fn found(&self, round: u64) -> Result<(), BootstrapError> {
        let answers = self.ask_all().await?;
        for (asked, answer) in &answers {
            self.look_at_cluster_of(*asked, answer).await?;
        }
        if self.desk.identity().is_some() {
            return Ok(());
        }
        let missing: Vec<_> = self.channels.keys().filter(|node| !answers.contains_key(node)).collect();
        if !missing.is_empty() {
            if round.is_multiple_of(ROUNDS_PER_LINE) {
                tracing::info!(
                    ?missing,
                    "this node is empty: a new cluster is founded only when all its nodes answer"
                );
            }
            return Ok(());
        }
        let own = self.config.node.id;
        let lowest = self.channels.keys().all(|node| *node > own);
        let all_empty = answers.values().all(|answer| answer.plan.is_none() && !answer.has_data);
        if lowest && all_empty {
            let plan = self.plan(&answers);
            tracing::info!(cluster = %plan.cluster, nodes = plan.nodes.len(), groups = plan.groups.len(), "founds a cluster");
            self.desk.prepare(&plan).map_err(BootstrapError::Keep)?;
        }
        Ok(())
    }

    /// Judges the cluster that a peer belongs to. A plan that names this very disk is one that this node missed: it is kept.
    async fn look_at_cluster_of(&self, asked: NodeId, answer: &HelloResponse) -> Result<(), BootstrapError> {
        let Some(plan) = answer.plan.as_ref().and_then(Plan::from_proto) else { return Ok(()) };
        let (node, own) = (self.config.node.id, self.desk.store());
        match plan.node(node) {
            None => Err(BootstrapError::NotMember { node, asked, cluster: plan.cluster }),
            Some(row) if row.store != own => {
                Err(BootstrapError::Wiped { node, cluster: plan.cluster, recorded: row.store, own })
            }
            Some(_) => self.desk.prepare(&plan).map_err(BootstrapError::Keep),
        }
    }

    /// Whether every node has kept the plan; hands it to those that have not. A node with data has seen that before.
    async fn all_prepared(&self, identity: &Identity, round: u64) -> Result<bool, BootstrapError> {
        let answers = self.ask_all().await?;
        let mut kept = 0;
        for (&asked, answer) in &answers {
            match answer.plan.as_ref().and_then(Plan::from_proto) {
                Some(plan) if plan.cluster != identity.plan.cluster => {
                    return Err(BootstrapError::OtherCluster {
                        asked,
                        other: plan.cluster,
                        own: identity.plan.cluster,
                    });
                }
                Some(_) if answer.has_data => return Ok(true),
                Some(_) => kept += 1,
                None => kept += usize::from(self.hand_over(asked, answer, &identity.plan, round).await?),
            }
        }
        if kept < self.channels.len() && round.is_multiple_of(ROUNDS_PER_LINE) {
            let missing: Vec<_> = self.channels.keys().filter(|node| !answers.contains_key(node)).collect();
            tracing::info!(?missing, "waits until all nodes of the new cluster have kept its plan");
        }
        Ok(kept == self.channels.len())
    }

    async fn hand_over(
        &self,
        asked: NodeId,
        answer: &HelloResponse,
        plan: &Plan,
        round: u64,
    ) -> Result<bool, BootstrapError> {
        let planned = plan.node(asked).map(|row| row.store);
        if planned != read_id(&answer.store_id) {
            // Stays up: that node learns from this one why it is refused.
            if round.is_multiple_of(ROUNDS_PER_LINE) {
                tracing::error!(
                    node = asked,
                    "this node was wiped during the first start of the cluster; nothing was stored yet: wipe all nodes and start again"
                );
            }
            return Ok(false);
        }
        let Some((_, channel)) = self.channels.get(&asked) else { return Ok(false) };
        let request = PrepareRequest { plan: Some(plan.to_proto()) };
        let mut client = NodeClient::new(channel.clone());
        match tokio::time::timeout(ASK_DEADLINE, client.prepare(request)).await {
            Ok(Ok(answer)) => match answer.into_inner().refusal {
                why if why.is_empty() => Ok(true),
                why => Err(BootstrapError::Refused { asked, why }),
            },
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Asks everybody at once; who does not answer is left out.
    async fn ask_all(&self) -> Result<BTreeMap<NodeId, HelloResponse>, BootstrapError> {
        let request = self.desk.hello_request();
        let answers = join_all(self.channels.iter().map(|(node, (address, channel))| {
            let request = request.clone();
            async move { (*node, address, ask(channel.clone(), request).await) }
        }));
        let mut heard = BTreeMap::new();
        for (expected, address, answer) in answers.await {
            let Some(answer) = answer else { continue };
            if answer.node != expected {
                let (address, found) = (address.clone(), answer.node);
                return Err(BootstrapError::WrongNode { address, expected, found });
            }
            heard.insert(expected, answer);
        }
        Ok(heard)
    }

    /// The cluster as it shall be. Replica ids are unique over all groups; the first replica of each group founds it, so that leaders
    /// are spread from the start.
    fn plan(&self, answers: &BTreeMap<NodeId, HelloResponse>) -> Plan {
        let members = self.config.members();
        let store_of = |node: NodeId| match answers.get(&node) {
            Some(answer) => read_id(&answer.store_id).unwrap_or_default(),
            None => self.desk.store(),
        };
        let nodes: Vec<_> = members
            .iter()
            .map(|member| PlanNode {
                node: member.id,
                store: store_of(member.id),
                client_address: member.client.clone(),
                peer_address: member.peer.clone(),
                zone: member.zone.clone(),
            })
            .collect();
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.node).collect();
        let mut next_replica = 0;
        let groups = (0..=self.config.cluster.shards).map(|group| {
            let count = if group == crate::shard::CATALOG { ids.len() } else { self.config.replicas() };
            let replicas = (0..count).map(|place| {
                next_replica += 1;
                (next_replica, ids[(group as usize + place) % ids.len()])
            });
            PlanGroup { group, replicas: replicas.collect() }
        });
        let groups = groups.collect();
        Plan { cluster: self.entropy.id(), nodes, groups }
    }
}

async fn ask(channel: Channel, request: HelloRequest) -> Option<HelloResponse> {
    let mut client = NodeClient::new(channel);
    let answer = tokio::time::timeout(ASK_DEADLINE, client.hello(request)).await.ok()?.ok()?;
    Some(answer.into_inner())
}

impl Desk {
    /// How this node introduces itself.
    #[must_use]
    pub fn hello_request(&self) -> HelloRequest {
        let cluster = self.identity().map(|identity| id_bytes(identity.plan.cluster));
        HelloRequest {
            node: self.node(),
            cluster_id: cluster.unwrap_or_default(),
            store_id: id_bytes(self.store()),
        }
    }
}
