//! The unit of writing: a 48-byte header, records, zeros up to a whole block; one write and one sync.
//!
//! Layout, little-endian: magic u32, version u16, kind u8, zero u8, incarnation u64, number u64, content bytes u32,
//! record count u32, crc over the records' header crcs u32, slot u32, zero u32, header crc u32. The header lies in one
//! 512 B sector, which a disk writes as a whole: it is the old one or the new one, anything else is damage.
//! Invariant: batch k + 1 of an incarnation is written only after the sync of k returned.

use super::record::{self, Decoded, Header, Seed};
use crate::format::{BLOCK_BYTES, Fields, block_ceil};

/// Size of a batch's header, bytes.
pub(crate) const HEADER_BYTES: usize = 48;
const COVERED_BYTES: usize = HEADER_BYTES - 4;
const MAGIC: u32 = u32::from_le_bytes(*b"PXWB");
/// Version of the format, of batches and of all that they hold.
pub(crate) const VERSION: u16 = 1;

/// What a batch is for. The numbers are on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BatchKind {
    /// First in every segment: the manifest and the state of every group.
    Head = 1,
    Data = 2,
    /// Empty; proves that the batch before it was synced.
    Mark = 3,
    /// First in a segment that was pre-written and never used.
    Blank = 4,
}

/// A sound header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) kind: BatchKind,
    pub(crate) slot: u32,
    pub(crate) incarnation: u64,
    pub(crate) number: u64,
    pub(crate) content_bytes: u32,
    pub(crate) records: u32,
    records_crc: u32,
}

impl BatchHeader {
    /// Bytes from this batch's start to the next one's.
    pub(crate) fn extent(&self) -> u64 {
        block_ceil(HEADER_BYTES as u64 + u64::from(self.content_bytes))
    }

    /// Reads the header at the start of `bytes`, which stand at `offset` of their segment.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let covered = bytes.get(..COVERED_BYTES)?;
        let mut fields = Fields::new(bytes);
        let magic = fields.u32()?;
        let version = fields.u16()?;
        if magic != MAGIC || version != VERSION {
            return None;
        }
        let kind = match fields.u8()? {
            1 => BatchKind::Head,
            2 => BatchKind::Data,
            3 => BatchKind::Mark,
            4 => BatchKind::Blank,
            _ => return None,
        };
        let _zero = fields.u8()?;
        let (incarnation, number) = (fields.u64()?, fields.u64()?);
        let (content_bytes, records) = (fields.u32()?, fields.u32()?);
        let (records_crc, slot) = (fields.u32()?, fields.u32()?);
        let _zero = fields.u32()?;
        let sound = fields.u32()? == Seed::new(incarnation).crc_at(offset, covered);
        sound.then_some(Self { kind, slot, incarnation, number, content_bytes, records, records_crc })
    }
}

/// Builds one batch in a buffer that is used again and again.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    offset: u64,
    seed: Option<Seed>,
    records: u32,
    records_crc: u32,
}

impl BatchBuilder {
    /// Starts a batch that will stand at `offset` of a segment of this incarnation.
    pub(crate) fn begin(&mut self, incarnation: u64, offset: u64) {
        debug_assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "batches start at blocks");
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.offset = offset;
        self.seed = Some(Seed::new(incarnation));
        self.records = 0;
        self.records_crc = 0;
    }

    /// Adds a record; answers its offset in the segment.
    pub(crate) fn push(&mut self, header: &Header, body: &[u8]) -> u64 {
        let offset = self.offset + self.bytes.len() as u64;
        let seed = self.seed.expect("begin() comes first");
        let crc = record::encode(&mut self.bytes, seed, offset, header, body);
        self.records += 1;
        self.records_crc = crc32c::crc32c_append(self.records_crc, &crc.to_le_bytes());
        offset
    }

    /// Bytes so far, header included.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Completes the header and pads to a whole block.
    pub(crate) fn finish(&mut self, kind: BatchKind, slot: u32, incarnation: u64, number: u64) -> &[u8] {
        let content = (self.bytes.len() - HEADER_BYTES) as u32;
        let mut header = [0u8; HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6] = kind as u8;
        header[8..16].copy_from_slice(&incarnation.to_le_bytes());
        header[16..24].copy_from_slice(&number.to_le_bytes());
        header[24..28].copy_from_slice(&content.to_le_bytes());
        header[28..32].copy_from_slice(&self.records.to_le_bytes());
        header[32..36].copy_from_slice(&self.records_crc.to_le_bytes());
        header[36..40].copy_from_slice(&slot.to_le_bytes());
        let crc = Seed::new(incarnation).crc_at(self.offset, &header[..COVERED_BYTES]);
        header[COVERED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        self.bytes[..HEADER_BYTES].copy_from_slice(&header);
        self.bytes.resize(block_ceil(self.bytes.len() as u64) as usize, 0);
        &self.bytes
    }

    /// The batch as [`BatchBuilder::finish`] left it.
    pub(crate) fn finished(&self) -> &[u8] {
        &self.bytes
    }
}

