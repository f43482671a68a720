//! A history, with the two halves of every operation put together.

use std::collections::BTreeMap;

use crate::history::{
    Action, Delivered, End, Event, History, Identity, Op, Placed, Replica, Sending, Settled, Totals, What,
};

/// When an operation took place: places in the history.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Place of its beginning.
    pub began: usize,
    /// Place of its end; after everything if there is none.
    pub ended: usize,
    /// Simulated time of its beginning, µs.
    pub began_us: u64,
    /// Simulated time of its end, µs; that of the history if there is none.
    pub ended_us: u64,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Operation<C, R> {
    /// Its name.
    pub op: Op,
    /// When.
    pub span: Span,
    /// What was asked.
    pub call: C,
    /// What came of it; unknown if it never ended.
    pub end: End<R>,
}

impl<C, R> Operation<C, R> {
    /// The result, if it is known.
    pub fn known(&self) -> Option<&R> {
        self.end.known()
    }
}

/// A send as it was asked for.
#[derive(Clone, Debug)]
pub struct SendCall {
    pub queue: u64,
    pub identity: Identity,
    pub messages: Vec<Sending>,
}

/// A receive as it was asked for.
#[derive(Clone, Debug)]
pub struct ReceiveCall {
    pub queue: u64,
    pub request: u64,
}

/// A settle as it was asked for.
#[derive(Clone, Debug)]
pub struct SettleCall {
    pub queue: u64,
    pub token: u64,
    pub action: Action,
    pub left_ms: u64,
}

/// A delivery, and its place in the history.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub at: usize,
    pub at_us: u64,
    pub given: Delivered,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    pub sends: Vec<Operation<SendCall, Vec<Placed>>>,
    pub receives: Vec<Operation<ReceiveCall, Vec<u64>>>,
    pub settles: Vec<Operation<SettleCall, Settled>>,
    /// Of queues, by number.
    pub reads: Vec<Operation<u64, Totals>>,
    pub deliveries: Vec<Delivery>,
    pub replicas: Vec<(usize, Replica)>,
    /// Every message that was ever given away: its queue and what was said of it.
    pub messages: BTreeMap<u64, (u64, Sending)>,
    /// Places at which the machine time of a group jumped forward, as it may when a whole cluster starts.
    pub jumps: Vec<usize>,
    /// Those with a new term. The others are a violation by themselves and excuse nothing.
    pub excused: Vec<usize>,
    /// All messages were consumed in the end.
    pub drained: bool,
    pub resume_us: u64,
    pub transit_us: u64,
}

impl Index {
    /// Puts the halves together.
    pub fn new(history: &History) -> Self {
        let mut index = Self {
            resume_us: history.bounds.resume_ms * 1_000,
            transit_us: history.bounds.transit_ms * 1_000,
            ..Self::default()
        };
        let end_us = history.events.last().map_or(0, |event| event.at_us);
        let mut places = BTreeMap::new();
        for (at, event) in history.events.iter().enumerate() {
            index.add(at, event, (history.events.len(), end_us), &mut places);
        }
        let jumps = jumps(history);
        index.jumps = jumps.iter().map(|(at, _)| *at).collect();
        index.excused = jumps.into_iter().filter(|(_, with_term)| *with_term).map(|(at, _)| at).collect();
        index
    }

    fn add(&mut self, at: usize, event: &Event, end_of_time: (usize, u64), places: &mut BTreeMap<Op, usize>) {
        let span = Span { began: at, ended: end_of_time.0, began_us: event.at_us, ended_us: end_of_time.1 };
        macro_rules! begin {
            ($list:ident, $op:expr, $call:expr) => {{
                places.insert(*$op, self.$list.len());
                let end = End::Unknown("it never ended".to_owned());
                self.$list.push(Operation { op: *$op, span, call: $call, end });
            }};
        }
        macro_rules! end {
            ($list:ident, $op:expr, $end:expr) => {{
                let operation = &mut self.$list[places[$op]];
                operation.end = $end.clone();
                (operation.span.ended, operation.span.ended_us) = (at, event.at_us);
            }};
        }
        match &event.what {
            What::Send { op, queue, identity, messages } => {
                for message in messages {
                    self.messages.insert(message.message, (*queue, message.clone()));
                }
                let call = SendCall { queue: *queue, identity: *identity, messages: messages.clone() };
                begin!(sends, op, call);
            }
            What::SendEnd { op, end } => end!(sends, op, end),
            What::Receive { op, queue, request, .. } => {
                begin!(receives, op, ReceiveCall { queue: *queue, request: *request });
            }
            What::ReceiveEnd { op, end } => end!(receives, op, end),
            What::Settle { op, queue, token, action, left_ms, .. } => {
                let call = SettleCall { queue: *queue, token: *token, action: *action, left_ms: *left_ms };
                begin!(settles, op, call);
            }
            What::SettleEnd { op, end } => end!(settles, op, end),
            What::Read { op, queue } => begin!(reads, op, *queue),
            What::ReadEnd { op, end } => end!(reads, op, end),
            What::Deliver(given) => {
                self.deliveries.push(Delivery { at, at_us: event.at_us, given: given.clone() });
            }
            What::Replica(replica) => self.replicas.push((at, replica.clone())),
            What::Drained => self.drained = true,
            What::Life { .. } | What::Fan(_) | What::Fault { .. } | What::Healed | What::Stopped { .. } => {}
        }
    }

