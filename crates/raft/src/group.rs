//! One replica of one Raft group: what the server does with it.
//!
//! Invariants: a proposal is written in the term it names or not at all; a read after `read_barrier` sees everything that was
//! acknowledged before the barrier was asked for; nothing is answered from a lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ForwardToLeader, InitializeError, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::{LinearizerOption, ReadPolicy};
use phalanx_canary::Canary;
use phalanx_state_machine::command::Batch;
use phalanx_state_machine::ids::{GroupId, NodeId, QueueUid, ReplicaId, Sequence};
use phalanx_state_machine::machine::Machine;
use phalanx_storage::checkpoint::ManifestFields;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::RowStream;
use crate::codec::{Body, ENTRY_BYTES_MAX};
use crate::context::{GroupSpec, NodeContext, RaftOptions};
use crate::error::{ChangeError, ProposeError};
use crate::leadership::Leadership;
use crate::machine_store::MachineStore;
use crate::proposal::{Budget, ProposalHandle, RETRY_AFTER};
use crate::types::{LeaderTerm, PeerNode, Raft, Types};

/// See the module.
pub struct Group {
    spec: GroupSpec,
    options: RaftOptions,
    pub(crate) context: Arc<NodeContext>,
    raft: Raft,
    store: MachineStore,
    leadership: watch::Receiver<Leadership>,
    budget: Budget,
    /// Rises with each snapshot that begins to arrive.
    receiving: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// The term it is in.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<(ReplicaId, NodeId)>,
    /// This replica leads and has its quorum.
    pub is_leader: bool,
    /// Members that vote.
    pub voters: BTreeMap<ReplicaId, PeerNode>,
    /// Members that only learn.
    pub learners: BTreeMap<ReplicaId, PeerNode>,
    /// Last entry in its log.
    pub last_index: u64,
    /// Last entry that it knows to be committed.
    pub committed: u64,
    /// Last entry applied to its machine.
    pub applied: u64,
    /// Entries up to here were purged.
    pub purged: u64,
    /// Last entry in its durable checkpoint.
    pub checkpoint: u64,
    /// Digest of its machine at `applied`.
    pub digest: u64,
}

/// Why a payload was not read back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PayloadError {
    /// The message is not there any more: settled, purged, or its queue is gone. Nothing to deliver.
    #[error("message {sequence} of queue {uid} is gone")]
    Gone {
        /// The queue.
        uid: QueueUid,
        /// The message.
        sequence: Sequence,
    },
    /// The checkpoint store failed. The lease runs out and the message is offered again.
    #[error("read message {sequence} of queue {uid} back: {why}")]
    Storage {
        /// The queue.
        uid: QueueUid,
        /// The message.
        sequence: Sequence,
        /// What happened.
        why: String,
    },
}

/// One snapshot on its way in; over when a newer one begins.
pub(crate) struct ReceiveTurn {
    mine: u64,
    newest: Arc<AtomicU64>,
}

impl ReceiveTurn {
    pub(crate) fn is_over(&self) -> bool {
        self.newest.load(Ordering::Acquire) != self.mine
    }
}

impl Group {
    pub(crate) fn new(
        spec: GroupSpec,
        context: Arc<NodeContext>,
        raft: Raft,
        store: MachineStore,
        leadership: watch::Receiver<Leadership>,
        stop: CancellationToken,
    ) -> Self {
        let options = context.options.clone();
        let budget = Budget::new(options.proposals_max, options.proposal_bytes_max);
        let receiving = Arc::new(AtomicU64::new(0));
        Self { spec, options, context, raft, store, leadership, budget, receiving, stop }
    }

