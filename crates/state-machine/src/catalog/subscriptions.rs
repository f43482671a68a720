//! Topics and their subscriptions: rows that belong together.

use std::ops::Bound;

use super::{Catalog, QueueEntry, QueueState};
use crate::command::{CreateQueue, QueueKind, Source};
use crate::ids::QueueUid;
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::queue::conditions;
use crate::reply::Rejection;

impl Catalog {
    /// The subscriptions and bindings of a topic, in whatever state, by name.
    pub fn subscriptions<'a>(&'a self, topic: &'a QueueEntry) -> impl Iterator<Item = &'a QueueEntry> {
        let first = format!("{}/", topic.name);
        let names = self.names.get(&topic.namespace);
        let names = names.filter(|_| topic.kind() == QueueKind::Topic);
        let from =
            names.map(|names| names.range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded)));
        from.into_iter()
            .flatten()
            .take_while(move |(name, _)| name.starts_with(&first))
            .filter_map(|(_, uid)| self.queues.get(uid))
            .filter(|entry| entry.source.as_ref().is_some_and(|source| source.topic == topic.uid))
    }

    /// The topic, the conditions and the target that a new subscription or binding names.
    pub(super) fn source_of(&self, command: &CreateQueue) -> Result<(QueueEntry, Source), Rejection> {
        let topic = self.lookup(&command.namespace, &command.topic);
        let topic =
            topic.filter(|topic| topic.kind() == QueueKind::Topic && topic.state() != QueueState::Deleting);
        let Some(topic) = topic else { return Err(Rejection::NotFound) };
        let own = command.name.strip_prefix(&topic.name).and_then(|rest| rest.strip_prefix('/'));
        if own.is_none_or(|own| own.is_empty() || own.contains('/')) {
            return Err(Rejection::Invalid(format!(
                "a {} of topic {:?} is called {}/ and a name of its own without a slash",
                command.kind().noun(),
                topic.name,
                topic.name
            )));
        }
        let target = match command.kind() {
            QueueKind::Binding => self.target_of(topic, command)?,
            QueueKind::Queue | QueueKind::Topic | QueueKind::Subscription => 0,
        };
        let (pattern, filter) = (command.pattern.clone(), command.filter.clone());
        let source = Source { topic: topic.uid, pattern, filter, target };
        conditions(&source).map_err(Rejection::Invalid)?;
        let is_new = self.lookup(&command.namespace, &command.name).is_none();
        if is_new && self.subscriptions(topic).count() >= SUBSCRIPTIONS_MAX {
            return Err(Rejection::Invalid(format!(
                "topic {:?} has {SUBSCRIPTIONS_MAX} subscriptions and bindings, as many as it may: delete one first",
                topic.name
            )));
        }
        Ok((topic.clone(), source))
    }

    /// With a topic go its subscriptions and bindings.
    pub(super) fn delete_subscriptions(&mut self, topic: &QueueEntry) {
        let uids: Vec<QueueUid> = self.subscriptions(topic).map(|entry| entry.uid).collect();
        for uid in uids {
            let Some(mut entry) = self.queues.get(&uid).cloned() else { continue };
            if entry.state() != QueueState::Deleting {
                entry.state = QueueState::Deleting.into();
                self.put_queue(entry);
            }
        }
    }
}
