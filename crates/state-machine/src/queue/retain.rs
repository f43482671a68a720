//! Retention: a topic keeps its newest messages for a time or a size, whoever has settled them.
//!
//! What is kept is the end of the log, from `retained` on, settled or not. Messages before it are there only while a subscription needs
//! them, and these alone count in the topic's length and bytes: retention never refuses a publish, and what it keeps is bounded by itself.

use super::Queue;
use super::topic::Topic;
use crate::ids::{Sequence, TimestampMs};
use crate::limits::{RETAIN_STEP_MS, TRIM_PER_ENTRY_MAX};

/// The end of the log that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retained {
    /// Where it begins.
    pub(super) from: Sequence,
    /// Messages in it.
    pub(super) count: u64,
    /// Their payload bytes.
    pub(super) bytes: u64,
}

impl Retained {
    pub(super) fn starting_at(from: Sequence) -> Self {
        Self { from, count: 0, bytes: 0 }
    }
}

impl Queue {
    fn retains(&self) -> bool {
        self.settings.retain_ms > 0 || self.settings.retain_bytes > 0
    }

    /// The first message that is in the retained end of the log, and whether it must leave.
    fn first_retained(&self, retained: &Retained, now_ms: TimestampMs) -> Option<(Sequence, u32, bool)> {
        let (sequence, slot) = self.messages.slots.iter_from(retained.from).next()?;
        let is_old = self.retained_until(slot.enqueued_ms).is_some_and(|until_ms| until_ms <= now_ms);
        Some((sequence, slot.payload_bytes, is_old || self.is_too_much(retained)))
    }

    /// Every message costs memory, however small it is: the topic's length bounds what is retained, too.
    fn is_too_much(&self, retained: &Retained) -> bool {
        retained.bytes > self.settings.retain_bytes || retained.count > self.settings.length_max
    }

    fn retained_until(&self, enqueued_ms: TimestampMs) -> Option<TimestampMs> {
        (self.settings.retain_ms > 0).then(|| enqueued_ms.saturating_add(self.settings.retain_ms))
    }

    /// Lets go of what is too old or too much, looking at no more than [`TRIM_PER_ENTRY_MAX`] messages and `more`.
    pub(crate) fn retain(&mut self, now_ms: TimestampMs, more: usize) {
        let Some(topic) = self.topic() else { return };
        let mut retained = topic.retained;
        if self.retains() {
            for _ in 0..TRIM_PER_ENTRY_MAX + more {
                match self.first_retained(&retained, now_ms) {
                    Some((sequence, bytes, true)) => {
                        retained.from = sequence + 1;
                        retained.count -= 1;
                        retained.bytes -= u64::from(bytes);
                    }
                    Some(_) | None => break,
                }
            }
        } else {
            retained = Retained::starting_at(self.next_sequence);
        }
        if let Some(topic) = self.topic_mut() {
            topic.retained = retained;
        }
    }

    /// When something must leave by time or size: in steps, so that it causes few ticks.
    pub(super) fn retain_due_ms(&self) -> Option<TimestampMs> {
        let retained = self.topic()?.retained;
        let (_, slot) = self.messages.slots.iter_from(retained.from).next()?;
        if self.is_too_much(&retained) {
            return Some(0);
        }
        let until_ms = self.retained_until(slot.enqueued_ms)?;
        Some(until_ms.div_ceil(RETAIN_STEP_MS).saturating_mul(RETAIN_STEP_MS))
    }

    /// Messages and payload bytes that count in the limits of the queue.
    pub(super) fn counted(&self) -> (u64, u64) {
        let (count, bytes) =
            self.topic().map_or((0, 0), |topic| (topic.retained.count, topic.retained.bytes));
        (self.messages.len() - count, self.messages.bytes - bytes)
    }

    /// After a load: counts what is retained.
    pub(super) fn count_retained(&mut self) {
        let Some(Topic { retained, .. }) = self.topic() else { return };
        let mut counted = Retained::starting_at(retained.from);
        for (_, slot) in self.messages.slots.iter_from(counted.from) {
            counted.count += 1;
            counted.bytes += u64::from(slot.payload_bytes);
        }
        if let Some(topic) = self.topic_mut() {
            topic.retained = counted;
        }
    }

    /// See [`crate::invariants::check`].
    pub(super) fn check_retained(&self, topic: &Topic) -> Result<(), String> {
        let retained = topic.retained;
        let kept =
            self.messages.slots.iter_from(retained.from).map(|(_, slot)| u64::from(slot.payload_bytes));
        let (count, bytes) = kept.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if (count, bytes) != (retained.count, retained.bytes) {
            return Err(format!("{count} messages of {bytes} bytes are retained, counted {retained:?}"));
        }
        if retained.from > self.next_sequence || (!self.retains() && retained.from != self.next_sequence) {
            return Err("more is retained than should be".into());
        }
        let all = self.messages.slots.iter_from(topic.kept).count() as u64;
        if all == self.next_sequence - topic.kept { Ok(()) } else { Err("the log has a gap".into()) }
    }
}
