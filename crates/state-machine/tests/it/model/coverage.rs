//! What the histories met: a run in which nothing happened proves nothing.

use std::collections::BTreeMap;

use phalanx_state_machine::reply::{Applied, Effect, Rejection, Reply, ReturnReason, SettleResult};

/// Histories from which on everything in [`EXPECTED`] must have been met.
pub const HISTORIES_MIN: u64 = 1_000;

/// What random histories must meet.
const EXPECTED: [&str; 43] = [
    "answered done",
    "attached",
    "attached, lost tokens",
    "chunk of sequences crossed",
    "chunk of tokens crossed",
    "delivered again: closed",
    "delivered again: expired",
    "delivered again: group returned",
    "delivered again: lost",
    "delivered again: nacked",
    "delivered for the first time",
    "digest agrees",
    "digest differs",
    "ended: closed",
    "ended: expired",
    "ended: group returned",
    "ended: lost",
    "ended: purged",
    "loaded",
    "loaded with leases",
    "purged",
    "queue gone",
    "read back",
    "ready",
    "ready for one",
    "received",
    "received nothing",
    "refused: full",
    "refused: invalid",
    "refused: not attached",
    "refused: producer forgotten",
    "refused: queue gone",
    "refused: replaced",
    "refused: sequence gap",
    "sent",
    "sent again",
    "sent, duplicates left out",
    "settled: acked",
    "settled: extended",
    "settled: lease over",
    "settled: nacked",
    "settled: rejected",
    "stream replaced",
];

#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn met(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn missing(&self) -> Vec<&'static str> {
        EXPECTED.into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }

    pub fn entry(&mut self, applied: &Applied) {
        applied.replies.iter().for_each(|reply| self.reply(reply));
        applied.effects.iter().for_each(|effect| self.effect(effect));
    }

    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Done => self.met("answered done"),
            Reply::Purged { count } if *count > 0 => self.met("purged"),
            Reply::Sent(sent) if sent.repeated => self.met("sent again"),
            Reply::Sent(sent) if !sent.duplicates.is_empty() => self.met("sent, duplicates left out"),
            Reply::Sent(_) => self.met("sent"),
            Reply::Received { deliveries, .. } if deliveries.is_empty() => self.met("received nothing"),
            Reply::Received { .. } => self.met("received"),
            Reply::Attached { lost } if !lost.is_empty() => self.met("attached, lost tokens"),
            Reply::Attached { .. } => self.met("attached"),
            Reply::Settled { outcomes } => {
                for outcome in outcomes {
                    self.met(match outcome.result {
                        SettleResult::Acked => "settled: acked",
                        SettleResult::Nacked => "settled: nacked",
                        SettleResult::Rejected => "settled: rejected",
                        SettleResult::Extended(_) => "settled: extended",
                        SettleResult::LeaseOver => "settled: lease over",
                    });
                }
            }
            Reply::Digest { agrees: true } => self.met("digest agrees"),
            Reply::Digest { agrees: false } => self.met("digest differs"),
            Reply::Rejected(rejection) => self.rejection(rejection),
            Reply::Purged { .. } | Reply::Placed { .. } | Reply::Transferred { .. } | Reply::Queue(_) => {}
        }
    }

    fn rejection(&mut self, rejection: &Rejection) {
        self.met(match rejection {
            Rejection::QueueGone => "refused: queue gone",
            Rejection::Invalid(_) => "refused: invalid",
            Rejection::QueueFull(_) => "refused: full",
            Rejection::SequenceGap { .. } => "refused: sequence gap",
            Rejection::ProducerForgotten => "refused: producer forgotten",
            Rejection::ConsumerReplaced => "refused: replaced",
            Rejection::NotAttached => "refused: not attached",
            _ => "refused: something else",
        });
    }

    fn effect(&mut self, effect: &Effect) {
        self.met(match effect {
            Effect::Deliver { delivery, .. } => match delivery.redelivery {
                None => "delivered for the first time",
                Some(ReturnReason::Nacked) => "delivered again: nacked",
                Some(ReturnReason::Expired) => "delivered again: expired",
                Some(ReturnReason::ConsumerLost) => "delivered again: lost",
                Some(ReturnReason::GroupReturned) => "delivered again: group returned",
                Some(ReturnReason::ConsumerClosed) => "delivered again: closed",
                Some(ReturnReason::Unspecified) => "delivered again: unspecified",
            },
            Effect::LeaseEnded { reason, .. } => match reason {
                ReturnReason::Expired => "ended: expired",
                ReturnReason::ConsumerLost => "ended: lost",
                ReturnReason::GroupReturned => "ended: group returned",
                ReturnReason::ConsumerClosed => "ended: closed",
                ReturnReason::Unspecified => "ended: purged",
                ReturnReason::Nacked => "ended: nacked",
            },
            Effect::Detached { .. } => "stream replaced",
            Effect::Ready { .. } => "ready",
            Effect::GroupReady { .. } => "ready for one",
            Effect::QueueGone { .. } => "queue gone",
        });
    }
}
