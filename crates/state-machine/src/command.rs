//! Commands: what an entry of the Raft log asks the machine to do.
//!
//! These structs are stored bytes (protobuf, by prost): fields are only ever added, a number is never reused, and
//! golden files in `tests/golden/` hold one of each. Every data command names the queue by uid, so one that
//! arrives late can never reach a namesake.

mod topics;

use bytes::Bytes;

pub use topics::{
    ChunkMatches, Inbox, Mark, Place, PlaceKind, Replay, Seek, Source, Transfer, TransferMessage, Transferred,
};

use crate::ids::{GroupId, Id128, NodeId, QueueUid, ReplicaId, TimestampMs, Token};

/// One Raft entry: the commands that were waiting when it was cut, applied in order at one machine time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// Format of this batch. Written as [`Batch::VERSION`]; a higher one is refused as a whole.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The proposer's machine time, milliseconds since the Unix epoch. `apply` takes the larger of this and its own.
    #[prost(uint64, tag = "2")]
    pub now_ms: TimestampMs,
    /// In order.
    #[prost(message, repeated, tag = "3")]
    pub commands: Vec<Command>,
}

impl Batch {
    /// The newest format this code writes and understands.
    pub const VERSION: u32 = 1;
}

/// One command. `None` (an unknown kind from a newer version) is answered `Rejection::Unsupported`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// Which one.
    #[prost(
        oneof = "CommandKind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 40, 41, 42, 43, 44"
    )]
    pub kind: Option<CommandKind>,
}

impl From<CommandKind> for Command {
    fn from(kind: CommandKind) -> Self {
        Self { kind: Some(kind) }
    }
}

/// Every kind of command. 1–39 go to shards, 40– to the catalog.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum CommandKind {
    /// Ends leases, delays and windows that are due. Proposed by the leader when something is due.
    #[prost(message, tag = "1")]
    Tick(Tick),
    /// The first command of every leader term: detaches all consumers.
    #[prost(message, tag = "2")]
    TermStart(TermStart),
    /// Makes the queue exist in its shard, or brings its settings to `version`.
    #[prost(message, tag = "3")]
    PutQueue(PutQueue),
    /// Ends the queue in its shard.
    #[prost(message, tag = "4")]
    DropQueue(DropQueue),
    /// Removes all messages, leased ones included.
    #[prost(message, tag = "5")]
    Purge(Purge),
    /// Appends messages.
    #[prost(message, tag = "6")]
    Send(Send),
    /// Leases up to n messages to a caller that keeps no stream.
    #[prost(message, tag = "7")]
    Receive(Receive),
    /// A consumer's stream begins, or begins again.
    #[prost(message, tag = "8")]
    Attach(Attach),
    /// A consumer's stream ended.
    #[prost(message, tag = "9")]
    Detach(Detach),
    /// A consumer changes its window.
    #[prost(message, tag = "10")]
    SetWindow(SetWindow),
    /// Settles or extends leases.
    #[prost(message, tag = "11")]
    Settle(Settle),
    /// Compares digests: the leader's at the entry before this one.
    #[prost(message, tag = "12")]
    CheckDigest(CheckDigest),
    /// Moves a subscription to another place of its topic's log.
    #[prost(message, tag = "13")]
    Seek(Seek),
    /// Names a subscription's place, to seek back to.
    #[prost(message, tag = "14")]
    Mark(Mark),
    /// Says which messages of the past match a subscription that was moved there.
    #[prost(message, tag = "15")]
    Replay(Replay),
    /// A queue or topic takes messages from a binding that feeds it.
    #[prost(message, tag = "16")]
    Transfer(Transfer),
    /// A binding is told what its target has.
    #[prost(message, tag = "17")]
    Transferred(Transferred),
    /// A queue or topic may be fed by a binding from now on.
    #[prost(message, tag = "18")]
    OpenInbox(Inbox),
    /// A queue or topic is not fed by a binding any more, nor ever again.
    #[prost(message, tag = "19")]
    CloseInbox(Inbox),
    /// Catalog: the first entry of a cluster.
    #[prost(message, tag = "40")]
    Bootstrap(Bootstrap),
    /// Catalog: create a queue.
    #[prost(message, tag = "41")]
    CreateQueue(CreateQueue),
    /// Catalog: change a queue's settings.
    #[prost(message, tag = "42")]
    UpdateQueue(UpdateQueue),
    /// Catalog: delete a queue.
    #[prost(message, tag = "43")]
    DeleteQueue(DeleteQueue),
    /// Catalog: the shard has carried out what the catalog asked.
    #[prost(message, tag = "44")]
    ConfirmQueue(ConfirmQueue),
}

