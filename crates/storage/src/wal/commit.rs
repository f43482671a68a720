//! The committer's steps: gather what waits, write one batch, sync it, then tell everyone.
//!
//! Order is everything here: batch k + 1 is not written before the sync of k returned; a segment is overwritten only
//! after the head that does without it was synced; callbacks come after the sync, in the order of the calls.
//! A write that found no space stays in flight and is repeated with the same bytes before anything else.

use super::Wal;
use super::batch::BatchKind;
use super::committer::{Committer, InFlight};
use super::ledger::{Ledger, Segment};
use super::shared::{Action, Op};
use super::slots::{RESERVE_CONTROL, RESERVE_ENTRIES, Slots};
use super::types::Pressure;
use crate::error::Error;
use crate::fail_point::{FailPoint, Persist, Step};
use crate::format::BLOCK_BYTES;
use phalanx_canary::Canary;
use std::collections::VecDeque;

impl Wal {
    pub(super) fn commit_step(&self, committer: &mut Committer) -> Result<bool, Error> {
        self.gather(committer)?;
        if committer.backlog.is_empty() && committer.in_flight.is_none() {
            return Ok(false);
        }
        if committer.in_flight.is_some() {
            self.complete(committer)?;
            return Ok(true);
        }
        let mut queue = std::mem::take(&mut committer.backlog);
        let result = self.write_from(committer, &mut queue);
        committer.backlog = queue;
        if matches!(result, Err(Error::DiskFull { .. })) && committer.in_flight.is_none() {
            self.write_urgent(committer)?;
        }
        result.map(|()| true)
    }

    /// Takes what waits from the callers.
    fn gather(&self, committer: &mut Committer) -> Result<(), Error> {
        let mut shared = self.shared.lock();
        shared.check_alive()?;
        let was_empty = committer.backlog.is_empty();
        if was_empty {
            std::mem::swap(&mut committer.backlog, &mut shared.pending);
        } else {
            committer.backlog.append(&mut shared.pending);
        }
        if was_empty && !committer.backlog.is_empty() {
            for (group, position) in std::mem::take(&mut shared.rides) {
                committer.backlog.push_back(Op { group, action: Action::Committed(position), done: None });
            }
        }
        Ok(())
    }

    /// Entries find no room: purges, checkpoints and other groups' votes go ahead of them.
    fn write_urgent(&self, committer: &mut Committer) -> Result<(), Error> {
        let mut urgent = committer.take_urgent();
        let cursor = std::mem::take(&mut committer.cursor);
        let mut result = Ok(());
        while !urgent.is_empty() && result.is_ok() {
            result = self.write_from(committer, &mut urgent);
        }
        committer.cursor = cursor;
        committer.put_back(urgent);
        result
    }

    fn write_from(&self, committer: &mut Committer, queue: &mut VecDeque<Op>) -> Result<(), Error> {
        let entries = matches!(queue.front().map(|op| &op.action), Some(Action::Append { .. }));
        let room = |committer: &Committer, for_entries: bool| {
            let near_end = committer.room() < committer.control_room() + committer.batch_bytes_max;
            let kept = if for_entries && near_end && !self.can_rotate(committer) {
                committer.control_room()
            } else {
                0
            };
            committer.room().saturating_sub(kept)
        };
        // A recovered head may fill half a segment: then the one after it is needed at once.
        for _ in 0..2 {
            if committer.first_needs(queue) > room(committer, entries) {
                self.rotate(committer, if entries { RESERVE_ENTRIES } else { RESERVE_CONTROL })?;
            }
        }
        committer.build(queue, room(committer, true));
        self.complete(committer)
    }

    /// True if entries may take the next segment, or one can be made.
    fn can_rotate(&self, committer: &Committer) -> bool {
        let slots = self.slots.lock();
        let left = (slots.free.len() + committer.ledger.dead_count()).checked_sub(1);
        let has_free = !slots.free.is_empty() && left.is_some_and(|left| left >= RESERVE_ENTRIES);
        has_free || (slots.may_grow() && !slots.no_space)
    }

    /// Takes the next segment into use.
    fn rotate(&self, committer: &mut Committer, reserve: usize) -> Result<(), Error> {
        let slot = {
            let mut slots = self.slots.lock();
            let freed = committer.ledger.dead_count();
            while slots.free.is_empty() || slots.free.len() - 1 + freed < reserve {
                if !slots.may_grow() {
                    return Err(Error::DiskFull { path: self.dir.clone() });
                }
                slots.make_now()?;
            }
            self.shared.lock().files.clone_from(&slots.files);
            slots.free.pop_front().expect("checked above")
        };
        let incarnation = committer.begin_head();
        committer.finish_head(slot, incarnation);
        self.complete(committer)
    }

    /// Writes and syncs what is in flight, then makes it known.
    pub(super) fn complete(&self, committer: &mut Committer) -> Result<(), Error> {
        let Some(in_flight) = committer.in_flight else {
            return Ok(());
        };
        let bytes = committer.builder.finished();
        let extent = bytes.len() as u64;
        let reached = |step| self.reached_in(committer, in_flight, step);
        reached(Step::Before)?;
        match in_flight {
            InFlight::Data | InFlight::Mark => {
                let offset = committer.ledger.segments.back().map_or(0, |s| s.end);
                committer.file.write_at(offset, bytes)?;
                reached(Step::Written)?;
                if !Canary::AckBeforeFsync.is_planted() {
                    committer.file.sync_data()?;
                }
                reached(Step::Durable)?;
                let number = committer.next_number - 1;
                let current = committer.ledger.current();
                current.end += extent;
                current.last_number = number;
            }
            InFlight::Head { slot, incarnation } => {
                let file = self.slots.lock().files[slot as usize].clone();
                let file = file.expect("a free slot has a file");
                file.write_at(0, bytes)?;
                reached(Step::Written)?;
                file.sync_data()?;
                reached(Step::Durable)?;
                committer.file = file;
                self.switch(committer, slot, incarnation, extent);
            }
        }
        committer.in_flight = None;
        committer.marked = in_flight == InFlight::Mark;
        self.publish(committer, extent, matches!(in_flight, InFlight::Head { .. }));
        Ok(())
    }

