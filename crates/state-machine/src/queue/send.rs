//! `Send`: appends a batch, all of it or none.

use std::collections::BTreeMap;

use super::messages::NewSlot;
use super::producers::Outcome;
use super::remembered::Memory;
use super::{Original, Queue, Routes, Turn};
use crate::command::{NewMessage, Send};
use crate::ids::{Id128, Sequence, TimestampMs};
use crate::limits::{
    DEDUP_IDS_MAX, FORGET_PER_ENTRY_MAX, GROUP_KEY_BYTES_MAX, PAYLOAD_OVERHEAD_BYTES_MAX, REQUEST_WINDOW_MS,
    REQUESTS_MAX, SEND_BYTES_MAX, SEND_MESSAGES_MAX,
};
use crate::reply::{Rejection, Reply, Sent};
use crate::rows::MemoryValue;

/// The result of a unary send.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SentBefore(pub(super) Outcome);

impl Memory for SentBefore {
    fn hash(&self) -> u64 {
        self.0.hash()
    }
    fn to_row(&self) -> MemoryValue {
        MemoryValue { result: Some(self.0.row()), ..MemoryValue::default() }
    }
    fn from_row(row: MemoryValue) -> Option<Self> {
        Some(Self(Outcome::of_row(row.result?)))
    }
}

/// What a batch comes to, before anything is changed.
struct Plan {
    /// For each message that is not appended: its position and the original's sequence.
    duplicates: Vec<(u32, Sequence)>,
    count: u64,
    bytes: u64,
    dedup_ids: usize,
    /// To a topic.
    routes: Routes,
}

impl Queue {
    pub(crate) fn send(&mut self, turn: &mut Turn<'_>, send: &Send) -> Reply {
        if let Some(reply) = self.sent_before(send, turn.now_ms) {
            return reply;
        }
        let reply = match self.plan(send, turn.now_ms) {
            Ok(plan) => Reply::Sent(self.append(send, plan, turn.now_ms)),
            Err(rejection) => Reply::Rejected(rejection),
        };
        if let (Some(producer), Some(outcome)) = (send.producer, Outcome::of(&reply)) {
            self.producers.record(producer, send.producer_sequence, outcome, turn.now_ms);
        } else if let (Some(request), Reply::Sent(_), Some(outcome)) =
            (send.request, &reply, Outcome::of(&reply))
        {
            let expires_ms = turn.now_ms.saturating_add(REQUEST_WINDOW_MS);
            self.sends.insert(request, expires_ms, SentBefore(outcome), turn.now_ms);
        }
        self.assign(turn);
        reply
    }

    /// The answer to a repetition, or to a sequence that cannot be accepted: nothing is changed.
    fn sent_before(&mut self, send: &Send, now_ms: TimestampMs) -> Option<Reply> {
        let zero = Some(Id128 { hi: 0, lo: 0 });
        if send.producer == zero || send.request == zero {
            return Some(Reply::Rejected(Rejection::Invalid("an id of zero is no identity".into())));
        }
        if let Some(producer) = send.producer {
            return self.producers.judge(producer, send.producer_sequence, now_ms).err();
        }
        let before = self.sends.get(send.request?, now_ms)?;
        Some(before.0.repeat())
    }

    fn plan(&mut self, send: &Send, now_ms: TimestampMs) -> Result<Plan, Rejection> {
        self.check_batch(send)?;
        let mut plan =
            Plan { duplicates: Vec::new(), count: 0, bytes: 0, dedup_ids: 0, routes: Routes::default() };
        let mut in_batch: BTreeMap<Id128, Sequence> = BTreeMap::new();
        for (position, message) in (0_u32..).zip(&send.messages) {
            if let Some(id) = message.dedup {
                let known = self.dedup.get(id, now_ms).map(|original| original.0);
                if let Some(original) = known.or_else(|| in_batch.get(&id).copied()) {
                    plan.duplicates.push((position, original));
                    continue;
                }
                in_batch.insert(id, self.next_sequence + plan.count);
                plan.dedup_ids += 1;
            }
            plan.count += 1;
            plan.bytes += message.payload.len() as u64;
        }
        self.check_room(&plan)?;
        self.check_memory(send, &plan, now_ms)?;
        plan.routes = self.route(send, &plan.duplicates)?;
        Ok(plan)
    }

