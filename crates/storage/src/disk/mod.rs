//! The disk as the log sees it: the few operations it needs, so that a simulation can take their place.
//!
//! Contract, which both implementations keep and the log relies on:
//! - bytes written are durable only after `sync_data` of their file returned without an error; until then a power
//!   cut keeps any subset of them;
//! - a created, renamed or removed name is durable only after `sync_dir` of its directory;
//! - after a failed sync nothing is known about the bytes it covered, whatever a read says.

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{SIM_BLOCK_BYTES, SimDisk};

use crate::error::Error;
use crate::fail_point::FailPoint;
use std::any::Any;
use std::path::Path;
use std::sync::Arc;

/// A place for files. All paths are used as given; the log stays inside the directory it was opened on.
pub trait Disk: Send + Sync + 'static {
    /// Creates the directory and its parents, and makes their names durable.
    fn create_dir_all(&self, dir: &Path) -> Result<(), Error>;
    /// The names (not paths) of the files in the directory, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<String>, Error>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error>;
    /// Creates the file, empty; an existing one is emptied.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error>;
    /// Removes the name.
    fn remove(&self, path: &Path) -> Result<(), Error>;
    /// Renames, replacing an existing target.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), Error>;
    /// Takes an exclusive lock on the file (created if needed), held until the guard is dropped or the process ends.
    /// [`Error::Locked`] if someone else has it.
    fn lock(&self, path: &Path) -> Result<DiskLock, Error>;
    /// A boundary of a persist is reached. A simulated disk may end the process here, see [`crate::fail_point`].
    fn reached(&self, point: FailPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }
}

/// An open file. Safe to share; reads and writes name their offset.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error>;
    /// Writes all of `bytes` at `offset`, growing the file as needed. On an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error>;
    /// Makes all that was written to this file before, and its length, durable. An error is [`Error::SyncFailed`].
    fn sync_data(&self) -> Result<(), Error>;
    /// Length, bytes.
    fn len(&self) -> Result<u64, Error>;
    /// True if the file holds nothing.
    fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, bytes: u64) -> Result<(), Error>;
}

/// Holds a lock taken by [`Disk::lock`] until it is dropped.
pub struct DiskLock {
    _held: Box<dyn Any + Send + Sync>,
}

impl DiskLock {
    /// Wraps whatever releases the lock when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl std::fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskLock")
    }
}
