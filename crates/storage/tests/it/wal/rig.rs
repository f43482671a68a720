//! What the log's tests share: a disk, a log on it, and answers collected from callbacks.

use bytes::Bytes;
use parking_lot::Mutex;
use phalanx_storage::Error;
use phalanx_storage::disk::SimDisk;
use phalanx_storage::wal::{Done, LogEntry, Wal, WalOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const DIR: &str = "/node/wal";

pub fn dir() -> &'static Path {
    Path::new(DIR)
}

pub fn open(disk: &SimDisk) -> Wal {
    try_open(disk).expect("the log opens")
}

pub fn try_open(disk: &SimDisk) -> Result<Wal, Error> {
    Wal::open(Arc::new(disk.clone()), dir(), WalOptions::small())
}

/// A body that tells group, index and term apart, of the given size.
pub fn body(group: u64, index: u64, term: u64, bytes: usize) -> Bytes {
    let mut text = format!("g{group} i{index} t{term} ").into_bytes();
    while text.len() < bytes {
        text.push(b'a' + ((index + text.len() as u64) % 26) as u8);
    }
    text.into()
}

pub fn entry(group: u64, index: u64, term: u64, bytes: usize) -> LogEntry {
    LogEntry { index, term, body: body(group, index, term, bytes) }
}

pub fn entries(group: u64, range: std::ops::RangeInclusive<u64>, term: u64, bytes: usize) -> Vec<LogEntry> {
    range.map(|index| entry(group, index, term, bytes)).collect()
}

/// Collects the answers of callbacks, with the label given to each, in the order they came.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Vec<Answer>>>);

/// The label of a callback and what it was told.
pub type Answer = (u64, Result<(), String>);

impl Answers {
    pub fn done(&self, label: u64) -> Done {
        let list = self.0.clone();
        Box::new(move |result| list.lock().push((label, result.map_err(|e| e.to_string()))))
    }

    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock())
    }

    pub fn labels(&self) -> Vec<u64> {
        self.0.lock().iter().map(|(label, _)| *label).collect()
    }
}

/// A callback that insists on success.
pub fn must() -> Done {
    Box::new(|result| result.expect("durable"))
}

/// A callback whose answer does not matter here.
pub fn whatever() -> Done {
    Box::new(drop)
}

pub fn commit_all(wal: &Wal) {
    while wal.commit_pending().expect("commit") {}
}

pub fn read_all(wal: &Wal, group: u64) -> Vec<LogEntry> {
    let state = wal.state(group);
    let first = state.purged.map_or(0, |(_, index)| index + 1);
    let Some((_, last)) = state.last else { return Vec::new() };
    let mut entries = Vec::new();
    let mut next = (first..=last).find(|index| wal.term_of(group, *index).is_some()).unwrap_or(last + 1);
    while next <= last {
        let part = wal.read(group, next..last + 1, usize::MAX).expect("entries up to the last one");
        next += part.len() as u64;
        entries.extend(part);
    }
    entries
}

pub fn file(name: &str) -> PathBuf {
    dir().join(name)
}
