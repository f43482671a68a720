//! Reads: from memory if the body is still there, else from the segments, a run of neighbours at a time.
//!
//! A record read back is checked like one that recovery reads. A segment may be recycled while it is being read, so a
//! failed check counts as damage only if the entry is still where it was looked for.

use super::batch;
use super::index::{Place, Slot};
use super::record::{self, Decoded, Kind, Seed};
use super::shared::Shared;
use super::types::LogEntry;
use crate::disk::DiskFile;
use crate::error::Error;
use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// Most that one read of a file fetches, unless a single record is larger, bytes.
const SPAN_BYTES_MAX: u64 = 1024 * 1024;
/// Other records between two wanted ones that are read along rather than skipped, bytes.
const HOLE_BYTES_MAX: u64 = 16 * 1024;

/// One entry of the answer: its body, or where to get it.
enum Found {
    Body(LogEntry),
    OnDisk { index: u64, slot: Slot },
}

/// Neighbours of one file, to be read at once.
struct Span {
    file: Arc<dyn DiskFile>,
    seed: Seed,
    start: u64,
    end: u64,
}

pub(super) fn read(
    shared: &Mutex<Shared>,
    group: u64,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, Error> {
    let (found, spans) = {
        let mut shared = shared.lock();
        let found = locate(&shared, group, range, bytes_max)?;
        let spans = spans(&shared, group, &found)?;
        shared.stats.reads_from_disk += spans.iter().map(|(_, count)| *count as u64).sum::<u64>();
        (found, spans)
    };
    let mut entries = Vec::with_capacity(found.len());
    let mut spans = spans.into_iter();
    let mut current: Option<(Bytes, Span, usize)> = None;
    for item in found {
        match item {
            Found::Body(entry) => entries.push(entry),
            Found::OnDisk { index, slot } => {
                if current.as_ref().is_none_or(|(_, _, left)| *left == 0) {
                    let (span, count) = spans.next().expect("spans cover every entry on disk");
                    current = Some((fetch(&span)?, span, count));
                }
                let (bytes, span, left) = current.as_mut().expect("just set");
                *left -= 1;
                match extract(bytes, span, group, index, &slot) {
                    Some(entry) => entries.push(entry),
                    None => return Err(damaged(shared, group, index, &slot)),
                }
            }
        }
    }
    Ok(entries)
}

fn locate(shared: &Shared, group: u64, range: Range<u64>, bytes_max: usize) -> Result<Vec<Found>, Error> {
    shared.check_group(group)?;
    let missing = Error::NotFound { group, index: range.start };
    let log = shared.groups.get(&group).ok_or(missing.clone())?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for index in range {
        let Some(slot) = log.get(index) else { break };
        bytes += slot.body_bytes as usize;
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push(match log.cached(index) {
            Some(body) => Found::Body(LogEntry { index, term: slot.term, body: body.clone() }),
            None => Found::OnDisk { index, slot: *slot },
        });
    }
    if found.is_empty() { Err(missing) } else { Ok(found) }
}

/// The reads to make, and how many entries each one answers.
fn spans(shared: &Shared, group: u64, found: &[Found]) -> Result<Vec<(Span, usize)>, Error> {
    let mut spans: Vec<(Span, usize)> = Vec::new();
    let mut last_slot = None;
    for item in found {
        let Found::OnDisk { index, slot } = item else {
            continue;
        };
        let Place::Stored { slot: number, offset } = slot.place else {
            let why = format!("entry {index} is damaged on disk");
            return Err(Error::Quarantined { group, why });
        };
        let start = u64::from(offset);
        let end = start + record::HEADER_BYTES as u64 + u64::from(slot.body_bytes);
        if let Some((span, count)) = spans.last_mut()
            && last_slot == Some(number)
            && start >= span.end
            && start - span.end <= HOLE_BYTES_MAX
            && end - span.start <= SPAN_BYTES_MAX
        {
            span.end = end;
            *count += 1;
            continue;
        }
        let file = shared.files[number as usize].clone().expect("a live entry is in a file in service");
        let seed = Seed::new(shared.incarnations[number as usize]);
        spans.push((Span { file, seed, start, end }, 1));
        last_slot = Some(number);
    }
    Ok(spans)
}

fn fetch(span: &Span) -> Result<Bytes, Error> {
    let mut bytes = vec![0; (span.end - span.start) as usize];
    let count = span.file.read_at(span.start, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes.into())
}

fn extract(bytes: &Bytes, span: &Span, group: u64, index: u64, slot: &Slot) -> Option<LogEntry> {
    let Place::Stored { offset, .. } = slot.place else {
        return None;
    };
    let at = (u64::from(offset) - span.start) as usize;
    match record::decode(bytes.get(at..)?, span.seed, offset.into()) {
        Decoded::Sound { header, body, .. }
            if header.kind == Kind::Entry
                && (header.group, header.index, header.term) == (group, index, slot.term) =>
        {
            Some(LogEntry { index, term: slot.term, body: bytes.slice_ref(body) })
        }
        _ => None,
    }
}

/// The record did not pass: if the entry is still there, its group is out of service from now on.
fn damaged(shared: &Mutex<Shared>, group: u64, index: u64, slot: &Slot) -> Error {
    let mut shared = shared.lock();
    if let Err(error) = shared.check_alive() {
        return error;
    }
    match shared.groups.get_mut(&group) {
        Some(log) if log.get(index).is_some_and(|now| now.place == slot.place) => {
            let why = format!("entry {index} is damaged on disk");
            tracing::error!(group_id = group, index, "the log holds a damaged entry");
            log.quarantined = Some(why.clone());
            Error::Quarantined { group, why }
        }
        _ => Error::NotFound { group, index },
    }
}

const _: () = assert!(batch::HEADER_BYTES < SPAN_BYTES_MAX as usize);
