//! What the world sees of its nodes: in the same process, not through their API.

use std::collections::BTreeMap;

use phalanx_state_machine::command::QueueKind;

use super::{Machine, World};
use crate::history::{Replica, What};

impl World {
    /// Notes what has changed about the replicas.
    pub(super) fn look(&mut self) {
        for (at, machine) in self.nodes.iter().enumerate() {
            let id = at as u64 + 1;
            let Some(node) = machine.node().filter(|_| self.up[at]) else { continue };
            let start = machine.telling.lock().starts;
            for shard in node.shards() {
                let status = shard.group.status();
                let (now_ms, opened) = shard.group.read(|machine| (machine.now_ms(), machine.term()));
                let replica = Replica {
                    node: id,
                    start,
                    group: status.group,
                    replica: status.replica,
                    term: status.term,
                    leads: status.is_leader,
                    applied: status.applied,
                    digest: status.digest,
                    now_ms,
                    opened,
                };
                if self.seen.get(&(id, status.group)) != Some(&replica) {
                    self.seen.insert((id, status.group), replica.clone());
                    self.recorder.add(What::Replica(replica));
                }
            }
        }
    }

    /// Messages in all queues, waiting or leased, as their leaders see them; `None` while a group has no leader.
    pub fn depth(&self) -> Option<u64> {
        let mut depths: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        for node in self.nodes.iter().filter_map(Machine::node) {
            for shard in node.shards() {
                let depth = depths.entry(shard.id()).or_default();
                if shard.is_leader() {
                    *depth = Some(shard.group.read(|machine| {
                        // What a topic keeps is for nobody to consume.
                        let all = machine.queue_uids().filter_map(|uid| machine.queue_info(uid));
                        let queues = all.filter(|info| info.kind != QueueKind::Topic);
                        queues.map(|info| info.ready_count + info.leased_count + info.unseen_count).sum()
                    }));
                }
            }
        }
        depths.into_values().sum()
    }

    /// Whether every node takes part and all replicas of each group are at the same entry.
    pub fn is_level(&self) -> bool {
        let nodes: Vec<_> = self.nodes.iter().filter_map(Machine::node).collect();
        let mut applied: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut hosted = 0;
        for shard in nodes.iter().flat_map(|node| node.shards()) {
            hosted += 1;
            let index = shard.group.status().applied;
            let range = applied.entry(shard.id()).or_insert((index, index));
            *range = (range.0.min(index), range.1.max(index));
        }
        let planned: usize = nodes
            .first()
            .map_or(0, |node| node.identity.plan.groups.iter().map(|group| group.replicas.len()).sum());
        nodes.len() == self.nodes.len()
            && hosted == planned
            && applied.values().all(|(least, most)| least == most)
    }

    /// What is where, for the report of a run that does not come to rest.
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        for (at, machine) in self.nodes.iter().enumerate() {
            let Some(node) = machine.node() else {
                lines.push(format!("node {}: up {}, takes no part", at + 1, self.up[at]));
                continue;
            };
            for shard in node.shards() {
                let status = shard.group.status();
                let depth: Vec<String> = shard.group.read(|machine| {
                    let queues = machine.queue_uids().filter_map(|uid| machine.queue_info(uid));
                    queues.map(|info| format!("{}+{}", info.ready_count, info.leased_count)).collect()
                });
                lines.push(format!(
                    "node {} group {}: term {}, leader {:?}, leads {}, log {}, committed {}, applied {}, ready+leased {depth:?}",
                    at + 1,
                    status.group,
                    status.term,
                    status.leader,
                    status.is_leader,
                    status.last_index,
                    status.committed,
                    status.applied
                ));
            }
        }
        lines.join("\n  ")
    }
}
