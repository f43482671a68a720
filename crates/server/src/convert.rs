//! Between `phalanx.v1` and the state machine's types: checks of what clients send, and nothing else.
//!
//! Invariant: a value that passed here is one that the machine accepts, as far as limits known without state go.

use bytes::Bytes;
use phalanx_proto::v1;
use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::QueueSettings;
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::machine::{ConsumerInfo, QueueInfo};
use tonic::Status;

use crate::status;

pub mod topics;

/// Longest namespace or queue name, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The namespace of requests that name none.
pub const NAMESPACE_DEFAULT: &str = "default";

/// The namespace meant by a request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn namespace(text: &str) -> Result<&str, Status> {
    if text.is_empty() { Ok(NAMESPACE_DEFAULT) } else { name_of("namespace", text) }
}

/// A queue's name.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn queue_name<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    name_of(field, text)
}

fn name_of<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if text.is_empty() {
        return Err(status::invalid(field, "must not be empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(status::invalid(
            field,
            format_args!("is {} bytes long, at most {NAME_BYTES_MAX}", text.len()),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(status::invalid(field, "must not hold control characters"));
    }
    Ok(text)
}

/// A 16-byte id that must be there.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is absent, of another length, or all zero.
pub fn id(field: &str, bytes: &Bytes) -> Result<Id128, Status> {
    let array: [u8; 16] = bytes
        .as_ref()
        .try_into()
        .map_err(|_| status::invalid(field, format_args!("is {} bytes long, must be 16", bytes.len())))?;
    if array == [0; 16] {
        return Err(status::invalid(field, "must not be all zero"));
    }
    Ok(Id128::from_bytes(array))
}

/// A 16-byte id that may be left out.
///
/// # Errors
/// As [`id`], unless it is empty.
pub fn optional_id(field: &str, bytes: &Bytes) -> Result<Option<Id128>, Status> {
    if bytes.is_empty() { Ok(None) } else { id(field, bytes).map(Some) }
}

/// The bytes of an id, as they travel.
#[must_use]
pub fn id_bytes(id: Id128) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// Settings as clients write them. Ranges are the machine's affair: only it may judge them, the same way on all nodes.
#[must_use]
pub fn settings_in(settings: Option<v1::QueueSettings>) -> QueueSettings {
    let settings = settings.unwrap_or_default();
    QueueSettings {
        lease_ms: settings.lease_ms,
        strict: settings.strict,
        length_max: settings.length_max,
        bytes_max: settings.bytes_max,
        dedup_window_ms: settings.dedup_window_ms,
        resume_ms: settings.resume_ms,
        body_bytes_max: settings.body_bytes_max,
        expires_ms: settings.expires_ms,
        exclusive: settings.exclusive,
        ..QueueSettings::default()
    }
}

/// Settings as clients read them.
#[must_use]
pub fn settings_out(settings: &QueueSettings) -> v1::QueueSettings {
    v1::QueueSettings {
        lease_ms: settings.lease_ms,
        strict: settings.strict,
        length_max: settings.length_max,
        bytes_max: settings.bytes_max,
        dedup_window_ms: settings.dedup_window_ms,
        resume_ms: settings.resume_ms,
        body_bytes_max: settings.body_bytes_max,
        expires_ms: settings.expires_ms,
        exclusive: settings.exclusive,
    }
}

/// A catalog row as clients read it.
#[must_use]
pub fn queue_out(entry: &QueueEntry) -> v1::Queue {
    v1::Queue {
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        uid: entry.uid,
        shard: entry.group,
        version: entry.version,
        settings: Some(settings_out(&entry.settings)),
        created_ms: entry.created_ms,
        state: state_text(entry.state).to_owned(),
    }
}

pub(crate) fn state_text(state: i32) -> &'static str {
    match QueueState::try_from(state) {
        Ok(QueueState::Creating) => "creating",
        Ok(QueueState::Live) => "live",
        Ok(QueueState::Deleting) => "deleting",
        Ok(QueueState::Unspecified) | Err(_) => "unknown",
    }
}

/// What is known of a queue, as clients read it.
#[must_use]
pub fn info_out(entry: &QueueEntry, info: QueueInfo, now_ms: u64, leader_node: u64) -> v1::QueueInfo {
    v1::QueueInfo {
        queue: Some(queue_out(entry)),
        ready: info.ready_count,
        leased: info.leased_count,
        delayed: info.delayed_count,
        bytes: info.bytes,
        groups: info.group_count,
        oldest_age_ms: info.oldest_enqueued_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest)),
        next_sequence: info.next_sequence,
        producers: info.producer_count,
        sent_total: info.sent_total,
        acked_total: info.acked_total,
        delivered_total: info.delivered_total,
        redelivered_total: info.redelivered_total,
        consumers: info.consumers.into_iter().map(consumer_out).collect(),
        leader_node,
        unseen: info.unseen_count,
        marks: info.marks.into_iter().map(|(name, sequence)| v1::Mark { name, sequence }).collect(),
    }
}

fn consumer_out(consumer: ConsumerInfo) -> v1::ConsumerInfo {
    v1::ConsumerInfo {
        consumer_id: id_bytes(consumer.consumer),
        name: consumer.name,
        attached: consumer.attached,
        in_hand: consumer.in_hand,
        window_messages: consumer.window_messages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_contract_are_refused() {
        assert_eq!(namespace("").unwrap(), "default");
        assert!(queue_name("queue", "").is_err());
        assert!(queue_name("queue", "a\nb").is_err());
        assert!(queue_name("queue", &"x".repeat(256)).is_err());
        assert_eq!(queue_name("queue", "größe.1").unwrap(), "größe.1");
    }

    #[test]
    fn ids_are_sixteen_bytes_and_not_zero() {
        assert!(id("id", &Bytes::from_static(&[1; 15])).is_err());
        assert!(id("id", &Bytes::from_static(&[0; 16])).is_err());
        assert_eq!(id_bytes(id("id", &Bytes::from_static(&[7; 16])).unwrap()), Bytes::from_static(&[7; 16]));
        assert!(optional_id("id", &Bytes::new()).unwrap().is_none());
    }
}
