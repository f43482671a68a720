//! `Purge` and the end of a queue: O(1) for the state, the memory is freed in slices by later entries.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::Group;
use super::messages::{PageMeta, Slot};
use super::producers::Producer;
use super::receive::Received;
use super::remembered::Remembered;
use super::send::SentBefore;
use super::seq_map::{CHUNK, SeqMap};
use super::{Original, Queue, Turn};
use crate::ids::{Id128, Sequence, TimestampMs};
use crate::reply::{Effect, Reply, ReturnReason};

/// What no one can reach any more, to be freed bit by bit: freeing ten million messages at once would stall the group.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    slots: SeqMap<Slot, PageMeta>,
    hashes: BTreeMap<u64, u32>,
    groups: Vec<Group>,
    returned: BTreeSet<Sequence>,
    heads: BTreeSet<Sequence>,
    delayed: BTreeSet<(TimestampMs, Sequence)>,
    producers: BTreeMap<Id128, Producer>,
    dedup: Option<Remembered<Original>>,
    sends: Option<Remembered<SentBefore>>,
    receives: Option<Remembered<Received>>,
}

impl Trash {
    /// Frees up to `budget` slices, which is lowered; `false` when nothing is left.
    pub(crate) fn free_some(&mut self, budget: &mut usize) -> bool {
        let mut left = true;
        while left && *budget > 0 {
            *budget -= 1;
            left = self.slots.drop_first_chunk();
            self.groups.truncate(self.groups.len().saturating_sub(CHUNK as usize));
            for _ in 0..CHUNK {
                left |= self.hashes.pop_first().is_some()
                    | self.returned.pop_first().is_some()
                    | self.heads.pop_first().is_some()
                    | self.delayed.pop_first().is_some()
                    | self.dedup.as_mut().is_some_and(Remembered::pop)
                    | self.sends.as_mut().is_some_and(Remembered::pop)
                    | self.receives.as_mut().is_some_and(Remembered::pop);
            }
            left |= self.producers.pop_first().is_some() | !self.groups.is_empty();
        }
        left
    }
}

impl Queue {
    pub(crate) fn purge(&mut self, turn: &mut Turn<'_>) -> (Reply, Trash) {
        let count = self.messages.len() + self.feed().map_or(0, |feed| feed.waiting);
        self.end_leases_silently(turn);
        if let Some(topic) = turn.topic.as_deref_mut() {
            self.release_own(topic);
            self.skip_waiting(topic);
        }
        let trash = self.empty();
        (Reply::Purged { count }, trash)
    }

    /// All leases are over; their holders are told, and have room again.
    fn end_leases_silently(&mut self, turn: &mut Turn<'_>) {
        let holders: Vec<u64> = self
            .consumers
            .by_number
            .iter()
            .filter(|(_, consumer)| consumer.in_hand > 0)
            .map(|(number, _)| *number)
            .collect();
        for number in holders {
            let Some(consumer) = self.consumers.get(number) else { continue };
            let id = consumer.id;
            for (token, _) in self.hand(number) {
                let reason = ReturnReason::Unspecified;
                turn.effects.push(Effect::LeaseEnded { uid: self.uid, consumer: id, token, reason });
            }
            if let Some(consumer) = self.consumers.touch(number) {
                (consumer.in_hand, consumer.in_hand_bytes) = (0, 0);
                (consumer.head, consumer.tail) = (0, 0);
                consumer.own.clear();
            }
        }
        self.refresh_consumers();
    }

    /// Takes all messages and leases out, and raises the floor.
    fn empty(&mut self) -> Trash {
        let messages = std::mem::take(&mut self.messages);
        let groups = std::mem::take(&mut self.groups);
        self.leases.clear();
        if self.feed().is_some() {
            // It may be moved back: a floor would hide what it takes in then.
            self.messages.removed_pages = messages.all_pages();
        } else {
            self.floor = self.next_sequence;
        }
        self.dirty = true;
        Trash {
            slots: messages.slots,
            hashes: groups.by_hash,
            groups: groups.slots,
            returned: std::mem::take(&mut self.returned),
            heads: std::mem::take(&mut self.heads),
            delayed: std::mem::take(&mut self.delayed),
            ..Trash::default()
        }
    }

    /// The end of the queue: what its memory was, and whether the checkpoint has rows of it.
    pub(crate) fn into_trash(mut self) -> (Trash, bool) {
        let mut trash = self.empty();
        trash.producers = self.producers.by_id;
        trash.dedup = Some(self.dedup);
        trash.sends = Some(self.sends);
        trash.receives = Some(self.receives);
        (trash, self.written)
    }
}
