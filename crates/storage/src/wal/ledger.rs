//! What the written records add up to: each group's state, and which segments hold entries that still count.
//!
//! The committer applies every record as it writes it, recovery as it reads it, so both see the same. It runs behind
//! what callers see, which includes what waits. Invariant: a segment without ranges holds nothing that is needed once
//! a newer head is synced.

use super::head::{Manifest, NodeQuarantine, Sealed, Written};
use super::types::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// One use of a slot.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) slot: u32,
    pub(crate) incarnation: u64,
    /// Where the next batch goes; of a sealed segment, where it ends.
    pub(crate) end: u64,
    pub(crate) last_number: u64,
    /// Per group, the first and last index of entries here that were neither purged nor truncated.
    ranges: BTreeMap<u64, (u64, u64)>,
}

impl Segment {
    pub(crate) fn new(slot: u32, incarnation: u64, end: u64, last_number: u64) -> Self {
        Self { slot, incarnation, end, last_number, ranges: BTreeMap::new() }
    }

    fn is_dead(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) groups: BTreeMap<u64, Written>,
    /// Oldest first; the last one is written to.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) node: Option<NodeQuarantine>,
    /// Number of the batch that is being written or read.
    pub(crate) batch: u64,
}

/// An entry does not follow the group's last one: something between is missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) expected: u64,
}

impl Ledger {
    pub(crate) fn current(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("an open log has a current segment")
    }

    pub(crate) fn group(&mut self, group: u64) -> &mut Written {
        let born = self.batch;
        self.groups.entry(group).or_insert_with(|| Written { born, ..Written::default() })
    }

    /// False: the entry was purged before it was written, and counts for nothing.
    pub(crate) fn entry(&mut self, group: u64, (term, index): Position) -> Result<bool, Gap> {
        let written = self.group(group);
        if written.purged.is_some_and(|(_, purged)| index <= purged) {
            return Ok(false);
        }
        if let Some((_, last)) = written.last
            && index != last + 1
        {
            return Err(Gap { expected: last + 1 });
        }
        written.last = Some((term, index));
        let ranges = &mut self.segments.back_mut().expect("entries are in a segment").ranges;
        ranges.entry(group).or_insert((index, index)).1 = index;
        Ok(true)
    }

    pub(crate) fn vote(&mut self, group: u64, vote: Bytes) {
        self.group(group).vote = Some(vote);
    }

    pub(crate) fn committed(&mut self, group: u64, committed: Position) {
        self.group(group).committed = Some(committed);
    }

    pub(crate) fn checkpoint(&mut self, group: u64, batch: u64) {
        let written = self.group(group);
        written.checkpoint_batch = written.checkpoint_batch.max(batch);
    }

    pub(crate) fn truncate(&mut self, group: u64, kept: Option<Position>) {
        let written = self.group(group);
        let kept = kept.max_by_index(written.purged);
        if kept.index_or_none() >= written.last.index_or_none() {
            return;
        }
        written.last = kept;
        for segment in &mut self.segments {
            if let Some((first, last)) = segment.ranges.get_mut(&group) {
                match kept {
                    Some((_, index)) if index >= *first => *last = index.min(*last),
                    _ => {
                        segment.ranges.remove(&group);
                    }
                }
            }
        }
    }

    pub(crate) fn purge(&mut self, group: u64, upto: Position) {
        let written = self.group(group);
        if written.purged.is_some_and(|(_, purged)| upto.1 <= purged) {
            return;
        }
        written.purged = Some(upto);
        written.last = written.last.max_by_index(Some(upto));
        for segment in &mut self.segments {
            if let Some((first, last)) = segment.ranges.get_mut(&group) {
                if upto.1 >= *last {
                    segment.ranges.remove(&group);
                } else {
                    *first = (*first).max(upto.1 + 1);
                }
            }
        }
    }

    pub(crate) fn forget(&mut self, group: u64) {
        self.groups.remove(&group);
        if self.node.is_some() {
            self.group(group).readmitted = true;
        }
        for segment in &mut self.segments {
            segment.ranges.remove(&group);
        }
    }

    pub(crate) fn release(&mut self) {
        self.node = None;
        for written in self.groups.values_mut() {
            written.readmitted = false;
        }
        self.groups.retain(|_, written| *written != Written { born: written.born, ..Written::default() });
    }

    /// Dead segments at the old end: they can be let go of by the next head.
    pub(crate) fn dead_count(&self) -> usize {
        self.segments.iter().take_while(|s| s.is_dead()).count()
    }

    /// What the head of the next segment says.
    pub(crate) fn manifest(&self) -> Manifest {
        let live = self.segments.iter().skip(self.dead_count());
        let sealed = live.map(|s| Sealed {
            slot: s.slot,
            incarnation: s.incarnation,
            end: s.end,
            last_number: s.last_number,
        });
        Manifest {
            segments: sealed.collect(),
            node: self.node.clone(),
            group_count: self.groups.len() as u32,
        }
    }

    /// Each group in the oldest segment that is not being written, and the index it must be purged up to.
    pub(crate) fn pinned_by(&self) -> Vec<(u64, u64)> {
        let mut sealed = self.segments.iter().take(self.segments.len().saturating_sub(1));
        let oldest = sealed.find(|s| !s.is_dead());
        oldest.map_or_else(Vec::new, |s| s.ranges.iter().map(|(group, (_, last))| (*group, *last)).collect())
    }
}

/// Positions compare by index; none is before every index.
pub(crate) trait ByIndex {
    fn index_or_none(&self) -> Option<u64>;
    fn max_by_index(self, other: Self) -> Self;
}

impl ByIndex for Option<Position> {
    fn index_or_none(&self) -> Option<u64> {
        self.map(|(_, index)| index)
    }

    fn max_by_index(self, other: Self) -> Self {
        if other.index_or_none() > self.index_or_none() { other } else { self }
    }
}