impl CommandKind {
    /// The queue whose contents or consumers it is about, if it is one of those commands.
    #[must_use]
    pub fn queue_uid(&self) -> Option<QueueUid> {
        match self {
            Self::Purge(command) => Some(command.uid),
            Self::Send(command) => Some(command.uid),
            Self::Receive(command) => Some(command.uid),
            Self::Attach(command) => Some(command.uid),
            Self::Detach(command) => Some(command.uid),
            Self::SetWindow(command) => Some(command.uid),
            Self::Settle(command) => Some(command.uid),
            Self::Seek(command) => Some(command.uid),
            Self::Mark(command) => Some(command.uid),
            Self::Replay(command) => Some(command.uid),
            _ => None,
        }
    }
}

/// See [`CommandKind::Tick`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Tick {}

/// See [`CommandKind::TermStart`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct TermStart {
    /// The leader's term; a lower one than the machine has seen does nothing.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// The leader.
    #[prost(uint64, tag = "2")]
    pub leader: ReplicaId,
}

/// Settings of a queue. 0 in a numeric field means the documented default.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueSettings {
    /// Lease of a delivery, ms. Default 30,000; at most 12 h.
    #[prost(uint64, tag = "1")]
    pub lease_ms: u64,
    /// The whole queue is one group.
    #[prost(bool, tag = "2")]
    pub strict: bool,
    /// Most messages, waiting and leased together. Default 10,000,000.
    #[prost(uint64, tag = "3")]
    pub length_max: u64,
    /// Most payload bytes, waiting and leased together. Default 8 GiB.
    #[prost(uint64, tag = "4")]
    pub bytes_max: u64,
    /// Deduplication window, ms. Default 300,000; at most 7 days.
    #[prost(uint64, tag = "5")]
    pub dedup_window_ms: u64,
    /// How long a detached consumer's leases wait for it, ms. Default 10,000; at most 10 min.
    #[prost(uint64, tag = "6")]
    pub resume_ms: u64,
    /// Largest body of one message, bytes. Default 1 MiB; at most 16 MiB.
    #[prost(uint64, tag = "7")]
    pub body_bytes_max: u64,
    /// Of a topic: the newest messages are kept for so long, whoever has settled them, ms. 0: without a limit by time if there is one by bytes,
    /// otherwise none is kept.
    #[prost(uint64, tag = "8")]
    pub retain_ms: u64,
    /// Of a topic: the newest messages are kept up to so many payload bytes, whoever has settled them. Default 8 GiB if there is a limit by
    /// time; 0 otherwise: none is kept.
    #[prost(uint64, tag = "9")]
    pub retain_bytes: u64,
    /// Of a topic, fixed when it is made: of each ordering key the newest message is kept.
    #[prost(bool, tag = "10")]
    pub compact: bool,
    /// Of a subscription, fixed when it is made: of each ordering key only the newest message waits.
    #[prost(bool, tag = "11")]
    pub latest_only: bool,
    /// Deleted after so long without a consumer and a receive, ms; 0 = never. At most 365 days.
    #[prost(uint64, tag = "12")]
    pub expires_ms: u64,
    /// Has one consumer: others are refused while it is there.
    #[prost(bool, tag = "13")]
    pub exclusive: bool,
}

