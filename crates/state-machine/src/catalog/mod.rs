//! The catalog: what exists and where. Group 0 keeps it.
//!
//! Nodes, groups (shards) and queues with their settings. Topics and subscriptions are queues of another kind; a subscription is called
//! `topic/subscription`, and lives on its topic's shard. A queue's row goes creating → live → deleting → gone; the
//! shard carries out what the row asks and `ConfirmQueue` says that it has.
//! Invariants: a name has at most one row; a uid is never given twice; every queue's group is a shard that exists;
//! `confirmed_version <= version`. The catalog does not know what is in a queue.

mod bindings;
mod bootstrap;
mod confirm_queue;
mod create_queue;
mod delete_queue;
mod load;
pub mod names;
mod rows;
pub mod settings;
mod subscriptions;
mod update_queue;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{CommandKind, GroupRow, NodeRow, Place, QueueKind, QueueSettings, Source};
use crate::ids::{GroupId, Id128, NodeId, QueueUid, TimestampMs};
use crate::reply::{Rejection, Reply};

use rows::RowId;

/// Most queues of a cluster, in whatever state.
pub const QUEUES_MAX: usize = 100_000;
/// Most nodes of a cluster.
pub const NODES_MAX: usize = 1_000;
/// Most groups of a cluster, the catalog included.
pub const GROUPS_MAX: usize = 4_096;
/// Most replicas of one group.
pub const REPLICAS_MAX: usize = 9;

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
    /// What it is.
    #[prost(enumeration = "QueueKind", tag = "10")]
    pub kind: i32,
    /// Of a subscription or a binding.
    #[prost(message, optional, tag = "11")]
    pub source: Option<Source>,
    /// Of a subscription or a binding: where it began.
    #[prost(message, optional, tag = "12")]
    pub start: Option<Place>,
    /// Of a binding: the name of what it feeds. The uid in `source` decides.
    #[prost(string, tag = "13")]
    pub target: String,
}

/// The state of group 0.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// `None` until `Bootstrap`.
    cluster: Option<Id128>,
    nodes: BTreeMap<NodeId, NodeRow>,
    groups: BTreeMap<GroupId, GroupRow>,
    queues: BTreeMap<QueueUid, QueueEntry>,
    /// The newest uid that was given; 0 before the first.
    last_uid: QueueUid,
    /// Namespace → name → uid. Follows from `queues`.
    names: BTreeMap<String, BTreeMap<String, QueueUid>>,
    /// Queues on each shard, empty shards included. Follows from `queues` and `groups`.
    load: BTreeMap<GroupId, u64>,
    /// Queues whose shard has something left to do. Follows from `queues`.
    pending: BTreeSet<QueueUid>,
    /// Bindings by topic. Follows from `queues`.
    bindings: BTreeSet<(QueueUid, QueueUid)>,
    /// Bindings by what they feed. Follows from `queues`.
    inboxes: BTreeSet<(QueueUid, QueueUid)>,
    /// Sum of the hashes of all rows. Follows from the rows.
    digest: u64,
    /// Rows that changed since the last checkpoint took them.
    dirty: BTreeSet<RowId>,
}

impl Catalog {
    /// An empty catalog, before `Bootstrap`.
    #[must_use]
    pub fn new() -> Self {
        let mut catalog = Self::default();
        catalog.count_header();
        catalog
    }

    /// Carries out one command of the catalog; any other is answered `Unsupported`. Never panics.
    pub fn apply(&mut self, now_ms: TimestampMs, command: &CommandKind) -> Reply {
        let result = match command {
            CommandKind::Bootstrap(command) => self.bootstrap(command),
            CommandKind::CreateQueue(command) => self.create_queue(now_ms, command),
            CommandKind::UpdateQueue(command) => self.update_queue(command),
            CommandKind::DeleteQueue(command) => self.delete_queue(command),
            CommandKind::ConfirmQueue(command) => self.confirm_queue(*command),
            _ => Err(Rejection::Unsupported),
        };
        result.unwrap_or_else(Reply::Rejected)
    }
}
