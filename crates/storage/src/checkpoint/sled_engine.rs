//! sled 0.34.7 as the engine. The only file that names it.
//!
//! It is used under conditions that were found by measuring (docs/adr/0003): its barriers are replaced and proven at start; blob files,
//! which it never syncs, never come to be; what it leaves half-written is removed before an open; names are synced by us. A
//! panic inside it means that it met bytes it cannot read: that is told as [`Error::Corrupt`].

use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;

use crate::Error;

use super::engine::{Engine, file_error};
use super::sled_barrier;
use super::space::read_through;
use super::stores::{Stores, sync};

/// sled's garbage collection runs only in its periodic flush; without one its file and memory grow.
const FLUSH_EVERY_MS: u64 = 500;
/// Set when a store is created, bytes. Items over a quarter of it would become blobs, and an item is a whole leaf of sled's tree.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// sled splits a leaf beyond 16 items, and merges one below 4 into its neighbour; some room for writers that come between.
const LEAF_ITEMS_MAX: usize = 16 + 4 + 4;
const _: () = assert!(LEAF_ITEMS_MAX * super::frame::PIECE_BYTES_MAX < SEGMENT_BYTES / 4);
/// A store that was just closed may still hold its lock: this many more tries ...
const OPEN_TRIES: u32 = 50;
/// ... this far apart.
const OPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// The files that the start-up check renames.
const RENAMED: [&str; 2] = ["rename.probe", "rename.probed"];
/// The file that shows whether there is space, and its size: a segment, and some more. Bytes.
const SPACE_PROBE: &str = "space.probe";
const SPACE_PROBE_BYTES: usize = SEGMENT_BYTES + 1024 * 1024;
/// This many writes that are refused in a row although there is space mean that sled will not recover.
const REFUSED_MAX: u32 = 3;
/// The key that the start-up check writes; outside the key space of rows and manifests.
const PROBE: &[u8] = b"\0probe";

/// What may differ between stores.
#[derive(Clone, Copy, Debug)]
pub struct SledOptions {
    /// sled's page cache, bytes.
    pub cache_bytes: u64,
    /// A store is not rewritten before it takes this much, bytes.
    pub rewrite_bytes_min: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, rewrite_bytes_min: 256 * 1024 * 1024 }
    }
}

struct SledEngine {
    /// Taken out only when the engine is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
    /// sled's file once more. The kernel tells each descriptor of a failed write once, and sled only logs those that its background
    /// flusher is told of: this one is told too.
    file: File,
    /// Syncs that had failed in this process when the store was opened.
    failures: u64,
    /// Writes in a row that sled refused for want of space although there was some.
    refused: AtomicU32,
    /// A call has panicked: what sled's threads do now is unknown, and waiting for them may never end.
    has_panicked: AtomicBool,
}

/// Opens or creates a store in `dir`, and reads it through once.
///
/// # Errors
/// [`Error::Corrupt`] when sled cannot read it or blobs are there; [`Error::Engine`] when the barrier is not in force.
pub fn open_sled(dir: &Path) -> Result<Arc<dyn Engine>, Error> {
    open_sled_with(dir, SledOptions::default())
}

/// As [`open_sled`], with other options than the usual ones.
///
/// # Errors
/// As [`open_sled`].
pub fn open_sled_with(dir: &Path, options: SledOptions) -> Result<Arc<dyn Engine>, Error> {
    let open = Box::new(move |dir: &Path| open_store(dir, options.cache_bytes));
    Ok(Arc::new(Stores::open(dir, options.rewrite_bytes_min, open)?))
}

