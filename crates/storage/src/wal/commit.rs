//! The committer: gathers what waits, writes one batch, syncs it, then tells everyone.
//!
//! Order is everything here: batch k + 1 is not written before the sync of k returned; a segment is overwritten only
//! after the head that does without it was synced; callbacks come after the sync, in the order of the calls.
//! A write that found no space stays in flight and is repeated with the same bytes before anything else.

use super::Wal;
use super::batch::{self, BatchBuilder, BatchKind};
use super::head::Written;
use super::index::Place;
use super::ledger::Ledger;
use super::options::WalOptions;
use super::record::{self, FLAG_POSITION, Header, Kind};
use super::shared::{Action, Op, Placed};
use super::slots::{RESERVE_CONTROL, RESERVE_ENTRIES, Slots};
use super::types::{Done, Pressure};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::BLOCK_BYTES;
use std::collections::VecDeque;
use std::sync::Arc;

/// A batch that is built and not yet durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Data,
    Mark,
    /// The head of the segment that comes next.
    Head {
        slot: u32,
        incarnation: u64,
    },
}

pub(super) struct Committer {
    pub(super) ledger: Ledger,
    file: Arc<dyn DiskFile>,
    next_number: u64,
    next_incarnation: u64,
    segment_bytes: u64,
    batch_bytes_max: u64,
    /// Taken from the callers, not yet in a batch; of the first one, `cursor` entries are.
    backlog: VecDeque<Op>,
    cursor: usize,
    builder: BatchBuilder,
    in_flight: Option<InFlight>,
    placed: Vec<Placed>,
    finished: Vec<Done>,
    finished_bytes: usize,
    /// The newest batch is a mark.
    marked: bool,
    scratch: Vec<u8>,
}

impl Committer {
    pub(super) fn new(
        ledger: Ledger,
        file: Arc<dyn DiskFile>,
        next_number: u64,
        next_incarnation: u64,
        options: &WalOptions,
    ) -> Self {
        Self {
            ledger,
            file,
            next_number,
            next_incarnation,
            segment_bytes: options.segment_bytes,
            batch_bytes_max: options.batch_bytes_max as u64,
            backlog: VecDeque::new(),
            cursor: 0,
            builder: BatchBuilder::default(),
            in_flight: None,
            placed: Vec::new(),
            finished: Vec::new(),
            finished_bytes: 0,
            marked: false,
            scratch: Vec::new(),
        }
    }

    /// Bytes that a data batch may take here; one block stays for a mark.
    fn room(&self) -> u64 {
        let end = self.ledger.segments.back().expect("an open log has a current segment").end;
        self.segment_bytes.saturating_sub(end + BLOCK_BYTES as u64)
    }

    /// Puts records of `queue` into a batch. Those of other calls stay for the next one.
    fn build(&mut self, queue: &mut VecDeque<Op>) {
        let (room, batch_max) = (self.room(), self.batch_bytes_max);
        self.ledger.batch = self.next_number;
        let segment = self.ledger.current();
        let (slot, incarnation) = (segment.slot, segment.incarnation);
        self.builder.begin(incarnation, segment.end);
        while let Some(op) = queue.front() {
            let whole = match &op.action {
                Action::Append { entries, stamp } => {
                    let (group, stamp) = (op.group, *stamp);
                    while let Some(entry) = entries.get(self.cursor) {
                        let needed = self.builder.len() + record::record_bytes(&entry.body);
                        if needed > room || (needed > batch_max && self.builder.records() > 0) {
                            break;
                        }
                        self.cursor += 1;
                        self.finished_bytes += entry.body.len();
                        let position = (entry.term, entry.index);
                        match self.ledger.entry(group, position) {
                            Ok(true) => {}
                            Ok(false) => continue, // purged while it waited
                            Err(gap) => unreachable!("append() checked the order: {gap:?}"),
                        }
                        let header = Header::at(Kind::Entry, group, position);
                        let offset = self.builder.push(&header, &entry.body) as u32;
                        let place = Place::Stored { slot, offset };
                        self.placed.push(Placed { group, index: entry.index, stamp, place });
                    }
                    self.cursor == entries.len()
                }
                control => {
                    let (header, body) = control_record(op.group, control);
                    let fits = self.builder.len() + (record::HEADER_BYTES + body.len()) as u64 <= room;
                    if fits {
                        self.builder.push(&header, body);
                        apply_control(&mut self.ledger, op.group, control);
                    }
                    fits
                }
            };
            if !whole {
                break;
            }
            self.cursor = 0;
            let op = queue.pop_front().expect("looked at above");
            self.finished.extend(op.done);
        }
        self.finish(BatchKind::Data, InFlight::Data, slot, incarnation);
    }

    fn finish(&mut self, kind: BatchKind, in_flight: InFlight, slot: u32, incarnation: u64) {
        self.builder.finish(kind, slot, incarnation, self.next_number);
        self.next_number += 1;
        self.in_flight = Some(in_flight);
    }

    /// Starts the head of a segment in this slot; recovery adds the entries it moves, then calls `finish_head`.
    pub(super) fn begin_head(&mut self) -> u64 {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.builder.begin(incarnation, 0);
        let header = self.ledger.manifest().encode(&mut self.scratch);
        self.builder.push(&header, &self.scratch);
        for (group, written) in &self.ledger.groups {
            let header = Written::encode(written, *group, &mut self.scratch);
            self.builder.push(&header, &self.scratch);
        }
        incarnation
    }

    pub(super) fn push_moved(&mut self, header: &Header, body: &[u8]) -> u64 {
        self.builder.push(header, body)
    }

