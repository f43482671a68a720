//! The witness: sees every committed entry and the machine's answer, keeps what was promised, and judges.

use std::collections::BTreeMap;

use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::Machine;
use phalanx_state_machine::reply::{Delivery, Rejection, Reply, Sent, SettleOutcome, SettleResult};

use super::client::{Deed, Op};
use super::replica::{UID, drain, message_of};

/// What may be broken.
pub const LOST: u16 = 1;
pub const TWO_TOKENS: u16 = 1 << 1;
pub const OLD_TOKEN: u16 = 1 << 2;
pub const NOT_RISING: u16 = 1 << 3;
pub const DUPLICATE: u16 = 1 << 4;
pub const DISORDER: u16 = 1 << 5;
pub const REPLICAS: u16 = 1 << 6;
pub const RETURNED: u16 = 1 << 7;
pub const ANSWERS: u16 = 1 << 8;
pub const REFUSED: u16 = 1 << 9;
pub const UNSOUND: u16 = 1 << 10;

/// What the model must have met, or it has shown nothing.
pub const SEND_REMEMBERED: u16 = 1;
pub const SUPPRESSED: u16 = 1 << 1;
pub const GAP: u16 = 1 << 2;
pub const RECEIVE_REMEMBERED: u16 = 1 << 3;
pub const REDELIVERED: u16 = 1 << 4;
pub const LATE_SETTLE: u16 = 1 << 5;
pub const LATE_BESIDE_NEW: u16 = 1 << 6;
pub const SUFFIX_LOST: u16 = 1 << 7;
pub const SNAPSHOT_ANSWERS: u16 = 1 << 8;

/// When an entry was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct When {
    /// Leader's term at its commit.
    pub term: u64,
    /// True time: leases that have passed since the beginning.
    pub leases: u8,
    /// Machine time after it was applied.
    pub now_ms: u64,
}

/// What the holder did with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Open,
    Acked,
    Nacked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub token: u64,
    pub message: u8,
    pub consumer: u8,
    request: u8,
    /// Exclusive, machine time.
    deadline_ms: u64,
    /// Exclusive, true time.
    until: u8,
    end: End,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Witness {
    /// Queue sequence of each message that was stored.
    sequences: BTreeMap<u8, u64>,
    /// The first answer to each send, and its term.
    sent: BTreeMap<Op, (u64, u64)>,
    pub leases: Vec<Lease>,
    /// Messages, a bit each, whose send was confirmed to the producer.
    pub confirmed: u8,
    pub broken: u16,
    /// Met in the last step.
    pub met: u16,
}

impl Witness {
    /// The lease whose token is the newest of the message.
    pub fn newest(&self, message: u8) -> Option<&Lease> {
        self.leases.iter().rev().find(|lease| lease.message == message)
    }

