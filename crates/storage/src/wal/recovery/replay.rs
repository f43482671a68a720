//! Reads the live segments in order and adds up what they say.
//!
//! A group whose records do not add up is quarantined; a header that cannot be read, or a segment that is not there,
//! quarantines the node. Only the newest segment may have a torn end.

use super::scan::{self, Head};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::BLOCK_BYTES;
use crate::wal::batch::{self, BatchHeader, BatchKind, Item};
use crate::wal::head::{Manifest, NodeQuarantine, Sealed, Written};
use crate::wal::index::{GroupLog, Place, Slot};
use crate::wal::ledger::{ByIndex, Ledger, Segment};
use crate::wal::record::{Header, Kind};
use crate::wal::types::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The end of the newest segment.
pub(super) struct Tail {
    pub(super) slot: u32,
    pub(super) contents: Vec<u8>,
    /// Where the last batch starts: all before it is durable.
    pub(super) last_batch: u64,
    pub(super) last_number: u64,
    /// Where the last batch ends.
    pub(super) end: u64,
}

#[derive(Default)]
pub(super) struct Replayed {
    pub(super) ledger: Ledger,
    pub(super) groups: BTreeMap<u64, GroupLog>,
    pub(super) tail: Option<Tail>,
    /// Number of the newest batch read.
    pub(super) last_number: u64,
    /// Something is damaged, and it is unknown whom it concerns.
    pub(super) damage: Option<String>,
}

/// One group while its records are read.
#[derive(Default)]
struct Track {
    log: GroupLog,
    /// Entries that a head speaks of and that are in no live segment: they must turn out purged or truncated.
    missing: Option<(u64, u64)>,
    vote_is_rotten: bool,
    /// A head said so. Its entries are followed all the same: what is needed as evidence is not recycled.
    quarantined: Option<String>,
    /// Its records do not add up: no entry can be placed any more.
    broken: Option<String>,
}

#[derive(Default)]
struct Replay {
    ledger: Ledger,
    tracks: BTreeMap<u64, Track>,
    last_number: u64,
}

/// A segment while it is read.
struct Reading<'a> {
    slot: u32,
    incarnation: u64,
    contents: &'a [u8],
    is_first: bool,
}

pub(super) fn replay(
    files: &BTreeMap<u32, Arc<dyn DiskFile>>,
    newest_slot: u32,
    newest: &Head,
    segment_bytes: u64,
) -> Result<Replayed, Error> {
    let mut replay = Replay::default();
    let mut tail = None;
    let mut damage = None;
    let newest_end = Sealed { slot: newest_slot, incarnation: newest.incarnation, end: 0, last_number: 0 };
    for (at, sealed) in newest.manifest.segments.iter().chain([&newest_end]).enumerate() {
        let is_newest = sealed.end == 0;
        let Some(file) = files.get(&sealed.slot) else {
            damage = Some(format!("segment {} of the log is missing", sealed.slot));
            break;
        };
        let contents = scan::load(&**file, if is_newest { segment_bytes } else { sealed.end })?;
        let reading = Reading {
            slot: sealed.slot,
            incarnation: sealed.incarnation,
            contents: &contents,
            is_first: at == 0,
        };
        replay.ledger.segments.push_back(Segment::new(
            sealed.slot,
            sealed.incarnation,
            sealed.end,
            sealed.last_number,
        ));
        match replay.segment(&reading, (!is_newest).then_some(sealed)) {
            Ok((last_batch, end)) if is_newest => {
                let last_number = replay.last_number;
                tail = Some(Tail { slot: sealed.slot, contents, last_batch, last_number, end });
            }
            Ok(_) => {}
            Err(why) => {
                damage = Some(format!("segment {} of the log: {why}", sealed.slot));
                break;
            }
        }
    }
    Ok(replay.finish(tail, damage))
}

impl Replayed {
    /// Nothing read can be trusted: every group is out of service, and every file is evidence.
    pub(super) fn quarantine_node(&mut self, node: NodeQuarantine) {
        for (group, written) in &mut self.ledger.groups {
            written.quarantined.get_or_insert_with(|| node.why.clone());
            written.readmitted = false;
            written.last = written.purged;
            self.groups.insert(*group, GroupLog::from_written(written));
        }
        self.ledger.segments.clear();
        self.ledger.node = Some(node);
        self.tail = None;
    }
}

