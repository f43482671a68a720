//! What is asked about a queue.

use super::Queue;
use crate::machine::{ConsumerInfo, QueueInfo};

impl Queue {
    pub(crate) fn info(&self, topic: Option<&Self>) -> QueueInfo {
        let (waiting, waiting_bytes) = self.feed().map_or((0, 0), |feed| (feed.waiting, feed.waiting_bytes));
        let first_waiting = topic.and_then(|topic| self.waiting_from(topic, 0).next());
        let first = self.messages.slots.first().or(first_waiting);
        let consumers = self.consumers.by_number.values().map(|consumer| ConsumerInfo {
            consumer: consumer.id,
            name: consumer.name.clone(),
            attached: consumer.attached(),
            in_hand: consumer.in_hand,
            window_messages: consumer.window_messages,
        });
        QueueInfo {
            version: self.version,
            kind: self.kind(),
            ready_count: self.messages.len() - self.leases.len() + waiting,
            delayed_count: self.delayed.len() as u64,
            leased_count: self.leases.len(),
            bytes: self.messages.bytes + waiting_bytes,
            group_count: self.groups.count,
            oldest_enqueued_ms: first.map(|(_, slot)| slot.enqueued_ms),
            subscription_count: self.topic().map_or(0, |topic| topic.members().count() as u64),
            kept_from: self.kept_from(),
            unseen_count: self.replaying().map_or(0, |(_, replaying)| replaying.end - replaying.at),
            marks: self.marks(),
            next_sequence: self.next_sequence,
            next_token: self.next_token,
            producer_count: self.producers.by_id.len() as u64,
            sent_total: self.totals.sent,
            acked_total: self.totals.acked,
            delivered_total: self.totals.delivered,
            redelivered_total: self.totals.redelivered,
            consumers: consumers.collect(),
        }
    }
}
