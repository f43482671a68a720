//! What callers see of one group: its state and where each entry is, waiting ones included.
//!
//! Bodies of the newest entries stay in memory: all that wait for their sync, and stored ones up to the log's bound.
//! Invariant: `cache` holds the bodies of a suffix of `slots`; an entry outside it is stored.

use super::head::Written;
use super::types::{GroupState, LogEntry, Position};
use bytes::Bytes;
use std::collections::VecDeque;

/// Where an entry's record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not written yet; the number tells this append of the index from a later one.
    Waiting(u64),
    Stored {
        slot: u32,
        offset: u32,
    },
    /// Its body did not pass its crc.
    Rotten,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) term: u64,
    pub(crate) body_bytes: u32,
    pub(crate) place: Place,
}

#[derive(Debug, Default)]
pub(crate) struct GroupLog {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Position>,
    pub(crate) checkpoint_batch: u64,
    pub(crate) quarantined: Option<String>,
    pub(crate) readmitted: bool,
    purged: Option<Position>,
    /// Index of the first slot; meaningless while there is none.
    first: u64,
    slots: VecDeque<Slot>,
    cache: VecDeque<Bytes>,
}

impl GroupLog {
    pub(crate) fn from_written(written: &Written) -> Self {
        Self {
            vote: written.vote.clone(),
            committed: written.committed,
            checkpoint_batch: written.checkpoint_batch,
            quarantined: written.quarantined.clone(),
            readmitted: written.readmitted,
            purged: written.purged,
            ..Self::default()
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        GroupState {
            vote: self.vote.clone(),
            purged: self.purged,
            last: self.last(),
            committed: self.committed,
            checkpoint_batch: self.checkpoint_batch,
        }
    }

    pub(crate) fn last(&self) -> Option<Position> {
        match self.slots.back() {
            Some(slot) => Some((slot.term, self.first + self.slots.len() as u64 - 1)),
            None => self.purged,
        }
    }

    /// The index that must come next; `None` if any may.
    pub(crate) fn next_index(&self) -> Option<u64> {
        self.last().map(|(_, index)| index + 1)
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Slot> {
        let at = index.checked_sub(self.first)?;
        self.slots.get(usize::try_from(at).ok()?)
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let at = index.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    pub(crate) fn cached(&self, index: u64) -> Option<&Bytes> {
        let at = index.checked_sub(self.first)?;
        let before = (self.slots.len() - self.cache.len()) as u64;
        self.cache.get(usize::try_from(at.checked_sub(before)?).ok()?)
    }

    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        match self.purged {
            Some((term, purged)) if purged == index => Some(term),
            _ => self.get(index).map(|slot| slot.term),
        }
    }

    /// The caller has checked that the entry follows the last one.
    pub(crate) fn append_waiting(&mut self, entry: &LogEntry, stamp: u64) {
        let slot =
            Slot { term: entry.term, body_bytes: entry.body.len() as u32, place: Place::Waiting(stamp) };
        self.push(entry.index, slot);
        self.cache.push_back(entry.body.clone());
    }

    /// An entry that recovery found; its body stays on disk.
    pub(crate) fn append_found(&mut self, index: u64, slot: Slot) {
        debug_assert!(self.cache.is_empty(), "recovery caches nothing");
        self.push(index, slot);
    }

    fn push(&mut self, index: u64, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index;
        }
        debug_assert_eq!(index, self.first + self.slots.len() as u64, "entries follow each other");
        self.slots.push_back(slot);
    }

    /// The entry has been written and synced. Answers the bytes that became evictable: none if it is gone.
    pub(crate) fn stored(&mut self, index: u64, stamp: u64, place: Place) -> usize {
        match self.get_mut(index) {
            Some(slot) if slot.place == Place::Waiting(stamp) => {
                slot.place = place;
                slot.body_bytes as usize
            }
            _ => 0,
        }
    }

    /// Recovery moved the entry to another place.
    pub(crate) fn moved(&mut self, index: u64, place: Place) {
        if let Some(slot) = self.get_mut(index) {
            slot.place = place;
        }
    }

    /// Drops stored bodies from memory up to `index`. Answers the bytes freed.
    pub(crate) fn evict(&mut self, index: u64) -> usize {
        let mut freed = 0;
        while !self.cache.is_empty() {
            let at = self.slots.len() - self.cache.len();
            if self.first + at as u64 > index || matches!(self.slots[at].place, Place::Waiting(_)) {
                break;
            }
            freed += self.slots[at].body_bytes as usize;
            self.cache.pop_front();
        }
        freed
    }

    /// Answers the stored bytes that left the cache.
    pub(crate) fn truncate(&mut self, kept: Option<u64>) -> usize {
        let mut freed = 0;
        while let Some(slot) = self.slots.back() {
            let last = self.first + self.slots.len() as u64 - 1;
            if kept.is_some_and(|kept| last <= kept) {
                break;
            }
            if self.cache.pop_back().is_some() && !matches!(slot.place, Place::Waiting(_)) {
                freed += slot.body_bytes as usize;
            }
            self.slots.pop_back();
        }
        freed
    }

    /// Answers the stored bytes that left the cache.
    pub(crate) fn purge(&mut self, upto: Position) -> usize {
        if self.purged.is_some_and(|(_, purged)| upto.1 <= purged) {
            return 0;
        }
        self.purged = Some(upto);
        let mut freed = 0;
        while let Some(slot) = self.slots.front() {
            if self.first > upto.1 {
                break;
            }
            if self.cache.len() == self.slots.len() {
                self.cache.pop_front();
                freed += if matches!(slot.place, Place::Waiting(_)) { 0 } else { slot.body_bytes as usize };
            }
            self.slots.pop_front();
            self.first += 1;
        }
        freed
    }

    /// Answers the stored bytes that left the cache.
    pub(crate) fn clear(&mut self) -> usize {
        self.truncate(None)
    }

    /// Slots with their indexes, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Slot)> {
        self.slots.iter().enumerate().map(|(at, slot)| (self.first + at as u64, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(range: std::ops::RangeInclusive<u64>) -> GroupLog {
        let mut log = GroupLog::default();
        for index in range {
            log.append_waiting(&LogEntry { index, term: 1, body: Bytes::from(vec![0; 10]) }, 7);
        }
        log
    }

    #[test]
    fn waiting_bodies_are_never_evicted() {
        let mut log = filled(1..=4);
        let place = Place::Stored { slot: 0, offset: 0 };
        assert_eq!(log.stored(1, 7, place), 10);
        assert_eq!(log.stored(3, 7, place), 10);
        assert_eq!(log.evict(4), 10);
        assert!(log.cached(1).is_none());
        assert!(log.cached(2).is_some());
        assert_eq!(log.stored(2, 6, place), 0, "another append of the same index");
    }

    #[test]
    fn truncate_and_purge_count_what_leaves_the_cache() {
        let mut log = filled(1..=6);
        let place = Place::Stored { slot: 0, offset: 0 };
        for index in 1..=5 {
            log.stored(index, 7, place);
        }
        assert_eq!(log.evict(2), 20);
        assert_eq!(log.truncate(Some(4)), 10, "5 was stored, 6 was not");
        assert_eq!(log.purge((1, 3)), 10, "1 and 2 had left before");
        assert_eq!((log.first, log.last()), (4, Some((1, 4))));
        assert_eq!(log.purge((2, 9)), 10);
        assert_eq!(log.last(), Some((2, 9)));
        assert_eq!(log.next_index(), Some(10));
    }
}
