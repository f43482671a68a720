//! Looking at a queue's messages and groups: `Queues.Peek` and `Queues.ListGroups`, where the queue is led.

use phalanx_proto::v1;
use phalanx_state_machine::ids::{QueueUid, TimestampMs};
use phalanx_state_machine::machine::{GroupInfo, Holder, LookAt, Seen, Standing};
use tonic::Status;

use super::messages::limits::{
    GROUPS_PAGE_DEFAULT, GROUPS_PAGE_MAX, PEEK_BYTES_MAX, PEEK_MESSAGES_DEFAULT, PEEK_MESSAGES_MAX,
};
use super::messages::payloads;
use crate::convert;
use crate::shard::Shard;
use crate::status;

/// A page of messages, bodies read back where they are not in memory. What was settled meanwhile is left out.
///
/// # Errors
/// `QUEUE_GONE`; `UNAVAILABLE` when a body could not be read back.
pub(super) async fn peek(
    shard: &Shard,
    uid: QueueUid,
    asked: &v1::PeekRequest,
) -> Result<v1::PeekResponse, Status> {
    let count = if asked.max_messages == 0 { PEEK_MESSAGES_DEFAULT } else { asked.max_messages };
    let at = LookAt {
        from: asked.from_sequence,
        group: (!asked.group.is_empty()).then_some(&asked.group[..]),
        count_max: count.min(PEEK_MESSAGES_MAX) as usize,
        bytes_max: PEEK_BYTES_MAX,
    };
    let page = shard.group.read(|machine| machine.look(uid, &at)).ok_or_else(gone)?;
    let now_ms = shard.clock.now_ms();
    let wanted = page.messages.into_iter().map(|seen| (seen.sequence, seen.payload.clone(), seen)).collect();
    let found = payloads(&shard.group, uid, wanted).await?;
    let messages = found.into_iter().map(|(message, seen)| peeked_out(seen, message, now_ms)).collect();
    Ok(v1::PeekResponse { messages, next_sequence: page.next.unwrap_or(0) })
}

/// A page of a topic's log, bodies read back where they are not in memory.
///
/// # Errors
/// `QUEUE_GONE`; `UNAVAILABLE` when a body could not be read back.
pub(super) async fn log(
    shard: &Shard,
    uid: QueueUid,
    asked: &v1::ReadLogRequest,
) -> Result<v1::ReadLogResponse, Status> {
    let count = if asked.max_messages == 0 { PEEK_MESSAGES_DEFAULT } else { asked.max_messages };
    let at = LookAt {
        from: asked.from_sequence,
        group: None,
        count_max: count.min(PEEK_MESSAGES_MAX) as usize,
        bytes_max: PEEK_BYTES_MAX,
    };
    let found = shard.group.read(|machine| {
        let (page, first) = machine.log_page(uid, &at)?;
        Some((page, first, machine.queue_info(uid)?.next_sequence))
    });
    let (page, first_sequence, end) = found.ok_or_else(gone)?;
    let more = page.next.is_some();
    let wanted = page.messages.into_iter().map(|seen| (seen.sequence, seen.payload.clone(), seen)).collect();
    let found = payloads(&shard.group, uid, wanted).await?;
    let message = |(message, seen): (v1::Message, Seen)| v1::LogMessage {
        sequence: seen.sequence,
        enqueued_ms: seen.enqueued_ms,
        message: Some(message),
    };
    Ok(v1::ReadLogResponse {
        messages: found.into_iter().map(message).collect(),
        next_sequence: page.next.unwrap_or(end),
        first_sequence,
        more,
    })
}

/// A page of ordering groups.
///
/// # Errors
/// `QUEUE_GONE`; `INVALID_ARGUMENT` for a token that no page gave.
pub(super) fn groups(
    shard: &Shard,
    uid: QueueUid,
    asked: &v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Status> {
    let size = if asked.page_size == 0 { GROUPS_PAGE_DEFAULT } else { asked.page_size.min(GROUPS_PAGE_MAX) };
    let after = match asked.page_token.as_str() {
        "" => None,
        token => {
            let parsed = u64::from_str_radix(token, 16);
            Some(parsed.map_err(|_| status::invalid("page_token", "is not from a page before"))?)
        }
    };
    let page = shard.group.read(|machine| machine.group_page(uid, after, size as usize)).ok_or_else(gone)?;
    let now_ms = shard.clock.now_ms();
    Ok(v1::ListGroupsResponse {
        groups: page.groups.into_iter().map(|group| group_out(group, now_ms)).collect(),
        next_page_token: page.next.map_or(String::new(), |next| format!("{next:016x}")),
    })
}

/// The queue was there when the name was looked up, and is no more.
pub(super) fn gone() -> Status {
    status::new(status::Reason::QueueGone, "the queue was deleted just now")
}

fn peeked_out(seen: Seen, message: v1::Message, now_ms: TimestampMs) -> v1::PeekedMessage {
    let (state, until_ms, token, holder) = match seen.standing {
        Standing::Ready => (v1::PeekedState::Ready, 0, 0, None),
        Standing::Delayed { until_ms } => (v1::PeekedState::Delayed, until_ms, 0, None),
        Standing::Leased { token, holder, deadline_ms } => {
            (v1::PeekedState::Leased, deadline_ms, token, holder.map(holder_out))
        }
    };
    v1::PeekedMessage {
        sequence: seen.sequence,
        enqueued_ms: seen.enqueued_ms,
        state: state.into(),
        attempts: seen.attempts,
        returned: seen.returned.map_or(0, |reason| reason as i32),
        until_ms,
        left_ms: until_ms.saturating_sub(now_ms),
        token,
        holder,
        message: Some(message),
    }
}

fn group_out(group: GroupInfo, now_ms: TimestampMs) -> v1::QueueGroup {
    v1::QueueGroup {
        key: group.key,
        messages: group.message_count,
        leased: group.leased_count,
        oldest_age_ms: now_ms.saturating_sub(group.oldest_enqueued_ms),
        holder: group.holder.map(holder_out),
    }
}

fn holder_out(holder: Holder) -> v1::Holder {
    v1::Holder { consumer_id: convert::id_bytes(holder.consumer), name: holder.name }
}
