//! Replies and effects: what `apply` says to the proposer, and to the streams of the leader's node.

use bytes::Bytes;

use crate::catalog::QueueEntry;
use crate::ids::{Id128, QueueUid, Sequence, TimestampMs, Token};

/// What `apply` returns for one entry.
#[derive(Debug, Default)]
pub struct Applied {
    /// One for each command of the batch, in order.
    pub replies: Vec<Reply>,
    /// Hints for the leader's node, in order. The machine's leases are the truth.
    pub effects: Vec<Effect>,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Carried out; nothing to add.
    Done,
    /// `Purge`: messages removed.
    Purged {
        /// How many.
        count: u64,
    },
    /// `Seek`, `Mark`: the place.
    Placed {
        /// Sequence of the first message from there on, or of the next one that will be published.
        sequence: Sequence,
    },
    /// `Send`.
    Sent(Sent),
    /// `Transfer`: what the target has now.
    Transferred {
        /// The last message that it has had of the binding; 0 = none.
        through: Sequence,
    },
    /// `Receive`: may be empty.
    Received {
        /// In sequence order.
        deliveries: Vec<Delivery>,
        /// A remembered request: these are its leases that are still live. Asking again never brings more.
        repeated: bool,
    },
    /// `Attach`: leases that the client named and that are no longer its own; the rest follows as effects.
    Attached {
        /// In rising order.
        lost: Vec<Token>,
    },
    /// `Settle`: one outcome for each token the items named (for `up_to` and ranges: each that was the caller's).
    Settled {
        /// In the order of the items.
        outcomes: Vec<SettleOutcome>,
    },
    /// `CreateQueue`, `UpdateQueue`, `DeleteQueue`: the row as it now stands.
    Queue(Box<QueueEntry>),
    /// `CheckDigest`: whether this replica agrees.
    Digest {
        /// `false` = this replica has another state than the leader had: alarm.
        agrees: bool,
    },
    /// Nothing was changed, except what `Rejection` says.
    Rejected(Rejection),
}

/// Result of a `Send`. Stored for idempotent producers and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Sequence of the first message that was appended; the others follow without gaps. 0 when none was.
    pub first: Sequence,
    /// Messages appended.
    pub count: u32,
    /// Messages suppressed by their deduplication id: (position in the batch, sequence of the original).
    pub duplicates: Vec<(u32, Sequence)>,
    /// To a topic: how many subscriptions the messages matched, all of them together.
    pub matched: u64,
    /// A repetition: this is the remembered result of the first time.
    pub repeated: bool,
}

/// What became of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleOutcome {
    /// Which.
    pub token: Token,
    /// How it went; the same when asked again.
    pub result: SettleResult,
}

/// See [`SettleOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleResult {
    /// Acknowledged: the message is gone.
    Acked,
    /// Returned to its place.
    Nacked,
    /// Dropped for good.
    Rejected,
    /// The lease now ends at this machine time, ms.
    Extended(TimestampMs),
    /// The lease was over before (deadline, another delivery, returned group, purge): nothing was changed.
    LeaseOver,
}

/// One message handed to one consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Fencing token.
    pub token: Token,
    /// Place in the queue.
    pub sequence: Sequence,
    /// From 1.
    pub attempt: u32,
    /// End of the lease, machine time, ms, exclusive.
    pub deadline_ms: TimestampMs,
    /// When it was sent, machine time, ms.
    pub enqueued_ms: TimestampMs,
    /// Why the attempt before this one ended; `None` on the first.
    pub redelivery: Option<ReturnReason>,
    /// Ordering key; empty = none.
    pub group: Bytes,
    /// The payload, or where to read it.
    pub payload: Payload,
}

/// A payload, in memory or in the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Here.
    Resident(Bytes),
    /// Read it back from the checkpoint by (uid, sequence). Size in bytes.
    Spilled(u32),
}

