//! The checkpoint's rows: key layout and stored structs.
//!
//! A key is a table byte and a place, big-endian, so that rows sort as bytes:
//!
//! ```text
//! 00                                  the machine row
//! 01 uid                              a queue that was dropped here (tombstone)
//! 10 uid table place…                 a queue's rows, see `Table`; its queue row first
//! 40 …                                the catalog's rows
//! ```
//!
//! Values are protobuf (prost): fields are only ever added. Invariant: a row is never trusted for a size; what it
//! says is checked when it is loaded.

use bytes::Bytes;
use prost::Message as _;

use crate::command::{QueueKind, QueueSettings, Source};
use crate::ids::{Id128, QueueUid, Sequence, TimestampMs, Token};
use crate::reply::{Rejection, Reply, Sent};

/// First key byte of the machine row.
pub const MACHINE: u8 = 0x00;
/// First key byte of tombstones.
pub const TOMBSTONE: u8 = 0x01;
/// First key byte of a queue's rows.
pub const QUEUE: u8 = 0x10;
/// First key byte of the catalog's rows.
pub const CATALOG: u8 = 0x40;
/// Newest format of the rows as a whole; a machine row with a higher one is refused.
pub const FORMAT: u32 = 1;

/// The machine row. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MachineRow {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The Raft group; 0 = the catalog.
    #[prost(uint64, tag = "2")]
    pub group: u64,
    /// Machine time.
    #[prost(uint64, tag = "3")]
    pub now_ms: TimestampMs,
    /// Highest leader term seen by `TermStart`.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Log index of the last entry applied.
    #[prost(uint64, tag = "5")]
    pub applied_index: u64,
}

/// Key of the machine row.
#[must_use]
pub fn machine_key() -> Bytes {
    Bytes::from_static(&[MACHINE])
}

/// Key of a dropped queue's tombstone.
#[must_use]
pub fn tombstone_key(uid: QueueUid) -> Bytes {
    let mut key = Vec::with_capacity(9);
    key.push(TOMBSTONE);
    key.extend_from_slice(&uid.to_be_bytes());
    Bytes::from(key)
}

/// The tables of a queue, in the order they are loaded: what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// [`QueueRow`], one.
    Queue = 1,
    /// [`ConsumerRow`] by number.
    Consumers = 2,
    /// [`PageRow`] by the sequence the page begins with.
    Pages = 3,
    /// [`StateRow`] of the page with the same place.
    States = 4,
    /// [`LeaseRow`] by token / 64.
    Leases = 5,
    /// [`AnswersRow`] by consumer number and segment.
    Answers = 6,
    /// [`ProducerRow`] by id.
    Producers = 7,
    /// [`ResultsRow`] by producer id and sequence / 64.
    Results = 8,
    /// [`MemoryRow`] by ordinal / 256: deduplication ids.
    Dedup = 9,
    /// The same: requests of sends.
    Sends = 10,
    /// The same: requests of receives.
    Receives = 11,
    /// [`MatchRow`] by sequence / 64.
    Matches = 12,
}

impl Table {
    /// The table of a key byte.
    #[must_use]
    pub fn of(byte: u8) -> Option<Self> {
        use Table::{
            Answers, Consumers, Dedup, Leases, Matches, Pages, Producers, Queue, Receives, Results, Sends,
            States,
        };
        let all = [
            Queue, Consumers, Pages, States, Leases, Answers, Producers, Results, Dedup, Sends, Receives,
            Matches,
        ];
        all.into_iter().find(|table| *table as u8 == byte)
    }
}

/// Key of a queue's row.
#[must_use]
pub fn key(uid: QueueUid, table: Table, place: &[&[u8]]) -> Bytes {
    let mut key = Vec::with_capacity(10 + place.iter().map(|part| part.len()).sum::<usize>());
    key.push(QUEUE);
    key.extend_from_slice(&uid.to_be_bytes());
    key.push(table as u8);
    for part in place {
        key.extend_from_slice(part);
    }
    Bytes::from(key)
}

/// Key of a queue's row whose place is a number.
#[must_use]
pub fn number_key(uid: QueueUid, table: Table, number: u64) -> Bytes {
    key(uid, table, &[&number.to_be_bytes()])
}