impl Replay {
    /// Where the last batch starts, and where it ends. The error is damage that concerns the node.
    fn segment(&mut self, reading: &Reading<'_>, sealed: Option<&Sealed>) -> Result<(u64, u64), String> {
        let contents = reading.contents;
        let mut offset = 0;
        let mut last_batch = 0;
        let mut number = None;
        loop {
            if let Some(sealed) = sealed
                && offset >= sealed.end
            {
                let ends_as_sealed = offset == sealed.end && number == Some(sealed.last_number);
                return if ends_as_sealed {
                    Ok((last_batch, offset))
                } else {
                    Err("its end does not fit".into())
                };
            }
            let Some(header) = header_at(reading, offset, number) else {
                let from = offset + BLOCK_BYTES as u64;
                let after = number.unwrap_or(0);
                if sealed.is_some() || scan::has_later_batch(contents, from, reading.incarnation, after) {
                    return Err(format!("the batch at {offset} is damaged"));
                }
                return Ok((last_batch, offset));
            };
            let end = offset + header.extent();
            let is_torn = !batch::is_whole(contents, offset, &header)
                && sealed.is_none()
                && !scan::has_later_batch(contents, end, reading.incarnation, header.number);
            self.batch(reading, offset, &header, is_torn)?;
            number = Some(header.number);
            self.last_number = header.number;
            last_batch = offset;
            offset = end;
        }
    }

    fn batch(
        &mut self,
        reading: &Reading<'_>,
        offset: u64,
        header: &BatchHeader,
        torn: bool,
    ) -> Result<(), String> {
        self.ledger.batch = header.number;
        if header.kind == BatchKind::Head {
            self.head(reading, header)?;
        }
        for item in batch::records(reading.contents, offset, header) {
            match item {
                Item::Sound { offset, header, body } => {
                    self.record(reading, offset, &header, body);
                }
                Item::BadBody { .. } | Item::Unreadable { .. } if torn => return Ok(()),
                Item::BadBody { offset, header } => self.bad_body(offset, &header)?,
                Item::Unreadable { offset } => return Err(format!("the record at {offset} is damaged")),
            }
        }
        Ok(())
    }

    /// Brings every group to the state that the head says.
    fn head(&mut self, reading: &Reading<'_>, header: &BatchHeader) -> Result<(), String> {
        let mut named = BTreeSet::new();
        for item in batch::records(reading.contents, 0, header) {
            match item {
                Item::Sound { header, body, .. } if header.kind == Kind::Manifest => {
                    let manifest = Manifest::decode(body).ok_or("its manifest cannot be read")?;
                    self.ledger.node = manifest.node;
                }
                Item::Sound { header, body, .. } if header.kind == Kind::Group => {
                    named.insert(header.group);
                    match Written::decode(body) {
                        Some(written) => self.group(reading, header.group, written),
                        None => self.break_group(header.group, "its state in a head cannot be read".into()),
                    }
                }
                Item::BadBody { header, .. } if header.kind == Kind::Group => {
                    named.insert(header.group);
                }
                Item::Sound { .. } | Item::BadBody { .. } | Item::Unreadable { .. } => {}
            }
        }
        let gone: Vec<u64> = self.ledger.groups.keys().filter(|g| !named.contains(*g)).copied().collect();
        for group in gone {
            self.forget(group);
            self.ledger.groups.remove(&group);
        }
        Ok(())
    }

    fn group(&mut self, reading: &Reading<'_>, group: u64, written: Written) {
        let is_known = self.ledger.groups.get(&group).is_some_and(|known| known.born == written.born);
        if !is_known {
            // It was forgotten, and began again, in a batch that only lives on in this head.
            self.forget(group);
            self.ledger.groups.remove(&group);
            self.tracks.remove(&group);
        }
        if let Some(purged) = written.purged {
            self.purge(group, purged);
        }
        self.truncate(group, written.last);
        let track = self.tracks.entry(group).or_default();
        let known = self.ledger.group(group);
        let term_differs = written
            .last
            .is_some_and(|(term, index)| track.log.term_of(index).is_some_and(|found| found != term));
        if known.last.index_or_none() < written.last.index_or_none() {
            if reading.is_first || !is_known {
                let first = written.purged.map_or(0, |(_, index)| index + 1);
                track.missing = written.last.map(|(_, last)| (first, last));
            } else {
                track.broken = Some(format!(
                    "entries after {:?} up to {:?} are missing",
                    known.last.index_or_none(),
                    written.last.index_or_none()
                ));
            }
        } else if term_differs {
            track.broken = Some(format!("entry {:?} is not the one that a head names", written.last));
        }
        track.log.vote.clone_from(&written.vote);
        track.vote_is_rotten = false;
        track.log.committed = written.committed;
        track.log.checkpoint_batch = written.checkpoint_batch;
        track.log.readmitted = written.readmitted;
        track.quarantined.clone_from(&written.quarantined);
        *known = written;
    }

