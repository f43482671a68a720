//! Rows as stored pairs: cut into pieces, put together again, counted.
//!
//! Invariant: what a manifest counts (rows, bytes, digest) changes with each pair that goes into a batch.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

use crate::Error;
use crate::keyspace;

use super::engine::Engine;
use super::frame::{self, PIECE_BYTES_MAX};
use super::garbage::Garbage;
use super::manifest::Manifest;
use super::stream::Pin;

/// Stored pairs read in one step of a scan.
pub(super) const SCAN_PAIRS: usize = 1024;
/// Value bytes read in one step of a scan.
pub(super) const SCAN_BYTES: usize = 4 * 1024 * 1024;

/// Changes of stored pairs; `None` deletes.
pub(super) type Batch = Vec<(Vec<u8>, Option<Bytes>)>;

/// What a checkpoint and all that is derived from it share. Locks are taken in the order of the fields.
pub(super) struct Inner {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) replica: u64,
    /// Held by whoever writes, until the manifest says so too.
    pub(super) writer: Mutex<()>,
    /// Batch numbers go on above this one.
    pub(super) batch_floor: u64,
    /// The snapshot that is being read. Held while rows of the generation in use are written, and by who must not see that halfway.
    pub(super) pin: Mutex<Option<Pin>>,
    pub(super) manifest: RwLock<Option<Manifest>>,
    pub(super) garbage: Mutex<Garbage>,
}

/// Rows that were read, with what they add to a manifest.
pub(super) struct Step {
    pub(super) rows: Vec<(Bytes, Bytes)>,
    pub(super) tally: Manifest,
}

/// A row of which not all pieces were met yet.
struct Partial {
    key: Vec<u8>,
    pieces: u16,
    payloads: Vec<Bytes>,
}

impl Inner {
    /// Adds the change of one row to a batch and counts it. Answers what the row was before.
    pub(super) fn change(
        &self,
        manifest: &mut Manifest,
        key: &[u8],
        value: Option<&Bytes>,
        batch: &mut Batch,
    ) -> Result<Option<Bytes>, Error> {
        let generation = manifest.generation;
        let before = self.stored(generation, key)?;
        for (place, framed) in &before {
            manifest.subtract(place, framed);
        }
        let mut pieces = 0;
        if let Some(value) = value {
            pieces = frame::pieces(value.len()).ok_or_else(|| Error::TooLarge {
                bytes: value.len() as u64,
                bytes_max: PIECE_BYTES_MAX as u64 * u64::from(u16::MAX),
            })?;
            for piece in 0..pieces {
                let from = usize::from(piece) * PIECE_BYTES_MAX;
                let payload = &value[from..value.len().min(from + PIECE_BYTES_MAX)];
                let place = keyspace::row(self.replica, generation, key, piece);
                let framed = frame::encode(&place, pieces, payload);
                manifest.add(&place, &framed);
                batch.push((place, Some(framed)));
            }
            manifest.row_count += 1;
        }
        batch.extend(before.iter().skip(usize::from(pieces)).map(|(place, _)| (place.clone(), None)));
        if before.is_empty() {
            return Ok(None);
        }
        manifest.row_count = manifest.row_count.wrapping_sub(1);
        join(&before).map(Some)
    }

    /// The stored pairs of a row, each checked; none if there is no such row.
    fn stored(&self, generation: u32, key: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        let place = keyspace::row(self.replica, generation, key, 0);
        let Some(framed) = self.engine.get(&place)? else { return Ok(Vec::new()) };
        let (pieces, _) = frame::decode(&place, &framed)?;
        let mut pairs = vec![(place, framed)];
        for piece in 1..pieces {
            let place = keyspace::row(self.replica, generation, key, piece);
            let framed = self.piece(&place, piece, pieces)?;
            pairs.push((place, framed));
        }
        Ok(pairs)
    }

    /// A further piece of a row, checked.
    fn piece(&self, place: &[u8], piece: u16, pieces: u16) -> Result<Bytes, Error> {
        let missing = || damaged_row(place, &format!("piece {piece} of {pieces} is missing"));
        let framed = self.engine.get(place)?.ok_or_else(missing)?;
        let (same, _) = frame::decode(place, &framed)?;
        if same != pieces {
            return Err(damaged_row(place, &format!("it is of {same} pieces, the row has {pieces}")));
        }
        Ok(framed)
    }

