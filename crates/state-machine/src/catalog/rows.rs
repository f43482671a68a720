//! The catalog's rows: the only place that changes its maps, so that digest, indexes and dirty rows follow each change.
//!
//! One row a node, a group, a queue, and one header. A key is [`CATALOG`], a table byte and the big-endian id; values
//! are protobuf. The digest is the sum of the hashes of all rows (table, id and value).

use bytes::Bytes;
use phalanx_canary::Canary;
use prost::Message;

use super::bindings::target_of;
use super::view::is_pending;
use super::{Catalog, QueueEntry};
use crate::command::{GroupRow, NodeRow};
use crate::digest;
use crate::ids::{GroupId, Id128, NodeId, QueueUid};
use crate::machine::RowChange;
use crate::rows::CATALOG;

/// Guess at a dirty row's size, bytes, for the checkpoint's threshold.
const ROW_BYTES_ESTIMATE: u64 = 256;

/// Newest format of the catalog's rows.
pub(super) const FORMAT: u32 = 1;

/// The header: what is no row of its own. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderRow {
    /// Written as [`FORMAT`]; a higher one is refused.
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// The cluster, after `Bootstrap`.
    #[prost(message, optional, tag = "2")]
    pub(super) cluster: Option<Id128>,
    /// The newest uid given.
    #[prost(uint64, tag = "3")]
    pub(super) last_uid: QueueUid,
}

/// Names a row. The order is that of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowId {
    /// The only one of its kind.
    Header,
    /// A node.
    Node(NodeId),
    /// A group.
    Group(GroupId),
    /// A queue.
    Queue(QueueUid),
}

impl RowId {
    /// Table byte and place in the table.
    fn parts(self) -> (u8, u64) {
        match self {
            Self::Header => (0, 0),
            Self::Node(id) => (1, id),
            Self::Group(id) => (2, id),
            Self::Queue(id) => (3, id),
        }
    }

    /// The row's key.
    pub(super) fn key(self) -> Bytes {
        let (table, id) = self.parts();
        let mut key = [CATALOG; 10];
        key[1] = table;
        key[2..].copy_from_slice(&id.to_be_bytes());
        Bytes::copy_from_slice(&key)
    }

    /// The reverse of [`Self::key`]; `None` for any other bytes.
    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        let (&[first, table], id) = key.split_first_chunk()?;
        let id = u64::from_be_bytes(id.try_into().ok()?);
        match (first, table) {
            (CATALOG, 0) if id == 0 => Some(Self::Header),
            (CATALOG, 1) => Some(Self::Node(id)),
            (CATALOG, 2) => Some(Self::Group(id)),
            (CATALOG, 3) => Some(Self::Queue(id)),
            _ => None,
        }
    }

    /// Hash of the row for the digest.
    pub(super) fn hash(self, value: &[u8]) -> u64 {
        let (table, id) = self.parts();
        digest::words(u64::from(CATALOG) << 8 | u64::from(table), &[id, digest::bytes(value)])
    }
}

/// What a binding leads from and to.
fn ends(entry: &QueueEntry) -> Option<(QueueUid, QueueUid)> {
    Some((entry.source.as_ref()?.topic, target_of(entry)?))
}

impl Catalog {
    /// The row as it would be written; `None` if there is no such row.
    pub(super) fn encode_row(&self, id: RowId) -> Option<Bytes> {
        let value = match id {
            RowId::Header => {
                HeaderRow { format: FORMAT, cluster: self.cluster, last_uid: self.last_uid }.encode_to_vec()
            }
            RowId::Node(id) => self.nodes.get(&id)?.encode_to_vec(),
            RowId::Group(id) => self.groups.get(&id)?.encode_to_vec(),
            RowId::Queue(id) => self.queues.get(&id)?.encode_to_vec(),
        };
        Some(Bytes::from(value))
    }

    /// Changes rows through `change`, which may touch the row `id` alone.
    fn edit(&mut self, id: RowId, change: impl FnOnce(&mut Self)) {
        if let Some(before) = self.encode_row(id) {
            self.digest = self.digest.wrapping_sub(id.hash(&before));
        }
        change(self);
        if let Some(after) = self.encode_row(id) {
            self.digest = self.digest.wrapping_add(id.hash(&after));
        }
        self.dirty.insert(id);
    }

