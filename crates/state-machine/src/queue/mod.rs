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

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use phalanx_canary::Canary;

use crate::command::{PutQueue, QueueKind, QueueSettings};
use crate::digest;
use crate::ids::{QueueUid, Sequence, TimestampMs, Token};
use crate::limits;
use crate::reply::{Effect, Reply};
use crate::rows::MemoryValue;

pub(crate) mod seq_map;

mod answers;
mod attributes;
mod binding;
mod compact;
mod conflate;
mod consumers;
mod disuse;
mod feed;
mod groups;
mod leases;
mod matches;
mod messages;
mod producers;
mod remembered;
mod retain;
mod topic;

mod assign;
mod attach;
mod expire;
mod lane;
mod purge;
mod receive;
mod seek;
mod send;
mod settle;

mod check;
mod checkpoint;
mod info;
mod load;
mod look;

#[cfg(test)]
mod tests;

pub(crate) use binding::{check_transfer, resident};
pub(crate) use load::QueueLoader;
pub(crate) use purge::Trash;
pub(crate) use topic::{Routes, conditions};

use consumers::Consumers;
use feed::Feed;
use groups::Groups;
use leases::Leases;
use messages::Messages;
use producers::Producers;
use receive::Received;
use remembered::{Memory, Remembered};
use send::SentBefore;
use topic::Topic;

/// What a command may use beside the queue.
pub(crate) struct Turn<'a> {
    pub(crate) now_ms: TimestampMs,
    pub(crate) effects: &'a mut Vec<Effect>,
    /// Of a subscription.
    pub(crate) topic: Option<&'a mut Queue>,
}

