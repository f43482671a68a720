//! The books of a producer's window.
//!
//! Invariants: messages leave `waiting` in the order in which they came, and `in_flight` in the order of its numbers,
//! which are consecutive; `used_*` covers both. A message that has a number is sent until it is answered, whatever its
//! caller was told at the deadline.

use std::collections::VecDeque;

use phalanx_proto::v1;
use tokio::time::Instant;

use super::confirmation::Unheard;
use super::ledger::{Entry, Ledger};
use super::waiting::{Item, Load, Slot, Waiting};
use super::window::{WindowLimits, not_sent};
use crate::error::Error;
use crate::id::Id;
use crate::limits;

/// Messages under one number.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) messages: Vec<v1::Message>,
    pub(super) bytes: usize,
    pub(super) slots: Vec<Slot>,
    /// It was written to a stream that ended without an answer to it.
    pub(super) maybe: bool,
}
pub(super) struct State {
    pub(super) producer_id: Id,
    pub(super) next_number: u64,
    pub(super) waiting: Waiting,
    pub(super) in_flight: VecDeque<Batch>,
    /// Batches of `in_flight` that are written to the present stream.
    pub(super) written: usize,
    pub(super) coalesce: usize,
    mandatory: bool,
    coalesce_bytes: usize,
    /// Items before this ordinal wait for no company.
    flush_to: u64,
    /// Somebody found no room: more company cannot come before something leaves.
    pressed: bool,
    /// Streams in a row that ended with a gap in the numbers.
    pub(super) gaps: u32,
    pub(super) used_messages: usize,
    pub(super) used_bytes: usize,
    next_ordinal: u64,
    pub(super) unheard: Unheard,
    pub(super) closed: bool,
    pub(super) ledger: Ledger,
}

impl State {
    /// `metered`: what happens is noted for the application's metrics.
    pub(super) fn new(limits: &WindowLimits, producer_id: Id, metered: bool) -> Self {
        Self {
            producer_id,
            next_number: 1,
            waiting: Waiting::default(),
            in_flight: VecDeque::new(),
            written: 0,
            coalesce: limits.coalesce,
            coalesce_bytes: limits.coalesce_bytes,
            mandatory: limits.mandatory,
            flush_to: 0,
            pressed: false,
            gaps: 0,
            used_messages: 0,
            used_bytes: 0,
            next_ordinal: 0,
            unheard: Unheard::default(),
            closed: false,
            ledger: Ledger { on: metered, ..Ledger::default() },
        }
    }

    /// Nothing that is here now waits for company; the ordinal behind it.
    pub(super) fn flush_now(&mut self) -> u64 {
        self.flush_to = self.next_ordinal;
        self.next_ordinal
    }

    /// Whether the owner closed it and all is answered.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the window takes this much more. If not, what waits for company waits no longer.
    pub(super) fn has_room(&mut self, limits: &WindowLimits, count: usize, bytes: usize) -> bool {
        let messages = self.used_messages == 0 || self.used_messages + count <= limits.messages;
        let bytes = self.used_bytes == 0 || self.used_bytes + bytes <= limits.bytes;
        self.pressed = !(messages && bytes);
        messages && bytes
    }

    pub(super) fn push(&mut self, mut item: Item) {
        item.slot.ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.used_messages += item.slot.count;
        self.used_bytes += item.bytes;
        self.waiting.push(item);
    }

    /// Whether there is something to write to the present stream now.
    pub(super) fn has_unwritten(&self, now: Instant) -> bool {
        match self.in_flight.get(self.written) {
            Some(next) => self.may_follow(next.bytes),
            None if self.in_flight.len() >= limits::BATCHES_IN_FLIGHT_MAX => false,
            None => self.waiting.front().is_some_and(|item| {
                self.may_follow(item.bytes) && self.lingers_until().is_none_or(|due| due <= now)
            }),
        }
    }

