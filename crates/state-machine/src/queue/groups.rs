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

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) key: Bytes,
    pub(super) key_hash: u64,
    /// Live messages with this key.
    pub(super) messages: u64,
    pub(super) lane: Lane,
}

#[derive(Debug)]
pub(super) struct Groups {
    pub(super) slots: Vec<Group>,
    pub(super) free: Vec<u32>,
    pub(super) by_key: BTreeMap<Bytes, u32>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { slots: vec![Group::default()], free: Vec::new(), by_key: BTreeMap::new() }
    }
}

impl Groups {
    /// The group of a key, with one message more. The key gets its own allocation.
    pub(super) fn enter(&mut self, key: &[u8]) -> u32 {
        if key.is_empty() {
            return NONE;
        }
        if let Some(&index) = self.by_key.get(key) {
            self.slots[index as usize].messages += 1;
            return index;
        }
        let key = Bytes::copy_from_slice(key);
        let group =
            Group { key_hash: digest::bytes(&key), key: key.clone(), messages: 1, lane: Lane::default() };
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = group;
            index
        } else {
            self.slots.push(group);
            u32::try_from(self.slots.len() - 1).expect("fewer groups than messages, see LENGTH_MAX")
        };
        self.by_key.insert(key, index);
        index
    }

    /// One message of the group less; the group goes with its last.
    pub(super) fn leave(&mut self, index: u32) {
        if index == NONE {
            return;
        }
        let group = &mut self.slots[index as usize];
        group.messages -= 1;
        if group.messages == 0 {
            self.by_key.remove(&group.key);
            *group = Group::default();
            self.free.push(index);
        }
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
