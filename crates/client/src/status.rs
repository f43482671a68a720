//! From gRPC statuses and in-stream failures to [`Error`], in one place.
//!
//! Invariant: only what the server says was not done counts as not done. A status that no Phalanx node made may mean
//! anything, except that a connection which never came about carried nothing.

use std::error::Error as _;
use std::time::Duration;

use phalanx_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::Error;

/// `ErrorInfo.domain` of the statuses that Phalanx nodes make.
const DOMAIN: &str = "phalanx";
/// How long to wait where the server names no time.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_millis(100);

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing was done, and the same again is answered the same way.
    Refused,
    /// Nothing was done; the same again can succeed.
    Again,
    /// It may have been done. Only a call that is recognised when it is repeated may be repeated.
    Maybe,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) class: Class,
    /// The node or the way to it failed, not the request.
    pub(crate) transport: bool,
    /// As asked by the server.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// The node did not answer in time.
    pub(crate) fn stalled(address: &str, after: Duration) -> Self {
        let message = format!("no answer from {address} for {} ms", after.as_millis());
        Self {
            error: Error::OutcomeUnknown { message },
            class: Class::Maybe,
            transport: true,
            retry_after: None,
        }
    }

    /// The node did not answer, and another one leads.
    pub(crate) fn left(address: &str) -> Self {
        let message = format!("no answer from {address}, which does not lead any more");
        Self {
            error: Error::OutcomeUnknown { message },
            class: Class::Maybe,
            transport: true,
            retry_after: None,
        }
    }

    /// The stream ended without a status.
    pub(crate) fn ended(address: &str) -> Self {
        let message = format!("{address} ended the stream");
        Self {
            error: Error::OutcomeUnknown { message },
            class: Class::Maybe,
            transport: true,
            retry_after: None,
        }
    }

    /// The node broke the protocol.
    pub(crate) fn protocol(address: &str, what: &str) -> Self {
        let message = format!("{address} broke the protocol: {what}");
        Self {
            error: Error::OutcomeUnknown { message },
            class: Class::Maybe,
            transport: true,
            retry_after: None,
        }
    }

    pub(crate) fn from_status(status: &Status) -> Self {
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        match status.get_details_error_info() {
            Some(info) if info.domain == DOMAIN => Self::known(&info.reason, status.message(), retry_after),
            _ => Self::foreign(status, retry_after),
        }
    }

    pub(crate) fn from_stream(failure: &v1::Failure) -> Self {
        let retry_after = (failure.retry_delay_ms > 0).then(|| Duration::from_millis(failure.retry_delay_ms));
        Self::known(&failure.reason, &failure.message, retry_after)
    }

    fn known(reason: &str, message: &str, retry_after: Option<Duration>) -> Self {
        let message = message.to_owned();
        let wait = retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
        let (class, error) = match reason {
            "INVALID_ARGUMENT" | "INVALID" => (Class::Refused, Error::Invalid { message }),
            "QUEUE_NOT_FOUND" => (Class::Refused, Error::QueueNotFound { message }),
            "QUEUE_GONE" => (Class::Refused, Error::QueueGone { message }),
            "QUEUE_FULL" => (Class::Refused, Error::QueueFull { message, retry_after: wait }),
            "DEDUP_FULL" => (Class::Refused, Error::DedupFull { message, retry_after: wait }),
            "ALREADY_EXISTS" => (Class::Refused, Error::AlreadyExists { message }),
            "VERSION_MISMATCH" => (Class::Refused, Error::VersionMismatch { message }),
            "UNROUTABLE" => (Class::Refused, Error::Unroutable { message }),
            "DUPLICATE" => (Class::Refused, Error::Duplicate { message }),
            "SEQUENCE_GAP" => (Class::Refused, Error::SequenceGap { message }),
            "PRODUCER_FORGOTTEN" => (Class::Refused, Error::ProducerForgotten { message }),
            "CONSUMER_REPLACED" => (Class::Refused, Error::ConsumerReplaced { message }),
            "QUEUE_EXCLUSIVE" => (Class::Refused, Error::Exclusive { message }),
            "TOO_MANY_CONSUMERS" => (Class::Refused, Error::TooManyConsumers { message }),
            "PERMISSION_DENIED" | "UNAUTHENTICATED" => (Class::Refused, Error::Denied { message }),
            "OVERLOADED" => (Class::Again, Error::Overloaded { message, retry_after: wait }),
            "NOT_LEADER" | "NO_LEADER" => (Class::Again, Error::NotLeader { message }),
            "PEER_UNREACHABLE" | "UNAVAILABLE" | "QUEUE_NOT_READY" | "DEADLINE_EXCEEDED" | "NOT_ATTACHED" => {
                (Class::Again, Error::Unavailable { message })
            }
            "OUTCOME_UNKNOWN" | "INTERNAL" => (Class::Maybe, Error::OutcomeUnknown { message }),
            other => (Class::Refused, Error::Other { reason: other.to_owned(), message, retry_after }),
        };
        Self { error, class, transport: false, retry_after }
    }

    /// A status made by the transport, a proxy, or something that is no Phalanx node.
    fn foreign(status: &Status, retry_after: Option<Duration>) -> Self {
        let message = describe(status);
        if never_connected(status) {
            let error = Error::Unavailable { message };
            return Self { error, class: Class::Again, transport: true, retry_after };
        }
        let (class, transport, error) = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => (Class::Refused, false, Error::Invalid { message }),
            Code::PermissionDenied | Code::Unauthenticated => {
                (Class::Refused, false, Error::Denied { message })
            }
            Code::ResourceExhausted => {
                let retry_after = retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
                (Class::Again, false, Error::Overloaded { message, retry_after })
            }
            Code::Unimplemented => {
                (Class::Refused, false, Error::Other { reason: "UNIMPLEMENTED".into(), message, retry_after })
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => (Class::Maybe, true, Error::OutcomeUnknown { message }),
        };
        Self { error, class, transport, retry_after }
    }
}

/// The message with its causes: the transport's own text ("transport error") says too little.
fn describe(status: &Status) -> String {
    let mut text = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    };
    let mut source = status.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str, domain: &str) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, domain, HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(70)));
        Status::with_error_details(code, "because", details)
    }

    #[test]
    fn the_reason_decides_and_not_the_code() {
        let failure = Failure::from_status(&status(Code::Internal, "QUEUE_FULL", DOMAIN));
        let retry_after = Duration::from_millis(70);
        assert_eq!(failure.error, Error::QueueFull { message: "because".into(), retry_after });
        assert_eq!(failure.error.retry_after(), Some(retry_after));
        assert_eq!((failure.class, failure.transport), (Class::Refused, false));
    }

    #[test]
    fn a_status_that_no_node_made_leaves_the_outcome_open() {
        for status in [
            Status::unavailable("reset"),
            Status::cancelled("gone"),
            status(Code::Unavailable, "NOT_LEADER", "elsewhere"),
        ] {
            let failure = Failure::from_status(&status);
            assert!(failure.error.is_outcome_unknown(), "{failure:?}");
            assert_eq!((failure.class, failure.transport), (Class::Maybe, true));
        }
    }

    #[test]
    fn a_new_leader_is_worth_another_attempt() {
        let failure = Failure::from_status(&status(Code::Unavailable, "NOT_LEADER", DOMAIN));
        assert_eq!((failure.class, failure.transport), (Class::Again, false));
        assert!(failure.error.is_retryable());
    }
}