    /// A boundary for everything that is in the batch.
    fn reached_in(&self, committer: &Committer, in_flight: InFlight, step: Step) -> Result<(), Error> {
        match in_flight {
            InFlight::Mark => Ok(()),
            InFlight::Head { .. } => self.reached(FailPoint::new(Persist::Recycle, step)),
            InFlight::Data => {
                committer.contents.iter().try_for_each(|persist| self.reached(FailPoint::new(*persist, step)))
            }
        }
    }

    /// The head is durable: what it does without is free.
    fn switch(&self, committer: &mut Committer, slot: u32, incarnation: u64, extent: u64) {
        let number = committer.next_number - 1;
        let dead = committer.ledger.dead_count();
        let mut slots = self.slots.lock();
        for segment in committer.ledger.segments.drain(..dead) {
            slots.free.push_back(segment.slot);
        }
        let segment = Segment::new(slot, incarnation, extent, number);
        committer.ledger.segments.push_back(segment);
        let mut shared = self.shared.lock();
        let count = slots.files.len();
        shared.incarnations.resize(count, 0);
        shared.incarnations[slot as usize] = incarnation;
    }

    fn publish(&self, committer: &mut Committer, extent: u64, is_head: bool) {
        let room = self.slots.try_lock().map(|slots| self.entries_room(committer, &slots));
        let pressure = self.pressure_of(&committer.ledger);
        {
            let mut shared = self.shared.lock();
            shared.stored(&committer.placed, self.options.cache_bytes);
            let body_bytes = std::mem::take(&mut committer.finished_bytes);
            shared.pending_bytes -= body_bytes;
            shared.stats.body_bytes += body_bytes as u64;
            shared.entries_room = room.unwrap_or(shared.entries_room);
            shared.pressure = pressure;
            shared.stats.batches += 1;
            shared.stats.syncs += 1;
            shared.stats.rotations += u64::from(is_head);
            shared.stats.records += u64::from(committer.builder.records());
            shared.stats.written_bytes += extent;
        }
        committer.placed.clear();
        for done in committer.finished.drain(..) {
            done(Ok(()));
        }
    }

    /// What entries may still take, bytes: in the segments that there are and those that may be made, until the log is at its limit. Of a
    /// segment half is counted: the rest may be lost to a large entry that needs the next one.
    pub(super) fn entries_room(&self, committer: &Committer, slots: &Slots) -> u64 {
        let to_take = slots.free.len() + if slots.no_space { 0 } else { slots.growth() };
        let usable = (to_take + committer.ledger.dead_count()).saturating_sub(RESERVE_ENTRIES);
        let here = committer.room().saturating_sub(committer.control_room());
        here + usable.min(to_take) as u64 * (committer.segment_bytes / 2)
    }

    fn pressure_of(&self, ledger: &Ledger) -> Option<Pressure> {
        let used = ledger.segments.len() - ledger.dead_count().min(ledger.segments.len() - 1);
        if used * 8 < self.options.budget_segments() * 5 {
            return None;
        }
        let used_bytes = used as u64 * self.options.segment_bytes;
        let pinned_by = ledger.pinned_by();
        Some(Pressure { used_bytes, budget_bytes: self.options.budget_bytes, pinned_by })
    }

    /// Nothing is known about the disk any more: everyone who waits is told, and every later call.
    pub(super) fn poison(&self, committer: &mut Committer, error: &Error) -> Error {
        let fatal = match error {
            Error::SyncFailed { .. } => error.clone(),
            other => Error::SyncFailed { why: other.to_string() },
        };
        tracing::error!(%error, "the log failed and takes nothing any more");
        let pending = {
            let mut shared = self.shared.lock();
            shared.failure = Some(fatal.clone());
            std::mem::take(&mut shared.pending)
        };
        let backlog = std::mem::take(&mut committer.backlog);
        let waiting = backlog.into_iter().chain(pending).filter_map(|op| op.done);
        for done in committer.finished.drain(..).chain(waiting) {
            done(Err(fatal.clone()));
        }
        fatal
    }

    pub(super) fn mark_step(&self, committer: &mut Committer) -> Result<(), Error> {
        {
            let shared = self.shared.lock();
            shared.check_alive()?;
            if !shared.pending.is_empty() || !committer.backlog.is_empty() || committer.in_flight.is_some() {
                return Ok(());
            }
        }
        if committer.marked {
            return Ok(());
        }
        let segment = committer.ledger.current();
        let (slot, incarnation, end) = (segment.slot, segment.incarnation, segment.end);
        if end + BLOCK_BYTES as u64 > committer.segment_bytes {
            return Ok(());
        }
        committer.builder.begin(incarnation, end);
        committer.finish(BatchKind::Mark, InFlight::Mark, slot, incarnation);
        self.complete(committer)
    }
}
