//! An engine whose file grows beyond its live rows is rewritten into a fresh one, in steps, while it is used.
//!
//! ```text
//! <dir>/store-00000001/...            the engine's own files
//! <dir>/store-00000001/complete       this store holds everything; the highest one that has it is the one in use
//! ```
//! While rows are copied, every change goes to the store in use, and, if it is of a key that was copied, to the new one as well. When all
//! rows are copied the new store is made durable, `complete` appears in it, and only then the old one is removed. A cut at any
//! point leaves the old store or the new one, each with everything that was flushed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::Error;
use crate::keyspace;

use super::engine::Engine;
use super::rows::Batch;
use super::space::set_aside;

const STORE_PREFIX: &str = "store-";
const COMPLETE: &str = "complete";
/// A store is rewritten when its disk space is over this many times its live rows: 6 to 9 times is what sled needs.
const SPACE_FACTOR_MAX: u64 = 9;
/// Rows copied in one step.
const STEP_ROWS: usize = 5_000;
/// Bytes copied in one step.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// Opens or creates one store in a directory that exists, with everything in it durable on return.
pub(super) type OpenStore = Box<dyn Fn(&Path) -> Result<Arc<dyn Engine>, Error> + Send + Sync>;

/// The store in use, and the one it is rewritten into.
pub(super) struct Stores {
    dir: PathBuf,
    open: OpenStore,
    rewrite_bytes_min: u64,
    current: RwLock<Arc<dyn Engine>>,
    writes: Mutex<Writes>,
}

struct Writes {
    /// Of the store in use.
    number: u64,
    /// Disk space below which a rewrite is not tried again: the last one could not do better.
    worth_bytes: u64,
    rewrite: Option<Rewrite>,
}

struct Rewrite {
    store: Arc<dyn Engine>,
    number: u64,
    /// All rows with keys below are in it.
    copied: Vec<u8>,
}

fn store_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{STORE_PREFIX}{number:08}"))
}

pub(super) fn sync(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::SyncFailed { why: format!("{}: {error}", path.display()) })
}

/// Numbers of the stores in `dir`, ascending, and whether each is complete.
fn list(dir: &Path) -> Result<Vec<(u64, bool)>, Error> {
    let failed = |error| Error::io("list", dir, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(STORE_PREFIX)?.parse().ok());
        if let Some(number) = number {
            // An error is no answer: a store that only cannot be looked at must not pass for a half-written one.
            let mark = entry.path().join(COMPLETE);
            let is_complete = mark.try_exists().map_err(|error| Error::io("look for", &mark, error))?;
            found.push((number, is_complete));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn remove(dir: &Path, number: u64) -> Result<(), Error> {
    let path = store_dir(dir, number);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path, error)),
        _ => Ok(()),
    }
}

/// Makes a new store, not yet complete.
fn create(dir: &Path, open: &OpenStore, number: u64) -> Result<Arc<dyn Engine>, Error> {
    let path = store_dir(dir, number);
    fs::create_dir(&path).map_err(|error| Error::io("create", &path, error))?;
    let store = open(&path)?;
    sync(dir)?;
    Ok(store)
}

/// From here on this store is the one in use, also after a cut.
fn complete(dir: &Path, number: u64) -> Result<(), Error> {
    let path = store_dir(dir, number);
    let mark = path.join(COMPLETE);
    File::create(&mark).map_err(|error| Error::io("create", &mark, error))?;
    sync(&mark)?;
    sync(&path)
}

impl Stores {
    /// Opens the store in use, or makes the first one, and removes what an interrupted rewrite has left.
    pub(super) fn open(dir: &Path, rewrite_bytes_min: u64, open: OpenStore) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        sync(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        let found = list(dir)?;
        let in_use = found.iter().rev().find(|(_, is_complete)| *is_complete).map(|(number, _)| *number);
        // Beside a complete store one without `complete` was never in use; a lower one was copied whole before the higher one got it.
        for (number, _) in found.iter().filter(|(number, _)| Some(*number) != in_use) {
            if in_use.is_some() {
                remove(dir, *number)?;
                continue;
            }
            // A first start that was cut short, or all that there is after its mark was lost.
            let path = set_aside(&store_dir(dir, *number))?;
            tracing::warn!(path = %path.display(), "a checkpoint store without its mark was set aside");
        }
        let (number, store) = match in_use {
            Some(number) => (number, open(&store_dir(dir, number))?),
            None => {
                let number = 1;
                let store = create(dir, &open, number)?;
                complete(dir, number)?;
                (number, store)
            }
        };
        Ok(Self {
            dir: dir.to_owned(),
            open,
            rewrite_bytes_min,
            current: RwLock::new(store),
            writes: Mutex::new(Writes { number, worth_bytes: 0, rewrite: None }),
        })
    }

