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

mod batch;
mod commit;
mod committer;
pub(crate) mod fuzzing;
mod head;
mod index;
mod inventory;
mod ledger;
mod options;
mod read;
mod record;
mod recovery;
mod shared;
mod slots;
mod types;

#[doc(hidden)]
pub use batch::batches;
pub use options::WalOptions;
pub use types::{Done, GroupState, LogEntry, Position, Pressure, Quarantined, WalStats};

use crate::disk::{Disk, DiskLock};
use crate::error::Error;
use crate::fail_point::FailPoint;
use bytes::Bytes;
use committer::Committer;
use parking_lot::Mutex;
use shared::{Action, Shared};
use slots::Slots;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The log of a node. All methods take `&self`; share it with `Arc`.
///
/// Locks are taken in this order: committer, slots, shared. Appends and reads take the last one only.
pub struct Wal {
    options: WalOptions,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    committer: Mutex<Committer>,
    slots: Mutex<Slots>,
    shared: Mutex<Shared>,
    _lock: DiskLock,
}

impl Wal {
    /// Opens the log in `dir`, created if missing, and recovers it. Everything reported by [`Wal::state`] and
    /// [`Wal::read`] afterwards is durable.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions) -> Result<Wal, Error> {
        recovery::open(disk, dir, options)
    }

    /// What is damaged. Calls for such a group answer [`Error::Quarantined`] until it is forgotten.
    pub fn quarantined(&self) -> Quarantined {
        let shared = self.shared.lock();
        let groups = shared.groups.iter();
        let groups = groups.filter_map(|(group, log)| Some((*group, log.quarantined.clone()?)));
        Quarantined { node: shared.node_quarantine.clone(), groups: groups.collect() }
    }

    /// Why the group is out of service, if it is. With a damaged header this holds for every group, known or not, that
    /// was not forgotten since.
    pub fn quarantine_of(&self, group: u64) -> Option<String> {
        self.shared.lock().quarantine_of(group)
    }

    /// The groups that the log holds something of, ascending. Quarantined ones included.
    pub fn groups(&self) -> Vec<u64> {
        self.shared.lock().groups.keys().copied().collect()
    }

    /// What the log holds of the group; all empty for an unknown one. Of a quarantined group: what could be read,
    /// for diagnosis only.
    pub fn state(&self, group: u64) -> GroupState {
        self.shared.lock().groups.get(&group).map_or_else(GroupState::default, index::GroupLog::state)
    }

    /// Appends entries that follow the group's last one. They are readable at once; `done` is called after the sync.
    ///
    /// Refused without any effect: [`Error::OutOfOrder`], [`Error::TooLarge`], [`Error::Overloaded`],
    /// [`Error::DiskFull`], [`Error::Quarantined`]. On an error `done` is dropped uncalled.
    pub fn append(&self, group: u64, entries: Vec<LogEntry>, done: Done) -> Result<(), Error> {
        let wake = {
            let mut shared = self.shared.lock();
            shared.check_append(group, &entries, &self.options)?;
            shared.append(group, entries, done);
            shared.wake_if_first()
        };
        if let Some(wake) = wake {
            wake();
        }
        Ok(())
    }

    /// Saves the group's vote. `done` is called after the sync, or at once with the error.
    pub fn save_vote(&self, group: u64, vote: Bytes, done: Done) {
        if vote.len() > head::VOTE_BYTES_MAX {
            let (bytes, bytes_max) = (vote.len() as u64, head::VOTE_BYTES_MAX as u64);
            return done(Err(Error::TooLarge { bytes, bytes_max }));
        }
        self.control(group, Action::Vote(vote), done);
    }

    /// Notes the committed position. It rides on the next batch; no sync of its own.
    pub fn save_committed(&self, group: u64, committed: Position) -> Result<(), Error> {
        let mut shared = self.shared.lock();
        shared.check_group(group)?;
        shared.check_room_for(group, &self.options)?;
        shared.groups.entry(group).or_default().committed = Some(committed);
        shared.rides.insert(group, committed);
        Ok(())
    }

    /// Drops the entries after `last_kept` (`None`: all that are not purged).
    pub fn truncate_after(&self, group: u64, last_kept: Option<Position>, done: Done) {
        self.control(group, Action::Truncate(last_kept), done);
    }

    /// Drops the entries up to `upto`. Beyond the last entry (a snapshot was installed) the next one is `upto` + 1.
    pub fn purge(&self, group: u64, upto: Position, done: Done) {
        self.control(group, Action::Purge(upto), done);
    }

    /// Notes the number of the last durable checkpoint batch; kept in every segment's head. Never goes back.
    pub fn note_checkpoint(&self, group: u64, batch: u64, done: Done) {
        self.control(group, Action::Checkpoint(batch), done);
    }

    /// Drops everything of the group, and ends its quarantine.
    pub fn forget(&self, group: u64, done: Done) {
        self.control(group, Action::Forget, done);
    }

    /// Ends a quarantine of the whole node: the caller has refilled or forgotten every group that ever lived here.
    pub fn release_node(&self, done: Done) {
        self.control(0, Action::Release, done);
    }

    /// Entries of the range, in order, those that exist: it may end early at `bytes_max` of bodies (never before the
    /// first entry) and at the end of the log. [`Error::NotFound`] if the first one was purged or never written.
    pub fn read(&self, group: u64, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, Error> {
        read::read(&self.shared, group, range, bytes_max)
    }

    /// Term of one entry (or of the purged position), from memory.
    pub fn term_of(&self, group: u64, index: u64) -> Option<u64> {
        self.shared.lock().groups.get(&group)?.term_of(index)
    }

    /// A step: one write and one sync for what waits, then the callbacks in order. True if there was work; call again
    /// until false, then wait for the wake-up of [`Wal::on_pending`].
    ///
    /// [`Error::DiskFull`] leaves what waits in place (purges still get through, and votes of groups without waiting
    /// entries): call again after a pause. Any other error has answered every waiting callback and the log is dead.
    pub fn commit_pending(&self) -> Result<bool, Error> {
        let mut committer = self.committer.lock();
        let result = self.commit_step(&mut committer);
        self.judge(&mut committer, result)
    }

    /// Writes an empty batch behind the newest one, unless that is one already or work waits. Call it when idle for
    /// 10 ms: from then on a damaged newest batch is told from a torn one.
    pub fn mark_idle(&self) -> Result<(), Error> {
        let mut committer = self.committer.lock();
        let result = self.mark_step(&mut committer);
        self.judge(&mut committer, result)
    }

    /// A step: pre-writes a bounded part of the next segment. True if there is more to do.
    pub fn prepare_step(&self) -> Result<bool, Error> {
        let result = {
            let mut slots = self.slots.lock();
            self.shared.lock().check_alive()?;
            if !slots.wants_more() {
                return Ok(false);
            }
            let result = slots.make_step();
            self.shared.lock().files.clone_from(&slots.files);
            result.map(|_| slots.wants_more())
        };
        let mut committer = self.committer.lock();
        let room = self.entries_room(&committer, &self.slots.lock());
        self.shared.lock().entries_room = room;
        match result {
            Err(Error::DiskFull { .. }) => Ok(false),
            Err(error @ Error::SyncFailed { .. }) => Err(self.poison(&mut committer, &error)),
            other => other,
        }
    }

    /// A boundary of a persist that the log is part of is reached, see [`crate::fail_point`].
    ///
    /// # Errors
    /// The process is over.
    pub fn reached(&self, point: FailPoint) -> Result<(), Error> {
        self.disk.reached(point)
    }

    /// Sets the function called when work arrives. It must not block and must not call into the log.
    pub fn on_pending(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.shared.lock().wake = Some(wake);
    }

    /// Set when the log is over three quarters of its budget.
    pub fn pressure(&self) -> Option<Pressure> {
        self.shared.lock().pressure.clone()
    }

    /// True while entries are refused for lack of space. Sends should be refused before they are proposed.
    pub fn is_full(&self) -> bool {
        let shared = self.shared.lock();
        shared.entries_room < (shared.pending_bytes + self.options.batch_bytes_max) as u64
    }

    /// The error that ended the log, if one did.
    pub fn failure(&self) -> Option<Error> {
        self.shared.lock().failure.clone()
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> WalStats {
        self.shared.lock().stats
    }

    fn assemble(
        options: WalOptions,
        dir: &Path,
        disk: Arc<dyn Disk>,
        shared: Shared,
        committer: Committer,
        slots: Slots,
        lock: DiskLock,
    ) -> Self {
        Self {
            options,
            dir: dir.to_path_buf(),
            disk,
            committer: Mutex::new(committer),
            slots: Mutex::new(slots),
            shared: Mutex::new(shared),
            _lock: lock,
        }
    }

    fn control(&self, group: u64, action: Action, done: Done) {
        let wake = {
            let mut shared = self.shared.lock();
            let checked = match action {
                // These two end a quarantine.
                Action::Forget | Action::Release => shared.check_alive(),
                _ => shared.check_group(group).and_then(|()| shared.check_room_for(group, &self.options)),
            };
            if let Err(error) = checked {
                drop(shared);
                return done(Err(error));
            }
            shared.control(group, action, done);
            shared.wake_if_first()
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    /// A step that found no space is repeated later; after any other error nothing is known about the disk.
    fn judge<T>(&self, committer: &mut Committer, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match error {
            Error::DiskFull { .. } => {
                let room = self.entries_room(committer, &self.slots.lock());
                self.shared.lock().entries_room = room;
                error
            }
            _ if self.failure().is_some() => error,
            _ => self.poison(committer, &error),
        })
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).finish_non_exhaustive()
    }
}
