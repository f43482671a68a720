//! `CreateQueue`: a row in `creating`, on the shard with the fewest queues.

use super::{Catalog, QUEUES_MAX, QueueEntry, QueueState, names, settings};
use crate::command::{CreateQueue, QueueKind, Source};
use crate::ids::{GroupId, TimestampMs};
use crate::limits;
use crate::reply::{Rejection, Reply};

impl Catalog {
    /// Creates the queue, or answers the row of that name if it has the same settings: a lost answer can be had
    /// again by asking again.
    pub(super) fn create_queue(
        &mut self,
        now_ms: TimestampMs,
        command: &CreateQueue,
    ) -> Result<Reply, Rejection> {
        if QueueKind::try_from(command.kind).is_err() {
            return Err(Rejection::Unsupported);
        }
        names::check("namespace", &command.namespace).map_err(Rejection::Invalid)?;
        names::check("queue name", &command.name).map_err(Rejection::Invalid)?;
        settings::check_kind(command.kind(), &command.settings).map_err(Rejection::Invalid)?;
        settings::check_start(command.kind(), command.start.as_ref()).map_err(Rejection::Invalid)?;
        let settings = limits::resolve(&command.settings);
        let (topic, source) = match command.kind() {
            QueueKind::Subscription | QueueKind::Binding => {
                self.source_of(command).map(|(topic, source)| (Some(topic), Some(source)))?
            }
            QueueKind::Queue | QueueKind::Topic => (None, None),
        };
        if let Some(entry) = self.lookup(&command.namespace, &command.name) {
            return match entry.state() {
                QueueState::Deleting => Err(Rejection::AlreadyExists(format!(
                    "queue {:?} is being deleted: create it again when the deletion has finished",
                    entry.name
                ))),
                _ if entry.kind != command.kind => Err(Rejection::AlreadyExists(format!(
                    "{:?} is the name of a {}",
                    entry.name,
                    entry.kind().noun()
                ))),
                _ if entry.settings == settings && entry.source == source => {
                    Ok(Reply::Queue(Box::new(entry.clone())))
                }
                _ if feeds_namesake(entry, source.as_ref(), &command.target) => {
                    Err(Rejection::AlreadyExists(format!(
                        "binding {:?} feeds another {:?}, which was deleted: delete the binding and create it again",
                        entry.name, entry.target
                    )))
                }
                _ => Err(Rejection::AlreadyExists(format!(
                    "queue {:?} exists with other settings (version {}): update it, or choose another name",
                    entry.name, entry.version
                ))),
            };
        }
        if self.queues.len() >= QUEUES_MAX {
            return Err(Rejection::Invalid(format!(
                "the cluster has {QUEUES_MAX} queues, as many as it may: delete one first"
            )));
        }
        let group = topic.map_or_else(|| self.least_loaded_shard(), |topic| Some(topic.group));
        let Some(group) = group else {
            return Err(Rejection::Invalid("the cluster has no shards yet: bootstrap it first".to_owned()));
        };
        let entry = QueueEntry {
            uid: self.next_uid(&command.name),
            namespace: command.namespace.clone(),
            name: command.name.clone(),
            group,
            version: 1,
            confirmed_version: 0,
            state: QueueState::Creating.into(),
            settings,
            created_ms: now_ms,
            kind: command.kind,
            source,
            start: command.start.clone(),
            target: if command.kind() == QueueKind::Binding { command.target.clone() } else { String::new() },
        };
        self.put_queue(entry.clone());
        Ok(Reply::Queue(Box::new(entry)))
    }

    /// The shard with the fewest queues, those in deletion included; of several the lowest id.
    fn least_loaded_shard(&self) -> Option<GroupId> {
        self.load.iter().min_by_key(|&(group, count)| (count, group)).map(|(group, _)| *group)
    }
}

/// The same name is fed, but not the same queue.
fn feeds_namesake(entry: &QueueEntry, source: Option<&Source>, target: &str) -> bool {
    let uid = |source: Option<&Source>| source.map_or(0, |source| source.target);
    !target.is_empty() && entry.target == target && uid(entry.source.as_ref()) != uid(source)
}
