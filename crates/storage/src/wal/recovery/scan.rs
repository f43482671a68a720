//! What a segment file is, judged by its first block, and by all of it where that is not sound.

use crate::disk::DiskFile;
use crate::error::Error;
use crate::format::BLOCK_BYTES;
use crate::wal::batch::{self, BatchHeader, BatchKind, Item};
use crate::wal::head::Manifest;
use crate::wal::record::Kind;
use phalanx_canary::Canary;

/// Read at once while scanning, bytes.
const READ_BYTES: usize = 1024 * 1024;

/// A sound head, or one whose damage concerns single groups.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) incarnation: u64,
    pub(super) number: u64,
    pub(super) manifest: Manifest,
    /// Another batch follows: it was written after the head's sync had returned.
    pub(super) is_proven: bool,
}

#[derive(Debug)]
pub(super) enum Probe {
    /// Pre-written, never used.
    Blank,
    Head(Head),
    /// A head that was not written to its end, and nothing after it: never used.
    Torn {
        incarnation: u64,
        number: u64,
    },
    /// The file is not whole, or its first header is neither a blank's nor a head's.
    Damaged {
        /// The newest batch found inside.
        newest_batch: Option<(u64, u64)>,
        why: String,
        /// Nothing is lost if no newer segment is found than the ones that are sound.
        harmless: bool,
    },
}

impl Probe {
    /// Incarnation and batch number of the newest thing found in the file.
    pub(super) fn newest(&self) -> (u64, u64) {
        match self {
            Self::Blank => (0, 0),
            Self::Head(head) => (head.incarnation, head.number),
            Self::Torn { incarnation, number } => (*incarnation, *number),
            Self::Damaged { newest_batch, .. } => newest_batch.unwrap_or((0, 0)),
        }
    }
}

/// Reads the file up to `bytes`, or to its end.
pub(super) fn load(file: &dyn DiskFile, bytes: u64) -> Result<Vec<u8>, Error> {
    let mut contents = vec![0; file.len()?.min(bytes) as usize];
    let count = file.read_at(0, &mut contents)?;
    contents.truncate(count);
    Ok(contents)
}

pub(super) fn probe(file: &dyn DiskFile, slot: u32, segment_bytes: u64) -> Result<Probe, Error> {
    let bytes = file.len()?;
    if bytes < segment_bytes {
        let why = format!("{bytes} bytes are left of {segment_bytes}");
        let newest_batch = newest_batch(file, bytes)?;
        return Ok(Probe::Damaged { newest_batch, why, harmless: false });
    }
    let first = load(file, BLOCK_BYTES as u64)?;
    let header = BatchHeader::decode(&first, 0);
    match header.filter(|header| header.slot == slot) {
        Some(header) if header.kind == BatchKind::Blank => Ok(Probe::Blank),
        Some(header) if header.kind == BatchKind::Head && header.extent() <= bytes => {
            probe_head(file, &header, bytes)
        }
        _ => {
            let newest_batch = newest_batch(file, bytes)?;
            let harmless = header.is_none() && is_one_bit_off(&first, slot);
            Ok(Probe::Damaged { newest_batch, why: "its first header is damaged".into(), harmless })
        }
    }
}

fn probe_head(file: &dyn DiskFile, header: &BatchHeader, bytes: u64) -> Result<Probe, Error> {
    let contents = load(file, header.extent())?;
    let (incarnation, number) = (header.incarnation, header.number);
    let manifest = batch::records(&contents, 0, header).next().and_then(|item| match item {
        Item::Sound { header, body, .. } if header.kind == Kind::Manifest => Manifest::decode(body),
        _ => None,
    });
    let whole = batch::is_whole(&contents, 0, header);
    if whole && let Some(manifest) = manifest {
        let mut next = vec![0; batch::HEADER_BYTES];
        let count = file.read_at(header.extent(), &mut next)?;
        let is_proven = BatchHeader::decode(&next[..count], header.extent())
            .is_some_and(|next| next.incarnation == incarnation && next.number == number + 1);
        return Ok(Probe::Head(Head { incarnation, number, manifest, is_proven }));
    }
    let newest_batch = newest_batch(file, bytes)?.max(Some((incarnation, number)));
    if newest_batch == Some((incarnation, number)) {
        return Ok(Probe::Torn { incarnation, number });
    }
    let readable = batch::records(&contents, 0, header).all(|item| !matches!(item, Item::Unreadable { .. }));
    Ok(match manifest {
        Some(manifest) if readable => Probe::Head(Head { incarnation, number, manifest, is_proven: true }),
        _ => Probe::Damaged { newest_batch, why: "its head is damaged".into(), harmless: true },
    })
}

/// Incarnation and number of the newest batch whose header is sound, wherever it is.
fn newest_batch(file: &dyn DiskFile, bytes: u64) -> Result<Option<(u64, u64)>, Error> {
    let mut newest = None;
    let mut chunk = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let count = file.read_at(offset, &mut chunk)?;
        for (at, block) in chunk[..count].chunks(BLOCK_BYTES).enumerate() {
            let header = BatchHeader::decode(block, offset + (at * BLOCK_BYTES) as u64);
            let header = header.filter(|header| header.kind != BatchKind::Blank);
            newest = newest.max(header.map(|header| (header.incarnation, header.number)));
        }
        if count < READ_BYTES {
            break;
        }
        offset += count as u64;
    }
    Ok(newest)
}

/// True if a batch of this incarnation with a higher number starts at or after `from`.
pub(super) fn has_later_batch(contents: &[u8], from: u64, incarnation: u64, number: u64) -> bool {
    if Canary::RottenAsTorn.is_planted() {
        return false;
    }
    let rest = contents.get(from as usize..).unwrap_or(&[]);
    rest.chunks(BLOCK_BYTES).enumerate().any(|(at, block)| {
        BatchHeader::decode(block, from + (at * BLOCK_BYTES) as u64)
            .is_some_and(|header| header.incarnation == incarnation && header.number > number)
    })
}

/// True if flipping one bit back gives a header that belongs here: then it is known what the file was. Anything else
/// may hide a newer segment.
fn is_one_bit_off(first: &[u8], slot: u32) -> bool {
    let mut block = first.get(..batch::HEADER_BYTES).unwrap_or(&[]).to_vec();
    (0..block.len() * 8).any(|bit| {
        block[bit / 8] ^= 1 << (bit % 8);
        let header = BatchHeader::decode(&block, 0);
        block[bit / 8] ^= 1 << (bit % 8);
        header.is_some_and(|h| h.slot == slot && matches!(h.kind, BatchKind::Head | BatchKind::Blank))
    })
}
