//! Random work on a log and the model alike, all from one seed.

use super::model::{Model, Record};
use super::rig::*;
use phalanx_storage::Error;
use phalanx_storage::wal::{LogEntry, Wal};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub struct Driver {
    pub model: Model,
    rng: SmallRng,
    term: u64,
    vote: u64,
    /// Tells bodies of the same index and term apart.
    serial: u64,
    groups: u64,
    body_bytes_max: usize,
}

impl Driver {
    pub fn new(seed: u64, groups: u64, body_bytes_max: usize) -> Self {
        Self {
            model: Model::default(),
            rng: SmallRng::seed_from_u64(seed),
            term: 1,
            vote: 0,
            serial: 0,
            groups,
            body_bytes_max,
        }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.random_range(0..below)
    }

    fn group(&mut self) -> u64 {
        1 + self.random(self.groups)
    }

    /// One random step. The error is the log's: the power is off, or a sync failed.
    pub fn step(&mut self, wal: &Wal) -> Result<(), Error> {
        self.relieve(wal)?;
        match self.random(100) {
            0..36 => self.append(wal),
            36..42 => self.vote(wal),
            42..48 => self.truncate(wal),
            48..62 => self.purge(wal),
            62..66 => self.checkpoint(wal),
            66..67 => self.forget(wal),
            67..71 => self.note_committed(wal),
            71..90 => wal.commit_pending().map(drop),
            90..94 => wal.mark_idle(),
            94..97 => wal.prepare_step().map(drop),
            _ => self.settle(wal),
        }
    }

    /// Lets go of the oldest segment, as a node does after a checkpoint.
    fn relieve(&mut self, wal: &Wal) -> Result<(), Error> {
        let Some(pressure) = wal.pressure() else { return Ok(()) };
        for (group, index) in pressure.pinned_by {
            let Some(term) = wal.term_of(group, index) else { continue };
            self.model.issue(group, Record::Purge((term, index)));
            wal.purge(group, (term, index), self.model.done());
        }
        Ok(())
    }

    pub fn settle(&mut self, wal: &Wal) -> Result<(), Error> {
        while wal.commit_pending()? {}
        assert!(self.model.is_all_acknowledged());
        Ok(())
    }

    pub fn append(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        let count = 1 + self.random(6);
        self.append_to(wal, group, count)
    }

    pub fn append_to(&mut self, wal: &Wal, group: u64, count: u64) -> Result<(), Error> {
        self.term += u64::from(self.random(5) == 0);
        let log = self.model.now.get(&group).cloned().unwrap_or_default();
        let mut entries = Vec::new();
        for at in 0..count {
            self.serial += 1;
            let bytes = self.rng.random_range(0..=self.body_bytes_max);
            let index = log.next_index() + at;
            let mut body = body(group, index, self.term, bytes).to_vec();
            body.extend_from_slice(&self.serial.to_le_bytes());
            entries.push(LogEntry { index, term: self.term, body: body.into() });
        }
        let done = self.model.done_after(entries.len());
        wal.append(group, entries.clone(), done)?;
        for entry in entries {
            self.model.issue(group, Record::Entry(entry));
        }
        Ok(())
    }

    fn vote(&mut self, wal: &Wal) -> Result<(), Error> {
        self.vote += 1;
        let (group, vote) = (self.group(), format!("vote {:08}", self.vote));
        self.model.issue(group, Record::Vote(vote.clone().into()));
        wal.save_vote(group, vote.into(), self.model.done());
        Ok(())
    }

    fn truncate(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        let log = self.model.now.get(&group).cloned().unwrap_or_default();
        let drop = self.random(4) as usize;
        let kept = match log.entries.len().checked_sub(drop + 1) {
            Some(at) => Some((log.entries[at].term, log.entries[at].index)),
            None => log.purged,
        };
        self.term += 1;
        self.model.issue(group, Record::Truncate(kept));
        wal.truncate_after(group, kept, self.model.done());
        Ok(())
    }

    pub fn purge(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        let log = self.model.now.get(&group).cloned().unwrap_or_default();
        let upto = if self.random(12) == 0 {
            // A snapshot from far ahead.
            (self.term, log.next_index() + self.random(20))
        } else {
            let keep = self.random(12) as usize;
            match log.entries.len().checked_sub(keep + 1) {
                Some(at) => (log.entries[at].term, log.entries[at].index),
                None => return Ok(()),
            }
        };
        self.model.issue(group, Record::Purge(upto));
        wal.purge(group, upto, self.model.done());
        Ok(())
    }

    fn checkpoint(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        self.serial += 1;
        self.model.issue(group, Record::Checkpoint(self.serial));
        wal.note_checkpoint(group, self.serial, self.model.done());
        Ok(())
    }

    fn forget(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        self.model.issue(group, Record::Forget);
        wal.forget(group, self.model.done());
        Ok(())
    }

    fn note_committed(&mut self, wal: &Wal) -> Result<(), Error> {
        let group = self.group();
        let Some((term, index)) = self.model.now.get(&group).and_then(|log| log.last()) else {
            return Ok(());
        };
        self.model.committed.entry(group).or_default().insert(index);
        wal.save_committed(group, (term, index))
    }
}

/// Cases to run: the variable scales the default, for the long runs.
pub fn cases(default: u64) -> u64 {
    let scale = std::env::var("PHALANX_STORAGE_CASES").ok().and_then(|text| text.parse::<f64>().ok());
    (default as f64 * scale.unwrap_or(1.0)).ceil() as u64
}
