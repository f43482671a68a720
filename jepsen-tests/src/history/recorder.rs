//! Writes a history while it happens.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{Event, F, Facts, Kind, Process};

/// Events of one run at most; a run that has so many stops sending.
pub const EVENTS_MAX: usize = 3_000_000;

/// Clones write the same history.
#[derive(Clone)]
pub struct Recorder {
    start: Instant,
    inner: Arc<Mutex<Writing>>,
}

#[derive(Default)]
struct Writing {
    events: Vec<Event>,
    /// Processes that are free; what ended in `:info` is not among them.
    free: Vec<u64>,
    processes: u64,
    values: u64,
    confirmed: u64,
}

/// An operation that has begun.
#[derive(Debug)]
#[must_use]
pub struct Open {
    process: u64,
    f: F,
    value: Option<u64>,
    queue: Option<String>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), inner: Arc::default() }
    }
}

impl Recorder {
    /// Since the beginning, ns.
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn add(&self, inner: &mut Writing, kind: Kind, process: Process, f: F, value: Option<u64>, facts: Facts) {
        // Read under the lock: the order of events is the order of their times.
        let time_ns = self.now_ns();
        inner.events.push(Event { time_ns, kind, process, f, value, facts });
    }

    /// An operation begins. `facts` names its queue.
    pub fn begin(&self, f: F, value: Option<u64>, facts: Facts) -> Open {
        let mut inner = self.inner.lock();
        let process = inner.free.pop().unwrap_or_else(|| {
            inner.processes += 1;
            inner.processes - 1
        });
        let queue = facts.queue.clone();
        self.add(&mut inner, Kind::Invoke, Process::Client(process), f, value, facts);
        Open { process, f, value, queue }
    }

    /// It ends. The value is that of its beginning, unless another is given.
    pub fn end(&self, open: Open, kind: Kind, value: Option<u64>, facts: Facts) {
        let Open { process, f, value: begun, queue } = open;
        let mut inner = self.inner.lock();
        if kind != Kind::Info {
            inner.free.push(process);
        }
        inner.confirmed += u64::from(f == F::Enqueue && kind == Kind::Ok);
        let facts = Facts { queue, ..facts };
        self.add(&mut inner, kind, Process::Client(process), f, value.or(begun), facts);
    }

    /// It ends in an error: unknown, or known to have done nothing.
    pub fn end_error(&self, open: Open, is_unknown: bool, error: impl ToString) {
        let kind = if is_unknown { Kind::Info } else { Kind::Fail };
        self.end(open, kind, None, Facts { error: Some(error.to_string()), ..Facts::default() });
    }

    /// The run notes something.
    pub fn note(&self, f: F, kind: Kind, facts: Facts) {
        self.add(&mut self.inner.lock(), kind, Process::Nemesis, f, None, facts);
    }

    /// A number for a message that no other message has.
    pub fn fresh_value(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.values += 1;
        inner.values
    }

    /// When the first send was confirmed that was not confirmed before this time, ns.
    pub fn confirmed_since(&self, ns: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let first = inner.events.partition_point(|event| event.time_ns < ns);
        let mut later = inner.events[first..].iter();
        later.find(|event| event.f == F::Enqueue && event.kind == Kind::Ok).map(|event| event.time_ns)
    }

    /// No more should be done.
    pub fn is_full(&self) -> bool {
        self.inner.lock().events.len() >= EVENTS_MAX
    }

    /// Events, and sends that were confirmed.
    pub fn counts(&self) -> (usize, u64) {
        let inner = self.inner.lock();
        (inner.events.len(), inner.confirmed)
    }

    /// The history so far.
    pub fn events(&self) -> Vec<Event> {
        self.inner.lock().events.clone()
    }
}