    pub(super) fn finish_head(&mut self, slot: u32, incarnation: u64) {
        self.finish(BatchKind::Head, InFlight::Head { slot, incarnation }, slot, incarnation);
    }

    fn first_needs(&self, queue: &VecDeque<Op>) -> u64 {
        let bytes = match queue.front().map(|op| &op.action) {
            Some(Action::Append { entries, .. }) => {
                entries.get(self.cursor).map_or(0, |entry| record::record_bytes(&entry.body))
            }
            Some(Action::Vote(vote)) => record::record_bytes(vote),
            Some(_) => record::HEADER_BYTES as u64,
            None => 0,
        };
        batch::HEADER_BYTES as u64 + bytes
    }

    /// Takes what may be written ahead of entries that find no room: it does not depend on them, and it frees space.
    fn take_urgent(&mut self) -> VecDeque<Op> {
        let (urgent, rest) = std::mem::take(&mut self.backlog).into_iter().partition(|op| match op.action {
            Action::Vote(_) | Action::Purge(_) | Action::Checkpoint(_) | Action::Committed(_) => true,
            Action::Append { .. } | Action::Truncate(_) | Action::Forget | Action::Release => false,
        });
        self.backlog = rest;
        urgent
    }
}

fn control_record(group: u64, action: &Action) -> (Header, &[u8]) {
    let header = match action {
        Action::Vote(vote) => return (Header::new(Kind::Vote, group), vote),
        Action::Committed(position) => Header::at(Kind::Committed, group, *position),
        Action::Truncate(Some(kept)) => Header::at(Kind::Truncate, group, *kept),
        Action::Truncate(None) => Header::new(Kind::Truncate, group),
        Action::Purge(upto) => Header::at(Kind::Purge, group, *upto),
        Action::Checkpoint(batch) => {
            Header { flags: FLAG_POSITION, index: *batch, ..Header::new(Kind::Checkpoint, group) }
        }
        Action::Forget => Header::new(Kind::Forget, group),
        Action::Release => Header::new(Kind::Release, 0),
        Action::Append { .. } => unreachable!("entries are written one by one"),
    };
    (header, &[])
}

fn apply_control(ledger: &mut Ledger, group: u64, action: &Action) {
    match action {
        Action::Vote(vote) => ledger.vote(group, vote.clone()),
        Action::Committed(position) => ledger.committed(group, *position),
        Action::Truncate(kept) => ledger.truncate(group, *kept),
        Action::Purge(upto) => ledger.purge(group, *upto),
        Action::Checkpoint(batch) => ledger.checkpoint(group, *batch),
        Action::Forget => ledger.forget(group),
        Action::Release => ledger.release(),
        Action::Append { .. } => unreachable!("entries are applied one by one"),
    }
}

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

    /// Entries find no room: votes, purges and checkpoints go ahead of them.
    fn write_urgent(&self, committer: &mut Committer) -> Result<(), Error> {
        let mut urgent = committer.take_urgent();
        let cursor = std::mem::take(&mut committer.cursor);
        let mut result = Ok(());
        while !urgent.is_empty() && result.is_ok() {
            result = self.write_from(committer, &mut urgent);
        }
        committer.cursor = cursor;
        // What did not get through keeps its place ahead of the entries that wait as well.
        if cursor == 0 {
            while let Some(op) = urgent.pop_back() {
                committer.backlog.push_front(op);
            }
        } else {
            committer.backlog.append(&mut urgent);
        }
        result
    }

    fn write_from(&self, committer: &mut Committer, queue: &mut VecDeque<Op>) -> Result<(), Error> {
        // A recovered head may fill half a segment: then the one after it is needed at once.
        for _ in 0..2 {
            if committer.first_needs(queue) > committer.room() {
                let entries = matches!(queue.front().map(|op| &op.action), Some(Action::Append { .. }));
                self.rotate(committer, if entries { RESERVE_ENTRIES } else { RESERVE_CONTROL })?;
            }
        }
        committer.build(queue);
        self.complete(committer)
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
        match in_flight {
            InFlight::Data | InFlight::Mark => {
                let offset = committer.ledger.segments.back().map_or(0, |s| s.end);
                committer.file.write_at(offset, bytes)?;
                committer.file.sync_data()?;
                let number = committer.next_number - 1;
                let current = committer.ledger.current();
                current.end += extent;
                current.last_number = number;
            }
            InFlight::Head { slot, incarnation } => {
                let file = self.slots.lock().files[slot as usize].clone();
                let file = file.expect("a free slot has a file");
                file.write_at(0, bytes)?;
                file.sync_data()?;
                committer.file = file;
                self.switch(committer, slot, incarnation, extent);
            }
        }
        committer.in_flight = None;
        committer.marked = in_flight == InFlight::Mark;
        self.publish(committer, extent, matches!(in_flight, InFlight::Head { .. }));
        Ok(())
    }

    /// The head is durable: what it does without is free.
    fn switch(&self, committer: &mut Committer, slot: u32, incarnation: u64, extent: u64) {
        let number = committer.next_number - 1;
        let dead = committer.ledger.dead_count();
        let mut slots = self.slots.lock();
        for segment in committer.ledger.segments.drain(..dead) {
            slots.free.push_back(segment.slot);
        }
        let segment = super::ledger::Segment::new(slot, incarnation, extent, number);
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

    /// What entries may still take, bytes.
    pub(super) fn entries_room(&self, committer: &Committer, slots: &Slots) -> u64 {
        if slots.may_grow() && !slots.no_space {
            return u64::MAX;
        }
        let usable = (slots.free.len() + committer.ledger.dead_count()).saturating_sub(RESERVE_ENTRIES);
        committer.room() + usable.min(slots.free.len()) as u64 * (committer.segment_bytes / 2)
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
