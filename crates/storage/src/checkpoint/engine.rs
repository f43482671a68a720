//! What a checkpoint needs of a key-value store.

use std::io::{self, ErrorKind};
use std::path::Path;

use bytes::Bytes;

use crate::Error;
use crate::fail_point::FailPoint;

/// An ordered key-value store. Safe to share; blocking.
pub trait Engine: Send + Sync + 'static {
    /// Applies the batch atomically: `None` deletes. Durable only after [`Engine::flush`].
    ///
    /// # Errors
    /// [`Error::DiskFull`] when nothing was applied for want of space; [`Error::Engine`].
    fn write(&self, batch: Vec<(Vec<u8>, Option<Bytes>)>) -> Result<(), Error>;

    /// Makes all batches durable.
    ///
    /// # Errors
    /// [`Error::SyncFailed`]: the process must stop.
    fn flush(&self) -> Result<(), Error>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the store cannot be read, [`Error::Engine`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Pairs with keys in `start..end`, in order: at most `rows_max` (at least 1), and no further one once `bytes_max` of values are
    /// reached.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error>;

    /// Disk space in use, bytes.
    fn disk_bytes(&self) -> u64;

    /// The next part of the engine's work against growth beyond the `live_bytes` that are in use, if it has any: a few milliseconds
    /// of it. True: there is more to do.
    ///
    /// # Errors
    /// As [`Engine::write`].
    fn rewrite_step(&self, live_bytes: u64) -> Result<bool, Error> {
        let _ = live_bytes;
        Ok(false)
    }

    /// A boundary of a persist is reached. A simulated store may end the process here, see [`crate::fail_point`].
    ///
    /// # Errors
    /// The process is over.
    fn reached(&self, point: FailPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }
}

/// An engine's answer about its file: bytes that make no sense to it, or a file that ends early, are damage, the rest is the system's.
pub(super) fn file_error(operation: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            Error::Corrupt { what: path.display().to_string(), why: format!("{operation}: {error}") }
        }
        _ => Error::io(operation, path, error),
    }
}
