//! Errors become gRPC statuses here, and nowhere else.
//!
//! Every status carries `google.rpc.ErrorInfo` (domain `phalanx`, a [`Reason`]) and, where waiting helps,
//! `google.rpc.RetryInfo`. Invariant: a status that says "nothing was written" is only made where that is known; all else
//! about a write is [`Reason::OutcomeUnknown`].

use std::collections::HashMap;
use std::time::Duration;

use phalanx_raft::{ChangeError, ProposeError};
use phalanx_state_machine::ids::{GroupId, NodeId};
use phalanx_state_machine::reply::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::authorize::Denied;

/// `ErrorInfo.domain` of every status made here.
pub const DOMAIN: &str = "phalanx";

/// Wait before asking again after a leader was not known or has changed.
pub const RETRY_LEADER: Duration = Duration::from_millis(100);
/// Wait before asking again after overload, when no better estimate exists.
pub const RETRY_OVERLOAD: Duration = Duration::from_millis(50);
/// Wait before sending again to a full queue.
pub const RETRY_FULL: Duration = Duration::from_secs(1);

/// Machine-readable cause, `ErrorInfo.reason`; each has a page in docs/errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A field is malformed or over a limit.
    Invalid,
    /// No queue of that name.
    QueueNotFound,
    /// The queue was deleted; a namesake may exist.
    QueueGone,
    /// The queue is being created: its shard has not confirmed it yet.
    QueueNotReady,
    /// The queue is at its limit.
    QueueFull,
    /// A mandatory message matches no subscription of its topic. Nothing was appended.
    Unroutable,
    /// The name is taken, with other settings or by a queue that is being deleted.
    AlreadyExists,
    /// `if_version` did not match.
    VersionMismatch,
    /// Sent before; the result is no longer remembered.
    Duplicate,
    /// A send of this producer is missing.
    SequenceGap,
    /// The producer's state was dropped: the outcome of its unconfirmed sends is unknown.
    ProducerForgotten,
    /// No room to remember another deduplication or request id.
    DedupFull,
    /// A newer stream of the same consumer took over.
    ConsumerReplaced,
    /// The consumer has no stream here: attach again.
    NotAttached,
    /// As many consumers as a queue may have.
    TooManyConsumers,
    /// The queue is exclusive, and another consumer has it.
    Exclusive,
    /// This node or cluster version does not do that.
    Unsupported,
    /// This replica does not lead the group. Nothing was written.
    NotLeader,
    /// Nobody is known to lead the group now. Nothing was written.
    NoLeader,
    /// The leader's node could not be reached. Nothing was written.
    PeerUnreachable,
    /// Too much is in flight. Nothing was written.
    Overloaded,
    /// The write may or may not have happened: repeat it with the same id.
    OutcomeUnknown,
    /// No answer in time, and nothing was to be written.
    DeadlineExceeded,
    /// The node is stopping or has not started. Nothing was written.
    Unavailable,
    /// The caller may not do that.
    PermissionDenied,
    /// The caller did not say who it is.
    Unauthenticated,
    /// A defect here.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: &[Reason] = &[
        Reason::Invalid,
        Reason::QueueNotFound,
        Reason::QueueGone,
        Reason::QueueNotReady,
        Reason::QueueFull,
        Reason::Unroutable,
        Reason::AlreadyExists,
        Reason::VersionMismatch,
        Reason::Duplicate,
        Reason::SequenceGap,
        Reason::ProducerForgotten,
        Reason::DedupFull,
        Reason::ConsumerReplaced,
        Reason::NotAttached,
        Reason::TooManyConsumers,
        Reason::Exclusive,
        Reason::Unsupported,
        Reason::NotLeader,
        Reason::NoLeader,
        Reason::PeerUnreachable,
        Reason::Overloaded,
        Reason::OutcomeUnknown,
        Reason::DeadlineExceeded,
        Reason::Unavailable,
        Reason::PermissionDenied,
        Reason::Unauthenticated,
        Reason::Internal,
    ];

    /// As written in `ErrorInfo.reason`, and the status code it travels with.
    #[must_use]
    pub fn parts(self) -> (&'static str, Code) {
        match self {
            Reason::Invalid => ("INVALID_ARGUMENT", Code::InvalidArgument),
            Reason::QueueNotFound => ("QUEUE_NOT_FOUND", Code::NotFound),
            Reason::QueueGone => ("QUEUE_GONE", Code::NotFound),
            Reason::QueueNotReady => ("QUEUE_NOT_READY", Code::Unavailable),
            Reason::QueueFull => ("QUEUE_FULL", Code::ResourceExhausted),
            Reason::Unroutable => ("UNROUTABLE", Code::FailedPrecondition),
            Reason::AlreadyExists => ("ALREADY_EXISTS", Code::AlreadyExists),
            Reason::VersionMismatch => ("VERSION_MISMATCH", Code::FailedPrecondition),
            Reason::Duplicate => ("DUPLICATE", Code::AlreadyExists),
            Reason::SequenceGap => ("SEQUENCE_GAP", Code::FailedPrecondition),
            Reason::ProducerForgotten => ("PRODUCER_FORGOTTEN", Code::FailedPrecondition),
            Reason::DedupFull => ("DEDUP_FULL", Code::ResourceExhausted),
            Reason::ConsumerReplaced => ("CONSUMER_REPLACED", Code::Aborted),
            Reason::NotAttached => ("NOT_ATTACHED", Code::Aborted),
            Reason::TooManyConsumers => ("TOO_MANY_CONSUMERS", Code::ResourceExhausted),
            Reason::Exclusive => ("QUEUE_EXCLUSIVE", Code::FailedPrecondition),
            Reason::Unsupported => ("UNSUPPORTED", Code::Unimplemented),
            Reason::NotLeader => ("NOT_LEADER", Code::Unavailable),
            Reason::NoLeader => ("NO_LEADER", Code::Unavailable),
            Reason::PeerUnreachable => ("PEER_UNREACHABLE", Code::Unavailable),
            Reason::Overloaded => ("OVERLOADED", Code::ResourceExhausted),
            Reason::OutcomeUnknown => ("OUTCOME_UNKNOWN", Code::Unknown),
            Reason::DeadlineExceeded => ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
            Reason::Unavailable => ("UNAVAILABLE", Code::Unavailable),
            Reason::PermissionDenied => ("PERMISSION_DENIED", Code::PermissionDenied),
            Reason::Unauthenticated => ("UNAUTHENTICATED", Code::Unauthenticated),
            Reason::Internal => ("INTERNAL", Code::Internal),
        }
    }
}

