//! The checkpoint of one replica: commits, reads, verification, garbage.
//!
//! Invariants: the manifest and the rows it counts change in one atomic batch; a commit has returned only when it is durable; rows of
//! any generation but the manifest's are garbage; a checkpoint that fails a check is not opened, and stays as it is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::Error;
use crate::keyspace;

use super::engine::Engine;
use super::frame::{self, PIECE_BYTES_MAX};
use super::install::Install;
use super::manifest::{Manifest, ManifestFields};

/// Stored pairs read in one step of a scan.
pub(super) const SCAN_ROWS: usize = 1024;
/// Value bytes read in one step of a scan.
pub(super) const SCAN_BYTES: usize = 4 * 1024 * 1024;

/// One replica's rows in an engine that it shares with others.
#[derive(Clone)]
pub struct ReplicaCheckpoint {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) replica: u64,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) manifest: Option<Manifest>,
    /// No stored row has this generation or a higher one.
    pub(super) next_generation: u32,
    /// Stored keys `start..end` that mean nothing any more. `true`: of the current generation, so its rows are counted.
    pub(super) garbage: VecDeque<(Vec<u8>, Vec<u8>, bool)>,
}

impl ReplicaCheckpoint {
    /// Opens and verifies the checkpoint of `replica`: every row's checksum, their number, and that the manifest is not older than
    /// `batch_at_least`, the number the log remembers. A replica without a manifest and with `batch_at_least` 0 has none yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a check fails; what the engine says.
    pub fn open(engine: Arc<dyn Engine>, replica: u64, batch_at_least: u64) -> Result<Self, Error> {
        let stored = engine.get(&keyspace::manifest(replica))?;
        let manifest = stored.map(|stored| Manifest::decode(replica, &stored)).transpose()?;
        let batch = manifest.as_ref().map_or(0, |manifest| manifest.batch);
        if batch < batch_at_least {
            return Err(Error::Corrupt {
                what: format!("checkpoint of replica {replica}"),
                why: format!("it is batch {batch}, but batch {batch_at_least} was durable"),
            });
        }
        let checkpoint = Self::unverified(engine, replica, manifest)?;
        checkpoint.verify()?;
        Ok(checkpoint)
    }

    /// Opens a replica whose checkpoint was rejected, to receive a new one by [`ReplicaCheckpoint::begin_install`]. Nothing of the old is
    /// read; batch numbers go on above `batch_at_least`.
    ///
    /// # Errors
    /// What the engine says.
    pub fn open_rejected(engine: Arc<dyn Engine>, replica: u64, batch_at_least: u64) -> Result<Self, Error> {
        let checkpoint = Self::unverified(engine, replica, None)?;
        if batch_at_least > 0 {
            let mut state = checkpoint.inner.state.lock();
            let generation = state.next_generation;
            // Only in memory: what the next manifest counts on from. An empty generation of its own keeps the old rows out.
            state.manifest = Some(Manifest {
                fields: ManifestFields::default(),
                batch: batch_at_least,
                generation,
                row_count: 0,
            });
            state.next_generation = next_generation(replica, generation)?;
        }
        Ok(checkpoint)
    }

    fn unverified(engine: Arc<dyn Engine>, replica: u64, manifest: Option<Manifest>) -> Result<Self, Error> {
        let current = manifest.as_ref().map(|manifest| manifest.generation);
        let mut garbage = VecDeque::new();
        let mut next = current.map_or(Ok(0), |current| next_generation(replica, current))?;
        let mut from = keyspace::generation_start(replica, 0);
        let end = keyspace::replica_end(replica);
        // Hops from generation to generation: what is not current is left from an install, a half one or the one before.
        while let Some((key, _)) = engine.scan(&from, &end, 1, 1)?.into_iter().next() {
            let (generation, _, _) = keyspace::parse_row(replica, &key).ok_or_else(|| malformed(&key))?;
            let (start, stop) = (
                keyspace::generation_start(replica, generation),
                keyspace::generation_end(replica, generation),
            );
            if Some(generation) != current {
                garbage.push_back((start, stop.clone(), false));
                next = next.max(next_generation(replica, generation)?);
            }
            from = stop;
        }
        let state = Mutex::new(State { manifest, next_generation: next, garbage });
        Ok(Self { inner: Arc::new(Inner { engine, replica, state }) })
    }

    fn verify(&self) -> Result<(), Error> {
        let Some(manifest) = self.manifest() else { return Ok(()) };
        let (mut count, mut after) = (0, None::<Bytes>);
        loop {
            let rows = self.rows(after.as_deref(), SCAN_BYTES)?;
            let Some((last, _)) = rows.last() else { break };
            count += rows.len() as u64;
            after = Some(last.clone());
        }
        if count == manifest.row_count {
            return Ok(());
        }
        Err(Error::Corrupt {
            what: format!("checkpoint of replica {}", self.inner.replica),
            why: format!("it holds {count} rows, its manifest counts {}", manifest.row_count),
        })
    }

