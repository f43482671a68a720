//! Errors: what happened, and what the caller may do about it.
//!
//! One rule stands above the rest: what may have happened is never reported as failed. [`Error::OutcomeUnknown`] is a
//! variant of its own.

use std::time::Duration;

/// What went wrong.
///
/// [`Error::is_retryable`] says whether doing the same again can help. The client has already retried, up to the
/// deadline of the call, whatever can be retried without risk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No node that could serve the call was reached in time. Nothing was done.
    #[error("no node could serve the call: {message}")]
    Unavailable {
        /// The last thing that was tried, and how it ended.
        message: String,
    },
    /// The queue's leader is elsewhere or being elected. Nothing was done.
    #[error("no leader served the call: {message}")]
    NotLeader {
        /// As the server put it.
        message: String,
    },
    /// It may have happened, or may still happen. Look before doing it again, or do it again with the same request id.
    #[error("outcome is unknown: {message}")]
    OutcomeUnknown {
        /// Why no answer came.
        message: String,
    },
    /// The server has too much to do. Nothing was done.
    #[error("server is overloaded: {message}")]
    Overloaded {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue is at its limit of messages or bytes. Nothing was appended.
    #[error("queue is full: {message}")]
    QueueFull {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue remembers as many deduplication or request ids as it may. Nothing was appended.
    #[error("too many remembered ids: {message}")]
    DedupFull {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The message shared a batch with one that was refused. Nothing of the batch was appended: send it again.
    #[error("refused along with its batch: {message}")]
    BatchRefused {
        /// Why the batch was refused.
        message: String,
    },
    /// A field, a message or a batch is malformed or over a limit. Nothing was done.
    #[error("{message}")]
    Invalid {
        /// Which rule was broken.
        message: String,
    },
    /// There is no such queue.
    #[error("queue not found: {message}")]
    QueueNotFound {
        /// As the server put it.
        message: String,
    },
    /// The queue was deleted meanwhile. A queue of the same name created since is another one.
    #[error("queue is gone: {message}")]
    QueueGone {
        /// As the server put it.
        message: String,
    },
    /// The name is taken, by a queue with other settings or by one that is being deleted.
    #[error("already exists: {message}")]
    AlreadyExists {
        /// As the server put it.
        message: String,
    },
    /// The settings were changed by someone else meanwhile. Read them, and decide again.
    #[error("version does not match: {message}")]
    VersionMismatch {
        /// As the server put it.
        message: String,
    },
    /// The batch was handled before, so long ago that the result is no longer remembered. It was not appended again.
    #[error("duplicate: {message}")]
    Duplicate {
        /// As the server put it.
        message: String,
    },
    /// The server lacks an earlier batch of this producer. Nothing was appended.
    #[error("gap in the producer's numbers: {message}")]
    SequenceGap {
        /// As the server put it.
        message: String,
    },
    /// The server no longer knows this producer, so it cannot tell whether earlier, unconfirmed sends were appended.
    #[error("producer was forgotten: {message}")]
    ProducerForgotten {
        /// As the server put it.
        message: String,
    },
    /// The lease had ended before: the settle changed nothing, and the message is or was delivered again.
    #[error("the lease of delivery {token} was over")]
    LeaseOver {
        /// The delivery's fencing token.
        token: u64,
    },
    /// A newer consumer with the same id took over.
    #[error("another consumer with the same id took over: {message}")]
    ConsumerReplaced {
        /// As the server put it.
        message: String,
    },
    /// The queue has as many consumers as it may.
    #[error("too many consumers: {message}")]
    TooManyConsumers {
        /// As the server put it.
        message: String,
    },
    /// The caller may not do this.
    #[error("not allowed: {message}")]
    Denied {
        /// As the server put it.
        message: String,
    },
    /// The producer or consumer was closed, by its owner.
    #[error("closed")]
    Closed,
    /// An error this version of the client does not know. Whether anything was done is for `reason` to say.
    #[error("{reason}: {message}")]
    Other {
        /// Machine-readable, from the server, or the name of the gRPC code.
        reason: String,
        /// As the server put it.
        message: String,
        /// When to try again, if that can help.
        retry_after: Option<Duration>,
    },
}

impl Error {
    /// Whether doing the same again, later, can succeed.
    ///
    /// For [`Error::OutcomeUnknown`] this is `false`: doing it again may do it twice, which is for the caller to weigh.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::NotLeader { .. }
            | Self::Overloaded { .. }
            | Self::QueueFull { .. }
            | Self::DedupFull { .. }
            | Self::BatchRefused { .. }
            | Self::TooManyConsumers { .. } => true,
            Self::Other { retry_after, .. } => retry_after.is_some(),
            Self::OutcomeUnknown { .. }
            | Self::Invalid { .. }
            | Self::QueueNotFound { .. }
            | Self::QueueGone { .. }
            | Self::AlreadyExists { .. }
            | Self::VersionMismatch { .. }
            | Self::Duplicate { .. }
            | Self::SequenceGap { .. }
            | Self::ProducerForgotten { .. }
            | Self::LeaseOver { .. }
            | Self::ConsumerReplaced { .. }
            | Self::Denied { .. }
            | Self::Closed => false,
        }
    }

    /// The variant's name, such as `queue_full`, for logs and metrics: there are few of them, but for those that only the
    /// server knows, [`Error::Other`], which give the server's reason.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::NotLeader { .. } => "not_leader",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Overloaded { .. } => "overloaded",
            Self::QueueFull { .. } => "queue_full",
            Self::DedupFull { .. } => "dedup_full",
            Self::BatchRefused { .. } => "batch_refused",
            Self::Invalid { .. } => "invalid",
            Self::QueueNotFound { .. } => "queue_not_found",
            Self::QueueGone { .. } => "queue_gone",
            Self::AlreadyExists { .. } => "already_exists",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::Duplicate { .. } => "duplicate",
            Self::SequenceGap { .. } => "sequence_gap",
            Self::ProducerForgotten { .. } => "producer_forgotten",
            Self::LeaseOver { .. } => "lease_over",
            Self::ConsumerReplaced { .. } => "consumer_replaced",
            Self::TooManyConsumers { .. } => "too_many_consumers",
            Self::Denied { .. } => "denied",
            Self::Closed => "closed",
            Self::Other { reason, .. } => reason,
        }
    }

    /// Whether the outcome is unknown: it may have happened.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// How long the server asks to wait before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::QueueFull { retry_after, .. }
            | Self::DedupFull { retry_after, .. } => Some(*retry_after),
            Self::Other { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether every later message of a producer would get it too.
    pub(crate) fn ends_producer(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::QueueGone { .. } | Self::QueueNotFound { .. } | Self::Denied { .. }
        )
    }

    /// The same, with no claim about whether it happened.
    pub(crate) fn into_unknown(self) -> Self {
        match self {
            unknown @ Self::OutcomeUnknown { .. } => unknown,
            other => Self::OutcomeUnknown { message: other.to_string() },
        }
    }
}
