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
use crate::identity::{Identity, IdentityError, PlanGroup, Seat};
use crate::peers::Peers;
use crate::reseat;
use crate::shard::{CATALOG, Shard};
use crate::sink::Sink;
use crate::timekeeper::Timekeeper;

/// Pause before a replica that did not open, or a group that could not be founded, is tried again.
const OPEN_RETRY: Duration = Duration::from_secs(1);
/// Rounds of waiting between two log lines that say so.
const ROUNDS_PER_LINE: u64 = 30;
/// How much longer each further replica waits before it founds a new group itself.
const FOUND_STAGGER: Duration = Duration::from_secs(1);
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
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// The node stops.
    pub stop: CancellationToken,
}

/// A replica cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its new number could not be noted.
    #[error(transparent)]
    Identity(#[from] IdentityError),
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
            let &(first, _) = planned.replicas.iter().find(|row| row.1 == node)?;
            let replica = self.desk.seat(planned.group).map_or(first, |seat| seat.replica);
            let committed = self.wal.state(planned.group).committed;
            let committed_at_start = committed.map_or(0, |(_, index)| index);
            Some(Hosted { planned: planned.clone(), replica, committed_at_start })
        });
        groups.collect()
    }

    /// Opens a replica; tries again while its peers cannot refill it, and goes on as a new replica when its log is damaged. Founds the
    /// group where the plan says so.
    ///
    /// # Errors
    /// What trying again cannot heal.
    pub async fn open(&self, hosted: &Hosted) -> Result<Arc<Shard>, HostError> {
        let group = hosted.planned.group;
        let kind = if group == CATALOG { MachineKind::Catalog } else { MachineKind::Shard(group) };
        let members = self.members(&hosted.planned);
        let peers = members.values().filter(|peer| peer.node != self.identity.node).cloned().collect();
        let mut spec = GroupSpec { group, replica: hosted.replica, kind, peers };
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
                Err(OpenError::LogRotten { why, .. }) if hosted.planned.replicas.len() > 1 => {
                    tracing::error!(
                        group_id = group,
                        replica = spec.replica,
                        why,
                        "the log of a replica is damaged"
                    );
                    spec.replica = self.leave_seat(&hosted.planned, spec.replica).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if !self.desk.started() && self.desk.seat(group).is_none() {
            let place = hosted.planned.replicas.iter().position(|row| row.0 == opened.replica());
            let wait = FOUND_STAGGER * place.unwrap_or_default() as u32;
            let found = found(Arc::clone(&opened), Arc::clone(&self.wal), members, wait);
            let stop = self.stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(found).await });
        }
        if let Some(seat) = self.desk.seat(group).filter(|seat| !seat.taken) {
            tokio::spawn(reseat::take_seat(
                Arc::clone(&self.peers),
                Arc::clone(&self.desk),
                self.identity.clone(),
                seat,
                self.stop.clone(),
            ));
        }
        Ok(self.shard(opened, &hosted.planned))
    }

    /// Waits until a majority of the group serves without this node. Otherwise what this node still holds of it, damaged as it is, may be
    /// needed, and no new replica could be admitted anyway.
    async fn others_serve(&self, group: GroupId) {
        for round in 0_u64.. {
            if self.peers.serving_leader(&self.identity.plan, group).await.is_some() {
                return;
            }
            if round.is_multiple_of(ROUNDS_PER_LINE) {
                tracing::error!(
                    group_id = group,
                    "the log of this replica is damaged and no majority of the others serves: nothing is given up until one does; if \
                     their logs are damaged as well, restore one of them from a backup"
                );
            }
            tokio::time::sleep(OPEN_RETRY).await;
        }
    }

    /// Gives up a replica whose log is damaged: what it promised is forgotten, so it must never vote again. Returns the one that
    /// takes its place here, noted before anything is dropped.
    async fn leave_seat(&self, planned: &PlanGroup, old: ReplicaId) -> Result<ReplicaId, HostError> {
        self.others_serve(planned.group).await;
        let new = reseat::next_replica(old);
        self.desk.set_seat(Seat { group: planned.group, replica: new, taken: false })?;
        for dead in reseat::earlier_replicas(new) {
            self.groups.discard(planned.group, dead).await?;
        }
        Ok(new)
    }

    /// Ends the quarantine of the whole log, once every group has left or refilled what was in it.
    pub fn release_log(&self) {
        if self.wal.quarantined().node.is_some() {
            self.wal.release_node(Box::new(|released| match released {
                Ok(()) => tracing::info!("the log's quarantine is over"),
                Err(error) => tracing::warn!(%error, "the log's quarantine stays until the next start"),
            }));
        }
    }

    fn members(&self, planned: &PlanGroup) -> BTreeMap<ReplicaId, PeerNode> {
        let members = planned.replicas.iter().filter_map(|&(replica, node)| {
            let address = self.identity.plan.node(node)?.peer_address.clone();
            Some((replica, PeerNode { node, address }))
        });
        members.collect()
    }

    fn shard(&self, group: Arc<Group>, planned: &PlanGroup) -> Arc<Shard> {
        let id = group.id();
        let others = planned.replicas.iter().map(|row| row.1).filter(|node| *node != self.identity.node);
        let clock = self.sink.clock_of(id);
        let batcher = Batcher::spawn(Arc::new(Arc::clone(&group)), Arc::clone(&clock), self.stop.clone());
        let timekeeper = Timekeeper::new(id, Arc::clone(&clock), Arc::clone(&self.peers), others.collect());
        let (due, applied) = (self.sink.due_of(id), self.sink.applied_of(id));
        let (diverged_at, chores) = (self.sink.diverged_of(id), self.sink.chores_of(id));
        let outgoing = self.sink.outgoing_of(id);
        Arc::new(Shard { group, clock, timekeeper, batcher, due, chores, outgoing, diverged_at, applied })
    }

    /// Waits until [`Hosting::note_started`] is done.
    pub async fn has_started(&self) {
        while !self.desk.started() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every hosted group has a log, and notes that: from then on a missing log is a loss.
    ///
    /// # Errors
    /// When the identity file could not be written.
    pub async fn note_started(&self) -> Result<(), IdentityError> {
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

/// Gives a new group its members, unless another replica did while this one waited its turn: the first replica founds at once, so that leaders
/// are spread; the others only if it is slow or gone. All give the same members, so that repeating it is fine.
async fn found(group: Arc<Group>, wal: Arc<Wal>, members: BTreeMap<ReplicaId, PeerNode>, wait: Duration) {
    tokio::time::sleep(wait).await;
    while wal.state(group.id()).last.is_none() {
        if let Err(error) = group.initialize(members.clone()).await {
            tracing::warn!(group_id = group.id(), %error, "a new group was not founded yet");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the replica has applied what was committed when the node started.
pub async fn caught_up(shard: &Shard, committed_at_start: u64) {
    while shard.group.status().applied < committed_at_start {
        tokio::time::sleep(LOOK).await;
    }
}