    /// Whether machine time jumped between two places, with a new term.
    pub fn jumped(&self, from: usize, to: usize) -> bool {
        self.excused.iter().any(|at| (from..=to).contains(at))
    }

    /// Deliveries of each message, by token. A message is a place in a queue: one that was sent twice after its request had been
    /// forgotten is two.
    pub fn by_message(&self) -> BTreeMap<(u64, u64), Vec<&Delivery>> {
        self.grouped(|delivery| Some((delivery.given.queue, delivery.given.sequence)))
    }

    /// Deliveries under each key, by token. The same token may come more than once.
    pub fn grouped<K: Ord>(&self, key: impl Fn(&Delivery) -> Option<K>) -> BTreeMap<K, Vec<&Delivery>> {
        let mut grouped: BTreeMap<K, Vec<&Delivery>> = BTreeMap::new();
        for delivery in &self.deliveries {
            if let Some(key) = key(delivery) {
                grouped.entry(key).or_default().push(delivery);
            }
        }
        for deliveries in grouped.values_mut() {
            deliveries.sort_by_key(|delivery| delivery.given.token);
        }
        grouped
    }

    /// Settles of each token of each queue.
    pub fn settles_of(&self) -> BTreeMap<(u64, u64), Vec<&Operation<SettleCall, Settled>>> {
        let mut settles: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for settle in &self.settles {
            settles.entry((settle.call.queue, settle.call.token)).or_default().push(settle);
        }
        settles
    }

    /// The ordering group of a delivery.
    pub fn group_of(&self, delivery: &Delivery) -> Option<(u64, u64)> {
        let (_, sending) = self.messages.get(&delivery.given.message)?;
        Some((delivery.given.queue, sending.group?))
    }

    /// Whether this settle may have removed its message. An answer that took as long as the server remembers answers may be that of a
    /// repetition, which found the lease over because the first attempt had ended it.
    pub fn may_have_removed(&self, settle: &Operation<SettleCall, Settled>) -> bool {
        if !matches!(settle.call.action, Action::Ack | Action::Reject) {
            return false;
        }
        match settle.end {
            End::Known(Settled::Done) | End::Unknown(_) => true,
            End::Known(Settled::Over) => {
                let took_us = settle.span.ended_us.saturating_sub(settle.span.began_us);
                took_us >= self.remembered_us() || self.jumped(settle.span.began, settle.span.ended)
            }
            End::Refused(_) => false,
        }
    }

    /// How long answers are remembered at least, in simulated time: machine time may be 5 % fast.
    pub fn remembered_us(&self) -> u64 {
        self.resume_us / 100 * 90
    }
}

/// Machine time runs at most 5 % fast. Over more than that it jumped: where, and whether with a new term.
fn jumps(history: &History) -> Vec<(usize, bool)> {
    /// Looks at a replica and the entries it shows are not of the same moment, ms.
    const SLACK_MS: i64 = 1_000;
    let mut ahead: BTreeMap<u64, (i64, u64, u64)> = BTreeMap::new();
    let mut jumps = Vec::new();
    for (at, event) in history.events.iter().enumerate() {
        let What::Replica(replica) = &event.what else { continue };
        let offset = replica.now_ms as i64 - (event.at_us / 1_000) as i64;
        match ahead.get(&replica.group).copied() {
            // Before its first entry a group has no time.
            None if replica.now_ms == 0 => {}
            None => {
                ahead.insert(replica.group, (offset, event.at_us, replica.opened));
            }
            Some((most, at_us, opened)) => {
                let fast_ms = ((event.at_us - at_us) / 1_000 * 6 / 100) as i64;
                if offset > most + fast_ms + SLACK_MS {
                    jumps.push((at, replica.opened > opened || replica.opened == 0));
                }
                if offset > most {
                    ahead.insert(replica.group, (offset, event.at_us, replica.opened));
                }
            }
        }
    }
    jumps
}
