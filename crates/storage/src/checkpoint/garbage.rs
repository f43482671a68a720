//! What is stored and means nothing any more, and how it goes: in slices, never at once.
//!
//! Found again after a restart: other generations than the manifest's (by looking), destroyed replicas (by their mark). Ranges of
//! rows that a machine reports are kept in memory only; the machine reports them again when it is loaded.
//! Invariant: a row that is written after its range was reported is not garbage.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Error;
use crate::format::Fields;
use crate::keyspace;

use super::engine::Engine;
use super::frame;
use super::rows::{Batch, Inner, SCAN_BYTES, damaged_row};

/// Stored keys `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
}

/// What waits to be deleted, and which generation is free.
pub(super) struct Garbage {
    /// No stored row has this generation or a higher one.
    pub(super) next_generation: u32,
    /// Not counted by any manifest.
    foreign: VecDeque<Range>,
    /// There is a mark that the replica was destroyed.
    is_marked: bool,
    /// Rows of a rejected checkpoint: they stay until another one is in use.
    held: Vec<Range>,
    /// Of the generation in use, so that its rows are counted.
    counted: VecDeque<Range>,
}

impl Garbage {
    /// Looks for what earlier lives of the replica have left beside the generation `current`.
    pub(super) fn find(engine: &dyn Engine, replica: u64, current: Option<u32>) -> Result<Self, Error> {
        let after_current = current.map_or(Ok(0), |current| next(replica, current))?;
        let mark = engine.get(&keyspace::destroyed(replica))?;
        let is_marked = mark.is_some();
        let after_mark = mark.map_or(Ok(0), |mark| destroyed_below(replica, &mark))?;
        let mut garbage = Self {
            next_generation: after_current.max(after_mark),
            foreign: VecDeque::new(),
            is_marked,
            held: Vec::new(),
            counted: VecDeque::new(),
        };
        // Hops from generation to generation: what is not current is left from an install, a half one or the one before.
        let (mut from, end) = (keyspace::generation_start(replica, 0), keyspace::replica_end(replica));
        while let Some((place, _)) = engine.scan(&from, &end, 1, 1)?.into_iter().next() {
            let (generation, _, _) = keyspace::parse_row(replica, &place)
                .ok_or_else(|| damaged_row(&place, "it is not the key of a row"))?;
            if Some(generation) != current {
                garbage.add_generation(replica, generation);
                garbage.next_generation = garbage.next_generation.max(next(replica, generation)?);
            }
            from = keyspace::generation_end(replica, generation);
        }
        Ok(garbage)
    }

    /// A generation that no stored row has.
    pub(super) fn take_generation(&mut self, replica: u64) -> Result<u32, Error> {
        let generation = self.next_generation;
        self.next_generation = next(replica, generation)?;
        Ok(generation)
    }

    /// All rows of a generation that is not, or no longer, in use.
    pub(super) fn add_generation(&mut self, replica: u64, generation: u32) {
        self.foreign.push_back(Range {
            start: keyspace::generation_start(replica, generation),
            end: keyspace::generation_end(replica, generation),
        });
    }

    /// The replica is destroyed: all its rows are garbage.
    pub(super) fn add_all(&mut self, replica: u64) {
        self.foreign.clear();
        self.held.clear();
        self.counted.clear();
        self.is_marked = true;
        self.foreign.push_back(Range {
            start: keyspace::generation_start(replica, 0),
            end: keyspace::generation_start(replica, self.next_generation),
        });
    }

    /// What was found stays until [`Garbage::let_go`].
    pub(super) fn hold(&mut self) {
        self.held.extend(self.foreign.drain(..));
    }

    /// A checkpoint is in use.
    pub(super) fn let_go(&mut self) {
        self.foreign.extend(self.held.drain(..));
    }

    /// Rows of the generation in use.
    pub(super) fn add_counted(&mut self, range: Range) {
        if range.start < range.end {
            self.counted.push_back(range);
        }
    }

    /// The generation in use is another one now; what was garbage in it goes with it.
    pub(super) fn drop_counted(&mut self) {
        self.counted.clear();
    }

    /// `start..end` is a row that was just written.
    pub(super) fn keep(&mut self, start: &[u8], end: &[u8]) {
        for _ in 0..self.counted.len() {
            let Some(range) = self.counted.pop_front() else { return };
            if end <= &range.start[..] || &range.end[..] <= start {
                self.counted.push_back(range);
                continue;
            }
            self.add_counted(Range { start: range.start, end: start.to_vec() });
            self.add_counted(Range { start: end.to_vec(), end: range.end });
        }
    }

    pub(super) fn has_counted(&self) -> bool {
        !self.counted.is_empty()
    }
}

impl Inner {
    /// Deletes up to `pairs_max` stored pairs of generations that are not in use; how many.
    pub(super) fn collect_foreign(&self, pairs_max: usize) -> Result<usize, Error> {
        loop {
            let next = self.garbage.lock().foreign.front().cloned();
            let Some(range) = next else {
                return self.unmark().map(|()| 0);
            };
            let deleted = delete(&*self.engine, &range, pairs_max)?;
            if deleted > 0 {
                return Ok(deleted);
            }
            self.garbage.lock().foreign.pop_front();
        }
    }

