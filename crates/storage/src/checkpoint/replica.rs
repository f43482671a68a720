//! The checkpoint of one replica: opening with verification, reads, commits.
//!
//! Invariants: the manifest and the rows it counts change in one atomic batch; a commit has returned only when it is durable; rows of
//! any generation but the manifest's are garbage; a checkpoint that fails a check is not opened, and stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::Error;
use crate::fail_point::{FailPoint, Persist, Step};
use crate::keyspace;

use super::engine::Engine;
use super::garbage::{Garbage, Range, destroyed_mark};
use super::install::Install;
use super::manifest::{Manifest, ManifestFields};
use super::rows::{Inner, SCAN_BYTES};
use super::stream::RowStream;

/// One replica's rows in an engine that it shares with others.
#[derive(Clone)]
pub struct ReplicaCheckpoint {
    inner: Arc<Inner>,
}

impl ReplicaCheckpoint {
    /// Opens and verifies the checkpoint of `replica`: every row's checksum, their number and digest, and that the manifest is not older
    /// than `batch_at_least`, the number the log remembers. A replica without a manifest and with `batch_at_least` 0 has none yet.
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
        let checkpoint = Self::unverified(engine, replica, manifest, 0)?;
        checkpoint.verify()?;
        Ok(checkpoint)
    }

    /// Opens a replica whose checkpoint was rejected, to receive a new one by [`ReplicaCheckpoint::begin_install`]. No row of the old one
    /// is used; batch numbers go on above `batch_at_least`.
    ///
    /// # Errors
    /// What the engine says. [`Error::Corrupt`]: the engine itself cannot read this part of its store, see [`super::set_aside`].
    pub fn open_rejected(engine: Arc<dyn Engine>, replica: u64, batch_at_least: u64) -> Result<Self, Error> {
        let checkpoint = Self::unverified(engine, replica, None, batch_at_least)?;
        checkpoint.inner.garbage.lock().hold();
        Ok(checkpoint)
    }

    fn unverified(
        engine: Arc<dyn Engine>,
        replica: u64,
        manifest: Option<Manifest>,
        batch_floor: u64,
    ) -> Result<Self, Error> {
        let current = manifest.as_ref().map(|manifest| manifest.generation);
        let garbage = Garbage::find(&*engine, replica, current)?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                replica,
                writer: Mutex::new(()),
                batch_floor,
                pin: Mutex::new(None),
                manifest: RwLock::new(manifest),
                garbage: Mutex::new(garbage),
            }),
        })
    }

    fn verify(&self) -> Result<(), Error> {
        let Some(manifest) = self.manifest() else { return Ok(()) };
        let (mut found, mut after) = (Manifest::default(), None::<Bytes>);
        loop {
            let step = self.inner.rows(manifest.generation, after.as_deref(), SCAN_BYTES)?;
            let Some((last, _)) = step.rows.last() else { break };
            after = Some(last.clone());
            found.row_count += step.tally.row_count;
            found.row_bytes = found.row_bytes.wrapping_add(step.tally.row_bytes);
            found.row_digest = found.row_digest.wrapping_add(step.tally.row_digest);
        }
        let corrupt =
            |why| Err(Error::Corrupt { what: format!("checkpoint of replica {}", self.inner.replica), why });
        if found.row_count != manifest.row_count {
            return corrupt(format!(
                "it holds {} rows, its manifest counts {}",
                found.row_count, manifest.row_count
            ));
        }
        if (found.row_bytes, found.row_digest) != (manifest.row_bytes, manifest.row_digest) {
            return corrupt("its rows are not those of its manifest: their digest differs".to_owned());
        }
        Ok(())
    }

    /// The newest durable checkpoint; `None` before the first.
    #[must_use]
    pub fn manifest(&self) -> Option<Manifest> {
        self.inner.manifest.read().clone()
    }

    fn generation(&self) -> Option<u32> {
        self.inner.manifest.read().as_ref().map(|manifest| manifest.generation)
    }

    /// Rows with keys behind `after`, in order, until `bytes_max` are reached; at least one unless there is none. All of one moment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a row fails its check.
    pub fn rows(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let _no_writes = self.inner.pin.lock();
        let Some(generation) = self.generation() else { return Ok(Vec::new()) };
        Ok(self.inner.rows(generation, after, bytes_max)?.rows)
    }

    /// The row under a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it fails its check.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let Some(generation) = self.generation() else { return Ok(None) };
        // One piece is of one moment whatever is written beside. For all other answers nothing may be written between two looks.
        if let Ok(Some(row)) = self.inner.short_row(generation, key) {
            return Ok(Some(row));
        }
        let _no_writes = self.inner.pin.lock();
        let Some(generation) = self.generation() else { return Ok(None) };
        self.inner.row(generation, key)
    }

    /// Writes the changed rows and the manifest as one atomic batch, durable on return. Of two changes of one row the later counts.
    /// `garbage` are key ranges `start..end` whose rows mean nothing any more, but for those that this commit or a later one writes; they
    /// are deleted later, in slices, and must be reported again after a restart.
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
        let _writer = inner.writer.lock();
        let reached = |step| inner.engine.reached(FailPoint::new(Persist::Checkpoint, step));
        let mut manifest = inner.next_manifest()?;
        manifest.fields = fields;
        let rows: BTreeMap<Bytes, Option<Bytes>> = rows.into_iter().collect();
        let mut batch = Vec::with_capacity(rows.len() + 1);
        // A stream begins only between commits, so none can come while this one runs.
        let is_pinned = inner.pin.lock().is_some();
        let mut befores = Vec::new();
        for (key, value) in &rows {
            let before = inner.change(&mut manifest, key, value.as_ref(), &mut batch)?;
            if is_pinned {
                befores.push((key, before));
            }
        }
        batch.push((keyspace::manifest(inner.replica), Some(manifest.encode(inner.replica))));
        reached(Step::Before)?;
        {
            let mut pin = inner.pin.lock();
            if let Some(pin) = pin.as_mut() {
                befores.into_iter().for_each(|(key, before)| pin.save(key, before));
            }
            inner.engine.write(batch)?;
        }
        reached(Step::Written)?;
        inner.engine.flush()?;
        reached(Step::Durable)?;
        *inner.manifest.write() = Some(manifest.clone());
        self.note_garbage(manifest.generation, &rows, &garbage);
        Ok(manifest)
    }

    fn note_garbage(
        &self,
        generation: u32,
        rows: &BTreeMap<Bytes, Option<Bytes>>,
        ranges: &[(Bytes, Bytes)],
    ) {
        let replica = self.inner.replica;
        let place = |key: &[u8]| keyspace::row_start(replica, generation, key);
        let mut garbage = self.inner.garbage.lock();
        garbage.let_go();
        for (start, end) in ranges {
            garbage.add_counted(Range { start: place(start), end: place(end) });
        }
        if garbage.has_counted() {
            for (key, _) in rows.iter().filter(|(_, value)| value.is_some()) {
                garbage.keep(&place(key), &keyspace::row_end(replica, generation, key));
            }
        }
    }

    /// Begins to read all rows of the newest checkpoint, as they are now, while commits go on. What those change is kept in memory for
    /// it, up to `saved_bytes_max`.
    ///
    /// # Errors
    /// [`Error::StreamBusy`] while another one of this replica lives; [`Error::StreamEnded`] before the first checkpoint.
    pub fn stream(&self, saved_bytes_max: usize) -> Result<RowStream, Error> {
        let _writer = self.inner.writer.lock();
        RowStream::begin(&self.inner, saved_bytes_max)
    }

    /// Starts to receive a checkpoint from elsewhere, into a generation of its own.
    ///
    /// # Errors
    /// When there is no further generation.
    pub fn begin_install(&self) -> Result<Install, Error> {
        let generation = self.inner.garbage.lock().take_generation(self.inner.replica)?;
        Ok(Install::new(Arc::clone(&self.inner), generation))
    }

    /// Deletes about `rows_max` stored rows that mean nothing any more; how many. 0: none are left, or those that are wait for a stream.
    ///
    /// # Errors
    /// What the engine says.
    pub fn collect_garbage(&self, rows_max: usize) -> Result<usize, Error> {
        let inner = &self.inner;
        let _writer = inner.writer.lock();
        let deleted = inner.collect_foreign(rows_max)?;
        // A stream counts the rows of its manifest, garbage or not.
        if deleted > 0 || inner.pin.lock().is_some() {
            return Ok(deleted);
        }
        inner.collect_counted(rows_max)
    }

    /// Forgets the replica: its manifest at once and durably, its rows in slices, by [`ReplicaCheckpoint::collect_garbage`] or, also
    /// after a restart, by [`super::collect_destroyed`].
    ///
    /// # Errors
    /// What the engine says.
    pub fn destroy(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let _writer = inner.writer.lock();
        let below = inner.garbage.lock().next_generation;
        let mark = destroyed_mark(inner.replica, below);
        inner.engine.write(vec![(keyspace::manifest(inner.replica), None), mark])?;
        inner.engine.flush()?;
        if let Some(pin) = inner.pin.lock().as_mut() {
            pin.end("the replica was destroyed".to_owned());
        }
        *inner.manifest.write() = None;
        inner.garbage.lock().add_all(inner.replica);
        Ok(())
    }
}
