//! How many payload bytes the groups of a node keep in memory together.
//!
//! Invariant: while the node holds more than it should, every group that holds more than its equal part lets go of the rest, as far as a
//! checkpoint has it; a group below its part keeps everything.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use phalanx_state_machine::ids::GroupId;

/// Shared by all groups of a node.
#[derive(Debug)]
pub struct PayloadMemory {
    bytes_max: u64,
    held: Mutex<BTreeMap<GroupId, u64>>,
}

impl PayloadMemory {
    /// For a node that should hold at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }

    /// Bytes that a group may load at once: what the others leave, at least its equal part.
    #[must_use]
    pub fn room(&self, group: GroupId) -> u64 {
        let held = self.held.lock();
        let others: u64 = held.iter().filter(|(other, _)| **other != group).map(|(_, bytes)| bytes).sum();
        let groups = held.keys().filter(|other| **other != group).count() as u64 + 1;
        self.bytes_max.saturating_sub(others).max(self.bytes_max / groups)
    }

    /// Notes what a group holds now; how much of it the group should let go of.
    #[must_use]
    pub fn excess(&self, group: GroupId, bytes: u64) -> u64 {
        let mut held = self.held.lock();
        held.insert(group, bytes);
        let over = held.values().sum::<u64>().saturating_sub(self.bytes_max);
        let part = self.bytes_max / held.len() as u64;
        over.min(bytes.saturating_sub(part))
    }

    /// A group is no longer here.
    pub fn forget(&self, group: GroupId) {
        self.held.lock().remove(&group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_above_their_part_let_go_and_only_while_the_node_is_over() {
        let memory = PayloadMemory::new(100);
        assert_eq!(memory.excess(1, 90), 0, "the node is not over");
        assert_eq!(memory.excess(2, 30), 0, "it is within its part, although the node is over");
        assert_eq!(memory.excess(1, 90), 20, "what the node is over");
        assert_eq!(memory.excess(2, 100), 50, "no further than down to its part");
        memory.forget(2);
        assert_eq!(memory.excess(1, 90), 0);
    }

    #[test]
    fn group_that_loads_gets_what_others_leave_and_at_least_its_part() {
        let memory = PayloadMemory::new(100);
        assert_eq!(memory.room(1), 100);
        assert_eq!(memory.excess(2, 30), 0);
        assert_eq!(memory.room(1), 70);
        assert_eq!(memory.excess(2, 100), 0);
        assert_eq!(memory.room(1), 50);
    }
}