    /// The row under a key, if it is of one piece.
    pub(super) fn short_row(&self, generation: u32, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let place = keyspace::row(self.replica, generation, key, 0);
        let Some(framed) = self.engine.get(&place)? else { return Ok(None) };
        let (pieces, payload) = frame::decode(&place, &framed)?;
        Ok((pieces == 1).then_some(payload))
    }

    /// The row under a key. Nothing is written meanwhile.
    pub(super) fn row(&self, generation: u32, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let pairs = self.stored(generation, key)?;
        if pairs.is_empty() { Ok(None) } else { join(&pairs).map(Some) }
    }

    /// Rows of a generation behind `after`: until `bytes_max` are reached, at least one unless there is none. Nothing is written meanwhile.
    pub(super) fn rows(
        &self,
        generation: u32,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Step, Error> {
        let start = match after {
            Some(key) => keyspace::row_end(self.replica, generation, key),
            None => keyspace::generation_start(self.replica, generation),
        };
        let end = keyspace::generation_end(self.replica, generation);
        let found = self.engine.scan(&start, &end, SCAN_PAIRS, bytes_max.clamp(1, SCAN_BYTES))?;
        let mut step = Step { rows: Vec::with_capacity(found.len()), tally: Manifest::default() };
        let mut partial: Option<Partial> = None;
        for (place, framed) in found {
            let (_, key, piece) = keyspace::parse_row(self.replica, &place)
                .ok_or_else(|| damaged_row(&place, "it is not the key of a row"))?;
            let (pieces, payload) = frame::decode(&place, &framed)?;
            step.tally.add(&place, &framed);
            let mut row = match partial.take() {
                Some(row) if row.key == key => row,
                None if piece == 0 => Partial { key, pieces, payloads: Vec::new() },
                _ => return Err(damaged_row(&place, "its row has lost another piece")),
            };
            if usize::from(piece) != row.payloads.len() || pieces != row.pieces {
                return Err(damaged_row(&place, "it does not follow the piece before it"));
            }
            row.payloads.push(payload);
            if row.payloads.len() < usize::from(pieces) {
                partial = Some(row);
            } else {
                step.take(row);
            }
        }
        if let Some(row) = partial {
            self.complete(generation, row, &mut step)?;
        }
        Ok(step)
    }

    /// Reads the pieces that a step did not reach.
    fn complete(&self, generation: u32, mut row: Partial, step: &mut Step) -> Result<(), Error> {
        for piece in row.payloads.len() as u16..row.pieces {
            let place = keyspace::row(self.replica, generation, &row.key, piece);
            let framed = self.piece(&place, piece, row.pieces)?;
            step.tally.add(&place, &framed);
            row.payloads.push(frame::decode(&place, &framed)?.1);
        }
        step.take(row);
        Ok(())
    }

    /// The manifest that the next batch starts from, and whether its generation is a new one.
    pub(super) fn next_manifest(&self) -> Result<Manifest, Error> {
        let mut next = match &*self.manifest.read() {
            Some(manifest) => manifest.clone(),
            None => {
                let generation = self.garbage.lock().take_generation(self.replica)?;
                Manifest { generation, ..Manifest::default() }
            }
        };
        next.batch = next.batch.max(self.batch_floor) + 1;
        Ok(next)
    }
}

impl Step {
    fn take(&mut self, row: Partial) {
        self.tally.row_count += 1;
        self.rows.push((Bytes::from(row.key), concat(row.payloads)));
    }
}

/// The row whose stored pairs these are.
fn join(pairs: &[(Vec<u8>, Bytes)]) -> Result<Bytes, Error> {
    let payloads = pairs.iter().map(|(place, framed)| Ok(frame::decode(place, framed)?.1));
    Ok(concat(payloads.collect::<Result<_, Error>>()?))
}

fn concat(mut payloads: Vec<Bytes>) -> Bytes {
    if payloads.len() == 1 {
        return payloads.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(payloads.iter().map(Bytes::len).sum());
    for payload in payloads {
        whole.extend_from_slice(&payload);
    }
    whole.freeze()
}

pub(super) fn damaged_row(place: &[u8], why: &str) -> Error {
    Error::Corrupt { what: format!("checkpoint row {}", frame::hex(place)), why: why.to_owned() }
}
