//! The messages of a queue, by sequence.
//!
//! A slot is small and fixed, whatever the payload: `RAM per waiting message` is counted by a test. What the checkpoint
//! knows of a chunk of 64 messages is a few bit masks: which messages are in a page row, where pages begin, which have changed
//! since. Invariant: `written` messages come before unwritten ones in every chunk, because each checkpoint writes all.

use bytes::Bytes;

use super::groups::NONE;
use super::seq_map::{CHUNK, SeqMap, bit_of, chunk_of};
use crate::digest;
use crate::ids::{Sequence, TimestampMs};

/// Where a message is in its life. A live message is in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// May be offered (behind the earlier ones of its lane).
    #[default]
    Ready,
    /// `at` is the token.
    Leased,
    /// `at` is the time until which it waits.
    Delayed,
}

/// One message.
#[derive(Debug)]
pub(super) struct Slot {
    /// Empty when spilled.
    pub(super) payload: Bytes,
    /// Hash of what never changes: sequence, payload, group, time.
    pub(super) base: u64,
    pub(super) enqueued_ms: TimestampMs,
    /// Token or time, by `state`.
    pub(super) at: u64,
    /// Neighbours in the lane; 0 = none.
    pub(super) next: Sequence,
    pub(super) prev: Sequence,
    pub(super) payload_bytes: u32,
    /// Interned key, [`NONE`] without one.
    pub(super) group: u32,
    /// Deliveries that count.
    pub(super) attempts: u32,
    pub(super) state: State,
    /// `ReturnReason` of the last lease that ended; 0 = never leased.
    pub(super) reason: u8,
    /// The payload is elsewhere: in the checkpoint, or with the topic.
    pub(super) spilled: bool,
    /// In a compacted topic: it deletes its key.
    pub(super) deletes: bool,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            payload: Bytes::new(),
            base: 0,
            enqueued_ms: 0,
            at: 0,
            next: 0,
            prev: 0,
            payload_bytes: 0,
            group: NONE,
            attempts: 0,
            state: State::Ready,
            reason: 0,
            spilled: false,
            deletes: false,
        }
    }
}

impl Slot {
    /// Hash of the message as an item of the logical state. The lease is an item of its own.
    pub(super) fn hash(&self) -> u64 {
        let changing = (u64::from(self.attempts) << 8) | u64::from(self.reason);
        let hash = digest::mix(self.base, changing);
        if self.state == State::Delayed { digest::mix(hash, self.at) } else { hash }
    }

    /// Whether a state row must say something about it.
    pub(super) fn has_history(&self) -> bool {
        self.attempts != 0 || self.reason != 0 || self.state == State::Delayed
    }
}

/// What never changes in a message, for [`Messages::append`].
pub(super) struct NewSlot {
    pub(super) sequence: Sequence,
    pub(super) payload: Bytes,
    pub(super) group: u32,
    pub(super) group_hash: u64,
    pub(super) enqueued_ms: TimestampMs,
    pub(super) deletes: bool,
}

/// A message whose payload is a topic's, for [`Messages::append_reference`].
pub(super) struct NewReference {
    pub(super) sequence: Sequence,
    /// As the topic has it.
    pub(super) base: u64,
    pub(super) group: u32,
    pub(super) enqueued_ms: TimestampMs,
    pub(super) payload_bytes: u32,
}