/// What a queue is.
#[derive(Debug)]
enum Role {
    Queue,
    Topic(Topic),
    Subscription(Feed),
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
    role: Role,
    namespace: String,
    name: String,
    version: u64,
    /// As they came.
    given: QueueSettings,
    /// With all defaults filled in.
    settings: QueueSettings,
    /// Of a subscription: where it takes in what waits next.
    next_sequence: Sequence,
    next_token: Token,
    /// Messages below are gone: purged. Their rows are garbage.
    floor: Sequence,
    totals: Totals,
    /// If it expires: when it was last used.
    used_ms: TimestampMs,
    /// It is to be deleted.
    expired: bool,
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
    /// Where the messages go that a topic has just taken.
    routes: Routes,
    sends: Remembered<SentBefore>,
    receives: Remembered<Received>,
    /// The bindings that feed it, and the last message that it took of each.
    inboxes: BTreeMap<QueueUid, Sequence>,
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
        let role = match (put.kind(), &put.source) {
            (QueueKind::Topic, _) => Role::Topic(Topic::new(put.settings.compact)),
            (QueueKind::Subscription | QueueKind::Binding, Some(source)) => {
                Role::Subscription(Feed::new(source.clone(), put.settings.latest_only))
            }
            (QueueKind::Queue | QueueKind::Subscription | QueueKind::Binding, _) => Role::Queue,
        };
        Self {
            uid: put.uid,
            role,
            namespace: put.namespace.clone(),
            name: put.name.clone(),
            version: put.version,
            given: put.settings.clone(),
            settings: limits::resolve(&put.settings),
            next_sequence: 1,
            next_token: put.first_token.clamp(1, limits::FIRST_TOKEN_MAX),
            floor: 1,
            totals: Totals::default(),
            used_ms: 0,
            expired: false,
            messages: Messages::default(),
            groups: Groups::default(),
            leases: Leases::default(),
            returned: BTreeSet::new(),
            heads: BTreeSet::new(),
            delayed: BTreeSet::new(),
            consumers: Consumers::default(),
            producers: Producers::default(),
            dedup: Remembered::new(10),
            routes: Routes::default(),
            sends: Remembered::new(11),
            receives: Remembered::new(12),
            inboxes: BTreeMap::new(),
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
            self.version = put.version;
            self.given = put.settings.clone().with_fixed_of(&self.settings);
            self.settings = limits::resolve(&self.given);
            self.use_now(now_ms);
            self.dedup.cut(now_ms.saturating_add(self.settings.dedup_window_ms));
            self.namespace.clone_from(&put.namespace);
            self.name.clone_from(&put.name);
            self.dirty = true;
        }
        Reply::Done
    }

    pub(crate) fn kind(&self) -> QueueKind {
        match self.role {
            Role::Queue => QueueKind::Queue,
            Role::Topic(_) => QueueKind::Topic,
            Role::Subscription(_) if self.target().is_some() => QueueKind::Binding,
            Role::Subscription(_) => QueueKind::Subscription,
        }
    }

    pub(crate) fn topic(&self) -> Option<&Topic> {
        if let Role::Topic(topic) = &self.role { Some(topic) } else { None }
    }

    pub(crate) fn topic_mut(&mut self) -> Option<&mut Topic> {
        if let Role::Topic(topic) = &mut self.role { Some(topic) } else { None }
    }

    fn feed(&self) -> Option<&Feed> {
        if let Role::Subscription(feed) = &self.role { Some(feed) } else { None }
    }

    fn feed_mut(&mut self) -> Option<&mut Feed> {
        if let Role::Subscription(feed) = &mut self.role { Some(feed) } else { None }
    }

    /// Where the messages of the last send go.
    pub(crate) fn take_routes(&mut self) -> Routes {
        std::mem::take(&mut self.routes)
    }

    /// Payload bytes of some messages.
    pub(crate) fn bytes_of(&self, sequence: Sequence) -> u32 {
        self.messages.get(sequence).map_or(0, |slot| slot.payload_bytes)
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
        let at_once = self.is_untrimmed() || self.feed().is_some_and(|feed| feed.starved);
        let own = [self.forget_due_ms(), self.retain_due_ms(), self.disuse_due_ms(), at_once.then_some(0)];
        [lease, delay, consumer].into_iter().chain(own).flatten().min()
    }

    /// Hash of everything in the logical state of the queue. Call at the end of an entry.
    pub(crate) fn digest(&mut self) -> u64 {
        let consumers = self.consumers.settle_digest();
        let items = [self.messages.sum, self.leases.sum, consumers, self.producers.sum];
        let dedup = if Canary::DedupNotInSnapshot.is_planted() { 0 } else { self.dedup.sum };
        let memory = [dedup, self.sends.sum, self.receives.sum];
        let head = self.head_hash().wrapping_add(self.role_hash()).wrapping_add(self.inbox_hash());
        let sum = items.iter().chain(&memory).fold(head, |sum, item| sum.wrapping_add(*item));
        digest::mix(self.uid, sum)
    }

    fn role_hash(&self) -> u64 {
        match &self.role {
            Role::Queue => 0,
            Role::Topic(topic) => digest::words(32, &[topic.trim, topic.kept, topic.retained.from]),
            Role::Subscription(feed) => feed.head_hash(),
        }
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
        let given_later = [
            self.given.retain_ms,
            self.given.retain_bytes,
            u64::from(self.given.compact) | u64::from(self.given.latest_only) << 1,
            self.given.expires_ms,
            u64::from(self.given.exclusive) | u64::from(self.expired) << 1,
            self.used_ms,
        ];
        // Nothing where they are not used, so that older checkpoints keep their digest.
        let later = if given_later == [0; 6] { 0 } else { digest::words(34, &given_later) };
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
        digest::words(8, &given) ^ digest::words(9, &numbers) ^ later
    }

    /// The payload's row, if a checkpoint has it.
    pub(crate) fn page_key_of(&self, sequence: Sequence) -> Option<Bytes> {
        self.messages.page_of(sequence).map(|first| crate::rows::page_key(self.uid, first))
    }
}
