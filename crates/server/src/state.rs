//! What every RPC handler of a node shares.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use phalanx_raft::Groups;
use phalanx_state_machine::ids::{GroupId, Id128, NodeId};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::authorize::{self, Authorizer, Rule, Target};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::dispatch::Dispatcher;
use crate::identity::Identity;
use crate::peers::Peers;
use crate::shard::Shard;

/// A node that has its groups open.
pub struct NodeState {
    /// As it was started.
    pub config: NodeConfig,
    /// Who it is, and the cluster it belongs to.
    pub identity: Identity,
    /// Its Raft groups.
    pub groups: Arc<Groups>,
    /// Clocks.
    pub clock: Arc<dyn Clock>,
    /// Access rules.
    pub authorizer: Arc<dyn Authorizer>,
    /// Consumers' streams.
    pub dispatcher: Arc<Dispatcher>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// The node stops: streams and waits end.
    pub stop: CancellationToken,
    pub(crate) catalog: Arc<Shard>,
    pub(crate) shards: RwLock<BTreeMap<GroupId, Arc<Shard>>>,
}

impl NodeState {
    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity.node
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> Id128 {
        self.identity.plan.cluster
    }

    /// The catalog's replica here: every node has one.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Shard> {
        &self.catalog
    }

    /// The replica of `group` here, if there is one and it is open.
    #[must_use]
    pub fn shard(&self, group: GroupId) -> Option<Arc<Shard>> {
        self.shards.read().get(&group).cloned()
    }

    /// All open replicas here, the catalog's first.
    #[must_use]
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.read().values().cloned().collect()
    }

    /// The first step of every RPC: may this caller do this at all? Also refuses while the node stops.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `UNAVAILABLE`.
    pub fn admit(&self, caller: &Caller, rule: &Rule, target: &Target<'_>) -> Result<(), Status> {
        authorize::check(self.authorizer.as_ref(), caller, rule, target)?;
        if self.stop.is_cancelled() {
            return Err(crate::status::unavailable("the node is stopping"));
        }
        Ok(())
    }
}