/// One step through the records of a batch.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Sound {
        offset: u64,
        header: Header,
        body: &'a [u8],
    },
    BadBody {
        offset: u64,
        header: Header,
    },
    /// The rest of the batch cannot be read.
    Unreadable {
        offset: u64,
    },
}

/// The records of the batch whose header was read at `offset` of `segment`. At most one `Unreadable`, as the last one.
pub(crate) fn records<'a>(segment: &'a [u8], offset: u64, header: &BatchHeader) -> Records<'a> {
    let end = offset + HEADER_BYTES as u64 + u64::from(header.content_bytes);
    Records {
        segment,
        seed: Seed::new(header.incarnation),
        at: offset + HEADER_BYTES as u64,
        end,
        left: header.records,
        crc: 0,
        crc_wanted: header.records_crc,
        over: end > segment.len() as u64,
        checked: false,
    }
}

pub(crate) struct Records<'a> {
    segment: &'a [u8],
    seed: Seed,
    at: u64,
    end: u64,
    left: u32,
    crc: u32,
    crc_wanted: u32,
    over: bool,
    checked: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.checked {
            return None;
        }
        let offset = self.at;
        let unreadable = Item::Unreadable { offset };
        if self.over || self.left == 0 {
            self.checked = true;
            // All records there, nothing between or behind them: the batch is the one its header was made for.
            let whole = !self.over && self.at == self.end && self.crc == self.crc_wanted;
            return if whole { None } else { Some(unreadable) };
        }
        let bytes = &self.segment[offset as usize..self.end as usize];
        let (item, crc, body_bytes) = match record::decode(bytes, self.seed, offset) {
            Decoded::Sound { header, body, crc } => (Item::Sound { offset, header, body }, crc, body.len()),
            Decoded::BadBody { header, body_bytes, crc } => {
                (Item::BadBody { offset, header }, crc, body_bytes)
            }
            Decoded::BadHeader => {
                self.checked = true;
                return Some(unreadable);
            }
        };
        self.left -= 1;
        self.crc = crc32c::crc32c_append(self.crc, &crc.to_le_bytes());
        self.at = offset + (record::HEADER_BYTES + body_bytes) as u64;
        if self.at > self.end {
            self.checked = true;
            return Some(unreadable);
        }
        Some(item)
    }
}

/// True if every record of the batch is sound.
pub(crate) fn is_whole(segment: &[u8], offset: u64, header: &BatchHeader) -> bool {
    records(segment, offset, header).all(|item| matches!(item, Item::Sound { .. }))
}

/// Incarnation, number, place and content bytes of every sound batch header in a segment, rising. For tests that look for a place to damage.
#[must_use]
pub fn batches(segment: &[u8]) -> Vec<(u64, u64, u64, u32)> {
    let mut found = Vec::new();
    for (at, block) in segment.chunks(BLOCK_BYTES).enumerate() {
        let offset = (at * BLOCK_BYTES) as u64;
        if let Some(header) = BatchHeader::decode(block, offset).filter(|h| h.kind != BatchKind::Blank) {
            found.push((header.incarnation, header.number, offset, header.content_bytes));
        }
    }
    found.sort_unstable();
    found
}