    /// Counts the header of a new catalog, which no edit has counted yet.
    pub(super) fn count_header(&mut self) {
        let header = self.encode_row(RowId::Header).unwrap_or_default();
        self.digest = self.digest.wrapping_add(RowId::Header.hash(&header));
        self.dirty.insert(RowId::Header);
    }

    /// Sets the header as a whole.
    pub(super) fn replace_header(&mut self, cluster: Option<Id128>, last_uid: QueueUid) {
        self.edit(RowId::Header, |catalog| {
            catalog.cluster = cluster;
            catalog.last_uid = last_uid;
        });
    }

    pub(super) fn set_cluster(&mut self, cluster: Id128) {
        self.edit(RowId::Header, |catalog| catalog.cluster = Some(cluster));
    }

    /// Gives out a uid, which no queue of that or another name has had.
    pub(super) fn next_uid(&mut self, name: &str) -> QueueUid {
        if Canary::UidConfusion.is_planted() {
            let uid = (digest::bytes(name.as_bytes()) >> 44) + 1;
            self.edit(RowId::Header, |catalog| catalog.last_uid = catalog.last_uid.max(uid));
            return uid;
        }
        self.edit(RowId::Header, |catalog| catalog.last_uid += 1);
        self.last_uid
    }

    pub(super) fn put_node(&mut self, node: NodeRow) {
        self.edit(RowId::Node(node.node), |catalog| {
            catalog.nodes.insert(node.node, node);
        });
    }

    pub(super) fn put_group(&mut self, group: GroupRow) {
        self.edit(RowId::Group(group.group), |catalog| {
            if group.group != 0 {
                catalog.load.entry(group.group).or_insert(0);
            }
            catalog.groups.insert(group.group, group);
        });
    }

    /// Inserts or replaces a queue's row. A replaced row keeps its name and its group.
    pub(super) fn put_queue(&mut self, entry: QueueEntry) {
        self.edit(RowId::Queue(entry.uid), |catalog| {
            if is_pending(&entry) {
                catalog.pending.insert(entry.uid);
            } else {
                catalog.pending.remove(&entry.uid);
            }
            if !catalog.queues.contains_key(&entry.uid) {
                catalog
                    .names
                    .entry(entry.namespace.clone())
                    .or_default()
                    .insert(entry.name.clone(), entry.uid);
                *catalog.load.entry(entry.group).or_insert(0) += 1;
                if let Some((topic, target)) = ends(&entry) {
                    catalog.bindings.insert((topic, entry.uid));
                    catalog.inboxes.insert((target, entry.uid));
                }
            }
            catalog.queues.insert(entry.uid, entry);
        });
    }

    /// Removes a queue's row: its name is free again.
    pub(super) fn remove_queue(&mut self, uid: QueueUid) {
        self.edit(RowId::Queue(uid), |catalog| {
            let Some(entry) = catalog.queues.remove(&uid) else {
                return;
            };
            catalog.pending.remove(&uid);
            if let Some((topic, target)) = ends(&entry) {
                catalog.bindings.remove(&(topic, uid));
                catalog.inboxes.remove(&(target, uid));
            }
            if let Some(names) = catalog.names.get_mut(&entry.namespace) {
                names.remove(&entry.name);
                if names.is_empty() {
                    catalog.names.remove(&entry.namespace);
                }
            }
            if let Some(count) = catalog.load.get_mut(&entry.group) {
                *count = count.saturating_sub(1);
            }
        });
    }

    /// Sum of the hashes of all rows.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Adds the rows that changed since the last call, by key.
    pub fn take_changes(&mut self, rows: &mut Vec<RowChange>) {
        for id in std::mem::take(&mut self.dirty) {
            rows.push(RowChange { key: id.key(), value: self.encode_row(id) });
        }
    }

    /// About how many rows and bytes [`Self::take_changes`] would add.
    #[must_use]
    pub fn dirty_estimate(&self) -> (usize, u64) {
        (self.dirty.len(), self.dirty.len() as u64 * ROW_BYTES_ESTIMATE)
    }
}
