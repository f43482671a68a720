//! The naive model: every record ever issued, in order. A recovered log must equal the sum of a prefix of them that
//! contains all that was acknowledged.

use super::rig::read_all;
use bytes::Bytes;
use parking_lot::Mutex;
use phalanx_storage::wal::{Done, LogEntry, Position, Wal};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub enum Record {
    Entry(LogEntry),
    Vote(Bytes),
    Truncate(Option<Position>),
    Purge(Position),
    Checkpoint(u64),
    Forget,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub vote: Option<Bytes>,
    pub purged: Option<Position>,
    pub entries: Vec<LogEntry>,
    pub checkpoint: u64,
}

impl Group {
    pub fn last(&self) -> Option<Position> {
        self.entries.last().map(|entry| (entry.term, entry.index)).or(self.purged)
    }

    pub fn next_index(&self) -> u64 {
        self.last().map_or(1, |(_, index)| index + 1)
    }
}

pub type State = BTreeMap<u64, Group>;

pub fn apply(state: &mut State, group: u64, record: &Record) {
    if matches!(record, Record::Forget) {
        state.remove(&group);
        return;
    }
    let log = state.entry(group).or_default();
    match record {
        Record::Entry(entry) => log.entries.push(entry.clone()),
        Record::Vote(vote) => log.vote = Some(vote.clone()),
        Record::Truncate(kept) => {
            log.entries.retain(|entry| kept.is_some_and(|(_, kept)| entry.index <= kept))
        }
        Record::Purge(upto) => {
            if log.purged.is_none_or(|(_, purged)| purged < upto.1) {
                log.purged = Some(*upto);
                log.entries.retain(|entry| entry.index > upto.1);
            }
        }
        Record::Checkpoint(batch) => log.checkpoint = log.checkpoint.max(*batch),
        Record::Forget => unreachable!("handled above"),
    }
}

#[derive(Default)]
pub struct Model {
    /// The state before `records`.
    base: State,
    records: Vec<(u64, Record)>,
    /// The state with all records.
    pub now: State,
    acknowledged: Arc<Mutex<usize>>,
    /// Committed positions that were noted, per group: any of them may be found.
    pub committed: BTreeMap<u64, BTreeSet<u64>>,
    /// On a full disk votes and purges go ahead of entries that find no room.
    pub overtaking: bool,
}

impl Model {
    pub fn issue(&mut self, group: u64, record: Record) {
        apply(&mut self.now, group, &record);
        self.records.push((group, record));
    }

    /// Acknowledges all that was issued up to now; acknowledgements must come in order.
    pub fn done(&self) -> Done {
        self.done_after(0)
    }

    /// The same, for so many records that are issued next.
    pub fn done_after(&self, count: usize) -> Done {
        let (acknowledged, upto) = (self.acknowledged.clone(), self.records.len() + count);
        let overtaking = self.overtaking;
        Box::new(move |result| {
            if result.is_ok() {
                let mut acknowledged = acknowledged.lock();
                assert!(overtaking || *acknowledged <= upto, "acknowledged out of order");
                *acknowledged = upto.max(*acknowledged);
            }
        })
    }

    pub fn is_all_acknowledged(&self) -> bool {
        *self.acknowledged.lock() == self.records.len()
    }

    /// The log must show a prefix that holds everything acknowledged; from here on that prefix is the past.
    pub fn check_recovered(&mut self, wal: &Wal, context: &str) {
        assert!(wal.quarantined().is_empty(), "{context}: {:?}", wal.quarantined());
        let found = observe(wal);
        let acknowledged = *self.acknowledged.lock();
        let mut state = self.base.clone();
        for count in 0..=self.records.len() {
            if count >= acknowledged && same(&state, &found) {
                self.check_committed(wal, context);
                self.rebase(state);
                return;
            }
            if let Some((group, record)) = self.records.get(count) {
                apply(&mut state, *group, record);
            }
        }
        let mut wanted = self.base.clone();
        for (group, record) in &self.records[..acknowledged] {
            apply(&mut wanted, *group, record);
        }
        panic!(
            "{context}: no prefix fits\nfound {}\nacknowledged {}\nissued {}",
            summary(&found),
            summary(&wanted),
            summary(&self.now)
        );
    }

    /// Nothing may differ: there was no fault.
    pub fn check_equal(&self, wal: &Wal, context: &str) {
        let found = observe(wal);
        assert!(
            same(&self.now, &found),
            "{context}\nfound {}\nissued {}",
            summary(&found),
            summary(&self.now)
        );
    }

    fn check_committed(&self, wal: &Wal, context: &str) {
        for group in wal.groups() {
            if let Some((_, index)) = wal.state(group).committed {
                let noted = self.committed.get(&group).is_some_and(|noted| noted.contains(&index));
                assert!(noted, "{context}: committed {index} of group {group} was never noted");
            }
        }
    }

    fn rebase(&mut self, state: State) {
        self.base = state.clone();
        self.now = state;
        self.records.clear();
        self.acknowledged = Arc::default();
    }
}

pub fn observe(wal: &Wal) -> State {
    let mut state = State::new();
    for group in wal.groups() {
        let seen = wal.state(group);
        let entries = read_all(wal, group);
        state.insert(
            group,
            Group { vote: seen.vote, purged: seen.purged, entries, checkpoint: seen.checkpoint_batch },
        );
        assert_eq!(state[&group].last(), seen.last, "group {group}");
    }
    state
}

/// A group without anything may be listed or not.
fn same(a: &State, b: &State) -> bool {
    let empty = Group::default();
    a.keys().chain(b.keys()).all(|group| a.get(group).unwrap_or(&empty) == b.get(group).unwrap_or(&empty))
}

pub fn summary(state: &State) -> String {
    let mut text = String::new();
    for (group, log) in state {
        let ends = |entry: Option<&LogEntry>| entry.map(|entry| (entry.term, entry.index));
        text += &format!(
            "\n  group {group}: vote {:?}, purged {:?}, entries {:?} to {:?}, checkpoint {}",
            log.vote,
            log.purged,
            ends(log.entries.first()),
            ends(log.entries.last()),
            log.checkpoint
        );
    }
    text
}