/// What the queue keeps for each chunk of messages, a bit a message.
#[derive(Debug, Default)]
pub(super) struct PageMeta {
    /// Without a lane, ready, never returned: found by scanning forward.
    pub(super) fresh: u64,
    /// In a page row (settled ones included, while the page exists).
    pub(super) written: u64,
    /// Of those, known to be durable.
    pub(super) durable: u64,
    /// A page row begins here.
    pub(super) pages: u64,
    /// That page has a state row.
    pub(super) states: u64,
    /// Written, and changed since.
    pub(super) dirty: u64,
    /// In `Messages::dirty_chunks`.
    pub(super) queued: bool,
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) slots: SeqMap<Slot, PageMeta>,
    /// Payload bytes of all live messages.
    pub(super) bytes: u64,
    /// Of those, in memory.
    pub(super) resident: u64,
    /// Sum of the hashes of all live messages.
    pub(super) sum: u64,
    /// Chunks that a checkpoint must look at. Each once; may name chunks that are gone.
    pub(super) dirty_chunks: Vec<u64>,
    /// Page rows whose chunk is gone: first sequence, has a state row.
    pub(super) removed_pages: Vec<(Sequence, bool)>,
    /// Chunks whose pages were taken and not yet confirmed.
    pub(super) taken_chunks: Vec<u64>,
    /// Payload bytes that no page row holds yet.
    pub(super) unwritten: u64,
    /// No fresh message is in a chunk before this one.
    fresh_from: u64,
    pub(super) fresh_count: u64,
    /// No resident payload that could be spilled is in a chunk before this one.
    pub(super) spill_from: u64,
}

impl Messages {
    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<&Slot> {
        self.slots.get(sequence)
    }

    /// Appends a message; `fresh` if it belongs to no lane.
    pub(super) fn append(&mut self, new: NewSlot, fresh: bool) {
        let payload_bytes = new.payload.len() as u32;
        let base =
            digest::words(1, &[new.sequence, new.enqueued_ms, digest::bytes(&new.payload), new.group_hash]);
        let slot = Slot {
            payload: new.payload,
            base,
            enqueued_ms: new.enqueued_ms,
            payload_bytes,
            group: new.group,
            deletes: new.deletes,
            ..Slot::default()
        };
        self.resident += u64::from(payload_bytes);
        self.unwritten += u64::from(payload_bytes);
        self.spill_from = self.spill_from.min(chunk_of(new.sequence));
        self.push(new.sequence, slot, fresh);
    }

    /// Appends a message whose payload is kept by a topic; `fresh` if it belongs to no lane.
    pub(super) fn append_reference(&mut self, new: NewReference, fresh: bool) {
        let slot = Slot {
            base: new.base,
            enqueued_ms: new.enqueued_ms,
            payload_bytes: new.payload_bytes,
            group: new.group,
            spilled: true,
            ..Slot::default()
        };
        self.push(new.sequence, slot, fresh);
    }

    fn push(&mut self, sequence: Sequence, slot: Slot, fresh: bool) {
        self.sum = self.sum.wrapping_add(slot.hash());
        self.bytes += u64::from(slot.payload_bytes);
        let chunk = chunk_of(sequence);
        let meta = self.slots.push(sequence, slot);
        if fresh {
            meta.fresh |= bit_of(sequence);
            if self.fresh_count == 0 {
                self.fresh_from = chunk;
            }
            self.fresh_count += 1;
        }
        if !meta.queued {
            meta.queued = true;
            self.dirty_chunks.push(chunk);
        }
    }

    /// Changes what the digest and the state row say of a message. `None` if it is not there.
    pub(super) fn change(&mut self, sequence: Sequence, change: impl FnOnce(&mut Slot)) -> Option<&Slot> {
        let (slot, meta) = self.slots.get_both(sequence)?;
        self.sum = self.sum.wrapping_sub(slot.hash());
        change(slot);
        self.sum = self.sum.wrapping_add(slot.hash());
        let bit = bit_of(sequence);
        if meta.written & bit != 0 {
            meta.dirty |= bit;
            if !meta.queued {
                meta.queued = true;
                self.dirty_chunks.push(chunk_of(sequence));
            }
        }
        Some(slot)
    }

    /// Links of the lane: not part of the logical state.
    pub(super) fn links(&mut self, sequence: Sequence) -> &mut Slot {
        self.slots.get_mut(sequence).expect("a lane names live messages only")
    }

