//! Messages on their way in and out: checks, and the payload that the machine keeps without looking into it.
//!
//! A payload is an encoded `phalanx.v1.Message`, as the sender gave it. The messages of a batch are encoded into one allocation.

use std::future::{Future, ready};

use bytes::{Bytes, BytesMut};
use futures::future::Either;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use phalanx_proto::v1;
use phalanx_raft::{Group, PayloadError};
use phalanx_state_machine::command::NewMessage;
use phalanx_state_machine::ids::{Id128, QueueUid, Sequence, TimestampMs};
use phalanx_state_machine::reply::{Delivery, Payload};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::limits::{
    ATTRIBUTE_BYTES_MAX, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DEDUPLICATION_ID_BYTES_MAX, GROUP_BYTES_MAX,
    HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, READ_BACK_PARALLEL, ROUTING_KEY_BYTES_MAX,
};
use crate::router::Local;
use crate::status;

/// Checks a batch against everything that is known without its queue.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming the limit and what was given.
pub fn check_messages(messages: &[v1::Message]) -> Result<(), Status> {
    if messages.is_empty() {
        return Err(status::invalid("messages", "must hold at least one message"));
    }
    at_most("messages", "count", messages.len(), BATCH_MESSAGES_MAX)?;
    let bytes: usize = messages.iter().map(v1::Message::encoded_len).sum();
    if messages.len() > 1 {
        at_most("messages", "bytes together", bytes, BATCH_BYTES_MAX)?;
    }
    for (position, message) in messages.iter().enumerate() {
        check_message(position, message)?;
    }
    Ok(())
}

fn check_message(position: usize, message: &v1::Message) -> Result<(), Status> {
    let field = |name: &str| format!("messages[{position}].{name}");
    at_most(&field("headers"), "count", message.headers.len(), HEADERS_MAX)?;
    let mut bytes = 0;
    for (name, value) in &message.headers {
        if name.is_empty() {
            return Err(status::invalid(&field("headers"), "a name must not be empty"));
        }
        at_most(&field("headers"), "bytes of one name", name.len(), HEADER_NAME_BYTES_MAX)?;
        bytes += name.len() + value.len();
    }
    at_most(&field("headers"), "bytes together", bytes, HEADERS_BYTES_MAX)?;
    at_most(&field("group"), "bytes", message.group.len(), GROUP_BYTES_MAX)?;
    at_most(&field("routing_key"), "bytes", message.routing_key.len(), ROUTING_KEY_BYTES_MAX)?;
    let id_bytes = message.deduplication_id.len();
    at_most(&field("deduplication_id"), "bytes", id_bytes, DEDUPLICATION_ID_BYTES_MAX)?;
    for (name, value) in [
        ("content_type", &message.content_type),
        ("correlation_id", &message.correlation_id),
        ("reply_to", &message.reply_to),
        ("traceparent", &message.traceparent),
    ] {
        at_most(&field(name), "bytes", value.len(), ATTRIBUTE_BYTES_MAX)?;
    }
    Ok(())
}

fn at_most(field: &str, what: &str, actual: usize, max: usize) -> Result<(), Status> {
    if actual <= max {
        return Ok(());
    }
    Err(status::invalid(field, format_args!("{what}: {actual}, at most {max}")))
}

/// Checks the bodies against the queue's limit and encodes the messages as the machine keeps them.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn new_messages(messages: &[v1::Message], body_bytes_max: u64) -> Result<Vec<NewMessage>, Status> {
    let body_bytes_max = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    for (position, message) in messages.iter().enumerate() {
        at_most(&format!("messages[{position}].body"), "bytes", message.body.len(), body_bytes_max)?;
    }
    let mut buffer = BytesMut::with_capacity(messages.iter().map(v1::Message::encoded_len).sum());
    let encoded = messages.iter().map(|message| {
        message.encode_raw(&mut buffer);
        NewMessage {
            payload: buffer.split().freeze(),
            group: message.group.clone(),
            dedup: dedup_hash(&message.deduplication_id),
        }
    });
    Ok(encoded.collect())
}

/// The first half of SHA-256: stored, so it must never change; collisions must not be for the making, since one suppresses a message.
fn dedup_hash(id: &str) -> Option<Id128> {
    if id.is_empty() {
        return None;
    }
    let hash = Sha256::digest(id.as_bytes());
    let half: [u8; 16] = hash[..16].try_into().expect("SHA-256 has 32 bytes");
    Some(Id128::from_bytes(half))
}

