//! What appends, reads and the committer share, under one short lock that is never held over disk work.
//!
//! A call changes the groups at once (so that it is readable) and leaves an operation for the committer. Operations
//! are written in the order of the calls; each group's record order is therefore its call order.

use super::head::NodeQuarantine;
use super::index::{GroupLog, Place};
use super::options::WalOptions;
use super::slots::Files;
use super::types::{Done, LogEntry, Position, Pressure, WalStats};
use crate::error::Error;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Batches whose bodies are remembered as evictable; older ones are evicted whatever the bound.
const CACHED_BATCHES_MAX: usize = 16 * 1024;

/// Work for the committer.
pub(super) struct Op {
    pub(super) group: u64,
    pub(super) action: Action,
    pub(super) done: Option<Done>,
}

pub(super) enum Action {
    Append { entries: Vec<LogEntry>, stamp: u64 },
    Vote(Bytes),
    Committed(Position),
    Truncate(Option<Position>),
    Purge(Position),
    Checkpoint(u64),
    Forget,
    Release,
}

/// A record that was written: the committer tells the group where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) group: u64,
    pub(super) index: u64,
    pub(super) stamp: u64,
    pub(super) place: Place,
}

pub(super) struct Shared {
    pub(super) groups: BTreeMap<u64, GroupLog>,
    pub(super) node_quarantine: Option<String>,
    pub(super) pending: VecDeque<Op>,
    /// Bodies in `pending` and in the committer's backlog, bytes.
    pub(super) pending_bytes: usize,
    /// Committed positions that ride on the next batch.
    pub(super) rides: BTreeMap<u64, Position>,
    pub(super) files: Files,
    /// The incarnation that each slot is used under.
    pub(super) incarnations: Vec<u64>,
    /// What entries may still take, as far as is known, bytes.
    pub(super) entries_room: u64,
    pub(super) failure: Option<Error>,
    pub(super) pressure: Option<Pressure>,
    pub(super) stats: WalStats,
    pub(super) wake: Option<Arc<dyn Fn() + Send + Sync>>,
    next_stamp: u64,
    /// Stored bodies in memory, bytes.
    cache_bytes: usize,
    /// Per batch, oldest first: up to which index of which group its entries go.
    cached_batches: VecDeque<Vec<(u64, u64)>>,
    dir: PathBuf,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, groups: BTreeMap<u64, GroupLog>, node: Option<&NodeQuarantine>) -> Self {
        Self {
            groups,
            node_quarantine: node.map(|node| node.why.clone()),
            pending: VecDeque::new(),
            pending_bytes: 0,
            rides: BTreeMap::new(),
            files: Vec::new(),
            incarnations: Vec::new(),
            entries_room: u64::MAX,
            failure: None,
            pressure: None,
            stats: WalStats::default(),
            wake: None,
            next_stamp: 0,
            cache_bytes: 0,
            cached_batches: VecDeque::new(),
            dir,
        }
    }

    pub(super) fn check_alive(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    pub(super) fn quarantine_of(&self, group: u64) -> Option<String> {
        let log = self.groups.get(&group);
        if let Some(why) = log.and_then(|log| log.quarantined.clone()) {
            return Some(why);
        }
        let readmitted = log.is_some_and(|log| log.readmitted);
        if readmitted { None } else { self.node_quarantine.clone() }
    }

    /// The log lives and the group is in service.
    pub(super) fn check_group(&self, group: u64) -> Result<(), Error> {
        self.check_alive()?;
        self.quarantine_of(group).map_or(Ok(()), |why| Err(Error::Quarantined { group, why }))
    }

    pub(super) fn check_room_for(&self, group: u64, options: &WalOptions) -> Result<(), Error> {
        let groups_max = options.groups_max();
        if self.groups.len() as u64 >= groups_max && !self.groups.contains_key(&group) {
            return Err(Error::TooManyGroups { groups_max });
        }
        Ok(())
    }

    /// Everything an append is refused for; afterwards it cannot fail.
    pub(super) fn check_append(
        &self,
        group: u64,
        entries: &[LogEntry],
        options: &WalOptions,
    ) -> Result<(), Error> {
        self.check_group(group)?;
        self.check_room_for(group, options)?;
        let mut expected = self.groups.get(&group).and_then(GroupLog::next_index);
        let bytes_max = options.record_bytes_max();
        let mut bytes = 0;
        for entry in entries {
            let next = expected.unwrap_or(entry.index);
            if entry.index != next || entry.index == u64::MAX {
                return Err(Error::OutOfOrder { group, expected: next, got: entry.index });
            }
            expected = Some(next + 1);
            if entry.body.len() as u64 > bytes_max {
                return Err(Error::TooLarge { bytes: entry.body.len() as u64, bytes_max });
            }
            bytes += entry.body.len();
        }
        // One append alone is always taken: a limit below its size must not refuse it for ever.
        if self.pending_bytes > 0 && self.pending_bytes + bytes > options.pending_bytes_max {
            let (pending_bytes, bytes_max) = (self.pending_bytes as u64, options.pending_bytes_max as u64);
            return Err(Error::Overloaded { pending_bytes, bytes_max });
        }
        if (self.pending_bytes + bytes) as u64 > self.entries_room {
            return Err(Error::DiskFull { path: self.dir.clone() });
        }
        Ok(())
    }

    pub(super) fn append(&mut self, group: u64, entries: Vec<LogEntry>, done: Done) {
        self.next_stamp += 1;
        let stamp = self.next_stamp;
        let log = self.groups.entry(group).or_default();
        for entry in &entries {
            log.append_waiting(entry, stamp);
            self.pending_bytes += entry.body.len();
        }
        self.pending.push_back(Op { group, action: Action::Append { entries, stamp }, done: Some(done) });
    }

    /// The function to call, after the lock is released, if this is the first work since the committer looked.
    pub(super) fn wake_if_first(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        if self.pending.len() == 1 { self.wake.clone() } else { None }
    }

    pub(super) fn control(&mut self, group: u64, action: Action, done: Done) {
        let freed = self.apply_control(group, &action);
        self.cache_bytes -= freed;
        self.pending.push_back(Op { group, action, done: Some(done) });
    }

    fn apply_control(&mut self, group: u64, action: &Action) -> usize {
        if matches!(action, Action::Release) {
            self.node_quarantine = None;
            self.groups.values_mut().for_each(|log| log.readmitted = false);
            return 0;
        }
        if matches!(action, Action::Forget) {
            let freed = self.groups.remove(&group).map_or(0, |mut log| log.clear());
            self.rides.remove(&group);
            if self.node_quarantine.is_some() {
                self.groups.entry(group).or_default().readmitted = true;
            }
            return freed;
        }
        let log = self.groups.entry(group).or_default();
        match action {
            Action::Vote(vote) => log.vote = Some(vote.clone()),
            Action::Truncate(kept) => return log.truncate(kept.map(|(_, index)| index)),
            Action::Purge(upto) => return log.purge(*upto),
            Action::Checkpoint(batch) => log.checkpoint_batch = log.checkpoint_batch.max(*batch),
            Action::Committed(position) => log.committed = Some(*position),
            Action::Append { .. } | Action::Forget | Action::Release => {
                unreachable!("handled by append() and above")
            }
        }
        0
    }

    /// A batch is durable: its entries are where `placed` says, and their bodies may leave the memory.
    pub(super) fn stored(&mut self, placed: &[Placed], cache_bytes_max: usize) {
        let mut ends: Vec<(u64, u64)> = Vec::new();
        for run in placed.chunk_by(|a, b| a.group == b.group) {
            let Some(log) = self.groups.get_mut(&run[0].group) else {
                continue; // forgotten in the meantime
            };
            for one in run {
                self.cache_bytes += log.stored(one.index, one.stamp, one.place);
            }
            ends.push((run[0].group, run[run.len() - 1].index));
        }
        if !ends.is_empty() {
            self.cached_batches.push_back(ends);
        }
        while self.cache_bytes > cache_bytes_max || self.cached_batches.len() > CACHED_BATCHES_MAX {
            let Some(oldest) = self.cached_batches.pop_front() else { break };
            for (group, index) in oldest {
                if let Some(log) = self.groups.get_mut(&group) {
                    self.cache_bytes -= log.evict(index);
                }
            }
        }
    }
}
