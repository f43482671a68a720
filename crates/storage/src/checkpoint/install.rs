//! Receiving a checkpoint from elsewhere: a generation of its own, taken into use by the manifest that is written last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::fail_point::{FailPoint, Persist, Step};
use crate::keyspace;

use super::manifest::{Manifest, ManifestFields};
use super::rows::Inner;

/// A checkpoint that is being received. Dropping it makes garbage of what came.
pub struct Install {
    inner: Arc<Inner>,
    /// Counts rows as they come; becomes the replica's manifest at the end.
    manifest: Manifest,
    in_use: bool,
}

impl Install {
    pub(super) fn new(inner: Arc<Inner>, generation: u32) -> Self {
        Self { inner, manifest: Manifest { generation, ..Manifest::default() }, in_use: false }
    }

    /// Adds rows; of two with one key the later counts. Durable only after [`Install::finish`].
    ///
    /// # Errors
    /// What the engine says.
    pub fn put(&mut self, rows: Vec<(Bytes, Bytes)>) -> Result<(), Error> {
        let rows: BTreeMap<Bytes, Bytes> = rows.into_iter().collect();
        let mut batch = Vec::with_capacity(rows.len());
        let mut manifest = self.manifest.clone();
        for (key, value) in &rows {
            self.inner.change(&mut manifest, key, Some(value), &mut batch)?;
        }
        let engine = &self.inner.engine;
        engine.reached(FailPoint::new(Persist::Install, Step::Before))?;
        engine.write(batch)?;
        engine.reached(FailPoint::new(Persist::Install, Step::Written))?;
        self.manifest = manifest;
        Ok(())
    }

    /// Rows received so far, behind `after`, as [`super::ReplicaCheckpoint::rows`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a row fails its check.
    pub fn rows(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        Ok(self.inner.rows(self.manifest.generation, after, bytes_max)?.rows)
    }

    /// Takes the received rows into use, if they are `row_count`: durable on return. The rows before become garbage, and a snapshot of
    /// them that is being read ends.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when rows are missing: nothing has changed.
    pub fn finish(mut self, fields: ManifestFields, row_count: u64) -> Result<Manifest, Error> {
        let (inner, mut manifest) = (Arc::clone(&self.inner), self.manifest.clone());
        if manifest.row_count != row_count {
            return Err(Error::Corrupt {
                what: format!("received checkpoint of replica {}", inner.replica),
                why: format!("{} rows came, {row_count} were sent", manifest.row_count),
            });
        }
        let _writer = inner.writer.lock();
        manifest.fields = fields;
        let before = inner.manifest.read().clone();
        manifest.batch = before.as_ref().map_or(0, |before| before.batch).max(inner.batch_floor) + 1;
        // Rows first, for good; the manifest that points to them after.
        inner.engine.flush()?;
        let reached = |step| inner.engine.reached(FailPoint::new(Persist::Flip, step));
        reached(Step::Before)?;
        inner
            .engine
            .write(vec![(keyspace::manifest(inner.replica), Some(manifest.encode(inner.replica)))])?;
        reached(Step::Written)?;
        inner.engine.flush()?;
        reached(Step::Durable)?;
        self.in_use = true;
        {
            let mut pin = inner.pin.lock();
            if let Some(pin) = pin.as_mut() {
                pin.end("a received checkpoint has taken its place".to_owned());
            }
            *inner.manifest.write() = Some(manifest.clone());
        }
        let mut garbage = inner.garbage.lock();
        garbage.drop_counted();
        garbage.let_go();
        if let Some(before) = before {
            garbage.add_generation(inner.replica, before.generation);
        }
        Ok(manifest)
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        if !self.in_use {
            self.inner.garbage.lock().add_generation(self.inner.replica, self.manifest.generation);
        }
    }
}
