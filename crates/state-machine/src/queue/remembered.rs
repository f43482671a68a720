//! Ids remembered for a window: deduplication ids, requests of sends, requests of receives.
//!
//! A log in the order of arrival and an index into it. An entry counts until its own time, whether it is still in memory or
//! not: forgetting is only for memory, and never early. Rows of the checkpoint are runs of the log; only the
//! newest run changes, but for a cut of their times. Invariants: the index names entries of the log only, the newest of each id;
//! in a log that was never given a time before that of an earlier entry, the first entry is the first to be forgotten.

use std::collections::{BTreeMap, VecDeque};

use crate::digest;
use crate::ids::{Id128, TimestampMs};
use crate::rows::MemoryValue;

/// Entries of one row.
pub(super) const RUN: u64 = 256;

/// What is remembered under an id.
pub(super) trait Memory: Clone + std::fmt::Debug {
    fn hash(&self) -> u64;
    /// As it is stored.
    fn to_row(&self) -> MemoryValue;
    /// From what was stored; `None` if that makes no sense.
    fn from_row(row: MemoryValue) -> Option<Self>;
}

#[derive(Clone, Debug)]
pub(super) struct Item<V> {
    pub(super) id: Id128,
    /// Exclusive.
    pub(super) expires_ms: TimestampMs,
    pub(super) value: V,
}

#[derive(Debug)]
pub(super) struct Remembered<V> {
    pub(super) log: VecDeque<Item<V>>,
    /// Ordinal of the first entry of `log`.
    pub(super) first: u64,
    pub(super) by_id: BTreeMap<Id128, u64>,
    pub(super) sum: u64,
    /// Entries with a lower ordinal are in the checkpoint.
    pub(super) clean_below: u64,
    /// Runs that have a row.
    pub(super) rows: std::ops::Range<u64>,
    /// Separates the hashes of the logs of a queue.
    kind: u64,
}

impl<V: Memory> Remembered<V> {
    pub(super) fn new(kind: u64) -> Self {
        Self {
            log: VecDeque::new(),
            first: 0,
            by_id: BTreeMap::new(),
            sum: 0,
            clean_below: 0,
            rows: 0..0,
            kind,
        }
    }

    /// Ids in memory, those that no longer count included.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// Rows that the next checkpoint writes, about.
    pub(super) fn dirty_runs(&self) -> usize {
        ((self.next() - self.clean_below.min(self.next())) / RUN + 1) as usize
    }

    /// What is remembered under `id`, if it still counts.
    pub(super) fn get(&self, id: Id128, now_ms: TimestampMs) -> Option<&V> {
        let ordinal = self.by_id.get(&id)?;
        let item = self.log.get(usize::try_from(ordinal - self.first).ok()?)?;
        (item.expires_ms > now_ms).then_some(&item.value)
    }

    /// Remembers; an entry of the same id no longer counts. Forgets up to two old ones, so that a busy queue needs
    /// no sweep.
    pub(super) fn insert(&mut self, id: Id128, expires_ms: TimestampMs, value: V, now_ms: TimestampMs) {
        let mut steps = 2;
        self.forget(now_ms, &mut steps);
        self.push(Item { id, expires_ms, value });
    }

    /// Appends an entry as it is.
    pub(super) fn push(&mut self, item: Item<V>) {
        let ordinal = self.next();
        self.sum = self.sum.wrapping_add(self.hash(ordinal, &item));
        self.by_id.insert(item.id, ordinal);
        self.log.push_back(item);
    }

    /// No entry counts longer than until `until_ms`. Costs a look at each: for changes of settings.
    pub(super) fn cut(&mut self, until_ms: TimestampMs) {
        let kind = self.kind;
        let mut first_changed = None;
        for (ordinal, item) in (self.first..).zip(&mut self.log) {
            if item.expires_ms > until_ms {
                self.sum = self.sum.wrapping_sub(hash(kind, ordinal, item));
                item.expires_ms = until_ms;
                self.sum = self.sum.wrapping_add(hash(kind, ordinal, item));
                first_changed.get_or_insert(ordinal);
            }
        }
        self.clean_below = first_changed.map_or(self.clean_below, |changed| self.clean_below.min(changed));
    }

    /// Frees entries at the front that no longer count, at most `budget`, which is lowered.
    pub(super) fn forget(&mut self, now_ms: TimestampMs, budget: &mut usize) {
        while *budget > 0 && self.log.front().is_some_and(|item| item.expires_ms <= now_ms) {
            *budget -= 1;
            self.pop();
        }
        if self.log.is_empty() && self.log.capacity() > 1024 {
            self.log = VecDeque::new();
        }
    }

    /// Frees the first entry.
    pub(super) fn pop(&mut self) -> bool {
        let Some(item) = self.log.pop_front() else { return false };
        self.sum = self.sum.wrapping_sub(self.hash(self.first, &item));
        if self.by_id.get(&item.id) == Some(&self.first) {
            self.by_id.remove(&item.id);
        }
        self.first += 1;
        true
    }

    /// When the first entry may be freed.
    pub(super) fn due_ms(&self) -> Option<TimestampMs> {
        self.log.front().map(|item| item.expires_ms)
    }

    fn hash(&self, ordinal: u64, item: &Item<V>) -> u64 {
        hash(self.kind, ordinal, item)
    }

    /// Checks the invariant of the module and recomputes the sum.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut sum = 0_u64;
        let mut newest = BTreeMap::new();
        for (ordinal, item) in (self.first..).zip(&self.log) {
            sum = sum.wrapping_add(self.hash(ordinal, item));
            newest.insert(item.id, ordinal);
        }
        if sum != self.sum {
            return Err("sum of remembered ids is wrong".into());
        }
        if newest != self.by_id {
            return Err("index of remembered ids is wrong".into());
        }
        Ok(())
    }
}

fn hash<V: Memory>(kind: u64, ordinal: u64, item: &Item<V>) -> u64 {
    digest::words(kind, &[ordinal, item.id.hi, item.id.lo, item.expires_ms, item.value.hash()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Number(u64);
    impl Memory for Number {
        fn hash(&self) -> u64 {
            self.0
        }
        fn to_row(&self) -> MemoryValue {
            MemoryValue { first: self.0, ..MemoryValue::default() }
        }
        fn from_row(row: MemoryValue) -> Option<Self> {
            Some(Self(row.first))
        }
    }

    fn id(number: u64) -> Id128 {
        Id128 { hi: number.wrapping_mul(0x9e37_79b9), lo: number }
    }

    #[test]
    fn an_id_counts_until_its_time_and_not_a_millisecond_longer() {
        let mut ids = Remembered::new(1);
        ids.insert(id(1), 100, Number(7), 0);
        assert_eq!(ids.get(id(1), 99), Some(&Number(7)));
        assert_eq!(ids.get(id(1), 100), None);
        ids.insert(id(1), 300, Number(8), 100);
        assert_eq!(ids.get(id(1), 299), Some(&Number(8)));
        ids.check().unwrap();
    }

    #[test]
    fn forgetting_an_outlived_entry_keeps_the_newer_one_of_the_same_id() {
        let mut ids = Remembered::new(1);
        ids.push(Item { id: id(2), expires_ms: 500, value: Number(1) });
        ids.push(Item { id: id(1), expires_ms: 100, value: Number(2) });
        ids.push(Item { id: id(1), expires_ms: 900, value: Number(3) });
        let mut budget = 10;
        ids.forget(500, &mut budget);
        assert_eq!((budget, ids.len()), (8, 1));
        assert_eq!(ids.get(id(1), 600), Some(&Number(3)));
        ids.check().unwrap();
    }
}
