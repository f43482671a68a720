//! The way into a led group's log: commands that wait while an entry is written gather into the next one.

use std::sync::Arc;

use parking_lot::Mutex;
use phalanx_raft::{Group, ProposeError};
use phalanx_state_machine::command::{Batch, Command};
use phalanx_state_machine::reply::Reply;

use crate::clock::MachineClock;

/// One for each hosted group; open while this node leads it.
pub struct Batcher {
    group: Arc<Group>,
    clock: Arc<MachineClock>,
    term: Mutex<Option<u64>>,
}

impl Batcher {
    /// Closed.
    #[must_use]
    pub fn new(group: Arc<Group>, clock: Arc<MachineClock>) -> Arc<Self> {
        Arc::new(Self { group, clock, term: Mutex::new(None) })
    }

    /// This replica leads `term`, and `TermStart` is queued: commands may follow.
    pub fn open(&self, term: u64) {
        *self.term.lock() = Some(term);
    }

    /// This replica leads no more: what waits is answered `NotLeader` (nothing was written).
    pub fn close(&self) {
        *self.term.lock() = None;
    }

    /// Puts a command into the log and waits until it is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn submit(&self, command: Command) -> Result<Reply, ProposeError> {
        let term = *self.term.lock();
        let Some(term) = term else {
            return Err(ProposeError::NotLeader { group: self.group.id(), leader: None });
        };
        let batch = Batch { version: Batch::VERSION, now_ms: self.clock.now_ms(), commands: vec![command] };
        let replies = self.group.propose(batch, term).await?.await?;
        Ok(replies.into_iter().next().expect("a reply for each command"))
    }
}