/// Key of the page that begins with `first`.
#[must_use]
pub fn page_key(uid: QueueUid, first: Sequence) -> Bytes {
    number_key(uid, Table::Pages, first)
}

/// All rows of a queue.
#[must_use]
pub fn queue_range(uid: QueueUid) -> (Bytes, Bytes) {
    let start = key(uid, Table::Queue, &[]).slice(..9);
    let end = match uid.checked_add(1) {
        Some(next) => key(next, Table::Queue, &[]).slice(..9),
        None => Bytes::from_static(&[QUEUE + 1]),
    };
    (start, end)
}

/// A queue. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueRow {
    /// Of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Of the settings.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// As they came.
    #[prost(message, required, tag = "4")]
    pub settings: QueueSettings,
    /// The next message gets it.
    #[prost(uint64, tag = "5")]
    pub next_sequence: Sequence,
    /// The next delivery gets it.
    #[prost(uint64, tag = "6")]
    pub next_token: Token,
    /// Rows of messages below are garbage.
    #[prost(uint64, tag = "7")]
    pub floor: Sequence,
    /// The next consumer gets it.
    #[prost(uint64, tag = "8")]
    pub next_consumer: u64,
    /// First ordinal of the deduplication ids that counts.
    #[prost(uint64, tag = "9")]
    pub dedup_first: u64,
    /// First ordinal of the send requests that counts.
    #[prost(uint64, tag = "10")]
    pub sends_first: u64,
    /// First ordinal of the receive requests that counts.
    #[prost(uint64, tag = "11")]
    pub receives_first: u64,
    /// Messages ever appended.
    #[prost(uint64, tag = "12")]
    pub sent_total: u64,
    /// Messages ever acknowledged.
    #[prost(uint64, tag = "13")]
    pub acked_total: u64,
    /// Messages ever rejected by a consumer.
    #[prost(uint64, tag = "14")]
    pub rejected_total: u64,
    /// Deliveries ever made.
    #[prost(uint64, tag = "15")]
    pub delivered_total: u64,
    /// Of those, repeated ones.
    #[prost(uint64, tag = "16")]
    pub redelivered_total: u64,
    /// What it is.
    #[prost(enumeration = "QueueKind", tag = "17")]
    pub kind: i32,
    /// Of a subscription or a binding.
    #[prost(message, optional, tag = "18")]
    pub source: Option<Source>,
    /// Of a subscription: it has [`MatchRow`]s; otherwise all that its topic has from `next_sequence` on waits for it.
    #[prost(bool, tag = "19")]
    pub matched: bool,
    /// Of a topic: messages below are kept for subscriptions that hold them, and for nothing else.
    #[prost(uint64, tag = "20")]
    pub trim: Sequence,
    /// Of a subscription: it has more to take in than one command may.
    #[prost(bool, tag = "21")]
    pub starved: bool,
    /// Of a topic: messages from here on are kept, whoever has settled them; at most `next_sequence`. 0 = there.
    #[prost(uint64, tag = "22")]
    pub retained: Sequence,
    /// Of a subscription: messages from here to `replay_end` have not been looked at. 0 = all have.
    #[prost(uint64, tag = "23")]
    pub replay_at: Sequence,
    /// See `replay_at`.
    #[prost(uint64, tag = "24")]
    pub replay_end: Sequence,
    /// Of a subscription.
    #[prost(message, repeated, tag = "25")]
    pub marks: Vec<MarkRow>,
    /// Of a topic: all messages from here on are there. 0 = from `trim` on.
    #[prost(uint64, tag = "26")]
    pub kept: Sequence,
    /// If it expires: when it was last used.
    #[prost(uint64, tag = "27")]
    pub used_ms: TimestampMs,
    /// It has expired, and is to be deleted.
    #[prost(bool, tag = "28")]
    pub expired: bool,
    /// The bindings that feed it, rising.
    #[prost(message, repeated, tag = "29")]
    pub inboxes: Vec<InboxRow>,
}

/// What a queue or topic has had of a binding. Stored.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct InboxRow {
    /// The binding.
    #[prost(uint64, tag = "1")]
    pub binding: QueueUid,
    /// The last message of it; 0 = none.
    #[prost(uint64, tag = "2")]
    pub through: Sequence,
}

/// A named place of a subscription. Stored.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MarkRow {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The place.
    #[prost(uint64, tag = "2")]
    pub sequence: Sequence,
}