/// Deliveries as clients read them, in order, spilled payloads read back. One whose message is gone meanwhile is left out: so
/// is its lease.
///
/// # Errors
/// `UNAVAILABLE` when the checkpoint could not be read: the leases stand, the client asks again.
pub async fn deliveries_out(local: &Local, deliveries: Vec<Delivery>) -> Result<Vec<v1::Delivery>, Status> {
    let wanted = deliveries.into_iter().map(|one| (one.sequence, one.payload.clone(), one)).collect();
    let found = payloads(&local.shard.group, local.uid, wanted).await?;
    let now_ms = local.shard.clock.now_ms();
    Ok(found.into_iter().map(|(message, delivery)| delivery_out(delivery, message, now_ms)).collect())
}

/// The messages behind payloads, each with what stands for it, in order; spilled ones are read back, those that are gone
/// meanwhile left out.
///
/// # Errors
/// `UNAVAILABLE` when the checkpoint could not be read.
pub async fn payloads<T>(
    group: &Group,
    uid: QueueUid,
    wanted: Vec<(Sequence, Payload, T)>,
) -> Result<Vec<(v1::Message, T)>, Status> {
    read_all(wanted, |sequence| read_back(group, uid, sequence)).await
}

/// As [`payloads`], as they are stored: `None` for what is gone meanwhile.
///
/// # Errors
/// As [`payloads`].
pub async fn raw_payloads<T>(
    group: &Group,
    uid: QueueUid,
    wanted: Vec<(Sequence, Payload, T)>,
) -> Result<Vec<(Sequence, Option<Bytes>, T)>, Status> {
    read_raw(wanted, |sequence| read_back(group, uid, sequence)).await
}

async fn read_all<T, F>(
    wanted: Vec<(Sequence, Payload, T)>,
    read_back: impl Fn(Sequence) -> F,
) -> Result<Vec<(v1::Message, T)>, Status>
where
    F: Future<Output = Result<Option<Bytes>, Status>>,
{
    let found = read_raw(wanted, read_back).await?;
    let there = found.into_iter().filter_map(|(sequence, payload, of)| Some((sequence, payload?, of)));
    there.map(|(sequence, payload, of)| Ok((decode(sequence, payload)?, of))).collect()
}

async fn read_raw<T, F>(
    wanted: Vec<(Sequence, Payload, T)>,
    read_back: impl Fn(Sequence) -> F,
) -> Result<Vec<(Sequence, Option<Bytes>, T)>, Status>
where
    F: Future<Output = Result<Option<Bytes>, Status>>,
{
    let reads = wanted.into_iter().map(|(sequence, payload, of)| {
        let read = match payload {
            Payload::Resident(bytes) => Either::Left(ready(Ok(Some(bytes)))),
            Payload::Spilled(_) => Either::Right(read_back(sequence)),
        };
        async move { read.await.map(|payload| (sequence, payload, of)) }
    });
    stream::iter(reads).buffered(READ_BACK_PARALLEL).try_collect().await
}

async fn read_back(group: &Group, uid: QueueUid, sequence: Sequence) -> Result<Option<Bytes>, Status> {
    match group.payload(uid, sequence).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(PayloadError::Gone { .. }) => Ok(None),
        Err(error @ PayloadError::Storage { .. }) => {
            tracing::error!(group_id = group.id(), uid, %error, "read-back failed");
            Err(status::unavailable("a message's body could not be read back here"))
        }
    }
}

fn decode(sequence: Sequence, payload: Bytes) -> Result<v1::Message, Status> {
    v1::Message::decode(payload).map_err(|error| {
        tracing::error!(sequence, %error, "a stored payload is not a message");
        status::internal("a stored message cannot be decoded")
    })
}