    fn check_batch(&self, send: &Send) -> Result<(), Rejection> {
        let invalid = |text: String| Err(Rejection::Invalid(text));
        if send.messages.is_empty() {
            return invalid("a send needs at least one message".into());
        }
        if send.messages.len() > SEND_MESSAGES_MAX {
            return invalid(format!("{} messages, at most {SEND_MESSAGES_MAX}", send.messages.len()));
        }
        let payload_max = self.settings.body_bytes_max + PAYLOAD_OVERHEAD_BYTES_MAX;
        let mut total = 0_u64;
        for NewMessage { payload, group, dedup } in &send.messages {
            let bytes = payload.len() as u64;
            if bytes > payload_max {
                return invalid(format!("a message of {bytes} bytes, at most {payload_max}"));
            }
            if group.len() > GROUP_KEY_BYTES_MAX {
                return invalid(format!(
                    "a group key of {} bytes, at most {GROUP_KEY_BYTES_MAX}",
                    group.len()
                ));
            }
            if *dedup == Some(Id128 { hi: 0, lo: 0 }) {
                return invalid("an id of zero is no identity".into());
            }
            total += bytes;
        }
        if total > SEND_BYTES_MAX {
            return invalid(format!("a batch of {total} bytes, at most {SEND_BYTES_MAX}"));
        }
        Ok(())
    }

    fn check_room(&self, plan: &Plan) -> Result<(), Rejection> {
        let ((length, bytes), length_max) = (self.counted(), self.settings.length_max);
        if length.saturating_add(plan.count) > length_max && plan.count > 0 {
            return Err(Rejection::QueueFull(format!("{length} of {length_max} messages")));
        }
        let bytes_max = self.settings.bytes_max;
        if bytes.saturating_add(plan.bytes) > bytes_max && plan.count > 0 {
            return Err(Rejection::QueueFull(format!("{bytes} of {bytes_max} bytes")));
        }
        Ok(())
    }

    /// Room for the ids that the queue must remember. Old ones go first; none goes early.
    fn check_memory(&mut self, send: &Send, plan: &Plan, now_ms: TimestampMs) -> Result<(), Rejection> {
        let mut budget = FORGET_PER_ENTRY_MAX;
        if plan.dedup_ids > 0 && self.dedup.len() + plan.dedup_ids > DEDUP_IDS_MAX {
            self.dedup.forget(now_ms, &mut budget);
            self.dirty = true;
            if self.dedup.len() + plan.dedup_ids > DEDUP_IDS_MAX {
                return Err(Rejection::DedupFull(format!("{DEDUP_IDS_MAX} deduplication ids")));
            }
        }
        if send.producer.is_none() && send.request.is_some() && self.sends.len() >= REQUESTS_MAX {
            self.sends.forget(now_ms, &mut budget);
            self.dirty = true;
            if self.sends.len() >= REQUESTS_MAX {
                return Err(Rejection::DedupFull(format!("{REQUESTS_MAX} requests")));
            }
        }
        Ok(())
    }

    /// Appends messages that were judged elsewhere.
    ///
    /// # Errors
    /// If a topic cannot say whom they match.
    pub(super) fn append_all(&mut self, send: &Send, now_ms: TimestampMs) -> Result<(), Rejection> {
        let (count, duplicates) = (send.messages.len() as u64, Vec::new());
        let routes = self.route(send, &duplicates)?;
        self.append(send, Plan { duplicates, count, bytes: 0, dedup_ids: 0, routes }, now_ms);
        Ok(())
    }

    fn append(&mut self, send: &Send, plan: Plan, now_ms: TimestampMs) -> Sent {
        let (first, is_topic) = (self.next_sequence, self.topic().is_some());
        let mut duplicates = plan.duplicates.iter().map(|(position, _)| *position).peekable();
        for (position, message) in (0_u32..).zip(&send.messages) {
            if duplicates.next_if_eq(&position).is_some() {
                continue;
            }
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            if let Some(id) = message.dedup {
                let expires_ms = now_ms.saturating_add(self.settings.dedup_window_ms);
                self.dedup.insert(id, expires_ms, Original(sequence), now_ms);
            }
            let group = self.groups.enter(&message.group);
            let group_hash = self.groups.key_hash(group);
            let payload = message.payload.clone();
            let lane = self.lane_of(group);
            let deletes = plan.routes.deletes.contains(&sequence);
            let slot = NewSlot { sequence, payload, group, group_hash, enqueued_ms: now_ms, deletes };
            self.messages.append(slot, lane.is_none() && !is_topic);
            if let Some(lane) = lane {
                self.lane_append(lane, sequence);
            }
        }
        self.totals.sent += plan.count;
        self.dirty = true;
        let matched = plan.routes.matched();
        self.hold_routes(&plan.routes);
        self.routes = plan.routes;
        Sent {
            first: if plan.count == 0 { 0 } else { first },
            count: plan.count as u32,
            duplicates: plan.duplicates,
            matched,
            repeated: false,
        }
    }
}
