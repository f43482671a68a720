//! Replicas: the committed log, and the real machine that each of them makes of it, restarts and received snapshots included.
//!
//! Invariant: a replica is nothing but where its rows came from and the log; the machine is made anew for every question.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use phalanx_state_machine::command::{CommandKind, Receive, Tick};
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::{Payload, Rejection, Reply};
use phalanx_state_machine::rows::{Table, key};

use crate::support::{Rows, entry, id};

pub const UID: u64 = 1;
pub const LEASE_MS: u64 = 1_000;
const KIND: MachineKind = MachineKind::Shard(1);
/// A consumer of no model: takes what is left at the end.
const DRAINER: u64 = 99;

/// How a state came about, which does not tell it from another: neither hashed nor compared.
#[derive(Clone, Debug, Default)]
pub struct Past<T>(pub T);

impl<T> Hash for Past<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> PartialEq for Past<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Past<T> {}

impl<T> Deref for Past<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Past<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A committed entry.
#[derive(Debug)]
pub struct Committed {
    pub now_ms: u64,
    pub commands: Vec<CommandKind>,
}

/// A replica, as much of it as the others can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    pub digest: u64,
    /// Machine time as it would stamp it on an entry now.
    pub clock_ms: u64,
    /// Digest of the rows that its process began with; 0 = it began with nothing and has applied the whole log.
    pub began_as: u64,
    /// Entries that it applied since, as far as they matter: it has a checkpoint of each of the last [`CHECKPOINTS`].
    pub applied: usize,
    /// The rows.
    pub rows: Past<Option<Arc<Rows>>>,
    /// Entries in the rows.
    pub begun: Past<usize>,
}

/// How many entries ago the oldest checkpoint was taken that a restart may begin with.
pub const CHECKPOINTS: usize = 2;

impl Node {
    /// Its machine after the whole log, and the answers to the last entry.
    pub fn machine(&self, log: &[Arc<Committed>]) -> (Machine, Vec<Reply>) {
        let mut machine = match &*self.rows {
            Some(rows) => rows.load(KIND).expect("rows of a sound machine make a machine"),
            None => Machine::new(KIND),
        };
        let mut replies = Vec::new();
        for (position, committed) in log.iter().enumerate().skip(*self.begun) {
            let entry = entry(position as u64 + 1, committed.now_ms, committed.commands.clone());
            replies = machine.apply(entry).replies;
        }
        (machine, replies)
    }

    /// The rows of a checkpoint that this replica took after so many entries.
    pub fn checkpoint(&self, log: &[Arc<Committed>]) -> Rows {
        let mut rows = self.rows.as_deref().cloned().unwrap_or_default();
        let (mut machine, _) = self.machine(log);
        rows.checkpoint(&mut machine, log.len().is_multiple_of(2));
        rows
    }

    /// Its process begins anew with these rows, which hold the first `begun` entries.
    pub fn begin(&mut self, rows: Rows, begun: usize, log: &[Arc<Committed>]) {
        // Before its first checkpoint it has no rows.
        self.rows = Past((!rows.rows.is_empty()).then(|| Arc::new(rows)));
        self.begun = Past(begun);
        self.began_as = self.machine(&[]).0.digest();
        self.applied = (log.len() - begun).min(CHECKPOINTS);
        let (machine, _) = self.machine(log);
        self.digest = machine.digest();
        // The slowest clock that there can be: nobody tells it of the time since the last entry. The others' clocks ran on.
        self.clock_ms = machine.now_ms();
    }

    /// It applied one more entry.
    pub fn applied(&mut self, digest: u64) {
        self.digest = digest;
        self.applied = (self.applied + 1).min(CHECKPOINTS);
    }
}

/// A planted bug: the rows hold nothing of producers, their results and deduplication ids.
pub fn forget_sends(rows: &mut Rows) {
    for table in [Table::Producers, Table::Results, Table::Dedup, Table::Sends] {
        let prefix = key(UID, table, &[]);
        rows.rows.retain(|key, _| !key.starts_with(&prefix));
    }
}

/// The messages that are still to be had from this machine once every lease is over, in the order in which they come.
pub fn drain(mut machine: Machine) -> Vec<u8> {
    let now_ms = machine.now_ms() + 10 * LEASE_MS;
    let receive = Receive {
        uid: UID,
        consumer: id(DRAINER),
        request: id(DRAINER),
        messages_max: 100,
        ..Default::default()
    };
    let kinds = vec![CommandKind::Tick(Tick {}), CommandKind::Receive(receive)];
    let replies = machine.apply(entry(machine.applied_index() + 1, now_ms, kinds)).replies;
    match replies.last() {
        Some(Reply::Received { deliveries, .. }) => {
            deliveries.iter().map(|delivery| message_of(&delivery.payload)).collect()
        }
        // A planted bug may lose the queue itself.
        Some(Reply::Rejected(Rejection::QueueGone)) => Vec::new(),
        other => panic!("not drained: {other:?}"),
    }
}

/// The number of a message, which is all that its payload holds.
pub fn message_of(payload: &Payload) -> u8 {
    match payload {
        Payload::Resident(bytes) => bytes[0],
        Payload::Spilled(_) => panic!("nothing is spilled here"),
    }
}
