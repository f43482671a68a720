//! The catalog: what exists and where. Group 0 keeps it.

use bytes::Bytes;

use crate::command::{CommandKind, GroupRow, NodeRow, QueueSettings};
use crate::ids::{GroupId, Id128, QueueUid, TimestampMs};
use crate::machine::{LoadError, RowChange};
use crate::reply::{Rejection, Reply};

/// Where a queue is in its life. A name is free only when its row is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum QueueState {
    /// Not set.
    Unspecified = 0,
    /// In the catalog; its shard has not confirmed it.
    Creating = 1,
    /// Usable.
    Live = 2,
    /// Its shard has not confirmed that it is dropped.
    Deleting = 3,
}

/// A queue's row in the catalog. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueEntry {
    /// Identity of this life of the name.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The shard that holds its messages.
    #[prost(uint64, tag = "4")]
    pub group: GroupId,
    /// Version of the settings below; from 1.
    #[prost(uint64, tag = "5")]
    pub version: u64,
    /// The newest version that the shard has confirmed.
    #[prost(uint64, tag = "6")]
    pub confirmed_version: u64,
    /// Where in its life.
    #[prost(enumeration = "QueueState", tag = "7")]
    pub state: i32,
    /// All settings.
    #[prost(message, required, tag = "8")]
    pub settings: QueueSettings,
    /// Machine time of its creation, ms.
    #[prost(uint64, tag = "9")]
    pub created_ms: u64,
}

/// The state of group 0. Skeleton of the interface that `Machine` delegates to.
#[derive(Debug, Default)]
pub struct Catalog {}

impl Catalog {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one command; those for shards are answered `Unsupported`.
    pub fn apply(&mut self, _index: u64, _now: TimestampMs, _command: &CommandKind) -> Reply {
        Reply::Rejected(Rejection::Unsupported)
    }

    /// Appends the rows that changed since the last call, at most one change a key. Keys begin with
    /// `crate::rows::CATALOG` (0x40); what follows is the catalog's own.
    pub fn take_changes(&mut self, _rows: &mut Vec<RowChange>) {}

    /// About how many rows and bytes `take_changes` would append.
    #[must_use]
    pub fn dirty_estimate(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Takes one row of a checkpoint, in key order.
    ///
    /// # Errors
    /// If the row is unknown, damaged or contradicts another.
    pub fn load_row(&mut self, _key: &[u8], _value: &Bytes) -> Result<(), LoadError> {
        Ok(())
    }

    /// Called after the last row.
    ///
    /// # Errors
    /// If the rows together contradict each other.
    pub fn finish_load(&mut self) -> Result<(), LoadError> {
        Ok(())
    }

    /// Sum of the hashes of all rows, kept incrementally.
    #[must_use]
    pub fn digest(&self) -> u64 {
        0
    }

    /// Checks every structural invariant, and recomputes the digest.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Identity of the cluster; `None` before bootstrap.
    #[must_use]
    pub fn cluster(&self) -> Option<Id128> {
        None
    }

    /// The queue of that name.
    #[must_use]
    pub fn lookup(&self, _namespace: &str, _name: &str) -> Option<&QueueEntry> {
        None
    }

    /// The queue of that uid.
    #[must_use]
    pub fn queue(&self, _uid: QueueUid) -> Option<&QueueEntry> {
        None
    }

    /// Up to `limit` queues of a namespace in the order of their names, after the name `after` (empty: from the start).
    #[must_use]
    pub fn list(&self, _namespace: &str, _after: &str, _limit: usize) -> Vec<&QueueEntry> {
        Vec::new()
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRow> + '_ {
        std::iter::empty()
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &GroupRow> + '_ {
        std::iter::empty()
    }

    /// Queues whose shard has something left to do: creating, deleting, or settings not confirmed.
    pub fn pending(&self) -> impl Iterator<Item = &QueueEntry> + '_ {
        std::iter::empty()
    }
}
