//! Of topics: what subscriptions take, and how they move in the log.

use bytes::Bytes;

#[cfg(doc)]
use super::CommandKind;
use crate::ids::{QueueUid, Sequence, TimestampMs};

/// A place in a topic's log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Place {
    /// Which one.
    #[prost(oneof = "PlaceKind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<PlaceKind>,
}

/// The ways to name a [`Place`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum PlaceKind {
    /// The first message that is kept (`true`).
    #[prost(bool, tag = "1")]
    Earliest(bool),
    /// Behind the last message (`true`).
    #[prost(bool, tag = "2")]
    Latest(bool),
    /// This message, or the first one after it. Refused when messages from there on are gone.
    #[prost(uint64, tag = "3")]
    Sequence(Sequence),
    /// The first message that is kept and was published at this machine time or later, ms.
    #[prost(uint64, tag = "4")]
    Time(TimestampMs),
    /// Where a [`Mark`] of the subscription is. Refused when messages from there on are gone.
    #[prost(string, tag = "5")]
    Mark(String),
}

/// See [`CommandKind::Seek`]. All that the subscription holds or waits for is given up; then it waits for what is at the place and behind.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Seek {
    /// The subscription.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Where to.
    #[prost(message, required, tag = "2")]
    pub place: Place,
}

/// See [`CommandKind::Mark`]: the place is that of the first message which the subscription has not settled.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mark {
    /// The subscription.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// A mark of that name is moved.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Forget the mark instead.
    #[prost(bool, tag = "3")]
    pub remove: bool,
}

/// See [`CommandKind::Replay`]. The leader reads the messages, since the machine may not have their headers in memory. One that does not begin
/// where the subscription waits for it, or is for other conditions, does nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Replay {
    /// The subscription.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Of its settings: its conditions.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// First message that was looked at.
    #[prost(uint64, tag = "3")]
    pub from: Sequence,
    /// The one behind the last that was looked at.
    #[prost(uint64, tag = "4")]
    pub end: Sequence,
    /// Those that match, rising.
    #[prost(message, repeated, tag = "5")]
    pub matches: Vec<ChunkMatches>,
}

/// Matches among 64 consecutive messages.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ChunkMatches {
    /// Sequence / 64.
    #[prost(uint64, tag = "1")]
    pub chunk: u64,
    /// A bit for each sequence of the chunk.
    #[prost(fixed64, tag = "2")]
    pub bits: u64,
}

/// What a subscription or a binding takes from its topic.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Source {
    /// The topic.
    #[prost(uint64, tag = "1")]
    pub topic: QueueUid,
    /// Pattern over routing keys; empty = any key.
    #[prost(string, tag = "2")]
    pub pattern: String,
    /// Expression over headers; empty = any message.
    #[prost(string, tag = "3")]
    pub filter: String,
    /// Of a binding: the queue or topic that it feeds. 0 = a subscription.
    #[prost(uint64, tag = "4")]
    pub target: QueueUid,
}

/// See [`CommandKind::OpenInbox`] and [`CommandKind::CloseInbox`]. Repeating it is answered as done.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Inbox {
    /// The queue or topic that is fed.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// What feeds it.
    #[prost(uint64, tag = "2")]
    pub binding: QueueUid,
}

/// See [`CommandKind::Transfer`]. Messages that the target has had of this binding are passed over; of the others as many are taken, in order,
/// as there is room for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Transfer {
    /// The queue or topic that is fed.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// What feeds it.
    #[prost(uint64, tag = "2")]
    pub binding: QueueUid,
    /// The next messages of the binding, in order, none left out.
    #[prost(message, repeated, tag = "3")]
    pub messages: Vec<TransferMessage>,
}

/// A message on its way from a topic to what a binding feeds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransferMessage {
    /// Its place in the topic.
    #[prost(uint64, tag = "1")]
    pub sequence: Sequence,
    /// As in the topic.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// As in the topic.
    #[prost(bytes = "bytes", tag = "3")]
    pub group: Bytes,
}

/// See [`CommandKind::Transferred`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Transferred {
    /// The binding.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// The target has what waits in the binding up to this message.
    #[prost(uint64, tag = "2")]
    pub through: Sequence,
}
