//! What is asked of the catalog.

use std::ops::Bound;

use super::{Catalog, QueueEntry, QueueState};
use crate::command::{GroupRow, NodeRow, QueueKind};
use crate::ids::{GroupId, Id128, NodeId, QueueUid};

impl Catalog {
    /// The cluster's identity; `None` before `Bootstrap`.
    #[must_use]
    pub fn cluster(&self) -> Option<Id128> {
        self.cluster
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRow> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeRow> {
        self.nodes.get(&node)
    }

    /// All groups, by id, the catalog's own (0) included.
    pub fn groups(&self) -> impl Iterator<Item = &GroupRow> {
        self.groups.values()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&GroupRow> {
        self.groups.get(&group)
    }

    /// The row of a name, in whatever state.
    #[must_use]
    pub fn lookup(&self, namespace: &str, name: &str) -> Option<&QueueEntry> {
        self.queues.get(self.names.get(namespace)?.get(name)?)
    }

    /// The row of a uid, in whatever state.
    #[must_use]
    pub fn queue(&self, uid: QueueUid) -> Option<&QueueEntry> {
        self.queues.get(&uid)
    }

    /// There was a queue of that uid, and it is gone, or going. What this copy of the catalog has not heard of yet is not.
    #[must_use]
    pub fn is_gone(&self, uid: QueueUid) -> bool {
        match self.queues.get(&uid) {
            Some(entry) => entry.state() == QueueState::Deleting,
            None => uid <= self.last_uid,
        }
    }

    /// A page: up to `limit` rows of a kind of a namespace with names after `after` (empty = from the first), by name.
    #[must_use]
    pub fn list(&self, kind: QueueKind, namespace: &str, after: &str, limit: usize) -> Vec<&QueueEntry> {
        let Some(names) = self.names.get(namespace) else {
            return Vec::new();
        };
        names
            .range::<str, _>((Bound::Excluded(after), Bound::Unbounded))
            .filter_map(|(_, uid)| self.queues.get(uid))
            .filter(|entry| entry.kind() == kind)
            .take(limit)
            .collect()
    }

    /// Rows whose shard has something left to do: creating, deleting, or newer settings than it has confirmed. By uid.
    pub fn pending(&self) -> impl Iterator<Item = &QueueEntry> {
        self.pending.iter().filter_map(|uid| self.queues.get(uid))
    }

    /// Whether this row is one of [`Self::pending`].
    #[must_use]
    pub fn is_pending(&self, uid: QueueUid) -> bool {
        self.pending.contains(&uid)
    }

    /// Queues of the cluster, in whatever state.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }
}

/// Whether the shard has something left to do for this row.
pub(super) fn is_pending(entry: &QueueEntry) -> bool {
    entry.state() != QueueState::Live || entry.confirmed_version < entry.version
}