fn delivery_out(delivery: Delivery, message: v1::Message, now_ms: TimestampMs) -> v1::Delivery {
    v1::Delivery {
        token: delivery.token,
        sequence: delivery.sequence,
        attempt: delivery.attempt,
        deadline_ms: delivery.deadline_ms,
        enqueued_ms: delivery.enqueued_ms,
        redelivery: delivery.redelivery.map_or(0, |reason| reason as i32),
        message: Some(message),
        lease_left_ms: delivery.deadline_ms.saturating_sub(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deduplication_hash_is_the_first_half_of_sha_256() {
        // SHA-256("abc") as in FIPS 180-2.
        let expected = Id128 { hi: 0xba78_16bf_8f01_cfea, lo: 0x4141_40de_5dae_2223 };
        assert_eq!(dedup_hash("abc"), Some(expected));
        assert_eq!(dedup_hash(""), None);
    }

    #[test]
    fn refusals_name_the_field_the_limit_and_what_was_given() {
        let message = v1::Message { group: vec![0; 2000].into(), ..v1::Message::default() };
        let refusal = check_messages(&[v1::Message::default(), message]).unwrap_err();
        assert_eq!(refusal.message(), "messages[1].group: bytes: 2000, at most 1024");
        assert!(check_messages(&[]).is_err());
        assert!(check_messages(&vec![v1::Message::default(); BATCH_MESSAGES_MAX + 1]).is_err());
        assert!(check_messages(&vec![v1::Message::default(); BATCH_MESSAGES_MAX]).is_ok());
    }

    #[test]
    fn batch_over_its_bytes_is_refused_unless_it_is_one_message() {
        let half = v1::Message { body: vec![0; BATCH_BYTES_MAX / 2].into(), ..v1::Message::default() };
        assert!(check_messages(&[half.clone(), half]).is_err());
        let big = v1::Message { body: vec![0; BATCH_BYTES_MAX].into(), ..v1::Message::default() };
        assert!(check_messages(std::slice::from_ref(&big)).is_ok());
        assert!(new_messages(&[big], 1024).is_err());
    }

    #[test]
    fn every_limit_of_a_message_is_enforced() {
        let check = |message: v1::Message| check_messages(&[message]).is_err();
        let headers = |count: usize, bytes: usize| v1::Message {
            headers: (0..count).map(|n| (format!("h{n}"), Bytes::from(vec![0; bytes]))).collect(),
            ..v1::Message::default()
        };
        assert!(!check(headers(HEADERS_MAX, 8)));
        assert!(check(headers(HEADERS_MAX + 1, 8)));
        assert!(check(headers(2, HEADERS_BYTES_MAX / 2)));
        let text = |bytes: usize| "x".repeat(bytes);
        assert!(check(v1::Message { deduplication_id: text(257), ..v1::Message::default() }));
        assert!(check(v1::Message { content_type: text(1025), ..v1::Message::default() }));
        assert!(check(v1::Message { correlation_id: text(1025), ..v1::Message::default() }));
        assert!(check(v1::Message { reply_to: text(1025), ..v1::Message::default() }));
        assert!(check(v1::Message { traceparent: text(1025), ..v1::Message::default() }));
        let unnamed = [(String::new(), Bytes::new())];
        assert!(check(v1::Message { headers: unnamed.into(), ..v1::Message::default() }));
        let named = [(text(256), Bytes::new())];
        assert!(check(v1::Message { headers: named.into(), ..v1::Message::default() }));
    }

    #[test]
    fn message_comes_out_as_it_went_in() {
        let message = v1::Message {
            body: Bytes::from_static(b"body"),
            headers: [("a".to_owned(), Bytes::from_static(b"1"))].into(),
            group: Bytes::from_static(b"g"),
            deduplication_id: "d".to_owned(),
            ..v1::Message::default()
        };
        let kept = new_messages(&[message.clone(), message.clone()], 4).unwrap();
        assert_eq!(kept[1].group, message.group);
        assert_eq!(v1::Message::decode(kept[1].payload.clone()).unwrap(), message);
    }

    #[tokio::test]
    async fn spilled_bodies_are_read_back_in_order_and_gone_messages_left_out() {
        let kept = |text: &str| {
            let message = v1::Message { body: text.to_owned().into(), ..v1::Message::default() };
            Bytes::from(message.encode_to_vec())
        };
        let wanted = (1..=20).map(|sequence: Sequence| match sequence % 3 {
            0 => (sequence, Payload::Resident(kept(&sequence.to_string())), sequence),
            _ => (sequence, Payload::Spilled(1), sequence),
        });
        let read_back = |sequence: Sequence| async move {
            for _ in 0..20 - sequence {
                tokio::task::yield_now().await; // the later ones are there first
            }
            Ok((sequence != 7).then(|| kept(&sequence.to_string())))
        };
        let out = read_all(wanted.collect(), read_back).await.unwrap();
        let found: Vec<_> = out.into_iter().map(|(message, sequence)| (message.body, sequence)).collect();
        let expected: Vec<_> =
            (1..=20).filter(|n| *n != 7).map(|n: u64| (Bytes::from(n.to_string()), n)).collect();
        assert_eq!(found, expected);
        let failing = |_| async { Err(status::unavailable("broken")) };
        assert!(read_all(vec![(1, Payload::Spilled(1), ())], failing).await.is_err());
    }
}