    /// Which group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.spec.group
    }

    /// Which replica of it.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.spec.replica
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn store(&self) -> &MachineStore {
        &self.store
    }

    pub(crate) fn options(&self) -> &RaftOptions {
        &self.options
    }

    /// Gives a new group its first members. Repeating it, on any of them, changes nothing.
    ///
    /// # Errors
    /// When this replica is not among `members`, or is stopped.
    pub async fn initialize(&self, members: BTreeMap<ReplicaId, PeerNode>) -> Result<(), ChangeError> {
        match self.raft.initialize(members).await {
            // It has a log or a vote already: someone was first.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped { group: self.id() }),
        }
    }

    /// Who leads, and whether it is this replica.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn leader_node(&self) -> Option<NodeId> {
        self.leadership.borrow().leader.map(|(_, node)| node)
    }

    fn not_leader(&self, forward: &ForwardToLeader<Types>) -> ProposeError {
        let leader = forward.leader_node.as_ref().map(|peer| peer.node);
        ProposeError::NotLeader { group: self.id(), leader }
    }

    /// Hands a batch to Raft. Batches enter the log in the order of these calls, if each is awaited before the next; the handle then
    /// gives the replies. The batch is written only while this replica leads in `term`.
    ///
    /// # Errors
    /// See [`ProposeError`]; from this call itself: nothing was written.
    pub async fn propose(&self, batch: Batch, term: u64) -> Result<ProposalHandle, ProposeError> {
        let group = self.id();
        let body = Body::encode(&batch);
        drop(batch);
        if body.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: body.len(), bytes_max: ENTRY_BYTES_MAX });
        }
        {
            let leadership = self.leadership.borrow();
            if leadership.term != term || !leadership.is_leader {
                return Err(ProposeError::NotLeader {
                    group,
                    leader: leadership.leader.map(|(_, node)| node),
                });
            }
        }
        let overloaded = ProposeError::Overloaded { group, retry_after: RETRY_AFTER };
        let permit = self.budget.take(body.len()).ok_or(overloaded)?;
        let (responder, result) = ProgressResponder::complete_only();
        let write = self.raft.write(body).with_leader(LeaderTerm { term }).responder(responder);
        if write.await.is_err() {
            return Err(ProposeError::Stopped { group });
        }
        let result = async move { result.await.ok() };
        let node_of = |forward: &ForwardToLeader<Types>| forward.leader_node.as_ref().map(|peer| peer.node);
        Ok(ProposalHandle::new(group, permit, self.options.proposal_timeout, result, node_of))
    }

    /// Returns once the machine here has applied everything that was acknowledged before this call. Confirms with a quorum that this
    /// replica leads; never relies on a lease.
    ///
    /// # Errors
    /// When it does not lead, or no quorum answers within `deadline`.
    pub async fn read_barrier(&self, deadline: Duration) -> Result<(), ProposeError> {
        if Canary::StaleReads.is_planted() {
            return Ok(());
        }
        let group = self.id();
        let until = Instant::now() + deadline;
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(deadline);
        let linearizer = tokio::time::timeout_at(until, self.raft.get_read_linearizer(option)).await;
        let linearizer = match linearizer {
            Ok(Ok(linearizer)) => linearizer,
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                return Err(self.not_leader(&forward));
            }
            Ok(Err(RaftError::Fatal(_))) => return Err(ProposeError::Stopped { group }),
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                return Err(ProposeError::Deadline { group });
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        match linearizer.try_await_ready(&self.raft, Some(left)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::Deadline { group }),
            Err(_) => Err(ProposeError::Stopped { group }),
        }
    }

    /// Looks at the machine as it is here and now. Keep it short: entries wait meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&Machine) -> R) -> R {
        self.store.read(|state| look(&state.machine))
    }

    /// Reads a payload back that is only in the checkpoint.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub async fn payload(&self, uid: QueueUid, sequence: Sequence) -> Result<Bytes, PayloadError> {
        let gone = PayloadError::Gone { uid, sequence };
        let storage = |why: String| PayloadError::Storage { uid, sequence, why };
        let key = self.read(|machine| machine.page_key_of(uid, sequence));
        let Some(key) = key else { return Err(gone) };
        let row = self.store.checkpoint().get(key).await.map_err(|error| storage(error.to_string()))?;
        let Some(row) = row else { return Err(gone) };
        let payload = Machine::payload_in_page(&row, sequence).map_err(|error| storage(error.to_string()))?;
        payload.ok_or(gone)
    }

    /// Writes a checkpoint of everything applied so far, unless there is one already.
    ///
    /// # Errors
    /// When the store fails; the process is about to stop then.
    pub async fn checkpoint_now(&self) -> Result<(), phalanx_storage::Error> {
        crate::maintenance::checkpoint(self, false).await
    }

    /// What this replica knows of itself.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let leadership = self.leadership.borrow().clone();
        let metrics = self.raft.metrics().borrow_watched().clone();
        let members = metrics.membership_config.membership();
        let voters: Vec<ReplicaId> = members.voter_ids().collect();
        let named = |wanted: &dyn Fn(&ReplicaId) -> bool| {
            let chosen = members.nodes().filter(|(replica, _)| wanted(replica));
            chosen.map(|(replica, peer)| (*replica, peer.clone())).collect()
        };
        let (applied, digest) = self.store.read(|state| (state.applied, state.machine.digest()));
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |id| id.index);
        GroupStatus {
            group: self.id(),
            replica: self.replica(),
            term: metrics.current_term,
            leader: leadership.leader,
            is_leader: leadership.is_leader,
            voters: named(&|replica| voters.contains(replica)),
            learners: named(&|replica| !voters.contains(replica)),
            last_index: metrics.last_log_index.unwrap_or(0),
            committed: index(metrics.local_committed),
            applied: index(applied),
            purged: index(metrics.purged),
            checkpoint: self.store.checkpoint().durable().map_or(0, |fields: ManifestFields| fields.index),
            digest,
        }
    }

    /// A newer snapshot begins to arrive.
    pub(crate) fn begin_receive(&self) -> ReceiveTurn {
        let mine = self.receiving.fetch_add(1, Ordering::AcqRel) + 1;
        ReceiveTurn { mine, newest: Arc::clone(&self.receiving) }
    }

    /// The durable checkpoint, for a peer that needs one of at least this index.
    pub(crate) async fn stream_checkpoint(&self, index_at_least: u64) -> Result<RowStream, String> {
        let enough =
            |fields: Option<ManifestFields>| fields.is_some_and(|fields| fields.index >= index_at_least);
        if !enough(self.store.checkpoint().durable()) {
            self.checkpoint_now().await.map_err(|error| error.to_string())?;
        }
        let rows = self.store.checkpoint().stream().await.map_err(|error| error.to_string())?;
        if rows.fields().index < index_at_least {
            let index = rows.fields().index;
            return Err(format!("the newest checkpoint here is of entry {index}, before {index_at_least}"));
        }
        Ok(rows)
    }

    /// The leader's node as a hint for errors.
    pub(crate) fn change_not_leader(&self) -> ChangeError {
        ChangeError::NotLeader { group: self.id(), leader: self.leader_node() }
    }
}