/// Why a lease ended without being acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ReturnReason {
    /// Not set.
    Unspecified = 0,
    /// The consumer returned it.
    Nacked = 1,
    /// The deadline passed.
    Expired = 2,
    /// The consumer went away and did not resume.
    ConsumerLost = 3,
    /// An earlier message of its group was returned. The attempt is not counted.
    GroupReturned = 4,
    /// The consumer said goodbye with the message in hand. The attempt is not counted.
    ConsumerClosed = 5,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The uid names no queue here: it was deleted, or moved.
    #[error("queue is gone")]
    QueueGone,
    /// A message, batch or field is over a limit, or malformed. Consumes the producer's sequence.
    #[error("{0}")]
    Invalid(String),
    /// The queue is at `length_max` or `bytes_max`. Consumes the producer's sequence.
    #[error("queue is full: {0}")]
    QueueFull(String),
    /// A mandatory message matches no subscription of the topic. Consumes the producer's sequence.
    #[error("{0}")]
    Unroutable(String),
    /// Already sent, and the result is no longer remembered (older than the last 1,024).
    #[error("duplicate: producer sequence is older than the remembered results")]
    Duplicate,
    /// A send of this producer is missing before this one.
    #[error("gap in the producer's sequence: expected {expected}")]
    SequenceGap {
        /// The only one that would be accepted.
        expected: u64,
    },
    /// The producer's state was dropped (idle, or one too many): the outcome of earlier sends is unknown.
    #[error("producer was forgotten")]
    ProducerForgotten,
    /// The queue remembers as many deduplication ids or requests as it may, or as many producers, all of them in use.
    #[error("too many remembered ids: {0}")]
    DedupFull(String),
    /// A newer stream of the same consumer is attached.
    #[error("another stream of this consumer is attached")]
    ConsumerReplaced,
    /// The consumer has no attached stream.
    #[error("consumer is not attached")]
    NotAttached,
    /// The queue is exclusive, and another consumer has it.
    #[error("the queue is exclusive and has another consumer")]
    Exclusive,
    /// As many consumers as a queue may have.
    #[error("too many consumers")]
    TooManyConsumers,
    /// Catalog: the name is taken, with other settings or while its last bearer is being deleted.
    #[error("{0}")]
    AlreadyExists(String),
    /// Catalog: no such queue.
    #[error("no such queue")]
    NotFound,
    /// Catalog: `if_version` did not match.
    #[error("settings version is {actual}")]
    VersionMismatch {
        /// The version it has.
        actual: u64,
    },
    /// A command this version does not know, or one for another kind of group.
    #[error("command is not supported by this group")]
    Unsupported,
}

/// A hint for the leader's node.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this to the consumer's stream, if it is attached here with this incarnation.
    Deliver {
        /// The queue.
        uid: QueueUid,
        /// Who.
        consumer: Id128,
        /// Which of its streams.
        incarnation: u64,
        /// What.
        delivery: Delivery,
    },
    /// The leases are over without the consumer's doing: stop working on them.
    LeaseEnded {
        /// The queue.
        uid: QueueUid,
        /// Who held it.
        consumer: Id128,
        /// Which.
        token: Token,
        /// Why.
        reason: ReturnReason,
    },
    /// The stream was replaced by a newer incarnation, or detached by a term change: close it.
    Detached {
        /// The queue.
        uid: QueueUid,
        /// Who.
        consumer: Id128,
        /// Streams up to this incarnation are over.
        incarnation: u64,
    },
    /// Something can be received and no attached consumer has room for it: wake a waiting receive, whosever it is.
    Ready {
        /// The queue.
        uid: QueueUid,
    },
    /// The next message of a group that this consumer holds became ready, and it has no stream: wake its waiting receive. No
    /// other one would get it.
    GroupReady {
        /// The queue.
        uid: QueueUid,
        /// The holder.
        consumer: Id128,
    },
    /// The queue was dropped: end its streams and waits.
    QueueGone {
        /// The queue.
        uid: QueueUid,
    },
}
