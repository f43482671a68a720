//! One group with a replica on this node: its Raft group, its clock, its batcher.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use phalanx_raft::Group;
use phalanx_state_machine::ids::{GroupId, TimestampMs};
use phalanx_state_machine::machine::Machine;
use tokio::sync::watch;

use crate::batcher::Batcher;
use crate::clock::MachineClock;
use crate::timekeeper::Timekeeper;

/// The catalog's group.
pub const CATALOG: GroupId = 0;

/// See the module.
pub struct Shard {
    /// Its Raft group.
    pub group: Arc<Group>,
    /// Machine time, as this node would stamp it.
    pub clock: Arc<MachineClock>,
    /// Sets it after a start.
    pub timekeeper: Timekeeper,
    /// The way into its log, while this node leads.
    pub batcher: Arc<Batcher>,
    /// When a `Tick` would do something, as of the entry applied last.
    pub due: watch::Receiver<Option<TimestampMs>>,
    /// Whether there is something for its leader to do beside ticks: see [`crate::chores`].
    pub chores: watch::Receiver<bool>,
    /// Changes when a binding has come to have something to carry: see [`crate::outbox`].
    pub outgoing: watch::Receiver<u64>,
    /// Entry at which this replica was found to differ from its leader; 0: the last comparison found nothing.
    pub diverged_at: Arc<AtomicU64>,
    /// Index of the entry applied last. For waiting: look at the machine after each change.
    pub applied: watch::Receiver<u64>,
}

impl Shard {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.group.id()
    }

    /// Waits until `look` finds what it looks for in the machine; looks again after every entry applied here. `None` when the
    /// group has stopped. The caller brings the deadline.
    pub async fn until<R>(&self, mut look: impl FnMut(&Machine) -> Option<R>) -> Option<R> {
        let mut applied = self.applied.clone();
        loop {
            applied.borrow_and_update();
            if let Some(found) = self.group.read(&mut look) {
                return Some(found);
            }
            applied.changed().await.ok()?;
        }
    }

    /// Whether this node leads it and has its quorum.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.group.leadership().borrow().is_leader
    }
}
