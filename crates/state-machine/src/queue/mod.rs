//! One queue of a shard.
//!
//! A file per command (`send`, `receive`, `attach`, `settle`, `expire`, `purge`) and per structure that they share (`messages`,
//! `groups`, `leases`, `consumers`, `answers`, `producers`, `remembered`). Choices where the contract leaves room:
//!
//! - Several messages of one group may be leased to one consumer, in order; never to two. The consumer may settle those in its
//!   hand in any order; when one returns, the later leases of its group end with it.
//! - A settle by ranges works in rising token order. Of several tokens of one group in one nack, the first returns the
//!   message and ends the other leases, which are answered `LeaseOver`.
//! - A range names live leases of the caller and its remembered answers; `up_to` names live leases only.
//! - A receive does not end a consumer's resume time; a clean detach leaves a consumer that may receive.
//! - Purged leases end with reason `Unspecified`.
//! - `strict` is fixed when the queue is made.
//! - A shorter deduplication window holds for ids that are remembered already, counted from the change; a longer one does not.
//!
//! Invariant: a live message is in exactly one of ready, leased, delayed; an ungrouped ready one is either fresh or in
//! `returned`, a grouped one stands in its lane.

use std::collections::BTreeSet;

use bytes::Bytes;
use phalanx_canary::Canary;

use crate::command::{PutQueue, QueueSettings};
use crate::digest;
use crate::ids::{QueueUid, Sequence, TimestampMs, Token};
use crate::limits;
use crate::reply::{Effect, Reply};
use crate::rows::MemoryValue;

pub(crate) mod seq_map;

mod answers;
mod consumers;
mod groups;
mod leases;
mod messages;
mod producers;
mod remembered;

mod assign;
mod attach;
mod expire;
mod lane;
mod purge;
mod receive;
mod send;
mod settle;

mod check;
mod checkpoint;
mod info;
mod load;
mod look;

#[cfg(test)]
mod tests;

pub(crate) use load::QueueLoader;
pub(crate) use purge::Trash;

use consumers::Consumers;
use groups::Groups;
use leases::Leases;
use messages::Messages;
use producers::Producers;
use receive::Received;
use remembered::{Memory, Remembered};
use send::SentBefore;

/// What a command may use beside the queue.
pub(crate) struct Turn<'a> {
    pub(crate) now_ms: TimestampMs,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// Totals over the queue's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) rejected: u64,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) uid: QueueUid,
    namespace: String,
    name: String,
    version: u64,
    /// As they came.
    given: QueueSettings,
    /// With all defaults filled in.
    settings: QueueSettings,
    next_sequence: Sequence,
    next_token: Token,
    /// Messages below are gone: purged. Their rows are garbage.
    floor: Sequence,
    totals: Totals,
    messages: Messages,
    groups: Groups,
    leases: Leases,
    /// Ungrouped ready messages that were leased before.
    returned: BTreeSet<Sequence>,
    /// Ready messages at the head of lanes that no one holds.
    heads: BTreeSet<Sequence>,
    /// Messages that wait for a time.
    delayed: BTreeSet<(TimestampMs, Sequence)>,
    consumers: Consumers,
    producers: Producers,
    dedup: Remembered<Original>,
    sends: Remembered<SentBefore>,
    receives: Remembered<Received>,
    /// Changed since the last checkpoint.
    pub(crate) dirty: bool,
    /// The checkpoint has rows of it.
    written: bool,
    /// `floor` at the last checkpoint.
    written_floor: Sequence,
    /// As last counted by the machine.
    pub(crate) counted_digest: u64,
    /// As last registered by the machine.
    pub(crate) registered_due_ms: Option<TimestampMs>,
    /// As last counted by the machine.
    pub(crate) counted_estimate: (usize, u64),
    /// As last counted by the machine.
    pub(crate) counted_resident: u64,
    /// The machine must look at it at the end of this entry.
    pub(crate) touched: bool,
}

/// Sequence of the message that a deduplication id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Original(Sequence);

impl Memory for Original {
    fn hash(&self) -> u64 {
        self.0
    }
    fn to_row(&self) -> MemoryValue {
        MemoryValue { first: self.0, ..MemoryValue::default() }
    }
    fn from_row(row: MemoryValue) -> Option<Self> {
        Some(Self(row.first))
    }
}

