//! The messages of a topic that match a subscription and wait for it: a bit each.

use std::collections::{BTreeMap, BTreeSet};

use super::seq_map::{CHUNK, bit_of, bits, chunk_of, first_of};
use crate::digest;
use crate::ids::Sequence;

/// A bit for each message that matched and waits.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    pub(super) by_chunk: BTreeMap<u64, u64>,
    /// Sum of the hashes of all chunks.
    pub(super) sum: u64,
    /// Chunks that changed since the last checkpoint.
    pub(super) dirty: BTreeSet<u64>,
}

impl Matches {
    fn hash(chunk: u64, bits: u64) -> u64 {
        if bits == 0 { 0 } else { digest::words(30, &[chunk, bits]) }
    }

    /// Changes the bits of a chunk.
    pub(super) fn change(&mut self, chunk: u64, change: impl FnOnce(u64) -> u64) {
        let before = self.by_chunk.get(&chunk).copied().unwrap_or(0);
        let after = change(before);
        self.sum = self.sum.wrapping_sub(Self::hash(chunk, before)).wrapping_add(Self::hash(chunk, after));
        if after == 0 {
            self.by_chunk.remove(&chunk);
        } else {
            self.by_chunk.insert(chunk, after);
        }
        self.dirty.insert(chunk);
    }

    pub(super) fn has(&self, sequence: Sequence) -> bool {
        self.by_chunk.get(&chunk_of(sequence)).is_some_and(|bits| bits & bit_of(sequence) != 0)
    }

    pub(super) fn first(&self) -> Option<Sequence> {
        let (chunk, bits) = self.by_chunk.first_key_value()?;
        Some(first_of(*chunk) + u64::from(bits.trailing_zeros()))
    }

    /// All of them, rising, from `from` on.
    pub(super) fn from(&self, from: Sequence) -> impl Iterator<Item = Sequence> + '_ {
        let all = self.by_chunk.range(chunk_of(from)..);
        all.flat_map(|(chunk, mask)| bits(*mask).map(move |at| first_of(*chunk) + at))
            .filter(move |at| *at >= from)
    }

    pub(super) fn recompute(&self) -> u64 {
        self.by_chunk.iter().fold(0, |sum, (chunk, bits)| sum.wrapping_add(Self::hash(*chunk, *bits)))
    }
}

const _: () = assert!(CHUNK == 64);