    /// The newest durable checkpoint; `None` before the first.
    #[must_use]
    pub fn manifest(&self) -> Option<Manifest> {
        self.inner.state.lock().manifest.clone()
    }

    /// Rows with keys behind `after`, in order, until `bytes_max` are reached; at least one unless there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a row fails its check.
    pub fn rows(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let generation = self.inner.state.lock().manifest.as_ref().map(|manifest| manifest.generation);
        generation.map_or(Ok(Vec::new()), |generation| self.inner.rows(generation, after, bytes_max))
    }

    /// The row under a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it fails its check.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let generation = self.inner.state.lock().manifest.as_ref().map(|manifest| manifest.generation);
        let Some(generation) = generation else { return Ok(None) };
        let stored = keyspace::row(self.inner.replica, generation, key, 0);
        let Some(first) = self.inner.engine.get(&stored)? else { return Ok(None) };
        self.inner.assemble(generation, key, &stored, &first).map(Some)
    }

    /// Writes the changed rows and the manifest as one atomic batch, durable on return. `garbage` are key ranges `start..end` that mean
    /// nothing any more; they are deleted later, in slices.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing was written, retry. Anything else: the machine's changes may be lost, the process must stop.
    pub fn commit(
        &self,
        fields: ManifestFields,
        rows: Vec<(Bytes, Option<Bytes>)>,
        garbage: Vec<(Bytes, Bytes)>,
    ) -> Result<Manifest, Error> {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let (mut manifest, fresh) = match &state.manifest {
            Some(manifest) => (manifest.clone(), false),
            None => {
                let generation = state.next_generation;
                (Manifest { fields: ManifestFields::default(), batch: 0, generation, row_count: 0 }, true)
            }
        };
        let mut batch = Vec::with_capacity(rows.len() + 1);
        for (key, value) in &rows {
            inner.change(&mut manifest, key, value.as_ref(), &mut batch)?;
        }
        manifest.fields = fields;
        manifest.batch += 1;
        batch.push((keyspace::manifest(inner.replica), Some(manifest.encode(inner.replica))));
        inner.engine.write(batch)?;
        inner.engine.flush()?;
        if fresh {
            state.next_generation = next_generation(inner.replica, manifest.generation)?;
        }
        state.manifest = Some(manifest.clone());
        let place = |key: &[u8]| keyspace::row_start(inner.replica, manifest.generation, key);
        state.garbage.extend(garbage.iter().map(|(start, end)| (place(start), place(end), true)));
        Ok(manifest)
    }

    /// Starts to receive a checkpoint from elsewhere, into a generation of its own.
    ///
    /// # Errors
    /// When there is no further generation.
    pub fn begin_install(&self) -> Result<Install, Error> {
        let mut state = self.inner.state.lock();
        let generation = state.next_generation;
        state.next_generation = next_generation(self.inner.replica, generation)?;
        Ok(Install::new(Arc::clone(&self.inner), generation))
    }

    /// Deletes up to `rows_max` stored rows that mean nothing any more; how many. 0: there are none.
    ///
    /// # Errors
    /// What the engine says.
    pub fn collect_garbage(&self, rows_max: usize) -> Result<usize, Error> {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let Some((start, end, counted)) = state.garbage.front().cloned() else { return Ok(0) };
        let found = inner.engine.scan(&start, &end, rows_max.max(1), SCAN_BYTES)?;
        let Some((last, _)) = found.last() else {
            state.garbage.pop_front();
            return Ok(0);
        };
        // A row's pieces go together, or the rest of them would be no row.
        let mut batch: Vec<(Vec<u8>, Option<Bytes>)> =
            found.iter().map(|(key, _)| (key.clone(), None)).collect();
        let (generation, key, _) = keyspace::parse_row(inner.replica, last).ok_or_else(|| malformed(last))?;
        let behind = keyspace::row_end(inner.replica, generation, &key);
        let mut from = last.clone();
        from.push(0);
        for (key, _) in inner.engine.scan(&from, &behind, usize::from(u16::MAX), usize::MAX)? {
            batch.push((key, None));
        }
        let deleted = batch.len();
        if counted && let Some(mut manifest) = state.manifest.clone() {
            let first_pieces = batch.iter().filter(|(key, _)| key.ends_with(&[0, 0])).count();
            manifest.row_count = manifest.row_count.saturating_sub(first_pieces as u64);
            manifest.batch += 1;
            batch.push((keyspace::manifest(inner.replica), Some(manifest.encode(inner.replica))));
            inner.engine.write(batch)?;
            inner.engine.flush()?;
            state.manifest = Some(manifest);
        } else {
            inner.engine.write(batch)?;
        }
        Ok(deleted)
    }

    /// Forgets the replica: its manifest at once, its rows in slices of the caller's [`ReplicaCheckpoint::collect_garbage`].
    ///
    /// # Errors
    /// What the engine says.
    pub fn destroy(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        inner.engine.write(vec![(keyspace::manifest(inner.replica), None)])?;
        inner.engine.flush()?;
        state.manifest = None;
        state.garbage.clear();
        let all = (keyspace::generation_start(inner.replica, 0), keyspace::replica_end(inner.replica), false);
        state.garbage.push_back(all);
        Ok(())
    }
}

