//! The types that openraft works with here, and short names for its own.

use std::fmt;

use openraft::alias::{
    CommittedLeaderIdOf, EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use phalanx_state_machine::ids::NodeId;
use phalanx_state_machine::reply::Reply;

use crate::codec::Body;
use crate::snapshot::SnapshotHandle;

/// Where a replica lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNode {
    /// Its node.
    pub node: NodeId,
    /// Where that node's peer listener is reached, `host:port`.
    pub address: String,
}

impl fmt::Display for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address)
    }
}

/// The replies to one batch; empty for an entry that is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replies(pub Vec<Reply>);

openraft::declare_raft_types!(
    /// See the module.
    pub Types:
        D = Body,
        R = Replies,
        NodeId = u64,
        Node = PeerNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type LeaderTerm = CommittedLeaderIdOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, PeerNode>;
pub(crate) type StoredMembership = StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<Types>;
pub(crate) type Snapshot = SnapshotOf<Types, SnapshotHandle>;
pub(crate) type Raft = openraft::Raft<Types, crate::machine_store::MachineStore>;

/// The log id of (term, index).
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderTerm { term }, index)
}

/// (term, index) of a log id.
pub(crate) fn position(id: &LogId) -> (u64, u64) {
    (id.leader_id.term, id.index)
}

/// A vote of `term` for `replica`.
pub(crate) fn vote(term: u64, replica: u64, committed: bool) -> Vote {
    if committed { Vote::new_committed(term, replica) } else { Vote::new(term, replica) }
}
