//! What the committer keeps, and how records become a batch in its buffer.
//!
//! Building applies each record to the ledger; only one built batch exists at a time, and nothing else happens until
//! it is durable, so the ledger never runs ahead of the disk by more than that batch.

use super::batch::{self, BatchBuilder, BatchKind};
use super::head::Written;
use super::index::Place;
use super::ledger::Ledger;
use super::options::WalOptions;
use super::record::{self, FLAG_POSITION, Header, Kind};
use super::shared::{Action, Op, Placed};
use super::types::Done;
use crate::disk::DiskFile;
use crate::fail_point::Persist;
use crate::format::BLOCK_BYTES;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A batch that is built and not yet durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InFlight {
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
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) next_number: u64,
    next_incarnation: u64,
    pub(super) segment_bytes: u64,
    pub(super) batch_bytes_max: u64,
    /// Taken from the callers, not yet in a batch; of the first one, `cursor` entries are.
    pub(super) backlog: VecDeque<Op>,
    pub(super) cursor: usize,
    pub(super) builder: BatchBuilder,
    pub(super) in_flight: Option<InFlight>,
    pub(super) placed: Vec<Placed>,
    pub(super) finished: Vec<Done>,
    pub(super) finished_bytes: usize,
    /// What is in the batch that is being built.
    pub(super) contents: BTreeSet<Persist>,
    /// The newest batch is a mark.
    pub(super) marked: bool,
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
            contents: BTreeSet::new(),
            marked: false,
            scratch: Vec::new(),
        }
    }

    /// Bytes that a data batch may take here; one block stays for a mark.
    pub(super) fn room(&self) -> u64 {
        let end = self.ledger.segments.back().expect("an open log has a current segment").end;
        self.segment_bytes.saturating_sub(end + BLOCK_BYTES as u64)
    }

    /// What is kept for control records in a segment that entries cannot move on from, bytes.
    pub(super) fn control_room(&self) -> u64 {
        (self.segment_bytes / 16).max(4 * BLOCK_BYTES as u64)
    }

    /// Puts records of `queue` into a batch, entries up to `entries_room`. What does not fit stays.
    pub(super) fn build(&mut self, queue: &mut VecDeque<Op>, entries_room: u64) {
        let (room, batch_max) = (self.room(), self.batch_bytes_max);
        self.ledger.batch = self.next_number;
        let segment = self.ledger.current();
        let (slot, incarnation) = (segment.slot, segment.incarnation);
        self.contents.clear();
        self.builder.begin(incarnation, segment.end);
        while let Some(op) = queue.front() {
            let whole = match &op.action {
                Action::Append { entries, stamp } => {
                    let (group, stamp) = (op.group, *stamp);
                    while let Some(entry) = entries.get(self.cursor) {
                        let needed = self.builder.len() + record::record_bytes(&entry.body);
                        if needed > entries_room || (needed > batch_max && self.builder.records() > 0) {
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
                        self.contents.insert(Persist::Append);
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
                        self.contents.extend(persist_of(control));
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

    pub(super) fn finish(&mut self, kind: BatchKind, in_flight: InFlight, slot: u32, incarnation: u64) {
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

    pub(super) fn first_needs(&self, queue: &VecDeque<Op>) -> u64 {
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
    ///
    /// Purges and checkpoint numbers may pass entries and truncations of their own group. A vote may not pass its group's entries: who
    /// hears that a vote is durable concludes that all that the group wrote before it is. Nothing passes a `forget` of its group, which
    /// ends one life and begins another.
    pub(super) fn take_urgent(&mut self) -> VecDeque<Op> {
        let (mut urgent, mut rest) = (VecDeque::new(), VecDeque::new());
        let (mut waiting, mut entries, mut forgotten) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for op in std::mem::take(&mut self.backlog) {
            let group = op.group;
            let may_pass = match op.action {
                Action::Vote(_) => !forgotten.contains(&group) && !entries.contains(&group),
                Action::Purge(_) | Action::Checkpoint(_) => !forgotten.contains(&group),
                Action::Forget => !waiting.contains(&group),
                Action::Append { .. } | Action::Truncate(_) | Action::Committed(_) | Action::Release => false,
            };
            if may_pass {
                urgent.push_back(op);
                continue;
            }
            waiting.insert(group);
            // A vote that waits holds up later ones, too: the last one counts.
            if matches!(op.action, Action::Append { .. } | Action::Vote(_)) {
                entries.insert(group);
            }
            if matches!(op.action, Action::Forget) {
                forgotten.insert(group);
            }
            rest.push_back(op);
        }
        self.backlog = rest;
        urgent
    }

    /// Puts urgent work that did not get through back, behind the append that is partly written.
    pub(super) fn put_back(&mut self, mut urgent: VecDeque<Op>) {
        let partly = if self.cursor > 0 { self.backlog.pop_front() } else { None };
        urgent.append(&mut self.backlog);
        self.backlog = urgent;
        if let Some(op) = partly {
            self.backlog.push_front(op);
        }
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

fn persist_of(action: &Action) -> Option<Persist> {
    match action {
        Action::Append { .. } => Some(Persist::Append),
        Action::Vote(_) => Some(Persist::Vote),
        Action::Truncate(_) => Some(Persist::Truncate),
        Action::Purge(_) => Some(Persist::Purge),
        Action::Checkpoint(_) => Some(Persist::Note),
        Action::Committed(_) | Action::Forget | Action::Release => None,
    }
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
