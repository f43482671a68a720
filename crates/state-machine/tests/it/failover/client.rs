//! Clients: what they ask, what they wait for, and the command that a leader makes of it.
//!
//! Client 0 is a producer, the others are consumers. Invariant: what a client waits for, it has asked.

use std::collections::BTreeSet;

use phalanx_state_machine::command::{
    CommandKind, NewMessage, Receive, Send, Settle, SettleAction, SettleItem, Tick, TokenRange,
};
use phalanx_state_machine::reply::{Reply, SettleResult};

use super::planted::Planted;
use super::replica::UID;
use super::witness::Witness;
use crate::support::id;

/// What clients ask for, and ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// The producer's process and the send's number in it make it one send; the message's id makes it one message.
    Send {
        message: u8,
        process: u8,
        sequence: u8,
    },
    Receive {
        consumer: u8,
        request: u8,
    },
    Settle {
        consumer: u8,
        token: u64,
        deed: Deed,
    },
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Deed {
    Ack,
    Nack,
    Extend,
}

impl Deed {
    pub const ALL: [Self; 3] = [Self::Ack, Self::Nack, Self::Extend];

    pub fn is_done(self, result: SettleResult) -> bool {
        match result {
            SettleResult::Acked => self == Self::Ack,
            SettleResult::Nacked => self == Self::Nack,
            SettleResult::Extended(_) => self == Self::Extend,
            SettleResult::Rejected | SettleResult::LeaseOver => false,
        }
    }
}

impl Op {
    pub fn client(self) -> usize {
        match self {
            Self::Send { .. } | Self::Tick => 0,
            Self::Receive { consumer, .. } | Self::Settle { consumer, .. } => usize::from(consumer),
        }
    }

    /// What a leader proposes for it; `again` = not for the first time.
    pub fn command(self, again: bool, planted: Planted, witness: &Witness) -> CommandKind {
        match self {
            Self::Tick => CommandKind::Tick(Tick {}),
            Self::Send { message, process, sequence } => {
                let known = planted != Planted::RetryIsNew || !again;
                let dedup = known.then(|| id(500 + u64::from(message)));
                let message = NewMessage { payload: vec![message].into(), dedup, ..Default::default() };
                CommandKind::Send(Send {
                    uid: UID,
                    producer: (known && planted != Planted::NoSequences).then(|| id(10 + u64::from(process))),
                    producer_sequence: sequence.into(),
                    request: None,
                    messages: vec![message],
                    ..Send::default()
                })
            }
            Self::Receive { consumer, request } => {
                let number = u64::from(consumer) * 100 + u64::from(request);
                let new = planted == Planted::RetriedReceiveIsNew && again;
                CommandKind::Receive(Receive {
                    uid: UID,
                    consumer: id(consumer.into()),
                    request: id(if new { 1_000 + number } else { number }),
                    messages_max: 1,
                    ..Default::default()
                })
            }
            Self::Settle { consumer, token, deed } => {
                let newest = witness.lease(token).and_then(|lease| witness.newest(lease.message));
                match newest {
                    Some(newest) if planted == Planted::SettlesByMessage => {
                        settle(newest.consumer, deed, newest.token)
                    }
                    _ => settle(consumer, deed, token),
                }
            }
        }
    }
}

pub fn settle(consumer: u8, deed: Deed, token: u64) -> CommandKind {
    let action = match deed {
        Deed::Ack => SettleAction::Ack,
        Deed::Nack => SettleAction::Nack,
        Deed::Extend => SettleAction::Extend,
    };
    let tokens = vec![TokenRange { first: token, last: token }];
    let items = vec![SettleItem { action: action.into(), tokens, ..Default::default() }];
    CommandKind::Settle(Settle { uid: UID, consumer: id(consumer.into()), items })
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// All that it ever asked: the network may bring any of it again.
    pub asked: BTreeSet<Op>,
    /// What it has no answer to, and asks again until it has.
    pub waits: BTreeSet<Op>,
    /// Messages or receives so far.
    pub count: u8,
    /// Tokens that it believes in, whatever the time is.
    pub hand: BTreeSet<u64>,
    /// Of the producer: how often it lost its memory.
    pub process: u8,
    /// Of the producer: messages that its process did not begin with.
    pub before: u8,
}

impl Client {
    pub fn ask(&mut self, op: Op) {
        self.count += u8::from(matches!(op, Op::Send { .. } | Op::Receive { .. }));
        self.asked.insert(op);
        self.waits.insert(op);
    }

    /// The producer's next message.
    pub fn next_send(&self) -> Op {
        Op::Send { message: self.count + 1, process: self.process, sequence: self.count + 1 - self.before }
    }

    /// The producer begins anew: it knows which messages it has no answer for, and nothing of its sequences.
    pub fn begin(&mut self) {
        let unanswered = self.waits.iter().filter_map(|op| match op {
            Op::Send { message, .. } => Some(message - 1),
            _ => None,
        });
        self.before = unanswered.min().unwrap_or(self.count);
        self.count = self.before;
        self.process += 1;
        self.waits.clear();
    }

    /// An answer arrives. True if the client waited for it and takes it.
    pub fn hear(&mut self, op: Op, reply: &Reply) -> bool {
        if !self.waits.contains(&op) {
            return false;
        }
        match (op, reply) {
            (Op::Send { .. }, Reply::Sent(_)) => {}
            // Nothing yet, and nothing remembered: it goes on waiting.
            (Op::Receive { .. }, Reply::Received { deliveries, repeated: false })
                if deliveries.is_empty() =>
            {
                return false;
            }
            (Op::Receive { .. }, Reply::Received { deliveries, .. }) => {
                self.hand.extend(deliveries.iter().map(|delivery| delivery.token));
            }
            (Op::Settle { token, deed, .. }, Reply::Settled { .. }) => {
                if deed != Deed::Extend {
                    self.hand.remove(&token);
                }
            }
            _ => return false, // refused for now: it asks again
        }
        self.waits.remove(&op);
        true
    }
}