impl QueueSettings {
    /// These, but for what was fixed when the queue was made.
    #[must_use]
    pub fn with_fixed_of(self, made: &Self) -> Self {
        Self { strict: made.strict, compact: made.compact, latest_only: made.latest_only, ..self }
    }
}

/// What bears a name: its kind is fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum QueueKind {
    /// Each message goes to one consumer.
    Queue = 0,
    /// Each message goes to every subscription that it matches. Has no consumers.
    Topic = 1,
    /// A queue that its topic feeds. Takes no sends.
    Subscription = 2,
    /// A subscription whose messages go on to a queue or a topic. Takes no sends and has no consumers.
    Binding = 3,
}

impl QueueKind {
    /// What people call it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
            Self::Binding => "binding",
        }
    }
}

/// See [`CommandKind::PutQueue`]. A lower or equal `version` than the queue has does nothing and is answered as done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutQueue {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Rises by one with each change of settings.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Of the queue.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// Of the queue, for people; the uid decides.
    #[prost(string, tag = "4")]
    pub name: String,
    /// All of them.
    #[prost(message, required, tag = "5")]
    pub settings: QueueSettings,
    /// For a queue that is not there yet: its first token, cut to 1 to [`FIRST_TOKEN_MAX`](crate::limits::FIRST_TOKEN_MAX). What creates
    /// queues gives each [`first_token`](crate::limits::first_token) of its uid.
    #[prost(uint64, tag = "6")]
    pub first_token: Token,
    /// Fixed when it is made.
    #[prost(enumeration = "QueueKind", tag = "7")]
    pub kind: i32,
    /// Of a subscription or a binding.
    #[prost(message, optional, tag = "8")]
    pub source: Option<Source>,
    /// Of a subscription or a binding that is not there yet: where it begins; absent = behind the last message.
    #[prost(message, optional, tag = "9")]
    pub start: Option<Place>,
}

/// See [`CommandKind::DropQueue`]. Repeating it is answered as done.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct DropQueue {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
}

/// See [`CommandKind::Purge`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Purge {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
}

/// One message as the machine keeps it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NewMessage {
    /// Body, headers and all else that the machine does not look at; opaque (an encoded `phalanx.v1.Message`).
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
    /// The ordering key; empty = none.
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// Hash of the deduplication id, if the message carries one.
    #[prost(message, optional, tag = "3")]
    pub dedup: Option<Id128>,
}

/// See [`CommandKind::Send`]: all of `messages`, in order, or none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Send {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Idempotent producer; with it goes `producer_sequence`.
    #[prost(message, optional, tag = "2")]
    pub producer: Option<Id128>,
    /// From 1, one per send command of this producer to this queue.
    #[prost(uint64, tag = "3")]
    pub producer_sequence: u64,
    /// Without a producer: makes a repeated unary send one send.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Id128>,
    /// At least one.
    #[prost(message, repeated, tag = "5")]
    pub messages: Vec<NewMessage>,
    /// To a topic: refused unless every message matches a subscription.
    #[prost(bool, tag = "6")]
    pub mandatory: bool,
}

/// See [`CommandKind::Receive`]. A remembered request gets the same live leases again. An empty answer is not remembered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Receive {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Who will hold the leases.
    #[prost(message, required, tag = "2")]
    pub consumer: Id128,
    /// Makes the call retriable.
    #[prost(message, required, tag = "3")]
    pub request: Id128,
    /// Most messages.
    #[prost(uint32, tag = "4")]
    pub messages_max: u32,
    /// Most payload bytes; the first message is always given.
    #[prost(uint64, tag = "5")]
    pub bytes_max: u64,
    /// Lease, ms; 0 = the queue's.
    #[prost(uint64, tag = "6")]
    pub lease_ms: u64,
    /// The call is answered with this, and a copy of it may come later: that nothing was found is remembered, too.
    #[prost(bool, tag = "7")]
    pub last: bool,
}

