//! What is asked about a queue.

use super::Queue;
use crate::machine::{ConsumerInfo, QueueInfo};

impl Queue {
    pub(crate) fn info(&self) -> QueueInfo {
        let consumers = self.consumers.by_number.values().map(|consumer| ConsumerInfo {
            consumer: consumer.id,
            name: consumer.name.clone(),
            attached: consumer.attached(),
            in_hand: consumer.in_hand,
            window_messages: consumer.window_messages,
        });
        QueueInfo {
            version: self.version,
            ready_count: self.messages.len() - self.leases.len(),
            delayed_count: self.delayed.len() as u64,
            leased_count: self.leases.len(),
            bytes: self.messages.bytes,
            group_count: self.groups.count,
            oldest_enqueued_ms: self.messages.slots.first().map(|(_, slot)| slot.enqueued_ms),
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
