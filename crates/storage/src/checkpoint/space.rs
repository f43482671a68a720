//! What a store as a whole needs beside the work of its replicas, and what to do when it cannot be read at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::keyspace;

use super::engine::Engine;
use super::garbage::collect_destroyed;
use super::manifest::Manifest;
use super::rows::{SCAN_BYTES, SCAN_PAIRS};
use super::stores::sync;

/// One background step for the whole store: rows of destroyed replicas, `rows_max` at a time; then, if the store takes many times the
/// space of its live rows, the next part of its rewriting. True: there is more to do.
///
/// # Errors
/// What the engine says. The store stays usable unless the error is fatal.
pub fn maintain(engine: &dyn Engine, rows_max: usize) -> Result<bool, Error> {
    if collect_destroyed(engine, rows_max)? > 0 {
        return Ok(true);
    }
    engine.rewrite_step(live_bytes(engine)?)
}

/// What all rows that a manifest counts take, bytes.
fn live_bytes(engine: &dyn Engine) -> Result<u64, Error> {
    let (start, end) = keyspace::MANIFESTS;
    let (mut from, mut bytes) = (start.to_vec(), 0_u64);
    loop {
        let found = engine.scan(&from, end, SCAN_PAIRS, SCAN_BYTES)?;
        let Some((last, _)) = found.last() else { return Ok(bytes) };
        from = [&last[..], &[0]].concat();
        for (key, stored) in &found {
            // A damaged one is its replica's matter; here it counts nothing.
            let manifest = keyspace::parse_replica(key).map(|replica| Manifest::decode(replica, stored));
            if let Some(Ok(manifest)) = manifest {
                bytes = bytes.saturating_add(manifest.row_bytes);
            }
        }
    }
}

/// Reads every pair of a store, so that one that its engine cannot read is known before it is used.
pub(super) fn read_through(engine: &dyn Engine) -> Result<(), Error> {
    let mut from = keyspace::ALL.0.to_vec();
    loop {
        let found = engine.scan(&from, keyspace::ALL.1, SCAN_PAIRS, SCAN_BYTES)?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        if *last < from {
            return Err(Error::Corrupt {
                what: "checkpoint store".to_owned(),
                why: "its keys are not in order".to_owned(),
            });
        }
        from = [&last[..], &[0]].concat();
    }
}

/// A store that was set aside because it could not be read.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Where it is now, whole.
    pub path: PathBuf,
    /// What is damaged.
    pub why: String,
}

/// Opens the store in `dir`; one that is damaged is set aside whole, and an empty one takes its place. Its replicas are then refilled from
/// their peers, because the log remembers that there were checkpoints.
///
/// # Errors
/// What opening says, but for [`Error::Corrupt`].
pub fn open_or_set_aside(
    dir: &Path,
    open: impl Fn(&Path) -> Result<Arc<dyn Engine>, Error>,
) -> Result<(Arc<dyn Engine>, Option<SetAside>), Error> {
    match open(dir) {
        Ok(engine) => Ok((engine, None)),
        Err(error @ Error::Corrupt { .. }) => {
            let path = set_aside(dir)?;
            Ok((open(dir)?, Some(SetAside { path, why: error.to_string() })))
        }
        Err(error) => Err(error),
    }
}

/// Renames a directory to the first free `<dir>.damaged-<number>`, durably.
///
/// # Errors
/// When it cannot be renamed.
pub fn set_aside(dir: &Path) -> Result<PathBuf, Error> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut number = 1_u32;
    let path = loop {
        let path = dir.with_file_name(format!("{name}.damaged-{number}"));
        if !path.exists() {
            break path;
        }
        number += 1;
    };
    fs::rename(dir, &path).map_err(|error| Error::io("rename", dir, error))?;
    sync(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    Ok(path)
}
