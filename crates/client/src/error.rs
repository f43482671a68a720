//! Errors: what happened, and what the caller may do about it.
//!
//! One rule stands above the rest: what may have happened is never reported as failed. [`Error::OutcomeUnknown`] is a
//! variant of its own.

use std::time::Duration;

/// What went wrong.
///
/// [`Error::is_retryable`] says whether doing the same again can help, and the text of an error what to do. The client has already retried, up to the
/// deadline of the call, whatever can be retried without risk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No node that could serve the call was reached in time. Nothing was done: try again later, and see whether the
    /// addresses are right and a majority of the nodes is up.
    #[error(
        "no node could serve the call in time: {message} (nothing was done; are the addresses right, and the nodes up?)"
    )]
    Unavailable {
        /// The last thing that was tried, and how it ended.
        message: String,
    },
    /// The queue's leader is elsewhere or being elected. Nothing was done: try again. If it lasts, a majority of the queue's
    /// replicas is down.
    #[error("no leader served the call in time: {message} (nothing was done; try again)")]
    NotLeader {
        /// As the server put it.
        message: String,
    },
    /// It may have happened, or may still happen. Look before doing it again, or do it again in a way that is recognised:
    /// [`Client::send_with_id`](crate::Client::send_with_id) with the same id, or messages with a deduplication id.
    #[error("outcome is unknown: {message} (it may have happened; look before you do it again)")]
    OutcomeUnknown {
        /// Why no answer came.
        message: String,
    },
    /// The server has too much to do. Nothing was done: try again after `retry_after`, with less at a time.
    #[error("server is overloaded: {message} (nothing was done; try again in {} ms, with less at a time)", .retry_after.as_millis())]
    Overloaded {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue is at its limit of messages or bytes. Nothing was appended: send again when consumers have made room, or
    /// raise the limit.
    #[error("{message} (nothing was sent; let consumers make room, or raise the queue's limit)")]
    QueueFull {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue remembers as many deduplication or request ids as it may. Nothing was appended: try again after
    /// `retry_after`, or send without the id.
    #[error("queue remembers no more ids: {message} (nothing was sent; try again in {} ms)", .retry_after.as_millis())]
    DedupFull {
        /// As the server put it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The message shared a batch with one that was refused. Nothing of the batch was appended: send it again.
    #[error("refused along with its batch: {message} (nothing was sent; send this one again)")]
    BatchRefused {
        /// Why the batch was refused.
        message: String,
    },
    /// A field, a message or a batch is malformed or over a limit. Nothing was done, and the same again is refused again:
    /// correct what `message` names.
    #[error("not valid: {message}")]
    Invalid {
        /// Which rule was broken.
        message: String,
    },
    /// There is no such queue. Nothing was done: create it, or correct the name or the namespace.
    #[error("queue not found: {message} (are its name and namespace right?)")]
    QueueNotFound {
        /// As the server put it.
        message: String,
    },
    /// The queue was deleted meanwhile. A queue of the same name created since is another one: open a new producer or
    /// consumer if that is the one you mean.
    #[error("queue was deleted meanwhile: {message} (one of the same name is another: open it anew)")]
    QueueGone {
        /// As the server put it.
        message: String,
    },
    /// The name is taken, by a queue with other settings or by one that is being deleted. Nothing was done: use the queue as
    /// it is, update it, or wait until it is deleted.
    #[error("name is taken: {message} (use the queue as it is, update it, or wait until it is deleted)")]
    AlreadyExists {
        /// As the server put it.
        message: String,
    },
    /// The settings were changed by someone else meanwhile. Nothing was done: read them, and decide again.
    #[error("settings were changed meanwhile: {message} (nothing was done; read them, and decide again)")]
    VersionMismatch {
        /// As the server put it.
        message: String,
    },
    /// A message was sent as mandatory and matches no subscription of its topic. Nothing of its batch was sent: create the subscription, or
    /// correct routing key or headers.
    #[error(
        "a mandatory message has no taker: {message} (nothing was sent; look at the topic's subscriptions)"
    )]
    Unroutable {
        /// As the server put it.
        message: String,
    },
    /// The batch was handled before, so long ago that the result is no longer remembered. It was not appended again: do not
    /// send it again.
    #[error("sent before, with a result that is no longer remembered: {message} (do not send it again)")]
    Duplicate {
        /// As the server put it.
        message: String,
    },
    /// The server lacks an earlier batch of this producer. Nothing was appended. The client sends again from there by
    /// itself, so this is not expected to come out of it: report it.
    #[error(
        "the server lacks an earlier batch of this producer: {message} (nothing was sent; open a new producer)"
    )]
    SequenceGap {
        /// As the server put it.
        message: String,
    },
    /// The server no longer knows this producer, so it cannot tell whether earlier, unconfirmed sends were appended. The
    /// client goes on under a new identity; for each unconfirmed send decide whether twice or never is worse.
    #[error(
        "the server has forgotten this producer: {message} (whether unconfirmed sends were appended cannot be known)"
    )]
    ProducerForgotten {
        /// As the server put it.
        message: String,
    },
    /// The lease had ended before: the settle changed nothing, and the message is or was delivered again. Undo what must not
    /// be done twice, or have it fenced by the token. If it happens often: a longer lease, or a smaller window.
    #[error("the lease of delivery {token} was over (nothing was changed; the message is delivered again)")]
    LeaseOver {
        /// The delivery's fencing token.
        token: u64,
    },
    /// A newer consumer with the same id took over, with all that was in hand. If that was not meant, two programs share an
    /// id.
    #[error("another consumer with the same id took over: {message} (does another program use this id?)")]
    ConsumerReplaced {
        /// As the server put it.
        message: String,
    },
    /// The queue has as many consumers as it may. Close some, and try again.
    #[error("too many consumers: {message} (close some, and try again)")]
    TooManyConsumers {
        /// As the server put it.
        message: String,
    },
    /// The queue is exclusive, and another consumer has it. Wait until that one is gone, or use a queue of your own.
    #[error(
        "the queue has its one consumer: {message} (wait until that one is gone, or use a queue of your own)"
    )]
    Exclusive {
        /// As the server put it.
        message: String,
    },
    /// The caller may not do this. Nothing was done: ask whoever keeps the access rules.
    #[error("not allowed: {message} (ask whoever keeps the access rules)")]
    Denied {
        /// As the server put it.
        message: String,
    },
    /// The producer or consumer was closed, by its owner. Nothing was done: open another.
    #[error("closed by its owner: nothing was done (open another)")]
    Closed,
    /// An error this version of the client does not know. Whether anything was done is for `reason` to say: see the list of
    /// errors in the documentation of the server.
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
            | Self::TooManyConsumers { .. }
            | Self::Exclusive { .. } => true,
            Self::Other { retry_after, .. } => retry_after.is_some(),
            Self::OutcomeUnknown { .. }
            | Self::Invalid { .. }
            | Self::QueueNotFound { .. }
            | Self::QueueGone { .. }
            | Self::AlreadyExists { .. }
            | Self::VersionMismatch { .. }
            | Self::Unroutable { .. }
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
            Self::Unroutable { .. } => "unroutable",
            Self::Duplicate { .. } => "duplicate",
            Self::SequenceGap { .. } => "sequence_gap",
            Self::ProducerForgotten { .. } => "producer_forgotten",
            Self::LeaseOver { .. } => "lease_over",
            Self::ConsumerReplaced { .. } => "consumer_replaced",
            Self::TooManyConsumers { .. } => "too_many_consumers",
            Self::Exclusive { .. } => "exclusive",
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

    /// The same, with no claim about whether it happened, and no advice that goes with one.
    pub(crate) fn into_unknown(self) -> Self {
        match self {
            unknown @ Self::OutcomeUnknown { .. } => unknown,
            other => Self::OutcomeUnknown { message: other.cause() },
        }
    }

    /// What happened, without what follows from it.
    fn cause(&self) -> String {
        let what = self.name().replace('_', " ");
        match self {
            Self::Unavailable { message }
            | Self::NotLeader { message }
            | Self::OutcomeUnknown { message }
            | Self::Overloaded { message, .. }
            | Self::QueueFull { message, .. }
            | Self::DedupFull { message, .. }
            | Self::BatchRefused { message }
            | Self::Invalid { message }
            | Self::QueueNotFound { message }
            | Self::QueueGone { message }
            | Self::AlreadyExists { message }
            | Self::VersionMismatch { message }
            | Self::Unroutable { message }
            | Self::Duplicate { message }
            | Self::SequenceGap { message }
            | Self::ProducerForgotten { message }
            | Self::ConsumerReplaced { message }
            | Self::TooManyConsumers { message }
            | Self::Exclusive { message }
            | Self::Denied { message }
            | Self::Other { message, .. } => format!("{what}: {message}"),
            Self::LeaseOver { token } => format!("{what}: delivery {token}"),
            Self::Closed => what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Error> {
        let message = || String::from("because of this");
        let retry_after = Duration::from_millis(70);
        vec![
            Error::Unavailable { message: message() },
            Error::NotLeader { message: message() },
            Error::OutcomeUnknown { message: message() },
            Error::Overloaded { message: message(), retry_after },
            Error::QueueFull { message: message(), retry_after },
            Error::DedupFull { message: message(), retry_after },
            Error::BatchRefused { message: message() },
            Error::Invalid { message: message() },
            Error::QueueNotFound { message: message() },
            Error::QueueGone { message: message() },
            Error::AlreadyExists { message: message() },
            Error::VersionMismatch { message: message() },
            Error::Unroutable { message: message() },
            Error::Duplicate { message: message() },
            Error::SequenceGap { message: message() },
            Error::ProducerForgotten { message: message() },
            Error::LeaseOver { token: 7 },
            Error::ConsumerReplaced { message: message() },
            Error::TooManyConsumers { message: message() },
            Error::Exclusive { message: message() },
            Error::Denied { message: message() },
            Error::Closed,
            Error::Other { reason: message(), message: message(), retry_after: None },
        ]
    }

    #[test]
    fn an_unknown_outcome_claims_nothing_about_what_was_done_and_keeps_the_cause() {
        for error in all() {
            let text = error.clone().into_unknown().to_string();
            assert!(!text.contains("nothing was"), "{text}");
            let cause = match &error {
                Error::LeaseOver { .. } => "delivery 7",
                Error::Closed => "closed",
                _ => "because of this",
            };
            assert!(text.starts_with("outcome is unknown: ") && text.contains(cause), "{text} lacks {cause}");
        }
    }

    #[test]
    fn names_are_those_of_the_variants_and_differ() {
        let mut names: Vec<String> = all().iter().map(|error| error.name().to_owned()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
