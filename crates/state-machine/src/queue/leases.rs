//! Leases: who may settle a message, and until when.
//!
//! A lease is named by its token. Tokens rise strictly in a queue, so an old one can never name a later delivery. The leases of a
//! consumer form a chain in token order (links are in the leases). A lease past its deadline is over, whether
//! the sweep has reached it or not.

use std::collections::BTreeSet;

use super::seq_map::{SeqMap, chunk_of};
use crate::digest;
use crate::ids::{Sequence, TimestampMs, Token};

#[derive(Debug, Default)]
pub(super) struct Lease {
    pub(super) sequence: Sequence,
    /// Exclusive.
    pub(super) deadline_ms: TimestampMs,
    /// Number of the holder.
    pub(super) consumer: u64,
    /// Neighbours in the holder's chain; 0 = none.
    pub(super) next: Token,
    pub(super) prev: Token,
    /// What it was given; an extension that says nothing gives it again.
    pub(super) lease_ms: u32,
    pub(super) payload_bytes: u32,
}

impl Lease {
    pub(super) fn hash(&self, token: Token) -> u64 {
        let place = digest::mix(token, self.sequence);
        let holder = digest::mix(self.consumer, (u64::from(self.lease_ms) << 32) | 2);
        digest::mix(place ^ holder, self.deadline_ms)
    }
}

/// What the queue keeps for each chunk of leases.
#[derive(Debug, Default)]
pub(super) struct LeaseMeta {
    /// In `Leases::dirty_chunks`.
    pub(super) queued: bool,
    /// A row of it is in the checkpoint.
    pub(super) written: bool,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) by_token: SeqMap<Lease, LeaseMeta>,
    pub(super) deadlines: BTreeSet<(TimestampMs, Token)>,
    /// Sum of the hashes of all leases.
    pub(super) sum: u64,
    /// Chunks that changed. Each once; may name chunks that are gone.
    pub(super) dirty_chunks: Vec<u64>,
    /// Chunks that are gone and have a row.
    pub(super) removed_rows: Vec<u64>,
}

impl Leases {
    pub(super) fn len(&self) -> u64 {
        self.by_token.len() as u64
    }

    pub(super) fn get(&self, token: Token) -> Option<&Lease> {
        self.by_token.get(token)
    }

    pub(super) fn insert(&mut self, token: Token, lease: Lease) {
        self.sum = self.sum.wrapping_add(lease.hash(token));
        self.deadlines.insert((lease.deadline_ms, token));
        let meta = self.by_token.push(token, lease);
        if !meta.queued {
            meta.queued = true;
            self.dirty_chunks.push(chunk_of(token));
        }
    }

    /// Takes a lease out. The caller mends the holder's chain.
    pub(super) fn remove(&mut self, token: Token) -> Option<Lease> {
        let mut was_queued = true;
        let removed = self.by_token.remove(token, |meta| {
            was_queued = meta.queued;
            meta.queued = true;
        })?;
        let lease = removed.value;
        match removed.emptied {
            Some(meta) if meta.written => self.removed_rows.push(chunk_of(token)),
            None if !was_queued => self.dirty_chunks.push(chunk_of(token)),
            _ => {}
        }
        self.sum = self.sum.wrapping_sub(lease.hash(token));
        self.deadlines.remove(&(lease.deadline_ms, token));
        Some(lease)
    }

    /// Moves a deadline.
    pub(super) fn extend(&mut self, token: Token, deadline_ms: TimestampMs) {
        let Some((lease, meta)) = self.by_token.get_both(token) else { return };
        self.sum = self.sum.wrapping_sub(lease.hash(token));
        self.deadlines.remove(&(lease.deadline_ms, token));
        lease.deadline_ms = deadline_ms;
        self.deadlines.insert((deadline_ms, token));
        self.sum = self.sum.wrapping_add(lease.hash(token));
        if !meta.queued {
            meta.queued = true;
            self.dirty_chunks.push(chunk_of(token));
        }
    }

    /// Ends all leases at once. The holders' chains are the caller's to clear.
    pub(super) fn clear(&mut self) {
        let written = self.by_token.chunks_from(0).filter(|(_, chunk)| chunk.meta.written);
        self.removed_rows.extend(written.map(|(number, _)| number));
        self.by_token = SeqMap::default();
        self.deadlines.clear();
        self.sum = 0;
    }

    /// Links of the chain: not part of the logical state.
    pub(super) fn links(&mut self, token: Token) -> &mut Lease {
        self.by_token.get_mut(token).expect("a chain names live leases only")
    }
}
