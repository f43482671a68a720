//! Changes of leader and of members, made by the leader.
//!
//! Invariant: a change is asked of Raft only when it can be expected to succeed; what Raft was asked and did not finish in time is
//! reported as such, never as refused.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, Instant as _};
use phalanx_state_machine::ids::ReplicaId;
use tokio::time::Instant;

use crate::error::ChangeError;
use crate::group::Group;
use crate::types::{Membership, PeerNode, Types};

/// How long a target may take to become fit to lead.
const FIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between two looks at the target.
const FIT_PAUSE: Duration = Duration::from_millis(5);
/// Entries that the next leader may lack when leadership is handed to it.
const LAG_MAX: u64 = 1;
/// How long a new replica may take to catch up, snapshot included.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a change of members may take once the new ones have caught up.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

enum Fitness {
    Fit,
    NotYet(&'static str),
}

impl Group {
    /// Hands leadership to another voter. Drain what you propose first: nothing is accepted until someone leads again, and a handover
    /// cannot be taken back. Asked for only once the target has answered within the last heartbeats and lacks one entry at most.
    ///
    /// # Errors
    /// `Refused`: the target is not fit, and this replica still leads. `Timeout`: it was asked and has not taken over yet.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), ChangeError> {
        if to == self.replica() {
            return Ok(());
        }
        let until = Instant::now() + FIT_TIMEOUT;
        loop {
            let why = match self.fitness(to)? {
                Fitness::Fit => break,
                Fitness::NotYet(why) => why,
            };
            if Instant::now() >= until {
                return Err(ChangeError::Refused(format!("replica {to} {why}")));
            }
            tokio::time::sleep(FIT_PAUSE).await;
        }
        let stopped = |_| ChangeError::Stopped { group: self.id() };
        self.raft().trigger().transfer_leader(to).await.map_err(stopped)?;
        let mut leadership = self.leadership();
        let taken = leadership.wait_for(|now| now.leader.is_some_and(|(leader, _)| leader == to));
        match tokio::time::timeout(self.options().election_max * 4, taken).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ChangeError::Stopped { group: self.id() }),
            Err(_) => Err(ChangeError::Timeout(format!("replica {to} does not lead yet"))),
        }
    }

    fn fitness(&self, to: ReplicaId) -> Result<Fitness, ChangeError> {
        if !self.leadership().borrow().is_leader {
            return Err(self.change_not_leader());
        }
        let metrics = self.raft().metrics().borrow_watched().clone();
        if !metrics.membership_config.voter_ids().any(|voter| voter == to) {
            return Err(ChangeError::Refused(format!("replica {to} has no vote")));
        }
        let answered = metrics.heartbeat.as_ref().and_then(|all| all.get(&to).cloned().flatten());
        let recently = self.options().heartbeat * 2;
        if answered.is_none_or(|at| at.into_inner().elapsed() > recently) {
            return Ok(Fitness::NotYet("has not answered lately"));
        }
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&to).copied().flatten());
        let lag = metrics.last_log_index.unwrap_or(0).saturating_sub(matched.map_or(0, |id| id.index));
        Ok(if lag <= LAG_MAX { Fitness::Fit } else { Fitness::NotYet("lags behind") })
    }

    /// Puts a new replica in the place of another: it learns, catches up, gets the vote; the old one leaves. The node must open the
    /// group under the new replica id meanwhile. Repeating it continues where the last attempt ended.
    ///
    /// # Errors
    /// `Refused`: it makes no sense, nothing was changed. `Timeout`: not finished, and may still finish; repeat.
    pub async fn replace_replica(
        &self,
        old: ReplicaId,
        new: ReplicaId,
        node: PeerNode,
    ) -> Result<(), ChangeError> {
        if old == new || old == self.replica() {
            return Err(ChangeError::Refused(
                "a replica is replaced by another one, and not by itself".to_owned(),
            ));
        }
        let voters = self.status().voters;
        if !voters.contains_key(&old) {
            return match (self.has_vote(new), voters.contains_key(&new)) {
                (true, _) => Ok(()),
                (false, true) => Err(ChangeError::Timeout("the new replica gets its vote".to_owned())),
                (false, false) => {
                    Err(ChangeError::Refused(format!("replica {old} has no vote in group {}", self.id())))
                }
            };
        }
        // In the middle of the change (the leader died, or nobody waited for it) both are voters: it only has to be finished.
        if !voters.contains_key(&new) {
            let learn = self.raft().add_learner(new, node, true);
            self.change(CATCH_UP_TIMEOUT, "the new replica catches up", learn).await?;
        }
        // Relative to whatever the voters are when it is made: another replica may have been replaced meanwhile.
        let exchange = ChangeMembers::Batch(vec![
            ChangeMembers::AddVoterIds(BTreeSet::from([new])),
            ChangeMembers::RemoveVoters(BTreeSet::from([old])),
        ]);
        let change = self.raft().change_membership(exchange, false);
        self.change(CHANGE_TIMEOUT, "the new replica gets its vote", change).await
    }

    /// Whether a replica has its vote for good. Not so in the middle of a change, nor before the change is committed: another leader may
    /// take it back.
    #[must_use]
    pub fn has_vote(&self, replica: ReplicaId) -> bool {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let since = metrics.membership_config.log_id().map(|id| id.index);
        let committed = metrics.local_committed.map(|id| id.index);
        votes_for_good(metrics.membership_config.membership(), since, committed, replica)
    }

    /// Tells the members where a replica is now reached, after its node moved.
    ///
    /// # Errors
    /// As [`Self::replace_replica`].
    pub async fn move_replica(&self, replica: ReplicaId, node: PeerNode) -> Result<(), ChangeError> {
        let status = self.status();
        let known = status.voters.get(&replica).or_else(|| status.learners.get(&replica));
        match known {
            None => {
                Err(ChangeError::Refused(format!("replica {replica} is no member of group {}", self.id())))
            }
            Some(known) if *known == node => Ok(()),
            Some(_) => {
                let nodes = BTreeMap::from([(replica, node)]);
                let change = self.raft().change_membership(ChangeMembers::SetNodes(nodes), true);
                self.change(CHANGE_TIMEOUT, "the new address", change).await
            }
        }
    }

    async fn change(
        &self,
        limit: Duration,
        what: &str,
        change: impl Future<
            Output = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>,
        >,
    ) -> Result<(), ChangeError> {
        match tokio::time::timeout(limit, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(_))) => Err(ChangeError::Stopped { group: self.id() }),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(self.change_not_leader())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) | Err(_) => {
                Err(ChangeError::Timeout(what.to_owned()))
            }
            Ok(Err(RaftError::APIError(
                error
                @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)),
            ))) => Err(ChangeError::Refused(error.to_string())),
        }
    }
}

