//! What clients did and saw, and what replicas said of themselves, in the order in which it happened.
//!
//! The oracle knows nothing else. An operation is two events, its beginning and its end; one without an end, or with an unknown one, may
//! have happened at any time since it began. The place of an event in the history is a sound order of real time: what came earlier was
//! over before what came later began.

mod fan;
mod living;

use std::sync::Arc;

use parking_lot::Mutex;

pub use fan::{FIRST_BINDING, Fan, Look, Published, conditions, takes};
pub use living::{Living, Stored};

/// Names an operation in its history.
pub type Op = u64;

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End<T> {
    /// It was carried out, with this result.
    Known(T),
    /// It was not carried out, and never will be.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl<T> End<T> {
    /// The result, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(result) => Some(result),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

/// What the server recognises a repeated send by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The `place`-th send of a pipelined producer.
    Stream {
        /// The producer.
        producer: u64,
        /// Counts its sends, from 0.
        place: u64,
    },
    /// A unary send.
    Request(u64),
}

/// A message as it was given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Its number: in its body, and in no other.
    pub message: u64,
    /// Its ordering group.
    pub group: Option<u64>,
    /// Its deduplication id.
    pub dedup: Option<u64>,
}

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its sequence.
    pub sequence: u64,
    /// It was not appended: an earlier one with its deduplication id is there.
    pub duplicate: bool,
}

/// A message as it was handed to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The queue.
    pub queue: u64,
    /// Who holds it.
    pub holder: u64,
    /// Fencing token.
    pub token: u64,
    /// Place in the queue.
    pub sequence: u64,
    /// Its number.
    pub message: u64,
    /// From 1.
    pub attempt: u32,
    /// Why an earlier lease of it ended.
    pub redelivery: Option<Returned>,
    /// What the client believes to be left of the lease, ms.
    pub left_ms: u64,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Returned by its holder.
    Nacked,
    /// By its deadline.
    Expired,
    /// With its holder's stream.
    Lost,
    /// With an earlier one of its group.
    Group,
    /// With its holder's goodbye.
    Closed,
    /// Not told.
    Other,
}

/// What a settle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Done.
    Ack,
    /// Back to its place, at once or after a delay.
    Nack {
        /// Before it is offered again, ms.
        delay_ms: u64,
    },
    /// Never to be done.
    Reject,
    /// More time.
    Extend,
}

/// What a settle was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Done,
    /// The lease had ended before.
    Over,
}

/// Totals of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Messages appended, ever.
    pub sent: u64,
    /// Messages acknowledged, ever.
    pub acked: u64,
}

/// A replica, as it is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its node.
    pub node: u64,
    /// Which process of that node, from 1.
    pub start: u64,
    /// Its group.
    pub group: u64,
    /// Its number.
    pub replica: u64,
    /// Its term.
    pub term: u64,
    /// It leads and has its quorum.
    pub leads: bool,
    /// Last entry applied.
    pub applied: u64,
    /// Digest of its machine there.
    pub digest: u64,
    /// Machine time there, ms.
    pub now_ms: u64,
    /// The term whose opening was applied last; 0: none, or a group that does not note it.
    pub opened: u64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A send begins.
    Send { op: Op, queue: u64, identity: Identity, messages: Vec<Sending> },
    /// It ends.
    SendEnd { op: Op, end: End<Vec<Placed>> },
    /// A receive by a single call begins; the request id makes it retriable.
    Receive { op: Op, queue: u64, holder: u64, request: u64 },
    /// It ends, with the tokens it was given. Their deliveries are events before this one.
    ReceiveEnd { op: Op, end: End<Vec<u64>> },
    /// A delivery reaches its consumer.
    Deliver(Delivered),
    /// A settle begins. The client believes that `left_ms` of the lease are left.
    Settle { op: Op, queue: u64, holder: u64, token: u64, action: Action, left_ms: u64 },
    /// It ends.
    SettleEnd { op: Op, end: End<Settled> },
    /// A read of totals begins.
    Read { op: Op, queue: u64 },
    /// It ends.
    ReadEnd { op: Op, end: End<Totals> },
    /// Something about a name whose queue has several lives.
    Life { name: u64, event: Living },
    /// Something about the topic.
    Fan(Fan),
    /// A look at a replica.
    Replica(Replica),
    /// A fault begins.
    Fault { kind: &'static str, detail: String },
    /// No fault is in force any more.
    Healed,
    /// Every message that was sent has been consumed, as the leaders see it, and nobody sends any more.
    Drained,
    /// A process ended by itself; `planted` names the fault that explains it.
    Stopped { node: u64, why: String, planted: Option<&'static str> },
}

/// An event with its simulated time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning, µs.
    pub at_us: u64,
    /// The event.
    pub what: What,
}

/// Facts about the run that the rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long leases wait for a lost consumer, and answers for a repeated question, ms of machine time.
    pub resume_ms: u64,
    /// Longest time from the server's writing of an answer to its arrival, ms.
    pub transit_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { resume_ms: 2_000, transit_ms: 1_000 }
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order.
    pub events: Vec<Event>,
    /// What holds for the whole run.
    pub bounds: Bounds,
}

/// Writes a history; clones write the same.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Writing>>,
}

#[derive(Default)]
struct Writing {
    history: History,
    next_op: Op,
}

impl Recorder {
    /// Adds an event now.
    pub fn add(&self, what: What) {
        let at_us = crate::determinism::now_ns() / 1_000;
        crate::trace::record(&format!("{what:?}"));
        self.inner.lock().history.events.push(Event { at_us, what });
    }

    /// Begins an operation: `what` is given its name.
    pub fn begin(&self, what: impl FnOnce(Op) -> What) -> Op {
        let op = {
            let mut inner = self.inner.lock();
            inner.next_op += 1;
            inner.next_op
        };
        self.add(what(op));
        op
    }

    /// Sets what holds for the whole run.
    pub fn bound(&self, bounds: Bounds) {
        self.inner.lock().history.bounds = bounds;
    }

    /// Takes the history out.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.inner.lock().history)
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.inner.lock().history.events.len()
    }

    /// Looks at the events from `from` on.
    pub fn since<R>(&self, from: usize, look: impl FnOnce(&[Event]) -> R) -> R {
        let inner = self.inner.lock();
        look(&inner.history.events[from.min(inner.history.events.len())..])
    }
}
