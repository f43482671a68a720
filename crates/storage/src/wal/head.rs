//! The head of a segment: everything older that recovery needs to know.
//!
//! A manifest record names the live segments and where each one ends; a group record repeats a group's vote, purged,
//! last, committed and checkpoint state. Entries that recovery copied from the end of the segment before may follow.
//! Invariant: a segment that the newest synced head does not name may be overwritten, any other may not.

use super::record::{Header, Kind};
use super::types::Position;
use crate::format::Fields;
use bytes::Bytes;

/// Longest vote, bytes.
pub(crate) const VOTE_BYTES_MAX: usize = 128;
/// Reasons are cut to this, bytes.
const WHY_BYTES_MAX: usize = 256;
/// Largest group record, with its header, bytes.
pub(crate) const GROUP_RECORD_BYTES_MAX: usize = 512;
const _: () =
    assert!(super::record::HEADER_BYTES + 1 + 2 * 8 + 3 * 16 + 2 * 2 + VOTE_BYTES_MAX + WHY_BYTES_MAX <= 512);
/// One segment in a manifest, bytes.
pub(crate) const MANIFEST_SEGMENT_BYTES: usize = 28;

/// A live segment before the one whose head this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) slot: u32,
    pub(crate) incarnation: u64,
    /// What comes after this in the file is void, bytes.
    pub(crate) end: u64,
    /// Number of the last batch before `end`.
    pub(crate) last_number: u64,
}

/// A quarantine of the whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeQuarantine {
    pub(crate) why: String,
    /// Segments of earlier incarnations are evidence: set aside, never overwritten.
    pub(crate) before: u64,
}

/// The first record of a head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) segments: Vec<Sealed>,
    pub(crate) node: Option<NodeQuarantine>,
    pub(crate) group_count: u32,
}

/// What is written of a group, apart from its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Number of the batch that first spoke of the group: tells it from one of the same number that was forgotten.
    pub(crate) born: u64,
    pub(crate) vote: Option<Bytes>,
    pub(crate) purged: Option<Position>,
    /// The last entry, or the purged position if there is none.
    pub(crate) last: Option<Position>,
    pub(crate) committed: Option<Position>,
    pub(crate) checkpoint_batch: u64,
    pub(crate) quarantined: Option<String>,
    /// Forgotten, and so back in service, since the node was quarantined.
    pub(crate) readmitted: bool,
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(WHY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_bytes(to, &text.as_bytes()[..end]);
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn take_bytes<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let count = fields.u16()?;
    fields.bytes(count.into())
}

fn take_text(fields: &mut Fields<'_>) -> Option<String> {
    Some(String::from_utf8_lossy(take_bytes(fields)?).into_owned())
}

impl Manifest {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) -> Header {
        to.clear();
        to.push(u8::from(self.node.is_some()));
        if let Some(node) = &self.node {
            to.extend_from_slice(&node.before.to_le_bytes());
            put_text(to, &node.why);
        }
        to.extend_from_slice(&self.group_count.to_le_bytes());
        to.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            to.extend_from_slice(&segment.slot.to_le_bytes());
            to.extend_from_slice(&segment.incarnation.to_le_bytes());
            to.extend_from_slice(&segment.end.to_le_bytes());
            to.extend_from_slice(&segment.last_number.to_le_bytes());
        }
        Header::new(Kind::Manifest, 0)
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let node = match fields.u8()? {
            0 => None,
            _ => Some(NodeQuarantine { before: fields.u64()?, why: take_text(&mut fields)? }),
        };
        let group_count = fields.u32()?;
        let count = fields.u32()?;
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(Sealed {
                slot: fields.u32()?,
                incarnation: fields.u64()?,
                end: fields.u64()?,
                last_number: fields.u64()?,
            });
        }
        fields.is_empty().then_some(Self { segments, node, group_count })
    }
}

const HAS_VOTE: u8 = 1;
const HAS_PURGED: u8 = 2;
const HAS_LAST: u8 = 4;
const HAS_COMMITTED: u8 = 8;
const HAS_QUARANTINE: u8 = 16;
const IS_READMITTED: u8 = 32;

impl Written {
    pub(crate) fn encode(&self, group: u64, to: &mut Vec<u8>) -> Header {
        to.clear();
        let positions = [(HAS_PURGED, self.purged), (HAS_LAST, self.last), (HAS_COMMITTED, self.committed)];
        let mut flags = 0;
        for (flag, position) in positions {
            flags |= if position.is_some() { flag } else { 0 };
        }
        flags |= if self.vote.is_some() { HAS_VOTE } else { 0 };
        flags |= if self.quarantined.is_some() { HAS_QUARANTINE } else { 0 };
        flags |= if self.readmitted { IS_READMITTED } else { 0 };
        to.push(flags);
        to.extend_from_slice(&self.born.to_le_bytes());
        to.extend_from_slice(&self.checkpoint_batch.to_le_bytes());
        for (term, index) in positions.into_iter().filter_map(|(_, position)| position) {
            to.extend_from_slice(&term.to_le_bytes());
            to.extend_from_slice(&index.to_le_bytes());
        }
        if let Some(vote) = &self.vote {
            put_bytes(to, vote);
        }
        if let Some(why) = &self.quarantined {
            put_text(to, why);
        }
        Header::new(Kind::Group, group)
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let flags = fields.u8()?;
        let (born, checkpoint_batch) = (fields.u64()?, fields.u64()?);
        let mut position = |flag| -> Option<Option<Position>> {
            if flags & flag == 0 { Some(None) } else { Some(Some((fields.u64()?, fields.u64()?))) }
        };
        let (purged, last) = (position(HAS_PURGED)?, position(HAS_LAST)?);
        let committed = position(HAS_COMMITTED)?;
        let vote =
            if flags & HAS_VOTE == 0 { None } else { Some(Bytes::copy_from_slice(take_bytes(&mut fields)?)) };
        let quarantined = if flags & HAS_QUARANTINE == 0 { None } else { Some(take_text(&mut fields)?) };
        let readmitted = flags & IS_READMITTED != 0;
        fields.is_empty().then_some(Self {
            born,
            vote,
            purged,
            last,
            committed,
            checkpoint_batch,
            quarantined,
            readmitted,
        })
    }
}
