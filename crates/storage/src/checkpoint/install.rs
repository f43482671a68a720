//! Receiving a checkpoint from elsewhere: a generation of its own, taken into use by the manifest that is written last.

use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::keyspace;

use super::manifest::{Manifest, ManifestFields};
use super::replica::Inner;

/// A checkpoint that is being received. Dropping it makes garbage of what came.
pub struct Install {
    inner: Arc<Inner>,
    /// Counts rows as they come; becomes the replica's manifest at the end.
    manifest: Manifest,
    in_use: bool,
}

impl Install {
    pub(super) fn new(inner: Arc<Inner>, generation: u32) -> Self {
        let manifest = Manifest { fields: ManifestFields::default(), batch: 0, generation, row_count: 0 };
        Self { inner, manifest, in_use: false }
    }

    /// Adds rows. Durable only after [`Install::finish`].
    ///
    /// # Errors
    /// What the engine says.
    pub fn put(&mut self, rows: Vec<(Bytes, Bytes)>) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            self.inner.change(&mut self.manifest, key, Some(value), &mut batch)?;
        }
        self.inner.engine.write(batch)
    }

    /// Rows received so far, behind `after`, as [`super::ReplicaCheckpoint::rows`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a row fails its check.
    pub fn rows(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.inner.rows(self.manifest.generation, after, bytes_max)
    }

    /// Takes the received rows into use, if they are `row_count`: durable on return. The rows before become garbage.
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
        let mut state = inner.state.lock();
        manifest.fields = fields;
        manifest.batch = state.manifest.as_ref().map_or(0, |before| before.batch) + 1;
        // Rows first, for good; the manifest that points to them after.
        inner.engine.flush()?;
        inner
            .engine
            .write(vec![(keyspace::manifest(inner.replica), Some(manifest.encode(inner.replica)))])?;
        inner.engine.flush()?;
        self.in_use = true;
        let before = state.manifest.replace(manifest.clone());
        if let Some(before) = before {
            // What was garbage of the old generation goes with it.
            state.garbage.retain(|(_, _, counted)| !counted);
            state.garbage.push_back((
                keyspace::generation_start(inner.replica, before.generation),
                keyspace::generation_end(inner.replica, before.generation),
                false,
            ));
        }
        Ok(manifest)
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        if self.in_use {
            return;
        }
        let (replica, generation) = (self.inner.replica, self.manifest.generation);
        let range =
            (keyspace::generation_start(replica, generation), keyspace::generation_end(replica, generation));
        self.inner.state.lock().garbage.push_back((range.0, range.1, false));
    }
}
