//! Trace contexts, and the spans of the client.
//!
//! The spans follow OpenTelemetry's conventions for messaging. They are spans of the `tracing` crate: whoever exports them
//! is the application's choice.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tracing::Span;
use tracing::field::Empty;

use crate::consumer::Delivery;
use crate::error::Error;
use crate::message::Message;
use crate::metrics::SettleKind;
use crate::router::QueueKey;

/// Characters of a `traceparent` of version 00.
const TRACEPARENT_CHARS: usize = 55;

/// A W3C trace context: `00-<trace id>-<parent id>-<flags>`.
///
/// ```
/// use phalanx_client::TraceParent;
///
/// let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert_eq!(parent.parent_id(), 0x00f0_67aa_0ba9_02b7);
/// assert!(parent.is_sampled());
/// # Ok::<(), phalanx_client::ParseTraceParentError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// `None` if one of the ids is 0, which names nothing.
    #[must_use]
    pub const fn new(trace_id: u128, parent_id: u64, flags: u8) -> Option<Self> {
        if trace_id == 0 || parent_id == 0 { None } else { Some(Self { trace_id, parent_id, flags }) }
    }

    /// The whole trace's id, not 0.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the span that sent the message, not 0.
    #[must_use]
    pub const fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// The flags, as they came; bit 0: sampled.
    #[must_use]
    pub const fn flags(self) -> u8 {
        self.flags
    }

    /// Whether the sender may have recorded the trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

/// Not a W3C `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent is 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, with ids that are not zero"
)]
pub struct ParseTraceParentError;

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    /// Reads version 00, and of later versions what they share with it, as W3C Trace Context (section 3.2) asks.
    fn from_str(text: &str) -> Result<Self, ParseTraceParentError> {
        let digits = |text: Option<&str>, length: usize| {
            let text = text.filter(|text| text.len() == length)?;
            let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        let mut parts = text.split('-');
        let version = digits(parts.next(), 2).ok_or(ParseTraceParentError)?;
        let trace_id = digits(parts.next(), 32).ok_or(ParseTraceParentError)?;
        let parent_id = digits(parts.next(), 16).ok_or(ParseTraceParentError)?;
        let flags = digits(parts.next(), 2).ok_or(ParseTraceParentError)?;
        let is_whole = if version == 0 { text.len() == TRACEPARENT_CHARS } else { version != 0xff };
        // The digits were counted: neither cast loses any.
        let parent = Self::new(trace_id, parent_id as u64, flags as u8);
        parent.filter(|_| is_whole).ok_or(ParseTraceParentError)
    }
}

/// Where messages get their trace context from that have none.
pub(crate) type TraceSource = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Gives the message the context of `span`, unless it has one. Answers whether it did.
pub(crate) fn stamp(source: Option<&TraceSource>, span: &Span, message: &mut Message) -> bool {
    let Some(source) = source.filter(|_| message.traceparent.is_empty()) else { return false };
    // What is no context is worth nothing to whoever receives it.
    let parent = span.in_scope(|| source()).filter(|text| text.parse::<TraceParent>().is_ok());
    parent.map(|text| message.traceparent = text).is_some()
}

/// Of a send, from the call to the confirmation.
pub(crate) fn send_span(queue: &QueueKey, messages: usize, bytes: usize) -> Span {
    tracing::info_span!(
        "send",
        otel.name = %format_args!("send {}", queue.name),
        otel.kind = "producer",
        messaging.system = "phalanx",
        messaging.destination.name = %queue.name,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.batch.message_count = messages,
        messaging.message.body.size = bytes,
        messaging.message.id = Empty,
        otel.status_code = Empty,
        error.type = Empty,
    )
}

/// Of one receiving call, its waiting included.
pub(crate) fn receive_span(queue: &QueueKey) -> Span {
    tracing::info_span!(
        "receive",
        otel.name = %format_args!("receive {}", queue.name),
        otel.kind = "client",
        messaging.system = "phalanx",
        messaging.destination.name = %queue.name,
        messaging.operation.name = "receive",
        messaging.operation.type = "receive",
        messaging.batch.message_count = Empty,
        otel.status_code = Empty,
        error.type = Empty,
    )
}

/// Of a handler. Its parent is in another process: it is given as `trace_id` and `parent_id`.
pub(crate) fn process_span(queue: &QueueKey, delivery: &Delivery) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = %format_args!("process {}", queue.name),
        otel.kind = "consumer",
        messaging.system = "phalanx",
        messaging.destination.name = %queue.name,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.message.id = delivery.sequence(),
        messaging.message.body.size = delivery.body().len(),
        messaging.phalanx.attempt = delivery.attempt(),
        messaging.phalanx.token = delivery.token(),
        trace_id = Empty,
        parent_id = Empty,
        otel.status_code = Empty,
        error.type = Empty,
    );
    if !span.is_disabled()
        && let Some(parent) = delivery.traceparent()
    {
        span.record("trace_id", tracing::field::display(format_args!("{:032x}", parent.trace_id())));
        span.record("parent_id", tracing::field::display(format_args!("{:016x}", parent.parent_id())));
    }
    span
}

/// Of a settle or an extension that the application asked for, from the call to the answer.
pub(crate) fn settle_span(queue: &QueueKey, kind: SettleKind, token: u64) -> Span {
    let name = match kind {
        SettleKind::Ack => "ack",
        SettleKind::Nack => "nack",
        SettleKind::Reject => "reject",
        SettleKind::Extend => "extend",
    };
    tracing::debug_span!(
        "settle",
        otel.name = %format_args!("{name} {}", queue.name),
        otel.kind = "client",
        messaging.system = "phalanx",
        messaging.destination.name = %queue.name,
        messaging.operation.name = name,
        messaging.operation.type = "settle",
        messaging.phalanx.token = token,
        otel.status_code = Empty,
        error.type = Empty,
    )
}

/// Notes in a span that what it stands for failed.
pub(crate) fn failed(span: &Span, error: &Error) {
    failed_as(span, error.name());
}

/// The same, where there is no [`Error`].
pub(crate) fn failed_as(span: &Span, kind: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_back_as_it_was_written_and_nothing_else_is_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = text.parse().unwrap();
        assert_eq!(parent.to_string(), text);
        assert_eq!((parent.trace_id(), parent.flags()), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 1));
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!later.parse::<TraceParent>().unwrap().is_sampled(), "a later version may say more");
        for malformed in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(malformed.parse::<TraceParent>(), Err(ParseTraceParentError), "{malformed}");
        }
    }
}
