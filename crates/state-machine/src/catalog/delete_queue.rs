//! `DeleteQueue`: the row goes to `deleting`; its shard then drops the queue.

use super::{Catalog, QueueState};
use crate::command::DeleteQueue;
use crate::reply::{Rejection, Reply};

impl Catalog {
    /// Begins the deletion. Repeating it answers the row as long as it is there; once the queue is gone there is
    /// nothing of that name.
    pub(super) fn delete_queue(&mut self, command: &DeleteQueue) -> Result<Reply, Rejection> {
        let Some(entry) = self.lookup(&command.namespace, &command.name) else {
            return Err(Rejection::NotFound);
        };
        if entry.kind != command.kind || (command.uid != 0 && entry.uid != command.uid) {
            return Err(Rejection::NotFound);
        }
        let mut entry = entry.clone();
        self.delete_subscriptions(&entry);
        if entry.state() != QueueState::Deleting {
            entry.state = QueueState::Deleting.into();
            self.put_queue(entry.clone());
        }
        Ok(Reply::Queue(Box::new(entry)))
    }
}
