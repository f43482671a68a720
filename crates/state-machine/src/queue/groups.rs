//! Groups: the ordering keys of a queue's messages, interned, and the lane of each.
//!
//! A lane is the chain of a group's messages in sequence order (links are in the messages). Its leased messages are
//! always a prefix of it and all belong to one holder; the first message behind them is the only one that may be
//! offered. A `strict` queue has one lane, [`STRICT`], for all its messages; its keys are only kept for deliveries.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::digest;
use crate::ids::Sequence;

/// The group of a message without a key.
pub(super) const NONE: u32 = u32::MAX;
/// The lane of a `strict` queue. Has no key.
pub(super) const STRICT: u32 = 0;

/// Where the lane's next message is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: nothing to offer, or it waits for a time.
    #[default]
    Nowhere,
    /// Among the heads that any consumer may get.
    Heads(Sequence),
    /// With the consumer (by number) that holds the messages before it.
    Own(u64, Sequence),
}

/// 0 in a sequence = none.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) head: Sequence,
    pub(super) tail: Sequence,
    /// First message that is not leased.
    pub(super) offer: Sequence,
    pub(super) leased: u32,
    /// Number of the consumer; 0 while nothing is leased.
    pub(super) holder: u64,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Bytes,
    pub(super) key_hash: u64,
    /// Another group whose key has the same hash; [`NONE`] = no more.
    same_hash: u32,
    /// Live messages with this key.
    pub(super) messages: u64,
    pub(super) lane: Lane,
}

impl Default for Group {
    fn default() -> Self {
        Self { key: Bytes::new(), key_hash: 0, same_hash: NONE, messages: 0, lane: Lane::default() }
    }
}

#[derive(Debug)]
pub(super) struct Groups {
    pub(super) slots: Vec<Group>,
    free: Vec<u32>,
    /// The first group of each hash; the others hang on it. Comparing words beats comparing keys.
    pub(super) by_hash: BTreeMap<u64, u32>,
    /// Groups with messages.
    pub(super) count: u64,
}

impl Default for Groups {
    fn default() -> Self {
        Self { slots: vec![Group::default()], free: Vec::new(), by_hash: BTreeMap::new(), count: 0 }
    }
}

impl Groups {
    /// The group of a key that has messages.
    pub(super) fn find(&self, key: &[u8], key_hash: u64) -> Option<u32> {
        let mut index = self.by_hash.get(&key_hash).copied().unwrap_or(NONE);
        while let Some(group) = self.slots.get(index as usize) {
            if group.key == key {
                return Some(index);
            }
            index = group.same_hash;
        }
        None
    }

    /// The group of a key, with one message more. The key gets its own allocation.
    pub(super) fn enter(&mut self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return NONE;
        }
        let key_hash = digest::bytes(key);
        if let Some(index) = self.find(key, key_hash) {
            self.slots[index as usize].messages += 1;
            return index;
        }
        let key = Bytes::copy_from_slice(key);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Group::default());
                u32::try_from(self.slots.len() - 1).expect("fewer groups than messages, see LENGTH_MAX")
            }
        };
        let same_hash = self.by_hash.insert(key_hash, index).unwrap_or(NONE);
        self.slots[index as usize] = Group { key, key_hash, same_hash, messages: 1, lane: Lane::default() };
        self.count += 1;
        index
    }

    /// One message of the group less; the group goes with its last.
    pub(super) fn leave(&mut self, index: u32) {
        if index == NONE {
            return;
        }
        let group = &mut self.slots[index as usize];
        group.messages -= 1;
        if group.messages > 0 {
            return;
        }
        let (key_hash, next) = (group.key_hash, group.same_hash);
        *group = Group::default();
        self.free.push(index);
        self.count -= 1;
        let first = self.by_hash.get(&key_hash).copied().unwrap_or(NONE);
        if first != index {
            let mut before = first;
            while self.slots[before as usize].same_hash != index {
                before = self.slots[before as usize].same_hash;
            }
            self.slots[before as usize].same_hash = next;
        } else if next == NONE {
            self.by_hash.remove(&key_hash);
        } else {
            self.by_hash.insert(key_hash, next);
        }
    }

    /// The groups whose keys share a hash, from the first on.
    pub(super) fn of_hash(&self, first: u32) -> impl Iterator<Item = &Group> {
        std::iter::successors(self.slots.get(first as usize), |group| {
            self.slots.get(group.same_hash as usize)
        })
    }

    pub(super) fn key(&self, index: u32) -> Bytes {
        if index == NONE { Bytes::new() } else { self.slots[index as usize].key.clone() }
    }

    pub(super) fn key_hash(&self, index: u32) -> u64 {
        if index == NONE { 0 } else { self.slots[index as usize].key_hash }
    }

    pub(super) fn lane(&self, index: u32) -> &Lane {
        &self.slots[index as usize].lane
    }

    pub(super) fn lane_mut(&mut self, index: u32) -> &mut Lane {
        &mut self.slots[index as usize].lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_whose_keys_share_a_hash_stay_apart() {
        let mut groups = Groups::default();
        let all: Vec<u32> = ["a", "b", "c"].iter().map(|key| groups.enter(key.as_bytes())).collect();
        // No two short keys with one hash are known: hang them together by hand.
        groups.by_hash = BTreeMap::from([(1, all[2])]);
        for (index, next) in [(all[2], all[1]), (all[1], all[0]), (all[0], NONE)] {
            groups.slots[index as usize].key_hash = 1;
            groups.slots[index as usize].same_hash = next;
        }
        let found = |groups: &Groups| ["a", "b", "c"].map(|key| groups.find(key.as_bytes(), 1));
        assert_eq!(found(&groups), [Some(all[0]), Some(all[1]), Some(all[2])]);
        groups.leave(all[1]);
        assert_eq!(found(&groups), [Some(all[0]), None, Some(all[2])]);
        groups.leave(all[2]);
        assert_eq!(found(&groups), [Some(all[0]), None, None]);
        groups.leave(all[0]);
        assert_eq!((found(&groups), groups.by_hash.len(), groups.count), ([None; 3], 0, 0));
    }
}
