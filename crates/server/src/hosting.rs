//! The replicas of this node: opening them, founding new groups, knowing when they have caught up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phalanx_raft::{Group, GroupSpec, Groups, OpenError, PeerNode};
use phalanx_state_machine::ids::{GroupId, ReplicaId};
use phalanx_state_machine::machine::MachineKind;
use phalanx_storage::wal::Wal;
use tokio_util::sync::CancellationToken;

use crate::batcher::Batcher;
use crate::desk::Desk;
use crate::identity::{Identity, PlanGroup};
use crate::shard::{CATALOG, Shard};
use crate::sink::Sink;

/// Pause before a replica that did not open, or a group that could not be founded, is tried again.
const OPEN_RETRY: Duration = Duration::from_secs(1);
/// How often it is looked at whether replicas have caught up.
const LOOK: Duration = Duration::from_millis(50);

/// What is needed to open replicas.
pub struct Hosting {
    /// Raft groups of this node.
    pub groups: Arc<Groups>,
    /// The log.
    pub wal: Arc<Wal>,
    /// Takes what is applied.
    pub sink: Arc<Sink>,
    /// Who this node is.
    pub identity: Identity,
    /// Its papers.
    pub desk: Arc<Desk>,
    /// The node stops.
    pub stop: CancellationToken,
}

/// A replica of this node, and where its log stood when the node started.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// The group as planned.
    pub planned: PlanGroup,
    /// This node's replica.
    pub replica: ReplicaId,
    /// Committed, as far as the log knew at the start.
    pub committed_at_start: u64,
}

impl Hosting {
    /// All replicas of this node, the catalog's first.
    #[must_use]
    pub fn hosted(&self) -> Vec<Hosted> {
        let node = self.identity.node;
        let groups = self.identity.plan.groups.iter().filter_map(|planned| {
            let &(replica, _) = planned.replicas.iter().find(|row| row.1 == node)?;
            let committed = self.wal.state(planned.group).committed;
            let committed_at_start = committed.map_or(0, |(_, index)| index);
            Some(Hosted { planned: planned.clone(), replica, committed_at_start })
        });
        groups.collect()
    }

    /// Opens a replica; tries again while its peers cannot refill it. Founds the group where the plan says so.
    ///
    /// # Errors
    /// What trying again cannot heal.
    pub async fn open(&self, hosted: &Hosted) -> Result<Arc<Shard>, OpenError> {
        let group = hosted.planned.group;
        let last = self.wal.state(group).last.map_or(0, |(_, index)| index);
        self.sink.replays_until(group, last);
        let kind = if group == CATALOG { MachineKind::Catalog } else { MachineKind::Shard(group) };
        let members = self.members(&hosted.planned);
        let peers = members.values().filter(|peer| peer.node != self.identity.node).cloned().collect();
        let spec = GroupSpec { group, replica: hosted.replica, kind, peers };
        let opened = loop {
            match self.groups.open(spec.clone()).await {
                Ok(opened) => break opened,
                Err(OpenError::NoRefill { group, why, peers }) => {
                    tracing::warn!(
                        group_id = group,
                        why,
                        peers,
                        "a damaged replica waits for a peer to refill it"
                    );
                    tokio::time::sleep(OPEN_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        };
        if !self.desk.started() && hosted.planned.replicas.first().map(|row| row.0) == Some(hosted.replica) {
            tokio::spawn(found(Arc::clone(&opened), members, self.stop.clone()));
        }
        Ok(self.shard(opened))
    }

    fn members(&self, planned: &PlanGroup) -> BTreeMap<ReplicaId, PeerNode> {
        let members = planned.replicas.iter().filter_map(|&(replica, node)| {
            let address = self.identity.plan.node(node)?.peer_address.clone();
            Some((replica, PeerNode { node, address }))
        });
        members.collect()
    }

    fn shard(&self, group: Arc<Group>) -> Arc<Shard> {
        let id = group.id();
        let clock = self.sink.clock_of(id);
        let batcher = Batcher::spawn(Arc::new(Arc::clone(&group)), Arc::clone(&clock), self.stop.clone());
        let (due, applied) = (self.sink.due_of(id), self.sink.applied_of(id));
        Arc::new(Shard { group, clock, batcher, due, applied })
    }

    /// Waits until every hosted group has a log, and notes that: from then on a missing log is a loss.
    ///
    /// # Errors
    /// When the identity file could not be written.
    pub async fn note_started(&self) -> Result<(), crate::identity::IdentityError> {
        let groups: Vec<GroupId> = self.hosted().iter().map(|hosted| hosted.planned.group).collect();
        while !self.desk.started() {
            if groups.iter().all(|group| self.wal.state(*group).last.is_some()) {
                self.desk.mark_started()?;
                tracing::info!(groups = groups.len(), "every hosted group has started");
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

/// Gives a new group its members. Repeating it, or finding it done, is fine.
async fn found(group: Arc<Group>, members: BTreeMap<ReplicaId, PeerNode>, stop: CancellationToken) {
    let work = async {
        while let Err(error) = group.initialize(members.clone()).await {
            tracing::warn!(group_id = group.id(), %error, "a new group was not founded yet");
            tokio::time::sleep(OPEN_RETRY).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Waits until the replica has applied what was committed when the node started.
pub async fn caught_up(shard: &Shard, committed_at_start: u64) {
    while shard.group.status().applied < committed_at_start {
        tokio::time::sleep(LOOK).await;
    }
}
