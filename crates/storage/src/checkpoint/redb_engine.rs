//! redb as the engine: copy-on-write pages with checksums, one file.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, StorageError, TableDefinition,
    WriteTransaction,
};

use crate::Error;

use super::engine::{Engine, file_error};
use super::space::read_through;
use super::stores::{Stores, sync};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// redb's page cache, bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// A store is not rewritten before it takes this much, bytes. redb reuses its free pages, so that it hardly ever is.
const REWRITE_BYTES_MIN: u64 = 256 * 1024 * 1024;

struct RedbEngine {
    db: Database,
    path: PathBuf,
}

/// Opens or creates a store in `dir`, and reads it through once.
///
/// # Errors
/// [`Error::Corrupt`] when redb cannot read it; [`Error::Locked`] when another process has it.
pub fn open_redb(dir: &Path) -> Result<Arc<dyn Engine>, Error> {
    Ok(Arc::new(Stores::open(dir, REWRITE_BYTES_MIN, Box::new(open_store))?))
}

fn open_store(dir: &Path) -> Result<Arc<dyn Engine>, Error> {
    let path = dir.join("rows.redb");
    let opened =
        catch_unwind(AssertUnwindSafe(|| Database::builder().set_cache_size(CACHE_BYTES).create(&path)));
    let db = match opened {
        Ok(Ok(db)) => db,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(Error::Locked { path }),
        Ok(Err(DatabaseError::Storage(error))) => return Err(translate("open", &path, error)),
        Ok(Err(error)) => {
            return Err(Error::Corrupt { what: path.display().to_string(), why: error.to_string() });
        }
        Err(_) => return Err(panicked("open", &path)),
    };
    let engine = RedbEngine { db, path };
    // Makes the table, and the file's first durable state.
    engine.transact("create", Durability::Immediate, |_| Ok(()))?;
    sync(dir)?;
    read_through(&engine)?;
    Ok(Arc::new(engine))
}

fn translate(operation: &'static str, path: &Path, error: StorageError) -> Error {
    match error {
        StorageError::Io(error) => file_error(operation, path, error),
        StorageError::Corrupted(why) => Error::Corrupt { what: path.display().to_string(), why },
        other => Error::Engine { operation, why: other.to_string() },
    }
}

fn panicked(operation: &'static str, path: &Path) -> Error {
    Error::Corrupt { what: path.display().to_string(), why: format!("redb panicked in {operation}") }
}

impl RedbEngine {
    fn guard<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(redb::Error::Io(error))) => Err(file_error(operation, &self.path, error)),
            Ok(Err(redb::Error::Corrupted(why))) => {
                Err(Error::Corrupt { what: self.path.display().to_string(), why })
            }
            Ok(Err(other)) => Err(Error::Engine { operation, why: other.to_string() }),
            Err(_) => Err(panicked(operation, &self.path)),
        }
    }

    fn transact(
        &self,
        operation: &'static str,
        durability: Durability,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        self.guard(operation, || {
            let mut transaction: WriteTransaction = self.db.begin_write()?;
            transaction.set_durability(durability)?;
            {
                let mut table = transaction.open_table(ROWS)?;
                change(&mut table)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

impl Engine for RedbEngine {
    fn write(&self, batch: Vec<(Vec<u8>, Option<Bytes>)>) -> Result<(), Error> {
        self.transact("write", Durability::None, |table| {
            for (key, value) in &batch {
                match value {
                    Some(value) => drop(table.insert(&key[..], &value[..])?),
                    None => drop(table.remove(&key[..])?),
                }
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), Error> {
        let flushed = self.transact("flush", Durability::Immediate, |_| Ok(()));
        flushed.map_err(|error| Error::SyncFailed { why: error.to_string() })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.guard("get", || {
            let table = self.db.begin_read()?.open_table(ROWS)?;
            Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
        })
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
        self.guard("scan", || {
            let table = self.db.begin_read()?.open_table(ROWS)?;
            let mut rows = Vec::new();
            let mut bytes = 0;
            for pair in table.range(start..end)? {
                let (key, value) = pair?;
                bytes += value.value().len();
                rows.push((key.value().to_vec(), Bytes::copy_from_slice(value.value())));
                if rows.len() >= rows_max || bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })
    }

    fn disk_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }
}