fn votes_for_good(
    members: &Membership,
    since: Option<u64>,
    committed: Option<u64>,
    replica: ReplicaId,
) -> bool {
    let is_committed = since <= committed;
    matches!(&members.get_joint_config()[..], [voters] if voters.contains(&replica)) && is_committed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_that_may_be_taken_back_is_none_yet() {
        let members = |sets: &[&[u64]]| {
            let sets: Vec<BTreeSet<u64>> = sets.iter().map(|set| set.iter().copied().collect()).collect();
            let nodes: BTreeMap<_, _> =
                sets.iter().flatten().map(|replica| (*replica, PeerNode::default())).collect();
            Membership::new(sets, nodes).unwrap()
        };
        let (before, joint, after) =
            ([1, 2, 3], members(&[&[1, 2, 3], &[1, 2, 33]]), members(&[&[1, 2, 33]]));
        assert!(votes_for_good(&after, Some(9), Some(9), 33));
        assert!(!votes_for_good(&after, Some(9), Some(8), 33), "appended and not committed");
        assert!(!votes_for_good(&joint, Some(8), Some(9), 33), "in the middle of the change");
        assert!(!votes_for_good(&members(&[&before]), Some(1), Some(9), 33));
        assert!(!votes_for_good(&after, Some(9), Some(9), 3));
    }
}
