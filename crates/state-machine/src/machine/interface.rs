//! What goes into a machine and what comes out of it, besides commands, replies and effects.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_filter::{Attributes, Filter, Pattern};

use crate::command::{Batch, QueueKind, Source};
use crate::ids::{GroupId, Id128, QueueUid, Sequence, TimestampMs, Token};
use crate::queue::conditions;
use crate::reply::{Payload, ReturnReason};

/// One committed entry, decoded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Log index; rises strictly, with gaps (blank and membership entries).
    pub index: u64,
    /// Raft term of the entry.
    pub term: u64,
    /// What to do.
    pub batch: Batch,
}

/// A row of the checkpoint: `value` is `None` for a row that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Key inside the replica: table, uid, place. Sorts as bytes.
    pub key: Bytes,
    /// Encoded row.
    pub value: Option<Bytes>,
}

/// What changed since the last call, to be written as one atomic batch.
#[derive(Debug, Default)]
pub struct Changes {
    /// At most one change a key.
    pub rows: Vec<RowChange>,
    /// Key ranges `start..end` whose rows mean nothing any more and may be deleted later, in slices.
    /// `load` ignores such rows and reports them again.
    pub garbage: Vec<(Bytes, Bytes)>,
}

/// A checkpoint that does not make a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("checkpoint rejected: {0}")]
pub struct LoadError(pub String);

/// What is asked about a queue.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QueueInfo {
    /// What it is.
    pub kind: QueueKind,
    /// Settings version in force.
    pub version: u64,
    /// Messages that wait (ready or delayed).
    pub ready_count: u64,
    /// Of those, waiting for a time (nack delay).
    pub delayed_count: u64,
    /// Messages under a lease.
    pub leased_count: u64,
    /// Payload bytes, waiting and leased.
    pub bytes: u64,
    /// Distinct groups that have messages.
    pub group_count: u64,
    /// Enqueue time of the oldest message, machine time, ms.
    pub oldest_enqueued_ms: Option<TimestampMs>,
    /// Sequence the next message gets.
    pub next_sequence: Sequence,
    /// Token the next delivery gets.
    pub next_token: Token,
    /// Known producers.
    pub producer_count: u64,
    /// Messages ever appended.
    pub sent_total: u64,
    /// Messages ever acknowledged.
    pub acked_total: u64,
    /// Deliveries ever made.
    pub delivered_total: u64,
    /// Deliveries with attempt > 1.
    pub redelivered_total: u64,
    /// Of a topic.
    pub subscription_count: u64,
    /// Of a topic: all messages from here on are there.
    pub kept_from: Sequence,
    /// Of a subscription: messages of the past that it has not been told of.
    pub unseen_count: u64,
    /// Of a subscription: named places.
    pub marks: Vec<(String, Sequence)>,
    /// Attached and detached consumers.
    pub consumers: Vec<ConsumerInfo>,
}

/// Messages of the past that a subscription's conditions must be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayTask {
    /// The subscription.
    pub uid: QueueUid,
    /// Of its settings.
    pub version: u64,
    /// Its topic and its conditions.
    pub source: Source,
    /// The first.
    pub from: Sequence,
    /// The one behind the last.
    pub end: Sequence,
}

impl ReplayTask {
    /// Its conditions, understood.
    ///
    /// # Errors
    /// If they are not; those of a subscription that exists are.
    pub fn conditions(&self) -> Result<Conditions, String> {
        let (pattern, filter) = conditions(&self.source)?;
        Ok(Conditions { pattern, filter })
    }
}

/// What goes on next over a binding.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxPage {
    /// The binding.
    pub binding: QueueUid,
    /// What it feeds.
    pub target: QueueUid,
    /// Whose messages they are.
    pub topic: QueueUid,
    /// In order.
    pub messages: Vec<OutboxMessage>,
}

/// A message that waits in a binding.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxMessage {
    /// Its place in the topic.
    pub sequence: Sequence,
    /// The ordering key.
    pub group: Bytes,
    /// The payload, or where to read it.
    pub payload: Payload,
}

/// Which messages a subscription takes.
#[derive(Debug)]
pub struct Conditions {
    pattern: Option<Pattern>,
    filter: Option<Filter>,
}

impl Conditions {
    /// Whether it takes a message.
    #[must_use]
    pub fn take(&self, routing_key: &str, headers: &BTreeMap<String, Bytes>) -> bool {
        let shown = Attributes::new(routing_key, headers);
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(routing_key))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(&shown))
    }
}

/// What is asked about a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Who.
    pub consumer: Id128,
    /// For people.
    pub name: String,
    /// Has a stream.
    pub attached: bool,
    /// Live leases.
    pub in_hand: u32,
    /// Window, messages.
    pub window_messages: u32,
}

/// Which messages are looked at.
#[derive(Clone, Copy, Debug)]
pub struct LookAt<'a> {
    /// None before this one.
    pub from: Sequence,
    /// Only those with this ordering key.
    pub group: Option<&'a [u8]>,
    /// Most messages on the page; at least 1.
    pub count_max: usize,
    /// Most payload bytes on the page; one message is always allowed.
    pub bytes_max: u64,
}

/// Messages where they are, in sequence order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessagePage {
    /// May be empty although there are more: the work for a page is bounded.
    pub messages: Vec<Seen>,
    /// Where the next page begins; `None`: that was all.
    pub next: Option<Sequence>,
}

/// A message that was looked at, and not handed to anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Place in the queue.
    pub sequence: Sequence,
    /// When it was sent, machine time, ms.
    pub enqueued_ms: TimestampMs,
    /// Deliveries that count, the present one included.
    pub attempts: u32,
    /// Why its last lease ended; `None`: none has.
    pub returned: Option<ReturnReason>,
    /// Where it is in its life.
    pub standing: Standing,
    /// The payload, or where to read it.
    pub payload: Payload,
}

/// Where a message is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Waits for a consumer, or behind the earlier messages of its group.
    Ready,
    /// Waits for a time.
    Delayed {
        /// Machine time, ms.
        until_ms: TimestampMs,
    },
    /// In somebody's hands.
    Leased {
        /// Of the delivery.
        token: Token,
        /// Whose.
        holder: Option<Holder>,
        /// End of the lease, machine time, ms.
        deadline_ms: TimestampMs,
    },
}

/// Who holds a message or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub consumer: Id128,
    /// For people.
    pub name: String,
}

/// Ordering groups with messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPage {
    /// In an order of its own that changes do not disturb.
    pub groups: Vec<GroupInfo>,
    /// What the next page comes after; `None`: that was all.
    pub next: Option<u64>,
}

/// What is asked about an ordering group. A `strict` queue is one, without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The ordering key.
    pub key: Bytes,
    /// Messages with that key, leased ones included.
    pub message_count: u64,
    /// Of those, under a lease.
    pub leased_count: u64,
    /// Enqueue time of its first message, machine time, ms.
    pub oldest_enqueued_ms: TimestampMs,
    /// Who holds the leases; `None`: nothing is leased.
    pub holder: Option<Holder>,
}

/// What a machine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// Group 0: what exists and where.
    Catalog,
    /// Queues. The group is part of the checkpoint: rows of another group are refused.
    Shard(GroupId),
}
