//! What all tests share: a small random generator, entries, and a checkpoint kept in a map.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_state_machine::command::{Batch, CommandKind};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::machine::{Entry, LoadError, Machine, MachineKind};
use phalanx_state_machine::reply::Applied;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..bound; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A small identity for tests; 0 would not be valid.
pub fn id(number: u64) -> Id128 {
    Id128 { hi: 0xabc, lo: number }
}

/// An environment variable that is a number, or the default.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

/// An entry of some commands.
pub fn entry(index: u64, now_ms: u64, kinds: Vec<CommandKind>) -> Entry {
    let commands = kinds.into_iter().map(Into::into).collect();
    Entry { index, term: 1, batch: Batch { version: Batch::VERSION, now_ms, commands } }
}

/// A machine with its log position, for tests that need no more than that.
pub struct Driver {
    pub machine: Machine,
    pub index: u64,
    pub now_ms: u64,
}

impl Driver {
    pub fn new(kind: MachineKind) -> Self {
        Self { machine: Machine::new(kind), index: 0, now_ms: 1_000_000 }
    }

    /// One entry; one reply for each command.
    pub fn apply(&mut self, kinds: Vec<CommandKind>) -> Applied {
        self.index += 1;
        let count = kinds.len();
        let applied = self.machine.apply(entry(self.index, self.now_ms, kinds));
        assert_eq!(applied.replies.len(), count, "one reply for each command");
        applied
    }

    /// One entry of one command; its reply.
    pub fn one(&mut self, kind: CommandKind) -> phalanx_state_machine::reply::Reply {
        self.apply(vec![kind]).replies.remove(0)
    }
}

/// What a checkpoint store would hold.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub rows: BTreeMap<Bytes, Bytes>,
}

impl Rows {
    /// Takes the machine's changes, as one batch. Garbage is deleted when `sweep` says so; otherwise it stays, and a
    /// load has to ignore it.
    pub fn checkpoint(&mut self, machine: &mut Machine, sweep: bool) {
        let changes = machine.take_changes();
        let mut seen = std::collections::BTreeSet::new();
        for change in changes.rows {
            assert!(seen.insert(change.key.clone()), "two changes of one key in one batch: {:?}", change.key);
            match change.value {
                Some(value) => self.rows.insert(change.key, value),
                None => self.rows.remove(&change.key),
            };
        }
        if sweep {
            for (start, end) in changes.garbage {
                let dead: Vec<Bytes> = self.rows.range(start..end).map(|(key, _)| key.clone()).collect();
                for key in dead {
                    self.rows.remove(&key);
                }
            }
        }
        machine.checkpoint_done();
    }

    pub fn load(&self, kind: MachineKind) -> Result<Machine, LoadError> {
        Machine::load(kind, self.rows.iter().map(|(key, value)| (key.clone(), value.clone())))
    }
}