    fn record(&mut self, reading: &Reading<'_>, offset: u64, header: &Header, body: &[u8]) {
        let group = header.group;
        match header.kind {
            Kind::Entry => {
                let place = Place::Stored { slot: reading.slot, offset: offset as u32 };
                self.entry(header, Slot { term: header.term, body_bytes: body.len() as u32, place });
            }
            Kind::Vote => {
                let vote = Bytes::copy_from_slice(body);
                self.ledger.vote(group, vote.clone());
                let track = self.tracks.entry(group).or_default();
                track.log.vote = Some(vote);
                track.vote_is_rotten = false;
            }
            Kind::Committed => {
                if let Some(position) = header.position() {
                    self.ledger.committed(group, position);
                    self.tracks.entry(group).or_default().log.committed = Some(position);
                }
            }
            Kind::Truncate => self.truncate(group, header.position()),
            Kind::Purge => self.purge(group, (header.term, header.index)),
            Kind::Checkpoint => {
                self.ledger.checkpoint(group, header.index);
                let log = &mut self.tracks.entry(group).or_default().log;
                log.checkpoint_batch = log.checkpoint_batch.max(header.index);
            }
            Kind::Forget => self.forget(group),
            Kind::Release => {
                self.ledger.release();
                self.tracks.values_mut().for_each(|track| track.log.readmitted = false);
            }
            Kind::Manifest | Kind::Group => {} // read with the head
        }
    }

    fn entry(&mut self, header: &Header, slot: Slot) {
        let track = self.tracks.entry(header.group).or_default();
        if track.broken.is_some() {
            return;
        }
        match self.ledger.entry(header.group, (header.term, header.index)) {
            Ok(true) => track.log.append_found(header.index, slot),
            Ok(false) => {}
            Err(gap) => {
                track.broken = Some(format!("entry {} follows where {} must", header.index, gap.expected));
            }
        }
    }

    fn truncate(&mut self, group: u64, kept: Option<Position>) {
        self.ledger.truncate(group, kept);
        let track = self.tracks.entry(group).or_default();
        track.log.truncate(kept.map(|(_, index)| index));
        track.missing = track.missing.and_then(|(first, last)| {
            let last = last.min(kept?.1);
            (first <= last).then_some((first, last))
        });
    }

    fn purge(&mut self, group: u64, upto: Position) {
        self.ledger.purge(group, upto);
        let track = self.tracks.entry(group).or_default();
        track.log.purge(upto);
        track.missing = track.missing.and_then(|(first, last)| {
            let first = first.max(upto.1 + 1);
            (first <= last).then_some((first, last))
        });
    }

    fn forget(&mut self, group: u64) {
        self.ledger.forget(group);
        self.tracks.remove(&group);
        if let Some(written) = self.ledger.groups.get(&group) {
            let track = Track { log: GroupLog::from_written(written), ..Track::default() };
            self.tracks.insert(group, track);
        }
    }

    fn break_group(&mut self, group: u64, why: String) {
        self.ledger.group(group);
        self.tracks.entry(group).or_default().broken.get_or_insert(why);
    }

    fn bad_body(&mut self, offset: u64, header: &Header) -> Result<(), String> {
        match header.kind {
            Kind::Entry => {
                self.entry(header, Slot { term: header.term, body_bytes: 0, place: Place::Rotten });
            }
            Kind::Vote => {
                self.ledger.group(header.group);
                self.tracks.entry(header.group).or_default().vote_is_rotten = true;
            }
            Kind::Manifest => return Err(format!("the manifest at {offset} is damaged")),
            _ => self.break_group(header.group, format!("the record at {offset} is damaged")),
        }
        Ok(())
    }

    fn finish(mut self, tail: Option<Tail>, damage: Option<String>) -> Replayed {
        let mut groups = BTreeMap::new();
        for (group, mut track) in self.tracks {
            let rotten =
                track.log.iter().find(|(_, slot)| slot.place == Place::Rotten).map(|(index, _)| index);
            let why = track.quarantined.take().or(track.broken.take());
            let why = why.or_else(|| rotten.map(|index| format!("entry {index} is damaged")));
            let why = why.or_else(|| track.missing.map(|(a, b)| format!("entries {a} to {b} are missing")));
            let why = why.or_else(|| track.vote_is_rotten.then(|| "its vote is damaged".into()));
            let Some(written) = self.ledger.groups.get_mut(&group) else {
                continue;
            };
            written.quarantined = why;
            track.log.quarantined.clone_from(&written.quarantined);
            groups.insert(group, track.log);
        }
        Replayed { ledger: self.ledger, groups, tail, last_number: self.last_number, damage }
    }
}

fn header_at(reading: &Reading<'_>, offset: u64, previous: Option<u64>) -> Option<BatchHeader> {
    let bytes = reading.contents.get(offset as usize..)?;
    BatchHeader::decode(bytes, offset).filter(|header| {
        header.slot == reading.slot
            && header.incarnation == reading.incarnation
            && previous.is_none_or(|previous| header.number == previous + 1)
            && (header.kind == BatchKind::Head) == (offset == 0)
            && offset + header.extent() <= reading.contents.len() as u64
    })
}
