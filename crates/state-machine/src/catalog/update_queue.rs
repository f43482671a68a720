//! `UpdateQueue`: new settings, a new version.

use super::{Catalog, QueueState, settings};
use crate::command::{Source, UpdateQueue};
use crate::limits;
use crate::queue::conditions;
use crate::reply::{Rejection, Reply};

impl Catalog {
    /// Replaces all settings. Settings that are in force already change nothing, so that a repeated update is
    /// answered with the row of the first, although its `if_version` is one behind by then.
    pub(super) fn update_queue(&mut self, command: &UpdateQueue) -> Result<Reply, Rejection> {
        let Some(entry) = self.lookup(&command.namespace, &command.name) else {
            return Err(Rejection::NotFound);
        };
        let is_other = command.uid != 0 && entry.uid != command.uid;
        if entry.state() == QueueState::Deleting || entry.kind != command.kind || is_other {
            return Err(Rejection::NotFound);
        }
        settings::check_kind(entry.kind(), &command.settings).map_err(Rejection::Invalid)?;
        let settings = limits::resolve(&command.settings);
        let source = entry.source.as_ref().map(|source| Source {
            topic: source.topic,
            pattern: command.pattern.clone(),
            filter: command.filter.clone(),
            target: source.target,
        });
        if let Some(source) = &source {
            conditions(source).map_err(Rejection::Invalid)?;
        }
        let is_same = settings == entry.settings && source == entry.source;
        let repeated = is_same && command.if_version.checked_add(1) == Some(entry.version);
        if command.if_version != 0 && command.if_version != entry.version && !repeated {
            return Err(Rejection::VersionMismatch { actual: entry.version });
        }
        settings::check_fixed(&entry.settings, &settings).map_err(Rejection::Invalid)?;
        let mut entry = entry.clone();
        if !is_same {
            (entry.settings, entry.source) = (settings, source);
            entry.version += 1;
            self.put_queue(entry.clone());
        }
        Ok(Reply::Queue(Box::new(entry)))
    }
}