    fn current(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.current.read())
    }

    fn begin(&self, writes: &mut Writes) -> Result<(), Error> {
        let number = writes.number + 1;
        remove(&self.dir, number)?;
        let store = create(&self.dir, &self.open, number)?;
        writes.rewrite = Some(Rewrite { store, number, copied: keyspace::ALL.0.to_vec() });
        Ok(())
    }

    fn finish(&self, writes: &mut Writes, rewrite: Rewrite) -> Result<(), Error> {
        rewrite.store.flush()?;
        complete(&self.dir, rewrite.number)?;
        writes.worth_bytes = rewrite.store.disk_bytes().saturating_mul(2);
        let old = std::mem::replace(&mut *self.current.write(), rewrite.store);
        let old_number = std::mem::replace(&mut writes.number, rewrite.number);
        drop(old);
        if let Err(error) = remove(&self.dir, old_number) {
            // The next start removes it.
            tracing::warn!(%error, "an old checkpoint store stays for now");
        }
        Ok(())
    }

    fn give_up(&self, rewrite: Rewrite, error: &Error) {
        tracing::warn!(%error, "a checkpoint store could not be rewritten; the old one stays in use");
        drop(rewrite.store);
        if let Err(error) = remove(&self.dir, rewrite.number) {
            tracing::warn!(%error, "a half-written checkpoint store stays for now");
        }
    }
}

impl Rewrite {
    /// Copies some rows; true when these were the last ones. (Rows may be added at the end between any two steps.)
    fn copy(&mut self, from: &dyn Engine) -> Result<bool, Error> {
        let rows = from.scan(&self.copied, keyspace::ALL.1, STEP_ROWS, STEP_BYTES)?;
        let bytes: usize = rows.iter().map(|(_, value)| value.len()).sum();
        let reached_end = rows.len() < STEP_ROWS && bytes < STEP_BYTES;
        if let Some((last, _)) = rows.last() {
            self.copied = [&last[..], &[0]].concat();
            self.store.write(rows.into_iter().map(|(key, value)| (key, Some(value))).collect())?;
        }
        Ok(reached_end)
    }

    /// The part of a batch that the new store must see too.
    fn part_of(&self, batch: &Batch) -> Batch {
        batch.iter().filter(|(key, _)| *key < self.copied).cloned().collect()
    }
}

impl Engine for Stores {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut writes = self.writes.lock();
        let part = writes.rewrite.as_ref().map(|rewrite| rewrite.part_of(&batch));
        self.current().write(batch)?;
        if let (Some(part), Some(rewrite)) = (part, writes.rewrite.take()) {
            match if part.is_empty() { Ok(()) } else { rewrite.store.write(part) } {
                Ok(()) => writes.rewrite = Some(rewrite),
                Err(error) => self.give_up(rewrite, &error),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        self.current().flush()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.current().get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        self.current().scan(start, end, rows_max, bytes_max)
    }

    fn disk_bytes(&self) -> u64 {
        self.current().disk_bytes()
    }

    fn rewrite_step(&self, live_bytes: u64) -> Result<bool, Error> {
        let mut writes = self.writes.lock();
        let Some(mut rewrite) = writes.rewrite.take() else {
            let disk_bytes = self.disk_bytes();
            let bound = live_bytes.saturating_mul(SPACE_FACTOR_MAX).max(writes.worth_bytes);
            if disk_bytes <= bound.max(self.rewrite_bytes_min) {
                return Ok(false);
            }
            self.begin(&mut writes)?;
            return Ok(true);
        };
        match rewrite.copy(&*self.current()) {
            Ok(false) => {
                writes.rewrite = Some(rewrite);
                Ok(true)
            }
            Ok(true) => self.finish(&mut writes, rewrite).map(|()| false),
            Err(error) => {
                self.give_up(rewrite, &error);
                Err(error)
            }
        }
    }
}