/// Messages of a topic that wait for a subscription with a filter. Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct MatchRow {
    /// A bit for each sequence of the chunk.
    #[prost(fixed64, tag = "1")]
    pub bits: u64,
}

/// A consumer. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConsumerRow {
    /// Who.
    #[prost(message, required, tag = "1")]
    pub id: Id128,
    /// For people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Of its last stream.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// 1 attached, 2 detached, 3 without a stream.
    #[prost(uint32, tag = "4")]
    pub phase: u32,
    /// Detached, without a stream: until when.
    #[prost(uint64, tag = "5")]
    pub until_ms: TimestampMs,
    /// Window, messages.
    #[prost(uint32, tag = "6")]
    pub window_messages: u32,
    /// Window, bytes.
    #[prost(uint64, tag = "7")]
    pub window_bytes: u64,
    /// 0 = the queue's.
    #[prost(uint64, tag = "8")]
    pub lease_ms: u64,
    /// The last token it got.
    #[prost(uint64, tag = "9")]
    pub last_token: Token,
    /// First segment of answers that counts.
    #[prost(uint64, tag = "10")]
    pub answers_first: u64,
}

/// A run of messages that were in the queue at a checkpoint; they lie within one chunk of 64. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageRow {
    /// Rising.
    #[prost(message, repeated, tag = "1")]
    pub messages: Vec<PageMessage>,
    /// Sequence of the first message, as in the key.
    #[prost(uint64, tag = "2")]
    pub first: Sequence,
}

/// A message in a page. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageMessage {
    /// Sequence less the page's first.
    #[prost(uint32, tag = "1")]
    pub offset: u32,
    /// Opaque.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// Ordering key.
    #[prost(bytes = "bytes", tag = "3")]
    pub group: Bytes,
    /// When it was sent.
    #[prost(uint64, tag = "4")]
    pub enqueued_ms: TimestampMs,
    /// Of a compacted topic: it has an ordering key and no body.
    #[prost(bool, tag = "5")]
    pub deletes: bool,
}

/// What has happened to a page since it was written. Without this row: nothing. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StateRow {
    /// Bit n: the message at offset n is settled.
    #[prost(fixed64, tag = "1")]
    pub settled: u64,
    /// Live messages that were delivered before.
    #[prost(message, repeated, tag = "2")]
    pub messages: Vec<StateMessage>,
}

/// A message that was delivered before. Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct StateMessage {
    /// Sequence less the page's first.
    #[prost(uint32, tag = "1")]
    pub offset: u32,
    /// Deliveries that count, a live lease included.
    #[prost(uint32, tag = "2")]
    pub attempts: u32,
    /// `ReturnReason` of the last lease that ended.
    #[prost(uint32, tag = "3")]
    pub reason: u32,
    /// It waits until then; absent: it does not wait.
    #[prost(uint64, optional, tag = "4")]
    pub due_ms: Option<TimestampMs>,
}

/// The live leases of 64 consecutive tokens. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRow {
    /// Rising.
    #[prost(message, repeated, tag = "1")]
    pub leases: Vec<LeaseItem>,
}

/// A lease. Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LeaseItem {
    /// Token less the chunk's first.
    #[prost(uint32, tag = "1")]
    pub offset: u32,
    /// Of the message.
    #[prost(uint64, tag = "2")]
    pub sequence: Sequence,
    /// Exclusive.
    #[prost(uint64, tag = "3")]
    pub deadline_ms: TimestampMs,
    /// Number of the holder.
    #[prost(uint64, tag = "4")]
    pub consumer: u64,
    /// What it was given.
    #[prost(uint32, tag = "5")]
    pub lease_ms: u32,
}

/// Remembered answers of a consumer. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnswersRow {
    /// Differences of rising words; a word is a token times four, plus 0 acked, 1 nacked, 2 rejected, 3 over.
    #[prost(uint64, repeated, tag = "1")]
    pub words: Vec<u64>,
}

/// An idempotent producer. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProducerRow {
    /// Highest sequence that was used.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    /// First sequence whose result is remembered.
    #[prost(uint64, tag = "2")]
    pub first_result: u64,
    /// When it last sent.
    #[prost(uint64, tag = "3")]
    pub active_ms: TimestampMs,
}