fn open_store(dir: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, Error> {
    let path = dir.join("db");
    let is_new = !path.exists();
    prepare(dir)?;
    check_rename(dir)?;
    let db = Some(open(dir, cache_bytes)?);
    let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
    let failures = sled_barrier::failures();
    let engine = SledEngine {
        db,
        dir: dir.to_owned(),
        file,
        failures,
        refused: AtomicU32::new(0),
        has_panicked: AtomicBool::new(false),
    };
    let before = sled_barrier::calls();
    // Each start writes another value: sled does not write one that is there already.
    let starts = engine.get(PROBE)?.and_then(|value| value[..].try_into().ok()).map_or(0, u64::from_be_bytes);
    engine.guard("check the barrier", |db| db.insert(PROBE, &starts.wrapping_add(1).to_be_bytes()))?;
    engine.flush()?;
    if sled_barrier::calls() == before {
        return Err(not_linked("sync_file_range"));
    }
    if is_new {
        let parent = dir.parent().unwrap_or(Path::new("."));
        for path in [&dir.join("conf"), &path, &dir.join("blobs"), dir, parent] {
            sync(path)?;
        }
    } else {
        read_through(&engine)?;
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

fn not_linked(symbol: &str) -> Error {
    Error::Engine {
        operation: "check the barrier",
        why: format!(
            "this build links another {symbol} than this program's: what sled writes would not be durable"
        ),
    }
}

/// Proves that what the standard library, and so sled, calls to rename a file is ours.
fn check_rename(dir: &Path) -> Result<(), Error> {
    let [from, to] = RENAMED.map(|name| dir.join(name));
    let before = sled_barrier::renames();
    File::create(&from).map_err(|error| Error::io("create", &from, error))?;
    fs::rename(&from, &to).map_err(|error| Error::io("rename", &from, error))?;
    fs::remove_file(&to).map_err(|error| Error::io("remove", &to, error))?;
    if sled_barrier::renames() == before { Err(not_linked("rename")) } else { Ok(()) }
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

fn open(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Error> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .cache_capacity(cache_bytes)
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
        sled::Error::Io(error) => file_error(operation, dir, error),
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
        let db = self.db.as_ref().expect("it is taken out only when the engine is dropped");
        match catch_unwind(AssertUnwindSafe(|| call(db))) {
            Ok(result) => result.map_err(|error| translate(operation, &self.dir, error)),
            Err(panic) => {
                self.has_panicked.store(true, Ordering::Release);
                Err(panicked(operation, &self.dir, panic.as_ref()))
            }
        }
    }
}

impl SledEngine {
    /// Once the disk was full sled answers so for ever, also when there is space again. Waiting longer would keep the log from being
    /// purged: the process must start anew, which loses nothing.
    fn judge_full(&self, written: Result<(), Error>) -> Result<(), Error> {
        if !matches!(written, Err(Error::DiskFull { .. })) {
            self.refused.store(0, Ordering::Relaxed);
            return written;
        }
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        if !has_space(parent) {
            self.refused.store(0, Ordering::Relaxed);
            return written;
        }
        if self.refused.fetch_add(1, Ordering::Relaxed) + 1 < REFUSED_MAX {
            return written;
        }
        let dir = self.dir.display();
        Err(Error::SyncFailed {
            why: format!("{dir}: there is space again, but sled stays full until the node is started anew"),
        })
    }
}

/// Whether a little more can be written, found by doing so.
fn has_space(dir: &Path) -> bool {
    let path = dir.join(SPACE_PROBE);
    let written = fs::write(&path, vec![1; SPACE_PROBE_BYTES]).and_then(|()| File::open(&path)?.sync_all());
    let removed = fs::remove_file(&path);
    written.is_ok() && removed.is_ok()
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.has_panicked.load(Ordering::Acquire) {
            // Closing waits for a thread that may have died; the process is about to stop, or the store was set aside.
            std::mem::forget(db);
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
        let written = self.guard("write", |db| db.apply_batch(changes));
        self.judge_full(written)
    }

    fn flush(&self) -> Result<(), Error> {
        let failed = |why: String| Error::SyncFailed { why };
        self.guard("flush", |db| db.flush()).map_err(|error| failed(error.to_string()))?;
        // sled's flusher works beside us; what failed there is lost as well.
        self.file.sync_data().map_err(|error| failed(format!("{}: {error}", self.dir.display())))?;
        if sled_barrier::failures() != self.failures {
            return Err(failed(format!("{}: an earlier sync", self.dir.display())));
        }
        refuse_blobs(&self.dir)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(dir: &Path) -> SledEngine {
        fs::create_dir_all(dir).unwrap();
        let db = Some(open(dir, 1024 * 1024).unwrap());
        let file = File::open(dir.join("db")).unwrap();
        let (refused, has_panicked) = (AtomicU32::new(0), AtomicBool::new(false));
        SledEngine { db, dir: dir.to_owned(), file, failures: 0, refused, has_panicked }
    }

    #[test]
    fn store_that_stays_full_although_there_is_space_ends_the_process() {
        let base = tempfile::tempdir().unwrap();
        let engine = engine(&base.path().join("store"));
        let full = || Err(Error::DiskFull { path: base.path().to_owned() });
        for _ in 1..REFUSED_MAX {
            assert!(
                matches!(engine.judge_full(full()), Err(Error::DiskFull { .. })),
                "it may be about to pass"
            );
        }
        assert!(engine.judge_full(Ok(())).is_ok());
        for _ in 1..REFUSED_MAX {
            assert!(matches!(engine.judge_full(full()), Err(Error::DiskFull { .. })), "it begins anew");
        }
        assert!(engine.judge_full(full()).unwrap_err().is_fatal());
    }

    #[test]
    fn full_disk_is_waited_for() {
        let base = tempfile::tempdir().unwrap();
        let mut engine = engine(&base.path().join("store"));
        // Nothing can be written there, as on a full disk.
        engine.dir = base.path().join("gone/store");
        for _ in 0..2 * REFUSED_MAX {
            let full = Err(Error::DiskFull { path: base.path().to_owned() });
            assert!(matches!(engine.judge_full(full), Err(Error::DiskFull { .. })));
        }
    }
}
