//! One record of a batch: a 40-byte header and a body, each with a crc32c.
//!
//! Layout, little-endian: kind u8, flags u8, zero u16, body bytes u32, group u64, index u64, term u64, body crc u32,
//! header crc u32. Both crcs start from the segment's incarnation, the header's also from its own offset in the
//! segment: bytes of an earlier use of the segment, or of another place in it, never pass.

use crate::format::Fields;
use bytes::Bytes;

/// Size of a record's header, bytes.
pub(crate) const HEADER_BYTES: usize = 40;
/// The header's bytes that its crc covers.
const COVERED_BYTES: usize = HEADER_BYTES - 4;

/// What a record says. The numbers are on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entry = 1,
    Vote = 2,
    Committed = 3,
    Truncate = 4,
    Purge = 5,
    Checkpoint = 6,
    Forget = 7,
    Release = 8,
    Manifest = 9,
    Group = 10,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::Vote,
            3 => Self::Committed,
            4 => Self::Truncate,
            5 => Self::Purge,
            6 => Self::Checkpoint,
            7 => Self::Forget,
            8 => Self::Release,
            9 => Self::Manifest,
            10 => Self::Group,
            _ => return None,
        })
    }
}

/// Flag: `index` and `term` hold a position.
pub(crate) const FLAG_POSITION: u8 = 1;

/// A record's header without its crcs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) group: u64,
    pub(crate) index: u64,
    pub(crate) term: u64,
}

impl Header {
    pub(crate) fn new(kind: Kind, group: u64) -> Self {
        Self { kind, flags: 0, group, index: 0, term: 0 }
    }

    pub(crate) fn at(kind: Kind, group: u64, (term, index): (u64, u64)) -> Self {
        Self { kind, flags: FLAG_POSITION, group, index, term }
    }

    pub(crate) fn position(&self) -> Option<(u64, u64)> {
        (self.flags & FLAG_POSITION != 0).then_some((self.term, self.index))
    }
}

/// Where every crc of one use of a segment starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(incarnation: u64) -> Self {
        let mut bytes = *b"phalanx-wal-v1\0\0........";
        bytes[16..].copy_from_slice(&incarnation.to_le_bytes());
        Self(crc32c::crc32c(&bytes))
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }

    /// Crc of something that must stand at `offset` of the segment.
    pub(crate) fn crc_at(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.crc(&offset.to_le_bytes()), bytes)
    }
}

/// Appends the record that will stand at `offset`; answers its header's crc.
pub(crate) fn encode(to: &mut Vec<u8>, seed: Seed, offset: u64, header: &Header, body: &[u8]) -> u32 {
    let start = to.len();
    to.extend_from_slice(&[header.kind as u8, header.flags, 0, 0]);
    to.extend_from_slice(&(body.len() as u32).to_le_bytes());
    to.extend_from_slice(&header.group.to_le_bytes());
    to.extend_from_slice(&header.index.to_le_bytes());
    to.extend_from_slice(&header.term.to_le_bytes());
    to.extend_from_slice(&seed.crc(body).to_le_bytes());
    let crc = seed.crc_at(offset, &to[start..start + COVERED_BYTES]);
    to.extend_from_slice(&crc.to_le_bytes());
    to.extend_from_slice(body);
    crc
}

/// What stands at one place of a segment.
#[derive(Debug)]
pub(crate) enum Decoded<'a> {
    Sound {
        header: Header,
        body: &'a [u8],
        crc: u32,
    },
    /// The header is sound, the body is not: it is known whose it is.
    BadBody {
        header: Header,
        body_bytes: usize,
        crc: u32,
    },
    /// Nothing can be said about this record nor where the next one starts.
    BadHeader,
}

/// Reads the record at the start of `bytes`, which stand at `offset` of the segment.
pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Decoded<'_> {
    decode_fields(bytes, seed, offset).unwrap_or(Decoded::BadHeader)
}

fn decode_fields(bytes: &[u8], seed: Seed, offset: u64) -> Option<Decoded<'_>> {
    let covered = bytes.get(..COVERED_BYTES)?;
    let mut fields = Fields::new(bytes);
    let kind = fields.u8()?;
    let flags = fields.u8()?;
    let _zero = fields.u16()?;
    let body_bytes = fields.u32()? as usize;
    let (group, index, term) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let body_crc = fields.u32()?;
    let crc = fields.u32()?;
    if crc != seed.crc_at(offset, covered) {
        return None;
    }
    let header = Header { kind: Kind::from_byte(kind)?, flags, group, index, term };
    Some(match fields.bytes(body_bytes) {
        Some(body) if seed.crc(body) == body_crc => Decoded::Sound { header, body, crc },
        _ => Decoded::BadBody { header, body_bytes, crc },
    })
}

/// Size of a record with this body, bytes.
pub(crate) fn record_bytes(body: &Bytes) -> u64 {
    (HEADER_BYTES + body.len()) as u64
}
