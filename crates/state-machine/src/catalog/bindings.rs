//! Bindings: rows that say which topic feeds which queue or topic. What feeds what has no cycles, so that every message comes to rest.

use std::collections::BTreeMap;

use super::{Catalog, QueueEntry, QueueState};
use crate::command::{CreateQueue, QueueKind};
use crate::ids::QueueUid;
use crate::limits::{HOPS_MAX, INBOXES_MAX};
use crate::reply::Rejection;

/// Which way along the bindings.
#[derive(Clone, Copy)]
enum Way {
    /// To what a topic feeds.
    Down,
    /// To what feeds it.
    Up,
}

impl Catalog {
    /// The bindings that feed a queue or topic, in whatever state, by uid.
    pub fn feeding(&self, target: QueueUid) -> impl Iterator<Item = &QueueEntry> {
        let uids = self.inboxes.range((target, 0)..=(target, QueueUid::MAX));
        uids.filter_map(|(_, uid)| self.queues.get(uid))
    }

    /// The bindings of a topic, in whatever state, by uid.
    pub fn bindings_of(&self, topic: QueueUid) -> impl Iterator<Item = &QueueEntry> {
        let uids = self.bindings.range((topic, 0)..=(topic, QueueUid::MAX));
        uids.filter_map(|(_, uid)| self.queues.get(uid))
    }

    /// The queue or topic that a new binding of `topic` is to feed.
    pub(super) fn target_of(&self, topic: &QueueEntry, command: &CreateQueue) -> Result<QueueUid, Rejection> {
        let is_new = self.lookup(&command.namespace, &command.name).is_none();
        let target = self.lookup(&command.namespace, &command.target).filter(|target| {
            let state = if is_new { target.state() == QueueState::Live } else { true };
            state && matches!(target.kind(), QueueKind::Queue | QueueKind::Topic)
        });
        let invalid = |text: String| Err(Rejection::Invalid(text));
        let Some(target) = target else {
            return invalid(format!(
                "a binding feeds a queue or a topic of its namespace: {:?} is none",
                command.target
            ));
        };
        if !is_new {
            return Ok(target.uid);
        }
        if self.feeding(target.uid).count() >= INBOXES_MAX {
            return invalid(format!("{INBOXES_MAX} bindings feed {:?}, as many as may", target.name));
        }
        let mut below = BTreeMap::new();
        let down = self.hops(target.uid, Way::Down, &mut below);
        if below.contains_key(&topic.uid) {
            return invalid(format!(
                "{:?} feeds {:?} already: messages would go round for ever",
                target.name, topic.name
            ));
        }
        let hops = self.hops(topic.uid, Way::Up, &mut BTreeMap::new()) + 1 + down;
        if hops > HOPS_MAX {
            return invalid(format!("{hops} bindings in a row: at most {HOPS_MAX} are allowed"));
        }
        Ok(target.uid)
    }

    /// The longest way from there over bindings. `seen` has every place on it, and how far it goes on from there.
    fn hops(&self, from: QueueUid, way: Way, seen: &mut BTreeMap<QueueUid, usize>) -> usize {
        if let Some(hops) = seen.get(&from) {
            return *hops;
        }
        // What was seen is not gone into again: this ends even if there were a cycle.
        seen.insert(from, 0);
        let next: Vec<QueueUid> = match way {
            Way::Down => self.bindings_of(from).filter_map(target_of).collect(),
            Way::Up => self.feeding(from).filter_map(topic_of).collect(),
        };
        let hops = next.into_iter().map(|uid| 1 + self.hops(uid, way, seen)).max().unwrap_or(0);
        seen.insert(from, hops);
        hops
    }
}

fn topic_of(entry: &QueueEntry) -> Option<QueueUid> {
    entry.source.as_ref().map(|source| source.topic)
}

/// What a binding feeds.
pub(super) fn target_of(entry: &QueueEntry) -> Option<QueueUid> {
    entry.source.as_ref().map(|source| source.target).filter(|target| *target != 0)
}
