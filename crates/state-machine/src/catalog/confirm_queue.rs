//! `ConfirmQueue`: the shard has done what the catalog asked.

use super::{Catalog, QueueState};
use crate::command::ConfirmQueue;
use crate::reply::{Rejection, Reply};

impl Catalog {
    /// Moves the row on: creating → live, deleting → gone, settings confirmed up to `version`.
    ///
    /// The driver repeats what it is not sure of, and its confirmations may arrive late: one that is behind the
    /// row does nothing and is answered as done; one that the row never asked for is refused.
    pub(super) fn confirm_queue(&mut self, command: ConfirmQueue) -> Result<Reply, Rejection> {
        let Some(entry) = self.queues.get(&command.uid) else {
            let gone = command.uid != 0 && command.uid <= self.last_uid;
            return if gone { Ok(Reply::Done) } else { Err(Rejection::NotFound) };
        };
        if command.dropped {
            if entry.state() != QueueState::Deleting {
                return Err(Rejection::Invalid("the queue is not being deleted".to_owned()));
            }
            if self.subscriptions(entry).next().is_some() {
                return Err(Rejection::Invalid(
                    "the topic's subscriptions are still being deleted".to_owned(),
                ));
            }
            self.remove_queue(command.uid);
            return Ok(Reply::Done);
        }
        if command.version == 0 || command.version > entry.version {
            return Err(Rejection::Invalid(format!(
                "version {} was never asked for: the newest is {}",
                command.version, entry.version
            )));
        }
        let mut entry = entry.clone();
        entry.confirmed_version = entry.confirmed_version.max(command.version);
        if entry.state() == QueueState::Creating {
            entry.state = QueueState::Live.into();
        }
        self.put_queue(entry);
        Ok(Reply::Done)
    }
}