/// See [`CommandKind::Attach`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attach {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Identity over reconnects.
    #[prost(message, required, tag = "2")]
    pub consumer: Id128,
    /// Rises with each attach of this consumer; a lower one than is attached is refused.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// For people, in listings; may be empty.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Window: most messages in hand.
    #[prost(uint32, tag = "5")]
    pub window_messages: u32,
    /// Window: most payload bytes in hand; one message is always allowed.
    #[prost(uint64, tag = "6")]
    pub window_bytes: u64,
    /// Lease, ms; 0 = the queue's.
    #[prost(uint64, tag = "7")]
    pub lease_ms: u64,
    /// Tokens the client still holds. Its other live leases are delivered again, same token, same attempt.
    #[prost(message, repeated, tag = "8")]
    pub held: Vec<TokenRange>,
}

/// See [`CommandKind::Detach`]. Another incarnation than the attached one does nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Detach {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Who.
    #[prost(message, required, tag = "2")]
    pub consumer: Id128,
    /// Which of its streams.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// The consumer said goodbye: its leases end now. Otherwise they wait `resume_ms`.
    #[prost(bool, tag = "4")]
    pub clean: bool,
}

/// See [`CommandKind::SetWindow`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SetWindow {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// Who.
    #[prost(message, required, tag = "2")]
    pub consumer: Id128,
    /// Which of its streams.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// Most messages in hand; 0 pauses.
    #[prost(uint32, tag = "4")]
    pub window_messages: u32,
    /// Most payload bytes in hand.
    #[prost(uint64, tag = "5")]
    pub window_bytes: u64,
}

/// Tokens `first..=last`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TokenRange {
    /// Lowest.
    #[prost(uint64, tag = "1")]
    pub first: Token,
    /// Highest, inclusive.
    #[prost(uint64, tag = "2")]
    pub last: Token,
}

/// What a settle does with its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SettleAction {
    /// Not set: refused.
    Unspecified = 0,
    /// Done: the message is gone.
    Ack = 1,
    /// Not done: back to its own place, after `delay_ms`.
    Nack = 2,
    /// Never to be done: dead-lettered, or dropped where the queue names no target.
    Reject = 3,
    /// Still at it: the deadline becomes now + `lease_ms`.
    Extend = 4,
}

/// One action on some of the consumer's tokens.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SettleItem {
    /// What to do.
    #[prost(enumeration = "SettleAction", tag = "1")]
    pub action: i32,
    /// On these tokens. In a range, tokens that are not the caller's are passed over silently.
    #[prost(message, repeated, tag = "2")]
    pub tokens: Vec<TokenRange>,
    /// On all live tokens of the caller in this queue up to this one; 0 = not used.
    #[prost(uint64, tag = "3")]
    pub up_to: Token,
    /// Nack: wait this long before offering it again, ms; at most 12 h.
    #[prost(uint64, tag = "4")]
    pub delay_ms: u64,
    /// Extend: new lease, ms; 0 = the lease it was given.
    #[prost(uint64, tag = "5")]
    pub lease_ms: u64,
}

/// See [`CommandKind::Settle`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Settle {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// The holder of the tokens. A token held by another is answered `LeaseOver`.
    #[prost(message, required, tag = "2")]
    pub consumer: Id128,
    /// In order.
    #[prost(message, repeated, tag = "3")]
    pub items: Vec<SettleItem>,
}

/// See [`CommandKind::CheckDigest`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct CheckDigest {
    /// Log index the digest was taken at.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// The leader's digest there.
    #[prost(fixed64, tag = "2")]
    pub digest: u64,
}

/// A node of the cluster, in the catalog.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeRow {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub node: NodeId,
    /// Identity of its disk; a node that comes back with another one is refused.
    #[prost(message, required, tag = "2")]
    pub store: Id128,
    /// Where clients reach it, `host:port`.
    #[prost(string, tag = "3")]
    pub client_address: String,
    /// Where peers reach it, `host:port`.
    #[prost(string, tag = "4")]
    pub peer_address: String,
    /// Failure domain; may be empty.
    #[prost(string, tag = "5")]
    pub zone: String,
}

