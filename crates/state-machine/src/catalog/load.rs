//! Loading the catalog from the rows of a checkpoint, and the check of all its invariants.
//!
//! A row that cannot be what this code wrote makes the whole checkpoint unusable: nothing is repaired or skipped.

use std::collections::BTreeSet;

use prost::Message;

use super::bindings::target_of;
use super::rows::{FORMAT, HeaderRow, RowId};
use super::view::is_pending;
use super::{Catalog, QueueEntry, QueueState, names, settings};
use crate::command::{GroupRow, NodeRow, QueueKind};
use crate::limits;
use crate::machine::LoadError;
use crate::queue::conditions;

impl Catalog {
    /// Takes one row of a checkpoint into a catalog made by [`Catalog::new`]. Rows come in key order.
    ///
    /// # Errors
    /// If the row is not one that this code writes, or contradicts those before it.
    pub fn load_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let id = RowId::parse(key).ok_or_else(|| error("unknown key of the catalog"))?;
        match id {
            RowId::Header => self.load_header(&decode(value)?)?,
            RowId::Node(node) => self.load_node(node, decode(value)?)?,
            RowId::Group(group) => self.load_group(group, decode(value)?)?,
            RowId::Queue(uid) => self.load_queue(uid, decode(value)?)?,
        }
        self.dirty.remove(&id);
        if self.encode_row(id).is_none_or(|canonical| canonical != value) {
            // Also refuses rows with fields that only a newer version knows: dropping them would lose state.
            return Err(error("a row of the catalog holds more than this version understands"));
        }
        Ok(())
    }

    /// Called after the last row.
    ///
    /// # Errors
    /// If the rows together contradict each other.
    pub fn finish_load(&self) -> Result<(), LoadError> {
        if self.cluster.is_none() && !(self.nodes.is_empty() && self.groups.is_empty()) {
            return Err(error("the catalog has nodes or groups but no cluster"));
        }
        Ok(())
    }

    fn load_header(&mut self, header: &HeaderRow) -> Result<(), LoadError> {
        if header.format == 0 || header.format > FORMAT {
            return Err(error(format!("format {} of the catalog is unknown", header.format)));
        }
        self.replace_header(header.cluster, header.last_uid);
        Ok(())
    }

    fn load_node(&mut self, id: u64, node: NodeRow) -> Result<(), LoadError> {
        if node.node != id || id == 0 || self.nodes.contains_key(&id) {
            return Err(error(format!("row of node {id} names node {}", node.node)));
        }
        self.put_node(node);
        Ok(())
    }

    fn load_group(&mut self, id: u64, group: GroupRow) -> Result<(), LoadError> {
        if group.group != id || self.groups.contains_key(&id) {
            return Err(error(format!("row of group {id} names group {}", group.group)));
        }
        if let Some(replica) = group.replicas.iter().find(|replica| !self.nodes.contains_key(&replica.node)) {
            return Err(error(format!("group {id} has a replica on unknown node {}", replica.node)));
        }
        self.put_group(group);
        Ok(())
    }

    fn load_queue(&mut self, uid: u64, entry: QueueEntry) -> Result<(), LoadError> {
        if self.queues.contains_key(&uid) {
            return Err(error(format!("queue {uid} has two rows")));
        }
        self.check_entry(uid, &entry).map_err(|why| error(format!("queue {uid}: {why}")))?;
        if self.lookup(&entry.namespace, &entry.name).is_some() {
            return Err(error(format!("two queues have the name {:?}", entry.name)));
        }
        self.put_queue(entry);
        Ok(())
    }

    /// What must hold for each queue's row.
    fn check_entry(&self, uid: u64, entry: &QueueEntry) -> Result<(), String> {
        names::check("namespace", &entry.namespace)?;
        names::check("queue name", &entry.name)?;
        settings::check_kind(entry.kind(), &entry.settings)?;
        if let Some(source) = &entry.source {
            conditions(source)?;
        }
        let rules = [
            (QueueKind::try_from(entry.kind).is_ok(), "its kind is unknown"),
            (
                matches!(entry.kind(), QueueKind::Subscription | QueueKind::Binding)
                    == entry.source.is_some(),
                "a subscription without a topic, or the reverse",
            ),
            (
                [target_of(entry).is_some(), !entry.target.is_empty()]
                    .into_iter()
                    .all(|has| has == (entry.kind() == QueueKind::Binding)),
                "a binding without a target, or the reverse",
            ),
            (entry.uid == uid, "the row names another uid"),
            (uid != 0 && uid <= self.last_uid, "the uid was never given"),
            (entry.group != 0 && self.groups.contains_key(&entry.group), "its shard does not exist"),
            (entry.version != 0 && entry.confirmed_version <= entry.version, "its versions contradict"),
            (
                matches!(QueueState::try_from(entry.state), Ok(state) if state != QueueState::Unspecified),
                "its state is unknown",
            ),
            (entry.settings == limits::resolve(&entry.settings), "its settings are not complete"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
    }

    /// See [`crate::invariants::check`]: everything that follows from the rows is derived again and compared.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let mut again = Self::new();
        again.replace_header(self.cluster, self.last_uid);
        for node in self.nodes.values() {
            again.put_node(node.clone());
        }
        for group in self.groups.values() {
            again.put_group(group.clone());
        }
        for (uid, entry) in &self.queues {
            again.check_entry(*uid, entry).map_err(|why| format!("queue {uid}: {why}"))?;
            again.put_queue(entry.clone());
        }
        let pending: BTreeSet<u64> =
            self.queues.values().filter(|entry| is_pending(entry)).map(|entry| entry.uid).collect();
        let rules = [
            (again.digest == self.digest, "the catalog's digest is not that of its rows"),
            (again.names == self.names, "the index of names is not that of the rows"),
            (
                again.bindings == self.bindings && again.inboxes == self.inboxes,
                "the indexes of bindings are not those of the rows",
            ),
            (again.load == self.load, "the shards' counts are not those of the rows"),
            (pending == self.pending, "the set of pending queues is not that of the rows"),
            (
                self.names.values().map(|names| names.len()).sum::<usize>() == self.queues.len(),
                "two queues share a name",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
    }
}

fn decode<T: Message + Default>(value: &[u8]) -> Result<T, LoadError> {
    T::decode(value).map_err(|why| error(format!("a row of the catalog does not decode: {why}")))
}

fn error(text: impl Into<String>) -> LoadError {
    LoadError(text.into())
}