    /// Until when the first message waits for company; `None`: it does not, or there is none.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        let first = self.waiting.front()?;
        let full = self.waiting.len() >= self.coalesce
            || self.waiting.bytes() >= self.coalesce_bytes
            || self.waiting.has_loners();
        let hurried = self.pressed || self.closed || first.slot.ordinal < self.flush_to;
        (!full && !hurried).then_some(first.due)
    }

    /// Whether a batch of this size may be written after those that are: large ones travel alone.
    fn may_follow(&self, bytes: usize) -> bool {
        let before = self.written.checked_sub(1).and_then(|last| self.in_flight.get(last));
        before.is_none_or(|before| before.bytes <= limits::SOLO_BYTES && bytes <= limits::SOLO_BYTES)
    }

    /// Whether there is anything to do for a stream at all.
    pub(super) fn has_work(&self) -> bool {
        !self.in_flight.is_empty() || !self.waiting.is_empty()
    }

    /// The next frame: batches of earlier streams first, then all that waits, up to the size of a frame.
    pub(super) fn next_frame(&mut self) -> Vec<v1::ProducerBatch> {
        let now = Instant::now();
        let mut frame = Vec::new();
        let mut bytes = 0;
        while bytes < limits::FRAME_BYTES && self.has_unwritten(now) {
            if self.written == self.in_flight.len() {
                self.number_next();
            }
            let batch = &self.in_flight[self.written];
            bytes += batch.bytes;
            frame.push(v1::ProducerBatch {
                number: batch.number,
                messages: batch.messages.clone(),
                mandatory: self.mandatory,
            });
            self.written += 1;
        }
        frame
    }

    /// Makes a batch of what waits.
    fn number_next(&mut self) {
        let first = self.waiting.pop().expect("the caller saw that there is something");
        let joins = first.may_join();
        let mut batch = Batch {
            number: self.next_number,
            messages: Vec::new(),
            bytes: first.bytes,
            slots: vec![first.slot],
            maybe: false,
        };
        match first.load {
            Load::Many(messages) => batch.messages = messages,
            Load::One(message) => {
                batch.messages.push(message);
                if joins {
                    self.coalesce_into(&mut batch);
                }
            }
        }
        self.next_number += 1;
        self.in_flight.push_back(batch);
    }

    fn coalesce_into(&mut self, batch: &mut Batch) {
        while batch.messages.len() < self.coalesce {
            let joins = |item: &Item| item.may_join() && batch.bytes + item.bytes <= self.coalesce_bytes;
            let Some(item) = self.waiting.pop_if(joins) else { return };
            if let Load::One(message) = item.load {
                batch.messages.push(message);
            }
            batch.bytes += item.bytes;
            batch.slots.push(item.slot);
        }
    }

    /// Takes a batch out of the books.
    pub(super) fn release(&mut self, batch: &Batch) {
        self.used_messages -= batch.messages.len();
        self.used_bytes -= batch.bytes;
        self.ledger.add(Entry::Left(batch.messages.len()));
    }

    /// Takes an item out of the books that never had a number, for this reason.
    pub(super) fn drop_item(&mut self, mut item: Item, error: &Error) {
        self.used_messages -= item.slot.count;
        self.used_bytes -= item.bytes;
        self.ledger.add(Entry::Left(item.slot.count));
        item.slot.fail(error, &mut self.ledger, &self.unheard);
    }

    pub(super) fn oldest_unresolved(&self) -> Option<u64> {
        let owed = |slot: &&Slot| slot.promise.is_owed();
        let numbered = self.in_flight.iter().flat_map(|batch| &batch.slots).find(owed);
        numbered.or_else(|| self.waiting.front().map(|item| &item.slot)).map(|slot| slot.ordinal)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let owed = |slot: &&Slot| slot.promise.is_owed();
        let numbered = self.in_flight.iter().flat_map(|batch| &batch.slots).find(owed);
        numbered.or_else(|| self.waiting.front().map(|item| &item.slot)).map(|slot| slot.deadline)
    }

    /// Deadlines rise in the order of enqueuing, but for callers that waited for room.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut resolved = false;
        let unknown =
            || Error::OutcomeUnknown { message: String::from("no confirmation before the deadline") };
        for slot in self.in_flight.iter_mut().flat_map(|batch| &mut batch.slots) {
            if slot.promise.is_owed() && slot.deadline <= now {
                slot.fail(&unknown(), &mut self.ledger, &self.unheard);
                resolved = true;
            }
        }
        while let Some(item) = self.waiting.pop_if(|item| item.slot.deadline <= now) {
            self.drop_item(item, &not_sent());
            resolved = true;
        }
        resolved
    }
}