/// One replica of a group.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ReplicaRow {
    /// Its id in Raft.
    #[prost(uint64, tag = "1")]
    pub replica: ReplicaId,
    /// The node that holds it.
    #[prost(uint64, tag = "2")]
    pub node: NodeId,
}

/// A Raft group and where it lives.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupRow {
    /// 0 = the catalog.
    #[prost(uint64, tag = "1")]
    pub group: GroupId,
    /// Its replicas.
    #[prost(message, repeated, tag = "2")]
    pub replicas: Vec<ReplicaRow>,
}

/// See [`CommandKind::Bootstrap`]. Applied twice, the second does nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Bootstrap {
    /// Identity of the cluster.
    #[prost(message, required, tag = "1")]
    pub cluster: Id128,
    /// All nodes.
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeRow>,
    /// The catalog and all shards.
    #[prost(message, repeated, tag = "3")]
    pub groups: Vec<GroupRow>,
}

/// See [`CommandKind::CreateQueue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateQueue {
    /// 1–255 bytes of UTF-8, no control characters.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// 1–255 bytes of UTF-8, no control characters.
    #[prost(string, tag = "2")]
    pub name: String,
    /// All of them.
    #[prost(message, required, tag = "3")]
    pub settings: QueueSettings,
    /// What it is to be.
    #[prost(enumeration = "QueueKind", tag = "4")]
    pub kind: i32,
    /// Of a subscription or a binding: the name of its topic.
    #[prost(string, tag = "5")]
    pub topic: String,
    /// Of a subscription or a binding: see [`Source::pattern`].
    #[prost(string, tag = "6")]
    pub pattern: String,
    /// Of a subscription or a binding: see [`Source::filter`].
    #[prost(string, tag = "7")]
    pub filter: String,
    /// Of a subscription or a binding: see [`PutQueue::start`]. No mark: it has none yet.
    #[prost(message, optional, tag = "8")]
    pub start: Option<Place>,
    /// Of a binding: the name of the queue or topic that it feeds, in the same namespace.
    #[prost(string, tag = "9")]
    pub target: String,
}

/// See [`CommandKind::UpdateQueue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateQueue {
    /// Of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The settings after the change, all of them.
    #[prost(message, required, tag = "3")]
    pub settings: QueueSettings,
    /// Only if the queue's version is this one; 0 = whatever it is.
    #[prost(uint64, tag = "4")]
    pub if_version: u64,
    /// Of a subscription or a binding, after the change: see [`Source::pattern`].
    #[prost(string, tag = "5")]
    pub pattern: String,
    /// Of a subscription or a binding, after the change: see [`Source::filter`].
    #[prost(string, tag = "6")]
    pub filter: String,
    /// What it is: one of another kind is not found.
    #[prost(enumeration = "QueueKind", tag = "7")]
    pub kind: i32,
    /// Only this life of the name: another one is not found. 0 = whichever it is.
    #[prost(uint64, tag = "8")]
    pub uid: QueueUid,
}

/// See [`CommandKind::DeleteQueue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteQueue {
    /// Of the queue.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Of the queue.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What it is: one of another kind is not found. With a topic go its subscriptions.
    #[prost(enumeration = "QueueKind", tag = "3")]
    pub kind: i32,
    /// Only this life of the name: another one is not found. 0 = whichever it is.
    #[prost(uint64, tag = "4")]
    pub uid: QueueUid,
}

/// See [`CommandKind::ConfirmQueue`]: creating → live, deleting → gone, or settings `version` applied.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ConfirmQueue {
    /// The queue.
    #[prost(uint64, tag = "1")]
    pub uid: QueueUid,
    /// The settings version the shard has applied.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// The shard has dropped it.
    #[prost(bool, tag = "3")]
    pub dropped: bool,
}
