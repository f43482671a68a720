//! The operating system's file system: positioned reads and writes, `fdatasync`, `fsync` of directories.

use super::{Disk, DiskFile, DiskLock};
use crate::error::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile {
    file: File,
    path: PathBuf,
}

fn sync_failed(operation: &str, path: &Path, source: &std::io::Error) -> Error {
    Error::SyncFailed { why: format!("{operation} {}: {source}", path.display()) }
}

fn sync_directory(dir: &Path) -> Result<(), Error> {
    let handle = File::open(dir).map_err(|e| Error::io("open directory", dir, e))?;
    handle.sync_all().map_err(|e| sync_failed("fsync", dir, &e))
}

impl RealDisk {
    fn open_with(path: &Path, create: bool) -> Result<Arc<dyn DiskFile>, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(create)
            .open(path)
            .map_err(|e| Error::io(if create { "create" } else { "open" }, path, e))?;
        Ok(Arc::new(RealFile { file, path: path.to_path_buf() }))
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> Result<(), Error> {
        // Names of the missing ancestors become durable through a sync of each one's parent.
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists()).collect();
        std::fs::create_dir_all(dir).map_err(|e| Error::io("create directory", dir, e))?;
        for created in missing {
            match created.parent() {
                Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new("."))?,
                Some(parent) => sync_directory(parent)?,
                None => {}
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let wrap = |e| Error::io("list", dir, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            if entry.file_type().map_err(wrap)?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        Self::open_with(path, false)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        Self::open_with(path, true)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        std::fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        std::fs::rename(from, to).map_err(|e| Error::io("rename", from, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        sync_directory(dir)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| Error::io("open lock file", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(DiskLock::new(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_path_buf() }),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path, e)),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::io("write", &self.path, e))
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|e| sync_failed("fdatasync", &self.path, &e))
    }

    fn len(&self) -> Result<u64, Error> {
        self.file.metadata().map(|m| m.len()).map_err(|e| Error::io("stat", &self.path, e))
    }

    fn set_len(&self, bytes: u64) -> Result<(), Error> {
        self.file.set_len(bytes).map_err(|e| Error::io("set the length of", &self.path, e))
    }
}