/// A status of `reason`.
#[must_use]
pub fn new(reason: Reason, message: impl Into<String>) -> Status {
    build(reason, message.into(), None, HashMap::new())
}

/// A status of `reason` that says when to try again.
#[must_use]
pub fn retry(reason: Reason, message: impl Into<String>, after: Duration) -> Status {
    build(reason, message.into(), Some(after), HashMap::new())
}

fn build(
    reason: Reason,
    message: String,
    after: Option<Duration>,
    metadata: HashMap<String, String>,
) -> Status {
    let (name, code) = reason.parts();
    let mut details = ErrorDetails::new();
    details.set_error_info(name, DOMAIN, metadata);
    if after.is_some() {
        details.set_retry_info(after);
    }
    Status::with_error_details(code, message, details)
}

/// A field is malformed or over its limit.
#[must_use]
pub fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    let mut details = ErrorDetails::new();
    let why = why.to_string();
    details.set_error_info(Reason::Invalid.parts().0, DOMAIN, HashMap::new());
    details.set_bad_request(vec![tonic_types::FieldViolation::new(field, why.clone())]);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// The caller did not say who it is, or not well.
#[must_use]
pub fn unauthenticated(message: impl Into<String>) -> Status {
    new(Reason::Unauthenticated, message)
}

/// No queue of that name.
#[must_use]
pub fn queue_not_found(namespace: &str, name: &str) -> Status {
    new(Reason::QueueNotFound, format!("no queue {name:?} in namespace {namespace:?}"))
}

/// No topic of that name.
#[must_use]
pub fn topic_not_found(namespace: &str, name: &str) -> Status {
    new(Reason::QueueNotFound, format!("no topic {name:?} in namespace {namespace:?}"))
}

/// This replica does not lead `group`; nothing was written.
#[must_use]
pub fn not_leader(group: GroupId, leader: Option<NodeId>) -> Status {
    let mut metadata = HashMap::from([("group".to_owned(), group.to_string())]);
    if let Some(leader) = leader {
        metadata.insert("leader_node".to_owned(), leader.to_string());
    }
    build(Reason::NotLeader, format!("group {group} is led elsewhere"), Some(RETRY_LEADER), metadata)
}

/// Nobody is known to lead `group`; nothing was written.
#[must_use]
pub fn no_leader(group: GroupId) -> Status {
    let metadata = HashMap::from([("group".to_owned(), group.to_string())]);
    let message = format!("group {group} has no known leader now; nothing was written");
    build(Reason::NoLeader, message, Some(RETRY_LEADER), metadata)
}

