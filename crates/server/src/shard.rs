//! One group with a replica on this node: its Raft group, its clock, its batcher.

use std::sync::Arc;

use phalanx_raft::Group;
use phalanx_state_machine::ids::{GroupId, TimestampMs};
use tokio::sync::watch;

use crate::batcher::Batcher;
use crate::clock::MachineClock;

/// The catalog's group.
pub const CATALOG: GroupId = 0;

/// See the module.
pub struct Shard {
    /// Its Raft group.
    pub group: Arc<Group>,
    /// Machine time, as this node would stamp it.
    pub clock: Arc<MachineClock>,
    /// The way into its log, while this node leads.
    pub batcher: Arc<Batcher>,
    /// When a `Tick` would do something, as of the entry applied last.
    pub due: watch::Receiver<Option<TimestampMs>>,
}

impl Shard {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.group.id()
    }

    /// Whether this node leads it and has its quorum.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.group.leadership().borrow().is_leader
    }
}
