//! What a consumer's stream has for its client and has not written yet, and how frames are made of it.

use std::collections::VecDeque;

use phalanx_proto::v1;
use phalanx_state_machine::ids::{TimestampMs, Token};
use phalanx_state_machine::reply::ReturnReason;

use crate::api::messages::limits::{FRAME_BYTES_MAX, FRAME_DELIVERIES_MAX};

/// Settle outcomes that may wait before no further settles are read.
const OUTCOMES_MAX: usize = 16_384;

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    attached: Option<v1::ConsumerAttached>,
    deliveries: VecDeque<v1::Delivery>,
    settled: Vec<v1::SettleOutcome>,
    ended: Vec<v1::LeaseEnded>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.attached.is_none()
            && self.deliveries.is_empty()
            && self.settled.is_empty()
            && self.ended.is_empty()
    }

    /// Another run of events may be taken.
    pub(super) fn takes_events(&self) -> bool {
        self.deliveries.len() + self.ended.len() < FRAME_DELIVERIES_MAX
    }

    /// Further settles may be answered.
    pub(super) fn takes_outcomes(&self) -> bool {
        self.settled.len() < OUTCOMES_MAX
    }

    pub(super) fn attached(&mut self, lost: Vec<Token>, lease_ms: u64, strict: bool) {
        self.attached = Some(v1::ConsumerAttached { lost, lease_ms, strict });
    }

    pub(super) fn deliver(&mut self, deliveries: Vec<v1::Delivery>) {
        self.deliveries.extend(deliveries);
    }

    pub(super) fn ended(&mut self, token: Token, reason: ReturnReason) {
        self.ended.push(v1::LeaseEnded { token, reason: reason as i32 });
    }

    pub(super) fn settled(&mut self, outcomes: Vec<v1::SettleOutcome>) {
        self.settled.extend(outcomes);
    }

    /// The next frame. The ends of leases go with the last of the deliveries before them, never earlier.
    pub(super) fn frame(&mut self, now_ms: TimestampMs) -> v1::ConsumeResponse {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        while let Some(front) = self.deliveries.front()
            && deliveries.len() < FRAME_DELIVERIES_MAX
        {
            let body = front.message.as_ref().map_or(0, |message| message.body.len());
            if !deliveries.is_empty() && bytes + body > FRAME_BYTES_MAX {
                break;
            }
            bytes += body;
            let mut delivery = self.deliveries.pop_front().expect("the front was just looked at");
            delivery.lease_left_ms = delivery.deadline_ms.saturating_sub(now_ms);
            deliveries.push(delivery);
        }
        let ended = if self.deliveries.is_empty() { std::mem::take(&mut self.ended) } else { Vec::new() };
        v1::ConsumeResponse {
            attached: self.attached.take(),
            deliveries,
            settled: std::mem::take(&mut self.settled),
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(token: u64, bytes: usize) -> v1::Delivery {
        let message = v1::Message { body: vec![0; bytes].into(), ..v1::Message::default() };
        v1::Delivery { token, deadline_ms: 100, message: Some(message), ..v1::Delivery::default() }
    }

    #[test]
    fn frames_are_bounded_and_keep_the_order() {
        let mut outbox = Outbox::default();
        outbox.deliver(vec![delivery(1, FRAME_BYTES_MAX + 1), delivery(2, 10), delivery(3, FRAME_BYTES_MAX)]);
        outbox.ended(1, ReturnReason::Expired);
        let tokens =
            |frame: &v1::ConsumeResponse| frame.deliveries.iter().map(|one| one.token).collect::<Vec<_>>();
        let first = outbox.frame(40);
        assert_eq!(tokens(&first), [1], "one delivery is always allowed");
        assert_eq!(first.deliveries[0].lease_left_ms, 60);
        assert!(first.ended.is_empty());
        assert_eq!(tokens(&outbox.frame(200)), [2]);
        let last = outbox.frame(200);
        assert_eq!((tokens(&last), last.ended.len()), (vec![3], 1));
        assert_eq!(last.deliveries[0].lease_left_ms, 0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn attached_goes_before_any_delivery() {
        let mut outbox = Outbox::default();
        outbox.attached(vec![7], 30, true);
        outbox.deliver(vec![delivery(1, 1)]);
        let frame = outbox.frame(0);
        let attached = frame.attached.unwrap();
        assert_eq!((attached.lost, attached.lease_ms, attached.strict), (vec![7], 30, true));
        assert!(outbox.is_empty());
    }
}