/// Refused before anything was written.
#[must_use]
pub fn overloaded(what: impl Into<String>, after: Duration) -> Status {
    retry(Reason::Overloaded, what, after)
}

/// The write may or may not have happened.
#[must_use]
pub fn outcome_unknown(message: impl Into<String>) -> Status {
    retry(Reason::OutcomeUnknown, message, RETRY_LEADER)
}

/// The node is starting or stopping.
#[must_use]
pub fn unavailable(message: impl Into<String>) -> Status {
    retry(Reason::Unavailable, message, RETRY_LEADER)
}

/// A defect here: logged where it is made, and answered without details.
#[must_use]
pub fn internal(message: impl Into<String>) -> Status {
    new(Reason::Internal, message)
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        new(Reason::PermissionDenied, denied.to_string())
    }
}

/// What `apply` refused.
#[must_use]
pub fn from_rejection(rejection: &Rejection) -> Status {
    let text = rejection.to_string();
    match rejection {
        Rejection::QueueGone => new(Reason::QueueGone, text),
        Rejection::Invalid(_) => new(Reason::Invalid, text),
        Rejection::QueueFull(_) => retry(Reason::QueueFull, text, RETRY_FULL),
        Rejection::Unroutable(_) => new(Reason::Unroutable, text),
        Rejection::Duplicate => new(Reason::Duplicate, text),
        Rejection::SequenceGap { expected } => {
            let metadata = HashMap::from([("expected".to_owned(), expected.to_string())]);
            build(Reason::SequenceGap, text, None, metadata)
        }
        Rejection::ProducerForgotten => new(Reason::ProducerForgotten, text),
        Rejection::DedupFull(_) => retry(Reason::DedupFull, text, RETRY_FULL),
        Rejection::ConsumerReplaced => new(Reason::ConsumerReplaced, text),
        Rejection::NotAttached => new(Reason::NotAttached, text),
        Rejection::TooManyConsumers => new(Reason::TooManyConsumers, text),
        Rejection::Exclusive => new(Reason::Exclusive, text),
        Rejection::AlreadyExists(_) => new(Reason::AlreadyExists, text),
        Rejection::NotFound => new(Reason::QueueNotFound, text),
        Rejection::VersionMismatch { actual } => {
            let metadata = HashMap::from([("actual".to_owned(), actual.to_string())]);
            build(Reason::VersionMismatch, text, None, metadata)
        }
        Rejection::Unsupported => new(Reason::Unsupported, text),
    }
}

/// Why the log gave no result.
#[must_use]
pub fn from_propose(error: &ProposeError) -> Status {
    let text = error.to_string();
    match error {
        ProposeError::NotLeader { group, leader } => not_leader(*group, *leader),
        ProposeError::OutcomeUnknown { .. } => outcome_unknown(text),
        ProposeError::Overloaded { retry_after, .. } => overloaded(text, *retry_after),
        ProposeError::TooLarge { .. } => invalid("request", text),
        ProposeError::Deadline { .. } => new(Reason::DeadlineExceeded, text),
        // What the log says about its disk is for the operator's log, where it is written once.
        ProposeError::Storage { group, .. } => {
            outcome_unknown(format!("storage of group {group} failed on this node"))
        }
        ProposeError::Stopped { .. } => unavailable(text),
    }
}

/// Why members or leader of a group did not change.
#[must_use]
pub fn from_change(error: &ChangeError) -> Status {
    let text = error.to_string();
    match error {
        ChangeError::NotLeader { group, leader } => not_leader(*group, *leader),
        ChangeError::Refused(_) => new(Reason::Unsupported, text),
        ChangeError::Timeout(_) => outcome_unknown(text),
        ChangeError::Stopped { .. } => unavailable(text),
    }
}

/// The reason that a status carries, if it was made by a Phalanx node.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// Whether a status carries this reason.
#[must_use]
pub fn is(status: &Status, reason: Reason) -> bool {
    reason_of(status).as_deref() == Some(reason.parts().0)
}

/// How long a status asks to wait; `None`: waiting does not help.
#[must_use]
pub fn retry_delay_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.parts().0).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn status_carries_reason_and_retry_delay() {
        let status = not_leader(3, Some(2));
        assert_eq!(reason_of(&status).as_deref(), Some("NOT_LEADER"));
        assert_eq!(retry_delay_of(&status), Some(RETRY_LEADER));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata.get("leader_node").map(String::as_str), Some("2"));
        assert_eq!(reason_of(&Status::unavailable("from elsewhere")), None);
    }
}