    /// Removes a message for good.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Slot> {
        let bit = bit_of(sequence);
        let chunk = chunk_of(sequence);
        let (mut was_fresh, mut was_written, mut was_queued) = (false, false, true);
        let removed = self.slots.remove(sequence, |meta| {
            was_fresh = meta.fresh & bit != 0;
            was_written = meta.written & bit != 0;
            meta.fresh &= !bit;
            if was_written {
                meta.dirty |= bit;
                was_queued = meta.queued;
                meta.queued = true;
            }
        })?;
        if !was_queued {
            self.dirty_chunks.push(chunk);
        }
        let slot = removed.value;
        self.sum = self.sum.wrapping_sub(slot.hash());
        self.bytes -= u64::from(slot.payload_bytes);
        if !slot.spilled {
            self.resident -= u64::from(slot.payload_bytes);
        }
        if !was_written && !slot.spilled {
            self.unwritten -= u64::from(slot.payload_bytes);
        }
        self.fresh_count -= u64::from(was_fresh);
        if let Some(meta) = removed.emptied {
            for position in super::seq_map::bits(meta.pages) {
                self.removed_pages.push((chunk * CHUNK + position, meta.states & (1 << position) != 0));
            }
        }
        Some(slot)
    }

    /// All page rows that the checkpoint has or may have: first sequence, has a state row.
    pub(super) fn all_pages(&self) -> Vec<(Sequence, bool)> {
        let mut pages = self.removed_pages.clone();
        for (number, chunk) in self.slots.chunks_from(0) {
            let own = super::seq_map::bits(chunk.meta.pages);
            pages.extend(own.map(|at| (number * CHUNK + at, chunk.meta.states & (1 << at) != 0)));
        }
        pages
    }

    /// The first fresh message.
    pub(super) fn first_fresh(&mut self) -> Option<Sequence> {
        if self.fresh_count == 0 {
            return None;
        }
        let (chunk, fresh) = self
            .slots
            .chunks_from(self.fresh_from)
            .map(|(number, chunk)| (number, chunk.meta.fresh))
            .find(|(_, fresh)| *fresh != 0)?;
        self.fresh_from = chunk;
        Some(chunk * CHUNK + u64::from(fresh.trailing_zeros()))
    }

    /// As [`Self::first_fresh`], for readers.
    pub(super) fn has_fresh(&self) -> bool {
        self.fresh_count != 0
    }

    /// Counts a message of a checkpoint as fresh.
    pub(super) fn set_fresh(&mut self, sequence: Sequence) {
        if let Some(chunk) = self.slots.chunk_mut(chunk_of(sequence)) {
            chunk.meta.fresh |= bit_of(sequence);
            self.fresh_count += 1;
        }
    }

    /// Takes a message out of the fresh ones; `false` if it is none.
    pub(super) fn clear_fresh(&mut self, sequence: Sequence) -> bool {
        let bit = bit_of(sequence);
        let Some(chunk) = self.slots.chunk_mut(chunk_of(sequence)) else { return false };
        if chunk.meta.fresh & bit == 0 {
            return false;
        }
        chunk.meta.fresh &= !bit;
        self.fresh_count -= 1;
        true
    }

    /// Drops payloads up to `through` that are durable. Returns the bytes freed.
    pub(super) fn spill(&mut self, through: Sequence) -> u64 {
        let mut freed = 0;
        let mut clean_so_far = true;
        let last = chunk_of(through);
        for (number, chunk) in self.slots.chunks_from_mut(self.spill_from) {
            if number > last {
                break;
            }
            let mut all = true;
            for position in super::seq_map::bits(chunk.live()) {
                if number * CHUNK + position > through || chunk.meta.durable & (1 << position) == 0 {
                    all = false;
                    continue;
                }
                let slot = chunk.at_mut(position).expect("a live position");
                if !slot.spilled && slot.payload_bytes > 0 {
                    slot.spilled = true;
                    slot.payload = Bytes::new();
                    freed += u64::from(slot.payload_bytes);
                }
            }
            clean_so_far &= all;
            if clean_so_far {
                self.spill_from = number + 1;
            }
        }
        self.resident -= freed;
        freed
    }
}
