//! The write-ahead log: one per node, shared by all Raft groups; one write and one sync for all that waits.
//!
//! What it promises:
//! - `done(Ok)` means durable: the record survives a power cut, in order, and is never undone by recovery;
//! - recovery never yields less than what was acknowledged: damage is reported through [`Wal::quarantined`], and
//!   nothing is deleted because it does not parse;
//! - a record of an earlier use of a segment never comes back: the segment's incarnation is part of every crc;
//! - after a failed sync every call fails for ever ([`Error::is_fatal`]).
//!
//! It starts no thread and reads no clock: [`Wal::commit_pending`], [`Wal::mark_idle`] and [`Wal::prepare_step`] are
//! steps that production drives from a thread and the simulation from a task.

mod options;
mod types;

pub use options::WalOptions;
pub use types::{Done, GroupState, LogEntry, Position, Pressure, Quarantined, WalStats};

use crate::disk::Disk;
use crate::error::Error;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The log of a node. All methods take `&self`; share it with `Arc`.
pub struct Wal {
}

impl Wal {
    /// Opens the log in `dir`, created if missing, and recovers it. Everything reported by [`Wal::state`] and
    /// [`Wal::read`] afterwards is durable.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions) -> Result<Wal, Error> {
        todo!()
    }

    /// What is damaged. Calls for such a group answer [`Error::Quarantined`] until it is forgotten.
    pub fn quarantined(&self) -> Quarantined {
        todo!()
    }

    /// Why the group is out of service, if it is. With a damaged header this holds for every group, known or not, that
    /// was not forgotten since.
    pub fn quarantine_of(&self, group: u64) -> Option<String> {
        todo!()
    }

    /// The groups that the log holds something of, ascending. Quarantined ones included.
    pub fn groups(&self) -> Vec<u64> {
        todo!()
    }

    /// What the log holds of the group; all empty for an unknown one. Of a quarantined group: what could be read,
    /// for diagnosis only.
    pub fn state(&self, group: u64) -> GroupState {
        todo!()
    }

    /// Appends entries that follow the group's last one. They are readable at once; `done` is called after the sync.
    ///
    /// Refused without any effect: [`Error::OutOfOrder`], [`Error::TooLarge`], [`Error::Overloaded`],
    /// [`Error::DiskFull`], [`Error::Quarantined`]. On an error `done` is dropped uncalled.
    pub fn append(&self, group: u64, entries: Vec<LogEntry>, done: Done) -> Result<(), Error> {
        todo!()
    }

    /// Saves the group's vote. `done` is called after the sync, or at once with the error.
    pub fn save_vote(&self, group: u64, vote: Bytes, done: Done) {
        todo!()
    }

    /// Notes the committed position. It rides on the next batch; no sync of its own.
    pub fn save_committed(&self, group: u64, committed: Position) -> Result<(), Error> {
        todo!()
    }

    /// Drops the entries after `last_kept` (`None`: all that are not purged).
    pub fn truncate_after(&self, group: u64, last_kept: Option<Position>, done: Done) {
        todo!()
    }

    /// Drops the entries up to `upto`. Beyond the last entry (a snapshot was installed) the next one is `upto` + 1.
    pub fn purge(&self, group: u64, upto: Position, done: Done) {
        todo!()
    }

    /// Notes the number of the last durable checkpoint batch; kept in every segment's head. Never goes back.
    pub fn note_checkpoint(&self, group: u64, batch: u64, done: Done) {
        todo!()
    }

    /// Drops everything of the group, and ends its quarantine.
    pub fn forget(&self, group: u64, done: Done) {
        todo!()
    }

    /// Ends a quarantine of the whole node: the caller has refilled or forgotten every group that ever lived here.
    pub fn release_node(&self, done: Done) {
        todo!()
    }

    /// Entries of the range, in order, those that exist: it may end early at `bytes_max` of bodies (never before the
    /// first entry) and at the end of the log. [`Error::NotFound`] if the first one was purged or never written.
    pub fn read(&self, group: u64, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, Error> {
        todo!()
    }

    /// Term of one entry (or of the purged position), from memory.
    pub fn term_of(&self, group: u64, index: u64) -> Option<u64> {
        todo!()
    }

    /// A step: one write and one sync for what waits, then the callbacks in order. True if there was work; call again
    /// until false, then wait for the wake-up of [`Wal::on_pending`].
    ///
    /// [`Error::DiskFull`] leaves what waits in place (purges and votes still get through): call again after a pause.
    /// Any other error has answered every waiting callback and the log is dead.
    pub fn commit_pending(&self) -> Result<bool, Error> {
        todo!()
    }

    /// Writes an empty batch behind the newest one, unless that is one already or work waits. Call it when idle for
    /// 10 ms: from then on a damaged newest batch is told from a torn one.
    pub fn mark_idle(&self) -> Result<(), Error> {
        todo!()
    }

    /// A step: pre-writes a bounded part of the next segment. True if there is more to do.
    pub fn prepare_step(&self) -> Result<bool, Error> {
        todo!()
    }

    /// Sets the function called when work arrives. It must not block and must not call into the log.
    pub fn on_pending(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        todo!()
    }

    /// Set when the log is over three quarters of its budget.
    pub fn pressure(&self) -> Option<Pressure> {
        todo!()
    }

    /// True while entries are refused for lack of space. Sends should be refused before they are proposed.
    pub fn is_full(&self) -> bool {
        todo!()
    }

    /// The error that ended the log, if one did.
    pub fn failure(&self) -> Option<Error> {
        todo!()
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> WalStats {
        todo!()
    }
}
