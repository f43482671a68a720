//! The durable checkpoint of one replica, and who may touch it when.
//!
//! A snapshot is read while newer checkpoints are written: the store keeps what those change, within a bound, and ends a snapshot that
//! is overtaken by too much. The log behind a snapshot that is being read is kept, unless the log is over its budget.
//! Invariants: what is taken from the machine becomes durable as one batch, or the process stops; a checkpoint of the old machine is
//! never written after a received snapshot was taken into use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use phalanx_state_machine::machine::{Changes, LoadError, Machine, MachineKind};
use phalanx_storage::checkpoint::{self, Install, ManifestFields, ReplicaCheckpoint};
use phalanx_storage::fail_point::FailPoint;
use phalanx_storage::wal::{Done, Wal};

use crate::blocking;
use crate::context::{Executor, FatalError};
use crate::memory::PayloadMemory;

/// Pause before writing a checkpoint again on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// Rows deleted in one slice of garbage collection: each slice keeps the engine busy for a few milliseconds.
const GARBAGE_ROWS: usize = 5_000;
/// Changed rows kept in memory for a snapshot that is being read, bytes.
const SNAPSHOT_SAVED_BYTES: usize = 64 * 1024 * 1024;

/// See the module.
pub(crate) struct CheckpointStore {
    group: u64,
    kind: MachineKind,
    rows: Arc<ReplicaCheckpoint>,
    wal: Arc<Wal>,
    executor: Arc<dyn Executor>,
    chunk_bytes: usize,
    memory: Arc<PayloadMemory>,
    /// Held while a checkpoint is written or a received snapshot taken into use.
    gate: tokio::sync::Mutex<()>,
    durable: Mutex<Durable>,
    /// Index of the snapshot that is being read.
    reading: Mutex<Option<u64>>,
    on_fatal: Arc<dyn Fn(FatalError) + Send + Sync>,
}

#[derive(Default)]
struct Durable {
    current: Option<ManifestFields>,
    /// The log may be purged up to here.
    previous: Option<ManifestFields>,
}

/// What a checkpoint writes.
pub(crate) struct Cut {
    pub fields: ManifestFields,
    pub changes: Changes,
}

/// What all stores of a node have in common.
pub(crate) struct Shared {
    pub wal: Arc<Wal>,
    pub executor: Arc<dyn Executor>,
    pub chunk_bytes: usize,
    pub memory: Arc<PayloadMemory>,
    pub on_fatal: Arc<dyn Fn(FatalError) + Send + Sync>,
}

impl CheckpointStore {
    /// `current` is what the manifest says, or `None` when it was rejected.
    pub(crate) fn new(
        group: u64,
        kind: MachineKind,
        rows: ReplicaCheckpoint,
        current: Option<ManifestFields>,
        shared: Shared,
    ) -> Arc<Self> {
        Arc::new(Self {
            group,
            kind,
            rows: Arc::new(rows),
            wal: shared.wal,
            executor: shared.executor,
            chunk_bytes: shared.chunk_bytes,
            memory: shared.memory,
            gate: tokio::sync::Mutex::new(()),
            durable: Mutex::new(Durable { current, previous: None }),
            reading: Mutex::new(None),
            on_fatal: shared.on_fatal,
        })
    }

    /// The newest durable checkpoint.
    pub(crate) fn durable(&self) -> Option<ManifestFields> {
        self.durable.lock().current.clone()
    }

    /// The one before it: the log may be purged up to its index.
    pub(crate) fn previous(&self) -> Option<ManifestFields> {
        self.durable.lock().previous.clone()
    }

    /// Index of the snapshot that is being read: whoever reads it will need the log behind it.
    pub(crate) fn reading(&self) -> Option<u64> {
        *self.reading.lock()
    }

