//! The log and the vote of one group, on the node's write-ahead log.
//!
//! Entries are readable as soon as `append` returns; openraft hears of their durability from the log's own callback, on whatever
//! thread commits. Truncations and purges are not waited for: the log keeps the order of everything it was given, so whatever is
//! acknowledged later has them behind it. Only a vote is waited for.
//! Invariant: a full disk or a busy log is waited out, never reported as a failure; a failure ends the group.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use phalanx_storage::wal::{Done, LogEntry, Wal};
use tokio::sync::oneshot;

use crate::codec::{decode_entry, decode_vote, encode_payload, encode_vote};
use crate::context::FatalError;
use crate::types::{Entry, LogId, Types, Vote, log_id, position};

/// Pause before offering entries again to a log that is full or busy.
const RETRY: Duration = Duration::from_millis(5);
/// Bytes of entries read at a time when applying.
const APPLY_BYTES: usize = 4 * 1024 * 1024;

/// See the module. Clones share the log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal>,
    group: u64,
    replica: u64,
    append_bytes_max: usize,
    on_fatal: Arc<dyn Fn(FatalError) + Send + Sync>,
}

fn io_error(error: phalanx_storage::Error) -> io::Error {
    io::Error::other(error)
}

impl LogStore {
    pub(crate) fn new(
        wal: Arc<Wal>,
        group: u64,
        replica: u64,
        append_bytes_max: usize,
        on_fatal: Arc<dyn Fn(FatalError) + Send + Sync>,
    ) -> Self {
        Self { wal, group, replica, append_bytes_max, on_fatal }
    }

    /// A callback for what nobody waits for: only its failure matters.
    fn unwatched(&self, what: &'static str) -> Done {
        let (group, on_fatal) = (self.group, Arc::clone(&self.on_fatal));
        Box::new(move |result| {
            if let Err(error) = result {
                on_fatal(FatalError { group: Some(group), why: format!("{what}: {error}") });
            }
        })
    }

    /// What of `range` the log holds: `start..end`, possibly empty.
    fn held(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let state = self.wal.state(self.group);
        let first = state.purged.map_or(0, |(_, index)| index + 1);
        let after_last = state.last.map_or(0, |(_, index)| index + 1);
        let (start, end) = (start.max(first), end.min(after_last));
        // A log that was never purged begins where its first entry was put, which need not be 0.
        let begins = |index: &u64| self.wal.term_of(self.group, *index).is_some();
        if state.purged.is_some() || start >= end || begins(&start) {
            return (start, end);
        }
        ((start..end).find(begins).unwrap_or(end), end)
    }

    /// Entries of `range`, all of them unless `bytes_max` cuts it short.
    fn read(&self, range: &impl RangeBounds<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (start, end) = self.held(range);
            if start >= end {
                return Ok(Vec::new());
            }
            let entries = match self.wal.read(self.group, start..end, bytes_max) {
                Ok(entries) => entries,
                // Purged between the two calls: what is left starts later.
                Err(phalanx_storage::Error::NotFound { .. }) if self.held(range) != (start, end) => continue,
                Err(error) => return Err(io_error(error)),
            };
            let decode = |entry: LogEntry| decode_entry(entry.term, entry.index, entry.body);
            return entries.into_iter().map(decode).collect::<Result<_, _>>().map_err(Into::into);
        }
    }

    /// Offers entries until the log takes them.
    async fn append_when_possible(
        &self,
        entries: Vec<LogEntry>,
        flushed: IOFlushed<Types>,
    ) -> io::Result<()> {
        // The log drops the callback when it refuses: keep openraft's half here until it is called.
        let flushed = Arc::new(parking_lot::Mutex::new(Some(flushed)));
        loop {
            let slot = Arc::clone(&flushed);
            let done: Done = Box::new(move |result| {
                if let Some(flushed) = slot.lock().take() {
                    flushed.io_completed(result.map_err(io_error));
                }
            });
            match self.wal.append(self.group, entries.clone(), done) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => tokio::time::sleep(RETRY).await,
                Err(error) => return Err(io_error(error)),
            }
        }
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(&range, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.wal.state(self.group).vote;
        vote.map(|bytes| decode_vote(&bytes)).transpose().map_err(Into::into)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(&(start..end), self.append_bytes_max)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.held(&range);
        let state = (self.clone(), start, Vec::new().into_iter());
        futures::stream::try_unfold(state, move |(store, next, mut read)| async move {
            if let Some(entry) = read.next() {
                return Ok(Some((entry, (store, next, read))));
            }
            if next >= end {
                return Ok(None);
            }
            let mut read = store.read(&(next..end), APPLY_BYTES)?.into_iter();
            let next = next + read.len() as u64;
            let Some(entry) = read.next() else {
                return Err(io::Error::other(format!("entry {next} vanished while it was read")));
            };
            Ok(Some((entry, (store, next, read))))
        })
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.wal.state(self.group);
        let id = |(term, index)| log_id(term, index);
        Ok(LogState { last_purged_log_id: state.purged.map(id), last_log_id: state.last.map(id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, saved) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // openraft gave up waiting only when the group is gone.
            let _ = done.send(result);
        });
        self.wal.save_vote(self.group, encode_vote(vote, self.replica), done);
        match saved.await {
            Ok(result) => result.map_err(io_error),
            Err(_) => Err(io::Error::other("the log was closed before the vote was saved")),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.wal.save_committed(self.group, position(&committed)).map_err(io_error)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.wal.state(self.group).committed.map(|(term, index)| log_id(term, index)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = <Types as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let stored = |entry: Entry| {
            let (term, index) = position(&entry.log_id);
            LogEntry { index, term, body: encode_payload(&entry.payload) }
        };
        let entries: Vec<LogEntry> = entries.into_iter().map(stored).collect();
        if entries.is_empty() {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.append_when_possible(entries, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.wal.truncate_after(self.group, last_log_id.as_ref().map(position), self.unwatched("truncate"));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.wal.purge(self.group, position(&log_id), self.unwatched("purge"));
        Ok(())
    }
}
