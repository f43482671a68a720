//! `UpdateQueue`: new settings, a new version.

use super::{Catalog, QueueState, settings};
use crate::command::UpdateQueue;
use crate::limits;
use crate::reply::{Rejection, Reply};

impl Catalog {
    /// Replaces all settings. Settings that are in force already change nothing, so that a repeated update is
    /// answered with the row of the first, although its `if_version` is one behind by then.
    pub(super) fn update_queue(&mut self, command: &UpdateQueue) -> Result<Reply, Rejection> {
        let Some(entry) = self.lookup(&command.namespace, &command.name) else {
            return Err(Rejection::NotFound);
        };
        if entry.state() == QueueState::Deleting {
            return Err(Rejection::NotFound);
        }
        settings::check(&command.settings).map_err(Rejection::Invalid)?;
        let settings = limits::resolve(&command.settings);
        let repeated = settings == entry.settings && command.if_version.checked_add(1) == Some(entry.version);
        if command.if_version != 0 && command.if_version != entry.version && !repeated {
            return Err(Rejection::VersionMismatch { actual: entry.version });
        }
        if settings.strict != entry.settings.strict {
            // Groups that flow in parallel cannot become one, nor the reverse, while their messages are in hand.
            return Err(Rejection::Invalid(
                "strict is fixed when a queue is created: create another queue".to_owned(),
            ));
        }
        let mut entry = entry.clone();
        if settings != entry.settings {
            entry.settings = settings;
            entry.version += 1;
            self.put_queue(entry.clone());
        }
        Ok(Reply::Queue(Box::new(entry)))
    }
}
