//! What a node hands to its Raft groups, and the seams through which they reach the world.
//!
//! Invariant: nothing in this crate starts a thread, blocks a task, reads a wall clock or opens a socket by itself; all of that
//! goes through the traits here, so that the simulation can take their place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::channel::Channel;
use phalanx_state_machine::ids::{GroupId, Id128, NodeId, ReplicaId};
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::Effect;
use phalanx_storage::checkpoint::Engine;
use phalanx_storage::wal::Wal;

use crate::memory::PayloadMemory;
use crate::types::PeerNode;

/// Takes what committed entries set in motion.
pub trait EffectSink: Send + Sync + 'static {
    /// Called in the apply path of every replica, leader or not, once for each entry and in the order of the log, while the
    /// machine is locked. Must not block and must not call back into the group.
    fn applied(&self, group: GroupId, machine: &Machine, effects: Vec<Effect>);

    /// A `CheckDigest` at entry `index` showed whether this replica's state is the one its leader had. Called under the same rules.
    fn compared(&self, group: GroupId, index: u64, agrees: bool);
}

/// Runs jobs that block: checkpoints, snapshots, read-back. Production: a bounded number of threads of its own.
pub trait Executor: Send + Sync + 'static {
    /// Queues the job. Each group has at most a few at a time.
    fn blocking(&self, job: Box<dyn FnOnce() + Send>);
}

/// What a connection to a peer is for. The two never share a connection: bulk data must not delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Votes, heartbeats, transfers: small, urgent. Resets are judged here.
    Control,
    /// Appends and snapshots.
    Bulk,
}

/// Makes connections to peers.
pub trait Dialer: Send + Sync + 'static {
    /// A channel that connects when it is first used and again when it broke. Called once for each address and purpose, and again
    /// for each probe of a peer that seems dead: it must return a channel with a connection of its own each time.
    fn channel(&self, address: &str, purpose: Purpose) -> Channel;
}

/// Why the process must stop: it no longer knows what is on disk, or a group broke an invariant.
#[derive(Clone, Debug)]
pub struct FatalError {
    /// The group in which it was noticed, if it was in one.
    pub group: Option<GroupId>,
    /// What happened.
    pub why: String,
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Some(group) => write!(f, "group {group} cannot go on: {}", self.why),
            None => write!(f, "the node cannot go on: {}", self.why),
        }
    }
}

impl std::error::Error for FatalError {}

/// Everything that the groups of one node share.
#[derive(Clone)]
pub struct NodeContext {
    /// This node.
    pub node: NodeId,
    /// The cluster; RPCs of any other are refused.
    pub cluster: Id128,
    /// The log of the node. Someone else drives its steps.
    pub wal: Arc<Wal>,
    /// Where checkpoints go.
    pub engine: Arc<dyn Engine>,
    /// Connections to peers.
    pub dialer: Arc<dyn Dialer>,
    /// Blocking jobs.
    pub executor: Arc<dyn Executor>,
    /// Deliveries, wakes, due times.
    pub sink: Arc<dyn EffectSink>,
    /// Payload bytes that the groups keep in memory together.
    pub memory: Arc<PayloadMemory>,
    /// Limits and intervals.
    pub options: RaftOptions,
    /// Called when the process must stop. May be called more than once.
    pub on_fatal: Arc<dyn Fn(FatalError) + Send + Sync>,
}

/// Which replica of which group to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// The group.
    pub group: GroupId,
    /// This node's replica of it; never reused.
    pub replica: ReplicaId,
    /// What it holds.
    pub kind: MachineKind,
    /// Where other replicas of the group are believed to be. Asked for their checkpoint when this one is damaged; may be empty or stale.
    pub peers: Vec<PeerNode>,
}

/// Limits and intervals. The defaults suit a local network.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Shortest time without a leader before a follower asks for votes.
    pub election_min: Duration,
    /// Longest; also how long a vote protects a leader.
    pub election_max: Duration,
    /// Entries in one append.
    pub append_entries_max: u64,
    /// Bytes of entries in one append; a single larger entry is sent alone.
    pub append_bytes_max: usize,
    /// Proposals of one group between `propose` and their replies.
    pub proposals_max: usize,
    /// Bytes of those proposals.
    pub proposal_bytes_max: usize,
    /// A proposal without an answer is given up as unknown after this time: an isolated leader would keep it for ever.
    pub proposal_timeout: Duration,
    /// A checkpoint is cut after this time if anything changed.
    pub checkpoint_interval: Duration,
    /// A checkpoint is cut at this many changed rows.
    pub checkpoint_rows: usize,
    /// A checkpoint is cut at this many changed bytes.
    pub checkpoint_bytes: u64,
    /// Entries kept in the log behind the checkpoint, so that a follower that was away for a moment needs no snapshot. Fewer when the
    /// node's log nears its budget.
    pub log_keep_entries: u64,
    /// Rows in one chunk of a snapshot, bytes.
    pub snapshot_chunk_bytes: usize,
    /// How long one chunk of a snapshot may take.
    pub snapshot_chunk_timeout: Duration,
    /// How long to look for a peer that can refill a quarantined replica before `open` gives up.
    pub refill_timeout: Duration,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(500),
            append_entries_max: 256,
            append_bytes_max: 4 * 1024 * 1024,
            proposals_max: 64,
            proposal_bytes_max: 32 * 1024 * 1024,
            proposal_timeout: Duration::from_secs(10),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_rows: 10_000,
            checkpoint_bytes: 8 * 1024 * 1024,
            log_keep_entries: 16_384,
            snapshot_chunk_bytes: 1024 * 1024,
            snapshot_chunk_timeout: Duration::from_secs(10),
            refill_timeout: Duration::from_secs(30),
        }
    }
}