    /// Removes the mark of a destroyed replica whose rows are gone.
    fn unmark(&self) -> Result<(), Error> {
        let is_over = {
            let garbage = self.garbage.lock();
            garbage.is_marked && garbage.foreign.is_empty() && garbage.held.is_empty()
        };
        if is_over {
            self.engine.write(vec![(keyspace::destroyed(self.replica), None)])?;
            self.garbage.lock().is_marked = false;
        }
        Ok(())
    }

    /// Deletes about `pairs_max` stored pairs of rows that the manifest counts, and counts them out; how many. The caller is the writer.
    pub(super) fn collect_counted(&self, pairs_max: usize) -> Result<usize, Error> {
        loop {
            let Some(range) = self.garbage.lock().counted.front().cloned() else { return Ok(0) };
            let mut found = self.engine.scan(&range.start, &range.end, pairs_max.max(1), SCAN_BYTES)?;
            let Some((last, _)) = found.last() else {
                self.garbage.lock().counted.pop_front();
                continue;
            };
            // A row's pieces go together, or the rest of them would be no row.
            let not_a_row = || damaged_row(last, "it is not the key of a row");
            let (generation, key, _) = keyspace::parse_row(self.replica, last).ok_or_else(not_a_row)?;
            let behind = keyspace::row_end(self.replica, generation, &key);
            let from = [&last[..], &[0]].concat();
            found.extend(self.engine.scan(&from, &behind, usize::from(u16::MAX), usize::MAX)?);
            let mut manifest = self.next_manifest()?;
            let mut batch: Batch = Vec::with_capacity(found.len() + 1);
            for (place, framed) in found {
                // Checked, because what is not what was counted in must not be counted out.
                frame::decode(&place, &framed)?;
                manifest.subtract(&place, &framed);
                if place.ends_with(&[0, 0]) {
                    manifest.row_count = manifest.row_count.wrapping_sub(1);
                }
                batch.push((place, None));
            }
            let deleted = batch.len();
            batch.push((keyspace::manifest(self.replica), Some(manifest.encode(self.replica))));
            // Not synced: with the next commit, or not at all, and then it is found again.
            let no_reads = self.pin.lock();
            self.engine.write(batch)?;
            drop(no_reads);
            *self.manifest.write() = Some(manifest);
            return Ok(deleted);
        }
    }
}

fn next(replica: u64, generation: u32) -> Result<u32, Error> {
    generation.checked_add(1).ok_or_else(|| Error::Engine {
        operation: "begin a generation",
        why: format!("replica {replica} has used all of them"),
    })
}

/// Deletes up to `pairs_max` pairs of a range; how many.
fn delete(engine: &dyn Engine, range: &Range, pairs_max: usize) -> Result<usize, Error> {
    let found = engine.scan(&range.start, &range.end, pairs_max.max(1), SCAN_BYTES)?;
    if !found.is_empty() {
        engine.write(found.iter().map(|(place, _)| (place.clone(), None)).collect())?;
    }
    Ok(found.len())
}

/// The mark of a destroyed replica: rows of generations below `below` are garbage.
pub(super) fn destroyed_mark(replica: u64, below: u32) -> (Vec<u8>, Option<Bytes>) {
    let key = keyspace::destroyed(replica);
    let mark = frame::encode(&key, 1, &below.to_le_bytes());
    (key, Some(mark))
}

fn destroyed_below(replica: u64, mark: &Bytes) -> Result<u32, Error> {
    let key = keyspace::destroyed(replica);
    let (_, payload) = frame::decode(&key, mark)?;
    Fields::new(&payload)
        .u32()
        .ok_or_else(|| damaged_row(&key, "the mark of a destroyed replica is too short"))
}

/// Deletes up to `pairs_max` stored pairs of destroyed replicas, whoever destroyed them and however long ago; how many. 0: none are
/// left.
///
/// # Errors
/// What the engine says; [`Error::Corrupt`] when a mark cannot be read: its rows stay.
pub fn collect_destroyed(engine: &dyn Engine, pairs_max: usize) -> Result<usize, Error> {
    let (start, end) = keyspace::DESTROYED_ONES;
    while let Some((key, mark)) = engine.scan(start, end, 1, usize::MAX)?.into_iter().next() {
        let replica =
            keyspace::parse_replica(&key).ok_or_else(|| damaged_row(&key, "it is not a mark's key"))?;
        let below = destroyed_below(replica, &mark)?;
        let range = Range {
            start: keyspace::generation_start(replica, 0),
            end: keyspace::generation_start(replica, below),
        };
        let deleted = delete(engine, &range, pairs_max)?;
        if deleted > 0 {
            return Ok(deleted);
        }
        engine.write(vec![(key, None)])?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &[u8], end: &[u8]) -> Range {
        Range { start: start.to_vec(), end: end.to_vec() }
    }

    #[test]
    fn a_row_that_is_written_into_garbage_is_kept() {
        let mut garbage = Garbage {
            next_generation: 0,
            foreign: VecDeque::new(),
            is_marked: false,
            held: Vec::new(),
            counted: VecDeque::new(),
        };
        garbage.add_counted(range(b"b", b"f"));
        garbage.add_counted(range(b"x", b"z"));
        garbage.keep(b"a", b"b");
        garbage.keep(b"c", b"d");
        garbage.keep(b"f", b"g");
        garbage.keep(b"x", b"xx");
        let mut left: Vec<Range> = garbage.counted.into();
        left.sort_by(|one, other| one.start.cmp(&other.start));
        assert_eq!(left, [range(b"b", b"c"), range(b"d", b"f"), range(b"xx", b"z")]);
    }
}
