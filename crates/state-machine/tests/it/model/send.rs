//! `Send` as the contract says it.

use phalanx_state_machine::command::{NewMessage, Send};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::reply::{Rejection, Reply, Sent};

use super::queue::{Check, Message, Original, Place, Producer, Queue, SendRequest, ensure};

/// Idle producers are forgotten after 7 days.
const PRODUCER_IDLE_MS: u64 = 7 * 86_400_000;
/// What a payload may hold beside the body.
const OVERHEAD_BYTES: u64 = 128 * 1024;
/// How long the request id of a unary send is remembered.
pub const REQUEST_MS: u64 = 120_000;

impl Queue {
    pub fn send(&mut self, now_ms: u64, send: &Send, reply: &Reply) -> Check {
        if let Some(id) = send.producer {
            return self.send_of_producer(now_ms, id, send, reply);
        }
        if let Some(request) = send.request {
            if let Some(before) = self.sends.iter().find(|before| before.id == request) {
                return same_reply(reply, &repeated(&before.reply));
            }
            let expected = self.append(now_ms, send);
            if matches!(expected, Reply::Sent(_)) {
                let until_ms = now_ms + REQUEST_MS;
                self.sends.push(SendRequest { id: request, until_ms, reply: expected.clone() });
            }
            return same_reply(reply, &expected);
        }
        let expected = self.append(now_ms, send);
        same_reply(reply, &expected)
    }

    fn send_of_producer(&mut self, now_ms: u64, id: Id128, send: &Send, reply: &Reply) -> Check {
        self.producers.retain(|producer| now_ms - producer.active_ms < PRODUCER_IDLE_MS);
        let sequence = send.producer_sequence;
        let known = self.producers.iter().find(|producer| producer.id == id);
        let done = known.map_or(0, |producer| producer.results.len() as u64);
        if sequence == 0 {
            ensure!(
                matches!(reply, Reply::Rejected(Rejection::Invalid(_))),
                "sequence 0 was answered {reply:?}"
            );
            return Ok(());
        }
        if sequence <= done {
            // The remembered result, to the letter.
            let first = known.and_then(|producer| producer.results.get(sequence as usize - 1));
            let first = first.ok_or("no result")?;
            ensure!(*reply == repeated(first), "repeated: {reply:?} after {first:?}");
            return Ok(());
        }
        if known.is_none() && sequence > 1 {
            return same_reply(reply, &Reply::Rejected(Rejection::ProducerForgotten));
        }
        if sequence > done + 1 {
            return same_reply(reply, &Reply::Rejected(Rejection::SequenceGap { expected: done + 1 }));
        }
        let expected = self.append(now_ms, send);
        if known_is_new(&self.producers, id) {
            self.producers.push(Producer { id, active_ms: now_ms, results: Vec::new() });
        }
        let producer = self.producers.iter_mut().find(|producer| producer.id == id).ok_or("no producer")?;
        producer.active_ms = now_ms;
        producer.results.push(reply.clone()); // a rejection too: it consumed its sequence
        same_reply(reply, &expected)
    }

    /// All messages or none; what the answer must be.
    fn append(&mut self, now_ms: u64, send: &Send) -> Reply {
        let invalid = || Reply::Rejected(Rejection::Invalid(String::new()));
        let full = || Reply::Rejected(Rejection::QueueFull(String::new()));
        let body_max = self.settings.body_bytes_max + OVERHEAD_BYTES;
        let bad =
            |message: &NewMessage| message.payload.len() as u64 > body_max || message.group.len() > 1024;
        if send.messages.is_empty() || send.messages.iter().any(bad) {
            return invalid();
        }
        let (mut fresh, mut originals, mut duplicates) = (Vec::new(), self.originals.clone(), Vec::new());
        for (position, message) in send.messages.iter().enumerate() {
            let sequence = self.next_sequence + fresh.len() as u64;
            if let Some(id) = message.dedup {
                if let Some(original) = originals.iter().find(|original| original.id == id) {
                    duplicates.push((position as u32, original.sequence));
                    continue;
                }
                originals.push(Original { id, sequence, until_ms: now_ms + self.settings.dedup_window_ms });
            }
            fresh.push(Message {
                sequence,
                group: message.group.clone(),
                payload: message.payload.clone(),
                enqueued_ms: now_ms,
                attempts: 0,
                reason: None,
                place: Place::Ready,
            });
        }
        let bytes: u64 = fresh.iter().map(|message| message.payload.len() as u64).sum();
        let too_long = (self.messages.len() + fresh.len()) as u64 > self.settings.length_max;
        if !fresh.is_empty() && (too_long || self.bytes() + bytes > self.settings.bytes_max) {
            return full();
        }
        let count = fresh.len() as u32;
        let first = if count == 0 { 0 } else { self.next_sequence };
        self.originals = originals;
        self.next_sequence += u64::from(count);
        self.totals.sent += u64::from(count);
        self.messages.extend(fresh);
        Reply::Sent(Sent { first, count, duplicates, matched: 0, repeated: false })
    }
}

fn known_is_new(producers: &[Producer], id: Id128) -> bool {
    !producers.iter().any(|producer| producer.id == id)
}

/// A remembered answer, as it is given again.
fn repeated(reply: &Reply) -> Reply {
    match reply {
        Reply::Sent(sent) => Reply::Sent(Sent { repeated: true, ..sent.clone() }),
        other => other.clone(),
    }
}

/// Equal, except for the wording of rejections.
pub fn same_reply(got: &Reply, expected: &Reply) -> Check {
    let same = match (got, expected) {
        (Reply::Rejected(Rejection::Invalid(_)), Reply::Rejected(Rejection::Invalid(_)))
        | (Reply::Rejected(Rejection::QueueFull(_)), Reply::Rejected(Rejection::QueueFull(_))) => true,
        _ => got == expected,
    };
    ensure!(same, "answered {got:?} instead of {expected:?}");
    Ok(())
}