impl Inner {
    /// Adds the change of one row to a batch, and counts it.
    pub(super) fn change(
        &self,
        manifest: &mut Manifest,
        key: &[u8],
        value: Option<&Bytes>,
        batch: &mut Vec<(Vec<u8>, Option<Bytes>)>,
    ) -> Result<(), Error> {
        let place = |piece: u16| keyspace::row(self.replica, manifest.generation, key, piece);
        let first = place(0);
        let before = self.engine.get(&first)?.map(|stored| frame::decode(&first, &stored)).transpose()?;
        let pieces_before = before.as_ref().map_or(0, |(pieces, _)| *pieces);
        let pieces = match value {
            None => 0,
            Some(value) => frame::pieces(value.len()).ok_or_else(|| Error::TooLarge {
                bytes: value.len() as u64,
                bytes_max: PIECE_BYTES_MAX as u64 * u64::from(u16::MAX),
            })?,
        };
        if let Some(value) = value {
            for piece in 0..pieces {
                let from = usize::from(piece) * PIECE_BYTES_MAX;
                let payload = &value[from..value.len().min(from + PIECE_BYTES_MAX)];
                let stored = place(piece);
                let framed = frame::encode(&stored, pieces, payload);
                batch.push((stored, Some(framed)));
            }
        }
        for piece in pieces..pieces_before {
            batch.push((place(piece), None));
        }
        match (pieces_before, pieces) {
            (0, 1..) => manifest.row_count += 1,
            (1.., 0) => manifest.row_count -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Rows of a generation behind `after`.
    pub(super) fn rows(
        &self,
        generation: u32,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let start = match after {
            Some(key) => keyspace::row_end(self.replica, generation, key),
            None => keyspace::generation_start(self.replica, generation),
        };
        let end = keyspace::generation_end(self.replica, generation);
        let found = self.engine.scan(&start, &end, SCAN_ROWS, bytes_max.clamp(1, SCAN_BYTES))?;
        let mut rows: Vec<(Bytes, Bytes)> = Vec::with_capacity(found.len());
        for (stored, framed) in found {
            let (_, key, piece) =
                keyspace::parse_row(self.replica, &stored).ok_or_else(|| malformed(&stored))?;
            if piece > 0 {
                // Taken with its first piece; without one it is a row that lost its beginning.
                if rows.last().is_none_or(|(last, _)| *last != key) {
                    return Err(malformed(&stored));
                }
                continue;
            }
            let value = self.assemble(generation, &key, &stored, &framed)?;
            rows.push((Bytes::from(key), value));
        }
        Ok(rows)
    }

    /// The whole row whose first piece is `first`.
    fn assemble(&self, generation: u32, key: &[u8], stored: &[u8], first: &Bytes) -> Result<Bytes, Error> {
        let (pieces, payload) = frame::decode(stored, first)?;
        if pieces <= 1 {
            return Ok(payload);
        }
        let mut whole = BytesMut::from(&payload[..]);
        for piece in 1..pieces {
            let place = keyspace::row(self.replica, generation, key, piece);
            let framed = self.engine.get(&place)?.ok_or_else(|| Error::Corrupt {
                what: format!("checkpoint row {}", frame::hex(stored)),
                why: format!("piece {piece} of {pieces} is missing"),
            })?;
            let (same, payload) = frame::decode(&place, &framed)?;
            if same != pieces {
                return Err(malformed(&place));
            }
            whole.extend_from_slice(&payload);
        }
        Ok(whole.freeze())
    }
}

fn malformed(key: &[u8]) -> Error {
    Error::Corrupt {
        what: format!("checkpoint key {}", frame::hex(key)),
        why: "it is not the key of a row".to_owned(),
    }
}

fn next_generation(replica: u64, generation: u32) -> Result<u32, Error> {
    generation.checked_add(1).ok_or_else(|| Error::Engine {
        operation: "begin a generation",
        why: format!("replica {replica} has used all of them"),
    })
}