impl Queue {
    pub(crate) fn new(put: &PutQueue) -> Self {
        Self {
            uid: put.uid,
            namespace: put.namespace.clone(),
            name: put.name.clone(),
            version: put.version,
            given: put.settings.clone(),
            settings: limits::resolve(&put.settings),
            next_sequence: 1,
            next_token: put.first_token.clamp(1, limits::FIRST_TOKEN_MAX),
            floor: 1,
            totals: Totals::default(),
            messages: Messages::default(),
            groups: Groups::default(),
            leases: Leases::default(),
            returned: BTreeSet::new(),
            heads: BTreeSet::new(),
            delayed: BTreeSet::new(),
            consumers: Consumers::default(),
            producers: Producers::default(),
            dedup: Remembered::new(10),
            sends: Remembered::new(11),
            receives: Remembered::new(12),
            dirty: true,
            written: false,
            written_floor: 1,
            counted_digest: 0,
            registered_due_ms: None,
            counted_estimate: (0, 0),
            counted_resident: 0,
            touched: false,
        }
    }

    /// Brings the settings to a newer version.
    pub(crate) fn put(&mut self, now_ms: TimestampMs, put: &PutQueue) -> Reply {
        if put.version > self.version {
            let strict = self.settings.strict;
            self.version = put.version;
            self.given = QueueSettings { strict, ..put.settings.clone() };
            self.settings = limits::resolve(&self.given);
            self.dedup.cut(now_ms.saturating_add(self.settings.dedup_window_ms));
            self.namespace.clone_from(&put.namespace);
            self.name.clone_from(&put.name);
            self.dirty = true;
        }
        Reply::Done
    }

    pub(crate) fn settings(&self) -> (&QueueSettings, u64) {
        (&self.settings, self.version)
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.messages.resident
    }

    pub(crate) fn spill(&mut self, through: Sequence) -> u64 {
        self.messages.spill(through)
    }

    /// When time alone changes something here.
    pub(crate) fn due_ms(&self) -> Option<TimestampMs> {
        let lease = self.leases.deadlines.first().map(|(due, _)| *due);
        let delay = self.delayed.first().map(|(due, _)| *due);
        let consumer = self.consumers.due.first().map(|(due, _)| *due);
        [lease, delay, consumer, self.forget_due_ms()].into_iter().flatten().min()
    }

    /// Hash of everything in the logical state of the queue. Call at the end of an entry.
    pub(crate) fn digest(&mut self) -> u64 {
        let consumers = self.consumers.settle_digest();
        let items = [self.messages.sum, self.leases.sum, consumers, self.producers.sum];
        let dedup = if Canary::DedupNotInSnapshot.is_planted() { 0 } else { self.dedup.sum };
        let memory = [dedup, self.sends.sum, self.receives.sum];
        let sum = items.iter().chain(&memory).fold(self.head_hash(), |sum, item| sum.wrapping_add(*item));
        digest::mix(self.uid, sum)
    }

    fn head_hash(&self) -> u64 {
        let texts =
            digest::bytes(self.namespace.as_bytes()) ^ digest::bytes(self.name.as_bytes()).rotate_left(1);
        let given = [
            self.given.lease_ms,
            u64::from(self.given.strict),
            self.given.length_max,
            self.given.bytes_max,
            self.given.dedup_window_ms,
            self.given.resume_ms,
            self.given.body_bytes_max,
        ];
        let totals = self.totals;
        let numbers = [
            texts,
            self.version,
            self.next_sequence,
            if Canary::TokenReused.is_planted() { 0 } else { self.next_token },
            self.floor,
            self.consumers.next_number,
            totals.sent,
            totals.acked,
            totals.rejected,
            totals.delivered,
            totals.redelivered,
            self.dedup.first,
            self.sends.first,
            self.receives.first,
        ];
        digest::words(8, &given) ^ digest::words(9, &numbers)
    }

    /// The payload's row, if a checkpoint has it.
    pub(crate) fn page_key_of(&self, sequence: Sequence) -> Option<Bytes> {
        self.messages.page_of(sequence).map(|first| crate::rows::page_key(self.uid, first))
    }
}
