//! What callers of the log see.

use crate::error::Error;
use bytes::Bytes;

/// (term, index) of an entry. Terms and indexes are the caller's; the log orders by index only.
pub type Position = (u64, u64);

/// Called once, from inside a commit step, when what it was given with is durable, or will never be.
///
/// It must not block, and must not call `commit_pending`, `mark_idle` or `prepare_step` (their lock is held).
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// One entry of one group's log. The body is opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the group's log; follows the one before without a gap.
    pub index: u64,
    /// The term the entry was proposed in.
    pub term: u64,
    /// The bytes.
    pub body: Bytes,
}

/// What the log knows of a group, including what still waits for its sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The last vote saved.
    pub vote: Option<Bytes>,
    /// Entries up to here were purged.
    pub purged: Option<Position>,
    /// The last entry; the purged position if the log is empty.
    pub last: Option<Position>,
    /// The last committed position noted. May be behind: it is not synced on its own.
    pub committed: Option<Position>,
    /// Number of the last durable checkpoint batch noted; 0 if none.
    pub checkpoint_batch: u64,
}

/// What recovery or a read found damaged. Nothing is deleted; the caller refills from peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Set when a header was damaged: it is unknown which groups it concerned, so every group is out of service that
    /// was not forgotten since.
    pub node: Option<String>,
    /// Groups out of service, and why. With `node` set this lists the groups known to have been here.
    pub groups: Vec<(u64, String)>,
}

impl Quarantined {
    /// True if nothing is damaged.
    pub fn is_empty(&self) -> bool {
        self.node.is_none() && self.groups.is_empty()
    }
}

/// The log is near or over its budget: these groups keep the oldest segment alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes of the segments that hold something needed.
    pub used_bytes: u64,
    /// The budget, bytes.
    pub budget_bytes: u64,
    /// Each group with entries in the oldest segment, and the index up to which it must be purged to let go of it.
    pub pinned_by: Vec<(u64, u64)>,
}

/// Counters since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Batches written and synced, with heads and marks.
    pub batches: u64,
    /// Syncs of segment files by the committer.
    pub syncs: u64,
    /// Records written.
    pub records: u64,
    /// Bytes of entry bodies written.
    pub body_bytes: u64,
    /// Bytes written to segments, with headers, padding, heads and marks (not the pre-writing).
    pub written_bytes: u64,
    /// Entries read back from segments.
    pub reads_from_disk: u64,
    /// Segments taken into use.
    pub rotations: u64,
}
