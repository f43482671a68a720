//! The machine of one Raft group: the catalog, or a shard of queues.

use bytes::Bytes;

use crate::catalog::Catalog;
use crate::command::{Batch, CommandKind, QueueSettings};
use crate::ids::{GroupId, Id128, QueueUid, Sequence, TimestampMs, Token};
use crate::reply::{Applied, Rejection, Reply};

/// One committed entry, decoded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Log index; rises strictly, with gaps (blank and membership entries).
    pub index: u64,
    /// Raft term of the entry.
    pub term: u64,
    /// What to do.
    pub batch: Batch,
}

/// A row of the checkpoint: `value` is `None` for a row that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Key inside the replica: table, uid, place. Sorts as bytes.
    pub key: Bytes,
    /// Encoded row.
    pub value: Option<Bytes>,
}

/// What changed since the last call, to be written as one atomic batch.
#[derive(Debug, Default)]
pub struct Changes {
    /// At most one change a key.
    pub rows: Vec<RowChange>,
    /// Key ranges `start..end` whose rows mean nothing any more and may be deleted later, in slices.
    /// `load` ignores such rows and reports them again.
    pub garbage: Vec<(Bytes, Bytes)>,
}

/// A checkpoint that does not make a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("checkpoint rejected: {0}")]
pub struct LoadError(pub String);

/// What is asked about a queue.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QueueInfo {
    /// Settings version in force.
    pub version: u64,
    /// Messages that wait (ready or delayed).
    pub ready_count: u64,
    /// Of those, waiting for a time (nack delay).
    pub delayed_count: u64,
    /// Messages under a lease.
    pub leased_count: u64,
    /// Payload bytes, waiting and leased.
    pub bytes: u64,
    /// Distinct groups that have messages.
    pub group_count: u64,
    /// Enqueue time of the oldest message, machine time, ms.
    pub oldest_enqueued_ms: Option<TimestampMs>,
    /// Sequence the next message gets.
    pub next_sequence: Sequence,
    /// Token the next delivery gets.
    pub next_token: Token,
    /// Known producers.
    pub producer_count: u64,
    /// Messages ever appended.
    pub sent_total: u64,
    /// Messages ever acknowledged.
    pub acked_total: u64,
    /// Deliveries ever made.
    pub delivered_total: u64,
    /// Deliveries with attempt > 1.
    pub redelivered_total: u64,
    /// Attached and detached consumers.
    pub consumers: Vec<ConsumerInfo>,
}

/// What is asked about a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Who.
    pub consumer: Id128,
    /// For people.
    pub name: String,
    /// Has a stream.
    pub attached: bool,
    /// Live leases.
    pub in_hand: u32,
    /// Window, messages.
    pub window_messages: u32,
}

/// What a machine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// Group 0: what exists and where.
    Catalog,
    /// Queues. The group is part of the checkpoint: rows of another group are refused.
    Shard(GroupId),
}

/// The replicated state of one Raft group.
#[derive(Debug)]
pub struct Machine {
    kind: MachineKind,
    now_ms: TimestampMs,
    applied_index: u64,
    catalog: Catalog,
}

impl Machine {
    /// An empty catalog.
    #[must_use]
    pub fn catalog() -> Self {
        Self::new(MachineKind::Catalog)
    }

    /// An empty shard.
    #[must_use]
    pub fn shard(group: GroupId) -> Self {
        Self::new(MachineKind::Shard(group))
    }

    /// An empty machine.
    #[must_use]
    pub fn new(kind: MachineKind) -> Self {
        Self { kind, now_ms: 0, applied_index: 0, catalog: Catalog::new() }
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> MachineKind {
        self.kind
    }

    /// Carries out one committed entry. Never panics, whatever the entry says.
    pub fn apply(&mut self, entry: Entry) -> Applied {
        self.now_ms = self.now_ms.max(entry.batch.now_ms);
        self.applied_index = entry.index;
        let mut applied = Applied::default();
        for command in &entry.batch.commands {
            let reply = match &command.kind {
                Some(kind) if self.kind == MachineKind::Catalog => self.apply_catalog(kind),
                _ => Reply::Rejected(Rejection::Unsupported),
            };
            applied.replies.push(reply);
        }
        applied
    }

    fn apply_catalog(&mut self, kind: &CommandKind) -> Reply {
        self.catalog.apply(self.now_ms, kind)
    }

    /// Machine time: the highest time of all entries, ms.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        self.now_ms
    }

    /// Log index of the last entry applied; 0 = none.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// When a [`crate::command::Tick`] would do something; may be in the past (then: at once).
    #[must_use]
    pub fn next_due_ms(&self) -> Option<TimestampMs> {
        None
    }

    /// Sum of the hashes of everything in the logical state; equal on all replicas at equal applied indexes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.catalog.digest()
    }

    /// The rows that changed since the last call. They must become durable as one batch, or the process must stop:
    /// the machine forgets that they were dirty.
    pub fn take_changes(&mut self) -> Changes {
        Changes::default()
    }

    /// The changes last taken are durable; what they hold may be spilled from now on.
    pub fn checkpoint_done(&mut self) {}

    /// About how many rows and bytes [`Self::take_changes`] would return.
    #[must_use]
    pub fn dirty_estimate(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Builds the machine that the rows of a checkpoint describe. Rows must come in key order.
    ///
    /// # Errors
    /// If any row is unknown, damaged or contradicts another. The caller compares [`Self::digest`] with its manifest.
    pub fn load(kind: MachineKind, rows: impl Iterator<Item = (Bytes, Bytes)>) -> Result<Self, LoadError> {
        let machine = Self::new(kind);
        for (_key, _value) in rows {}
        Ok(machine)
    }

    /// Numbers about one queue; `None` for an unknown uid.
    #[must_use]
    pub fn queue_info(&self, _uid: QueueUid) -> Option<QueueInfo> {
        None
    }

    /// All queues of this shard, rising.
    pub fn queue_uids(&self) -> impl Iterator<Item = QueueUid> + '_ {
        std::iter::empty()
    }

    /// A queue's settings with all defaults filled in, and their version.
    #[must_use]
    pub fn queue_settings(&self, _uid: QueueUid) -> Option<(&QueueSettings, u64)> {
        None
    }

    /// The catalog's state; `None` on a shard.
    #[must_use]
    pub fn catalog_state(&self) -> Option<&Catalog> {
        matches!(self.kind, MachineKind::Catalog).then_some(&self.catalog)
    }

    /// Drops resident payloads up to `through` that a durable checkpoint holds. Returns the bytes freed.
    pub fn spill(&mut self, _uid: QueueUid, _through: Sequence) -> u64 {
        0
    }

    /// Payload bytes in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        0
    }

    /// Key of the row that holds the payload of a live message; `None` if no checkpoint has it.
    #[must_use]
    pub fn page_key_of(&self, _uid: QueueUid, _sequence: Sequence) -> Option<Bytes> {
        None
    }

    /// Reads one payload from the row that [`Self::page_key_of`] named; `None` if the page does not hold it.
    ///
    /// # Errors
    /// If the row is not a page.
    pub fn payload_in_page(_row: &Bytes, _sequence: Sequence) -> Result<Option<Bytes>, LoadError> {
        Ok(None)
    }

    /// See [`crate::invariants::check`].
    pub(crate) fn check(&self) -> Result<(), String> {
        self.catalog.check()
    }
}
