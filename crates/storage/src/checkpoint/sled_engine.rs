//! sled 0.34.7 as the engine. The only file that names it.
//!
//! It is used under conditions that were found by measuring (docs/adr/0003): its barrier is replaced and proven at start; blob files,
//! which it never syncs, never come to be; what it leaves half-written is removed before an open; names are synced by us. A
//! panic inside it means that it met bytes it cannot read: that is told as [`Error::Corrupt`].

use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

use super::engine::Engine;
use super::sled_barrier;

/// sled's garbage collection runs only in its periodic flush; without one its file and memory grow.
const FLUSH_EVERY_MS: u64 = 500;
/// Set when a store is created, bytes. Items over a quarter of it would become blobs, and an item is a whole leaf of sled's tree.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// sled splits a leaf beyond 16 items, and merges one below 4 into its neighbour; some room for writers that come between.
const LEAF_ITEMS_MAX: usize = 16 + 4 + 4;
const _: () = assert!(LEAF_ITEMS_MAX * super::frame::PIECE_BYTES_MAX < SEGMENT_BYTES / 4);
/// sled's page cache, bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// A store that was just closed may still hold its lock: this many more tries ...
const OPEN_TRIES: u32 = 50;
/// ... this far apart.
const OPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// The key that the start-up check writes; outside the key space of rows and manifests.
const PROBE: &[u8] = b"\0probe";

struct SledEngine {
    db: sled::Db,
    dir: PathBuf,
}

/// Opens or creates a store in `dir`.
///
/// # Errors
/// [`Error::Corrupt`] when sled cannot read it or blobs are there; [`Error::Engine`] when the barrier is not in force.
pub fn open_sled(dir: &Path) -> Result<Arc<dyn Engine>, Error> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
    let created = !dir.join("db").exists();
    prepare(dir)?;
    let db = open(dir)?;
    let before = sled_barrier::calls();
    let engine = SledEngine { db, dir: dir.to_owned() };
    engine.guard("check the barrier", |db| db.insert(PROBE, &before.to_be_bytes()))?;
    engine.flush()?;
    if sled_barrier::calls() == before {
        return Err(Error::Engine {
            operation: "check the barrier",
            why: "this build links another sync_file_range, so that a flush would not be durable".to_owned(),
        });
    }
    if created {
        for name in ["conf", "db"] {
            sync(&dir.join(name))?;
        }
        for path in [dir.join("blobs"), dir.to_owned(), parent.to_owned()] {
            sync(&path)?;
        }
    }
    Ok(Arc::new(engine))
}

/// What must be true before sled may look at its files.
fn prepare(dir: &Path) -> Result<(), Error> {
    refuse_blobs(dir)?;
    let list = fs::read_dir(dir).map_err(|error| Error::io("list", dir, error))?;
    for entry in list {
        let path = entry.map_err(|error| Error::io("list", dir, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A torn one makes every later open fail; sled makes it again.
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    // What a crashed process wrote and did not sync must be durable before sled builds upon it.
    let file = dir.join("db");
    if file.exists() { sync(&file) } else { Ok(()) }
}

fn refuse_blobs(dir: &Path) -> Result<(), Error> {
    let blobs = dir.join("blobs");
    match fs::read_dir(&blobs).map(|mut list| list.next().is_some()) {
        Ok(true) => Err(Error::Corrupt {
            what: blobs.display().to_string(),
            why: "blob files are there, which sled never syncs; this replica must be refilled from its peers"
                .to_owned(),
        }),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("list", &blobs, error)),
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::SyncFailed { why: format!("{}: {error}", path.display()) })
}

fn open(dir: &Path) -> Result<sled::Db, Error> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .cache_capacity(CACHE_BYTES)
        .use_compression(false);
    let mut tries = 0;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if is_locked(&error) && tries < OPEN_TRIES => {
                tries += 1;
                std::thread::sleep(OPEN_PAUSE);
            }
            Ok(Err(error)) if is_locked(&error) => return Err(Error::Locked { path: dir.join("db") }),
            Ok(Err(error)) => return Err(translate("open", dir, error)),
            Err(panic) => return Err(panicked("open", dir, panic.as_ref())),
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    match error {
        // sled wraps the lock's answer in an error of its own kind, and keeps the text only.
        sled::Error::Io(error) => {
            error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
        }
        _ => false,
    }
}

fn translate(operation: &'static str, dir: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::io(operation, dir, error),
        sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) => {
            Error::Corrupt { what: dir.display().to_string(), why: format!("sled: {error}") }
        }
        other => Error::Engine { operation, why: other.to_string() },
    }
}

fn panicked(operation: &'static str, dir: &Path, panic: &(dyn std::any::Any + Send)) -> Error {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no message");
    Error::Corrupt { what: dir.display().to_string(), why: format!("sled panicked in {operation}: {text}") }
}

impl SledEngine {
    /// Runs a call of sled; a panic of it is an error.
    fn guard<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, Error> {
        match catch_unwind(AssertUnwindSafe(|| call(&self.db))) {
            Ok(result) => result.map_err(|error| translate(operation, &self.dir, error)),
            Err(panic) => Err(panicked(operation, &self.dir, panic.as_ref())),
        }
    }
}

impl Engine for SledEngine {
    fn write(&self, batch: Vec<(Vec<u8>, Option<Bytes>)>) -> Result<(), Error> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(key, &value[..]),
                None => changes.remove(key),
            }
        }
        self.guard("write", |db| db.apply_batch(changes))
    }

    fn flush(&self) -> Result<(), Error> {
        match self.guard("flush", |db| db.flush()) {
            Ok(_) => refuse_blobs(&self.dir),
            Err(error) => Err(Error::SyncFailed { why: error.to_string() }),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.guard("get", |db| db.get(key))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        if start >= end {
            return Ok(Vec::new());
        }
        self.guard("scan", |db| {
            let mut rows = Vec::new();
            let mut bytes = 0;
            for pair in db.range(start..end) {
                let (key, value) = pair?;
                bytes += value.len();
                rows.push((key.to_vec(), Bytes::copy_from_slice(&value)));
                if rows.len() >= rows_max || bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.guard("size", sled::Db::size_on_disk).unwrap_or(0)
    }
}