    pub fn lease(&self, token: u64) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.token == token)
    }

    fn judge(&mut self, rule: u16, kept: bool) {
        self.broken |= if kept { 0 } else { rule };
    }

    fn meet(&mut self, what: u16, met: bool) {
        self.met |= if met { what } else { 0 };
    }

    /// One committed operation of a client and its answer.
    pub fn note(&mut self, op: Op, reply: &Reply, when: When) {
        match (op, reply) {
            (Op::Send { message, .. }, Reply::Sent(sent)) => self.sent(op, message, sent, when),
            (Op::Send { process, sequence, .. }, Reply::Rejected(rejection)) => {
                let stored = |sequence: u8| {
                    self.sent.keys().any(|op| matches!(op, Op::Send { process: p, sequence: s, .. } if (*p, *s) == (process, sequence)))
                };
                let fits = match rejection {
                    Rejection::SequenceGap { expected } => {
                        stored(1) && *expected < u64::from(sequence) && !stored(sequence - 1)
                    }
                    Rejection::ProducerForgotten => sequence > 1 && !stored(1),
                    _ => false,
                };
                self.judge(REFUSED, fits);
                self.meet(GAP, fits);
            }
            (Op::Receive { consumer, request }, Reply::Received { deliveries, repeated }) => {
                let known = self.leases.iter().filter(|l| (l.consumer, l.request) == (consumer, request));
                let (count, live) =
                    (known.clone().count(), known.filter(|lease| self.is_live(lease, when)).count());
                // Known: those of its leases that live, all of them, and nothing new.
                self.judge(ANSWERS, *repeated == (count > 0) && (count == 0 || live == deliveries.len()));
                for delivery in deliveries {
                    match *repeated {
                        true => self.delivered_again(delivery, when),
                        false => self.delivered(consumer, request, delivery, when),
                    }
                }
            }
            (Op::Settle { token, deed, .. }, Reply::Settled { outcomes }) => match outcomes[..] {
                [outcome] => self.settled(token, deed, outcome, when),
                _ => self.broken |= REFUSED,
            },
            (Op::Tick, Reply::Done) => {}
            _ => self.broken |= REFUSED,
        }
    }

    fn sent(&mut self, op: Op, message: u8, sent: &Sent, when: When) {
        let sequence = sent.duplicates.first().map_or(sent.first, |(_, original)| *original);
        self.stands(message, sequence);
        match self.sent.get(&op).copied() {
            Some((before, term)) => {
                self.judge(ANSWERS, sent.repeated && before == sequence);
                self.meet(SEND_REMEMBERED, sent.repeated && term < when.term);
            }
            None => {
                self.judge(ANSWERS, !sent.repeated);
                self.meet(SUPPRESSED, !sent.duplicates.is_empty());
                self.sent.insert(op, (sequence, when.term));
            }
        }
    }

    /// A message has one place in the queue, for ever, behind those that its producer sent before.
    fn stands(&mut self, message: u8, sequence: u64) {
        let known = *self.sequences.entry(message).or_insert(sequence);
        self.judge(DUPLICATE, known == sequence);
        let sorted = self.sequences.values().is_sorted_by(|one, next| one < next);
        self.judge(DISORDER, sorted);
    }

    /// By the machine's time: it was not settled, and nobody else has the message.
    fn is_live(&self, lease: &Lease, when: When) -> bool {
        let newest = self.newest(lease.message).is_some_and(|newest| newest.token == lease.token);
        newest && lease.end == End::Open && lease.deadline_ms > when.now_ms
    }

    fn delivered_again(&mut self, delivery: &Delivery, when: When) {
        let message = message_of(&delivery.payload);
        let same = self.lease(delivery.token).is_some_and(|lease| {
            (lease.message, lease.deadline_ms) == (message, delivery.deadline_ms) && self.is_live(lease, when)
        });
        self.judge(ANSWERS, same);
        self.meet(RECEIVE_REMEMBERED, same);
    }

    fn delivered(&mut self, consumer: u8, request: u8, delivery: &Delivery, when: When) {
        let (token, deadline_ms, message) =
            (delivery.token, delivery.deadline_ms, message_of(&delivery.payload));
        self.stands(message, delivery.sequence);
        for before in self.leases.clone().iter().filter(|before| before.message == message) {
            self.judge(RETURNED, before.end != End::Acked);
            // Neither by the machine's time nor by the holder's own.
            let over = before.deadline_ms <= when.now_ms && before.until <= when.leases;
            self.judge(TWO_TOKENS, before.end != End::Open || over);
            self.meet(REDELIVERED, before.end == End::Open);
        }
        self.judge(NOT_RISING, self.leases.iter().all(|before| before.token < token));
        let until = when.leases + 1;
        self.leases.push(Lease { token, message, consumer, request, deadline_ms, until, end: End::Open });
    }

    fn settled(&mut self, asked: u64, deed: Deed, outcome: SettleOutcome, when: When) {
        let Some(lease) = self.lease(asked) else {
            self.broken |= REFUSED;
            return;
        };
        let (end, live, result) = (lease.end, self.is_live(lease, when), outcome.result);
        let new = self.newest(lease.message).is_some_and(|newest| {
            newest.token != asked && newest.end == End::Open && newest.deadline_ms > when.now_ms
        });
        match end {
            End::Acked => self.judge(ANSWERS, result == SettleResult::Acked),
            End::Nacked => self.judge(ANSWERS, result == SettleResult::Nacked),
            End::Open if live => self.judge(REFUSED, deed.is_done(result)),
            End::Open => {
                self.judge(OLD_TOKEN, result == SettleResult::LeaseOver);
                self.meet(LATE_SETTLE, true);
                self.meet(LATE_BESIDE_NEW, new);
            }
        }
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.token == asked) else { return };
        match result {
            SettleResult::Acked => lease.end = End::Acked,
            SettleResult::Nacked => lease.end = End::Nacked,
            SettleResult::Extended(deadline_ms) => {
                (lease.deadline_ms, lease.until) = (deadline_ms, when.leases + 1);
            }
            SettleResult::Rejected | SettleResult::LeaseOver => {}
        }
    }

    /// Looks at what a machine that has applied everything holds.
    pub fn inspect(&mut self, machine: Machine) {
        self.judge(UNSOUND, invariants::check(&machine).is_ok());
        let stored = machine.queue_info(UID).map_or(0, |info| info.sent_total);
        self.judge(DUPLICATE, stored <= self.sequences.len() as u64);
        let acked = self.leases.iter().filter(|lease| lease.end == End::Acked);
        let acked = acked.fold(0, |bits, lease| bits | 1 << lease.message);
        let drained = drain(machine);
        let held: u8 = drained.iter().fold(0, |bits, message| bits | 1 << message);
        self.judge(DISORDER, drained.is_sorted());
        self.judge(DUPLICATE, held.count_ones() as usize == drained.len());
        self.judge(LOST, self.confirmed & !held & !acked == 0);
        self.judge(RETURNED, held & acked == 0);
    }
}
