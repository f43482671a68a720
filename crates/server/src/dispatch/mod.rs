//! From effects to consumers' streams, on the leader's node.

use std::sync::Arc;

use phalanx_state_machine::ids::GroupId;
use phalanx_state_machine::machine::Machine;
use phalanx_state_machine::reply::Effect;

/// One for each node.
#[derive(Default)]
pub struct Dispatcher {}

impl Dispatcher {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// This node leads `group` from `term` on; called before the term's first entry is proposed.
    pub fn lead(&self, _group: GroupId, _term: u64) {}

    /// This node leads `group` no more: its streams end.
    pub fn unlead(&self, _group: GroupId) {}

    /// An entry was applied. Called in the apply path, on every replica: must not block.
    pub fn applied(&self, _group: GroupId, _machine: &Machine, _effects: Vec<Effect>) {}

    /// The node stops: ends all streams with a status that says so.
    pub fn shutdown(&self) {}
}