    async fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&ReplicaCheckpoint) -> Result<T, phalanx_storage::Error> + Send + 'static,
    ) -> Result<T, phalanx_storage::Error> {
        let rows = Arc::clone(&self.rows);
        let outcome = blocking::run(&self.executor, move || job(&rows)).await;
        outcome.unwrap_or_else(|failed| {
            Err(phalanx_storage::Error::Engine { operation: "checkpoint", why: failed.to_string() })
        })
    }

    /// Builds a machine of the durable checkpoint.
    pub(crate) async fn load(&self) -> Result<Result<Machine, LoadError>, phalanx_storage::Error> {
        let (kind, chunk_bytes, room) = (self.kind, self.chunk_bytes, self.memory.room(self.group));
        self.job(move |rows| load_rows(kind, room, |after| rows.rows(after, chunk_bytes))).await
    }

    /// Writes a checkpoint of what `take` hands out, and says `done` before anything else is taken. A failure that loses it stops the
    /// process. The caller must stay to the end.
    pub(crate) async fn cut(
        &self,
        take: impl FnOnce(Option<&ManifestFields>) -> Option<Cut> + Send,
        done: impl FnOnce() + Send,
    ) -> Result<Option<ManifestFields>, phalanx_storage::Error> {
        let _gate = self.gate.lock().await;
        let durable = self.durable();
        let Some(Cut { fields, changes }) = take(durable.as_ref()) else { return Ok(None) };
        let rows: Vec<(Bytes, Option<Bytes>)> =
            changes.rows.into_iter().map(|change| (change.key, change.value)).collect();
        let garbage = changes.garbage;
        loop {
            let (fields, rows, garbage) = (fields.clone(), rows.clone(), garbage.clone());
            match self.job(move |store| store.commit(fields, rows, garbage)).await {
                Ok(manifest) => {
                    self.keep(manifest.fields.clone(), manifest.batch);
                    done();
                    return Ok(Some(manifest.fields));
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(group_id = self.group, %error, "checkpoint waits");
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err(error) => {
                    // The machine has forgotten that these rows were dirty.
                    self.fatal("checkpoint", &error);
                    return Err(error);
                }
            }
        }
    }

    fn keep(&self, fields: ManifestFields, batch: u64) {
        let mut durable = self.durable.lock();
        durable.previous = durable.current.replace(fields);
        drop(durable);
        let (group, on_fatal) = (self.group, Arc::clone(&self.on_fatal));
        let done: Done = Box::new(move |result| {
            if let Err(error) = result {
                on_fatal(FatalError {
                    group: Some(group),
                    why: format!("note a checkpoint in the log: {error}"),
                });
            }
        });
        self.wal.note_checkpoint(self.group, batch, done);
    }

    /// A boundary of a persist is reached.
    pub(crate) fn reached(&self, point: FailPoint) -> Result<(), phalanx_storage::Error> {
        self.wal.reached(point)
    }

    /// Stops the process.
    pub(crate) fn fatal(&self, what: &str, error: &phalanx_storage::Error) {
        (self.on_fatal)(FatalError { group: Some(self.group), why: format!("{what}: {error}") });
    }

    /// The row under a machine key.
    pub(crate) async fn get(&self, key: Bytes) -> Result<Option<Bytes>, phalanx_storage::Error> {
        self.job(move |rows| rows.get(&key)).await
    }

    /// Deletes a slice of what means nothing any more; the rows deleted.
    pub(crate) async fn collect_garbage(&self) -> Result<usize, phalanx_storage::Error> {
        self.job(|rows| rows.collect_garbage(GARBAGE_ROWS)).await
    }

    /// Reads the durable checkpoint, all of it as of now. One at a time.
    pub(crate) async fn stream(self: &Arc<Self>) -> Result<RowStream, phalanx_storage::Error> {
        let rows = self.job(|rows| rows.stream(SNAPSHOT_SAVED_BYTES)).await?;
        let fields = rows.manifest().fields.clone();
        *self.reading.lock() = Some(fields.index);
        Ok(RowStream { store: Arc::clone(self), rows: Some(rows), fields })
    }

    pub(crate) async fn begin_install(&self) -> Result<Install, phalanx_storage::Error> {
        self.job(ReplicaCheckpoint::begin_install).await
    }

    pub(crate) async fn put_rows(
        &self,
        mut install: Install,
        rows: Vec<(Bytes, Bytes)>,
    ) -> Result<Install, phalanx_storage::Error> {
        self.job(move |_| install.put(rows).map(|()| install)).await
    }

    /// Builds the machine of a generation that is not in use yet.
    pub(crate) async fn load_install(
        &self,
        install: Install,
    ) -> Result<(Install, Result<Machine, LoadError>), phalanx_storage::Error> {
        let (kind, chunk_bytes, room) = (self.kind, self.chunk_bytes, self.memory.room(self.group));
        self.job(move |_| {
            let machine = load_rows(kind, room, |after| install.rows(after, chunk_bytes))?;
            Ok((install, machine))
        })
        .await
    }

    /// Takes a received generation into use, and with it the machine: `swap` runs before any other checkpoint can.
    pub(crate) async fn finish_install(
        &self,
        install: Install,
        fields: ManifestFields,
        row_count: u64,
        swap: impl FnOnce(),
    ) -> Result<(), phalanx_storage::Error> {
        let _gate = self.gate.lock().await;
        match self.job(move |_| install.finish(fields, row_count)).await {
            Ok(manifest) => {
                swap();
                self.keep(manifest.fields, manifest.batch);
                Ok(())
            }
            Err(error) => {
                self.fatal("take a snapshot into use", &error);
                Err(error)
            }
        }
    }
}