/// Results of a producer for up to 64 consecutive sequences. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResultsRow {
    /// Sequence of the first of `results`.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// In order, without gaps.
    #[prost(message, repeated, tag = "2")]
    pub results: Vec<ResultRow>,
}

/// The result of a send. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResultRow {
    /// First sequence appended; 0 = none.
    #[prost(uint64, tag = "1")]
    pub first: Sequence,
    /// Messages appended.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Messages suppressed.
    #[prost(message, repeated, tag = "3")]
    pub duplicates: Vec<DuplicateRow>,
    /// 0 = sent, 1 = invalid, 2 = queue full, 3 = too many remembered ids, 4 = a mandatory message that matches nothing.
    #[prost(uint32, tag = "4")]
    pub rejection: u32,
    /// What the rejection says.
    #[prost(string, tag = "5")]
    pub text: String,
    /// To a topic: see [`Sent::matched`].
    #[prost(uint64, tag = "6")]
    pub matched: u64,
}

/// A suppressed message. Stored.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct DuplicateRow {
    /// In the batch, from 0.
    #[prost(uint32, tag = "1")]
    pub position: u32,
    /// Sequence of the message that was kept.
    #[prost(uint64, tag = "2")]
    pub original: Sequence,
}

impl ResultRow {
    /// The result to remember; `None` for a reply that is not remembered.
    #[must_use]
    pub fn of(reply: &Reply) -> Option<Self> {
        let rejected =
            |rejection, text: &String| Some(Self { rejection, text: text.clone(), ..Self::default() });
        match reply {
            Reply::Sent(sent) => {
                let row = |(position, original): &(u32, Sequence)| DuplicateRow {
                    position: *position,
                    original: *original,
                };
                let duplicates = sent.duplicates.iter().map(row).collect();
                let (first, count, matched) = (sent.first, sent.count, sent.matched);
                Some(Self { first, count, duplicates, matched, ..Self::default() })
            }
            Reply::Rejected(Rejection::Invalid(text)) => rejected(1, text),
            Reply::Rejected(Rejection::QueueFull(text)) => rejected(2, text),
            Reply::Rejected(Rejection::DedupFull(text)) => rejected(3, text),
            Reply::Rejected(Rejection::Unroutable(text)) => rejected(4, text),
            _ => None,
        }
    }

    /// The answer to a repetition.
    #[must_use]
    pub fn repeat(&self) -> Reply {
        match self.rejection {
            1 => Reply::Rejected(Rejection::Invalid(self.text.clone())),
            2 => Reply::Rejected(Rejection::QueueFull(self.text.clone())),
            3 => Reply::Rejected(Rejection::DedupFull(self.text.clone())),
            4 => Reply::Rejected(Rejection::Unroutable(self.text.clone())),
            _ => Reply::Sent(Sent {
                first: self.first,
                count: self.count,
                duplicates: self.duplicates.iter().map(|row| (row.position, row.original)).collect(),
                matched: self.matched,
                repeated: true,
            }),
        }
    }

    /// Only a first sequence and a count.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.duplicates.is_empty() && self.rejection == 0 && self.text.is_empty() && self.matched == 0
    }

    /// For the digest.
    #[must_use]
    pub fn hash(&self) -> u64 {
        crate::digest::bytes(&self.encode_to_vec())
    }
}

/// A run of remembered ids. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryRow {
    /// Ordinal of the first of `items`.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// In order, without gaps.
    #[prost(message, repeated, tag = "2")]
    pub items: Vec<MemoryItem>,
}

/// A remembered id. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryItem {
    /// Of the message or request.
    #[prost(message, required, tag = "1")]
    pub id: Id128,
    /// Until when it counts, exclusive.
    #[prost(uint64, tag = "2")]
    pub expires_ms: TimestampMs,
    /// What is remembered.
    #[prost(message, required, tag = "3")]
    pub value: MemoryValue,
}

/// What is remembered under an id. Stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryValue {
    /// Deduplication: the original's sequence. Receive: its first token.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// Receive: tokens.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Receive: the caller.
    #[prost(message, optional, tag = "3")]
    pub consumer: Option<Id128>,
    /// Send: its result.
    #[prost(message, optional, tag = "4")]
    pub result: Option<ResultRow>,
}
