//! Reading all rows of one manifest while newer checkpoints are written.
//!
//! The engines keep no old versions of a row. So a commit first saves, in memory, what the rows it changes were before, if the stream
//! has not passed them; and the stream puts those in their place. The memory is bounded: a stream that is overtaken by too
//! many changes ends with an error, and never slows a commit.
//! Invariant: rows that the stream gives out, together, are exactly the rows that its manifest counts.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

use super::manifest::Manifest;
use super::rows::Inner;

/// What a saved row takes beside its key and value, bytes.
const SAVED_ROW_BYTES: usize = 128;

/// The state of the snapshot that is being read.
pub(super) struct Pin {
    manifest: Manifest,
    /// Rows up to this key were given out.
    passed: Option<Bytes>,
    /// What rows behind it were, if a commit has changed them since; `None`: there was no such row.
    saved: BTreeMap<Bytes, Option<Bytes>>,
    saved_bytes: usize,
    saved_bytes_max: usize,
    /// Why it cannot go on.
    ended: Option<String>,
}

fn weight(key: &Bytes, before: Option<&Bytes>) -> usize {
    SAVED_ROW_BYTES + key.len() + before.map_or(0, Bytes::len)
}

impl Pin {
    /// A row is about to change.
    pub(super) fn save(&mut self, key: &Bytes, before: Option<Bytes>) {
        let passed = self.passed.as_ref().is_some_and(|passed| key <= passed);
        if passed || self.ended.is_some() || self.saved.contains_key(key) {
            return;
        }
        self.saved_bytes += weight(key, before.as_ref());
        if self.saved_bytes > self.saved_bytes_max {
            self.end(format!("more than {} bytes changed while it was read", self.saved_bytes_max));
            return;
        }
        // Copied: the value may be a slice of something larger.
        let before = before.map(|before| Bytes::copy_from_slice(&before));
        self.saved.insert(key.clone(), before);
    }

    /// It cannot go on.
    pub(super) fn end(&mut self, why: String) {
        self.saved.clear();
        self.saved_bytes = 0;
        self.ended.get_or_insert(why);
    }

    /// What was saved up to the last of the rows found (all, if none was found), laid over them. `None`: there was no such row.
    fn lay_over(&self, found: Vec<(Bytes, Bytes)>) -> BTreeMap<Bytes, Option<Bytes>> {
        let until = found.last().map_or(Bound::Unbounded, |(key, _)| Bound::Included(key.clone()));
        let mut merged: BTreeMap<_, _> = found.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let saved = self.saved.range((Bound::Unbounded, until));
        merged.extend(saved.map(|(key, before)| (key.clone(), before.clone())));
        merged
    }

    /// Rows up to `key` were given out.
    fn pass(&mut self, key: Bytes) {
        let mut behind = self.saved.split_off(&key);
        if let Some(last) = behind.remove(&key) {
            self.saved.insert(key.clone(), last);
        }
        for (key, before) in std::mem::replace(&mut self.saved, behind) {
            self.saved_bytes -= weight(&key, before.as_ref());
        }
        self.passed = Some(key);
    }
}

/// All rows of one manifest, in key order, as they were when it was begun. One at a time for each replica; garbage of the replica waits
/// while it lives.
pub struct RowStream {
    inner: Arc<Inner>,
    manifest: Manifest,
    given: u64,
    through: bool,
}

impl RowStream {
    /// The caller is the writer.
    pub(super) fn begin(inner: &Arc<Inner>, saved_bytes_max: usize) -> Result<Self, Error> {
        let manifest = inner.manifest.read().clone().ok_or_else(|| Error::StreamEnded {
            replica: inner.replica,
            why: "there is no checkpoint yet".to_owned(),
        })?;
        let mut pin = inner.pin.lock();
        if pin.is_some() {
            return Err(Error::StreamBusy { replica: inner.replica });
        }
        *pin = Some(Pin {
            manifest: manifest.clone(),
            passed: None,
            saved: BTreeMap::new(),
            saved_bytes: 0,
            saved_bytes_max,
            ended: None,
        });
        Ok(Self { inner: Arc::clone(inner), manifest, given: 0, through: false })
    }

    /// The checkpoint whose rows these are.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next rows, about `bytes_max` of them; empty at the end.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] when too much has changed since it was begun; [`Error::Corrupt`] when a row fails its check.
    pub fn next(&mut self, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        while !self.through {
            let rows = self.step(bytes_max)?;
            self.given += rows.len() as u64;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        if self.given == self.manifest.row_count {
            return Ok(Vec::new());
        }
        Err(Error::Corrupt {
            what: format!("snapshot of replica {}", self.inner.replica),
            why: format!("{} rows were read, its manifest counts {}", self.given, self.manifest.row_count),
        })
    }

    fn step(&mut self, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut pin = self.inner.pin.lock();
        let ended = |why: &str| Error::StreamEnded { replica: self.inner.replica, why: why.to_owned() };
        let pin = pin.as_mut().ok_or_else(|| ended("it is not pinned"))?;
        if let Some(why) = &pin.ended {
            return Err(ended(why));
        }
        let found = self.inner.rows(pin.manifest.generation, pin.passed.as_deref(), bytes_max)?.rows;
        let is_last = found.is_empty();
        let mut merged = pin.lay_over(found).into_iter();
        let (mut rows, mut bytes, mut passed) = (Vec::new(), 0, None);
        for (key, value) in merged.by_ref() {
            passed = Some(key.clone());
            let Some(value) = value else { continue };
            bytes += key.len() + value.len();
            rows.push((key, value));
            if bytes >= bytes_max {
                break;
            }
        }
        self.through = is_last && merged.next().is_none();
        if let Some(passed) = passed {
            pin.pass(passed);
        }
        Ok(rows)
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        *self.inner.pin.lock() = None;
    }
}