/// Builds a machine from rows read in chunks, with at most `resident_bytes_max` of payloads in memory.
fn load_rows(
    kind: MachineKind,
    resident_bytes_max: u64,
    mut read: impl FnMut(Option<&[u8]>) -> Result<Vec<(Bytes, Bytes)>, phalanx_storage::Error>,
) -> Result<Result<Machine, LoadError>, phalanx_storage::Error> {
    let first = read(None)?;
    let Some((last, _)) = first.last() else {
        // A checkpoint from before the first batch. That no row was lost is for the count and the digest to say.
        return Ok(Ok(Machine::new(kind)));
    };
    let mut failure = None;
    let mut after = Some(last.clone());
    let mut chunk = first.into_iter();
    let machine = Machine::load_within(
        kind,
        std::iter::from_fn(|| {
            if let Some(row) = chunk.next() {
                return Some(row);
            }
            match read(after.as_deref()) {
                Ok(rows) => {
                    after = rows.last().map(|(key, _): &(Bytes, Bytes)| key.clone());
                    chunk = rows.into_iter();
                    chunk.next()
                }
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        }),
        resident_bytes_max,
    );
    match failure {
        Some(error) => Err(error),
        None => Ok(machine),
    }
}

/// A durable checkpoint being read.
pub(crate) struct RowStream {
    store: Arc<CheckpointStore>,
    /// Gone when a read failed.
    rows: Option<checkpoint::RowStream>,
    fields: ManifestFields,
}

impl RowStream {
    pub(crate) fn fields(&self) -> &ManifestFields {
        &self.fields
    }

    /// The next rows, in key order; empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<(Bytes, Bytes)>, phalanx_storage::Error> {
        let ended = || phalanx_storage::Error::Engine {
            operation: "read a snapshot",
            why: "an earlier read of it failed".to_owned(),
        };
        let mut rows = self.rows.take().ok_or_else(ended)?;
        let chunk_bytes = self.store.chunk_bytes;
        let (rows, next) = self.store.job(move |_| rows.next(chunk_bytes).map(|next| (rows, next))).await?;
        self.rows = Some(rows);
        Ok(next)
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        *self.store.reading.lock() = None;
    }
}
