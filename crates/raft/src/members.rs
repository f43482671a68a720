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
use crate::types::{PeerNode, Types};

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
        let voters: BTreeSet<ReplicaId> = self.status().voters.into_keys().collect();
        if voters.contains(&new) && !voters.contains(&old) {
            return Ok(());
        }
        if !voters.contains(&old) {
            return Err(ChangeError::Refused(format!("replica {old} has no vote in group {}", self.id())));
        }
        let learn = self.raft().add_learner(new, node, true);
        self.change(CATCH_UP_TIMEOUT, "the new replica catches up", learn).await?;
        let mut next = voters;
        next.remove(&old);
        next.insert(new);
        let change = self.raft().change_membership(ChangeMembers::ReplaceAllVoters(next), false);
        self.change(CHANGE_TIMEOUT, "the new replica gets its vote", change).await
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
