//! Histories for the tests of checkers, a line an event.

use super::{Verdict, check};
use crate::history::{Event, F, Facts, Kind, Process};

/// A history under construction. Every operation is done by a process of its own.
#[derive(Clone, Default)]
pub struct Story {
    events: Vec<Event>,
    processes: u64,
}

/// An operation that has begun in a story.
#[derive(Clone, Copy)]
pub struct Begun(u64, F, Option<u64>);

pub const QUEUE: &str = "q";

pub fn on(queue: &str) -> Facts {
    Facts { queue: Some(queue.to_owned()), ..Facts::default() }
}

impl Story {
    pub fn of_class(class: &str) -> Self {
        let mut story = Self::default();
        story.queue(QUEUE, class);
        story
    }

    pub fn queue(&mut self, queue: &str, class: &str) -> &mut Self {
        self.note(F::Queue, Kind::Info, Facts { note: Some(class.to_owned()), ..on(queue) })
    }

    fn add(&mut self, kind: Kind, process: Process, f: F, value: Option<u64>, facts: Facts) {
        // A millisecond passes between two events.
        let time_ns = self.events.len() as u64 * 1_000_000;
        self.events.push(Event { time_ns, kind, process, f, value, facts });
    }

    pub fn note(&mut self, f: F, kind: Kind, facts: Facts) -> &mut Self {
        self.add(kind, Process::Nemesis, f, None, facts);
        self
    }

    pub fn begin(&mut self, f: F, value: Option<u64>, facts: Facts) -> Begun {
        let process = self.processes;
        self.processes += 1;
        let facts = if facts.queue.is_some() { facts } else { Facts { queue: Some(QUEUE.into()), ..facts } };
        self.add(Kind::Invoke, Process::Client(process), f, value, facts);
        Begun(process, f, value)
    }

    pub fn end(&mut self, begun: Begun, kind: Kind, value: Option<u64>, facts: Facts) -> &mut Self {
        self.add(kind, Process::Client(begun.0), begun.1, value.or(begun.2), facts);
        self
    }

    pub fn sent(&mut self, value: u64, sequence: u64) -> &mut Self {
        self.sent_as(value, Facts { sequence: Some(sequence), ..Facts::default() })
    }

    pub fn sent_as(&mut self, value: u64, facts: Facts) -> &mut Self {
        let begun = self.begin(F::Enqueue, Some(value), Facts { sequence: None, ..facts.clone() });
        self.end(begun, Kind::Ok, None, facts)
    }

    pub fn given(&mut self, value: u64, sequence: u64, token: u64, holder: u64) -> &mut Self {
        let facts = Facts { attempt: Some(1), left_ms: Some(60_000), ..Facts::default() };
        self.given_as(value, sequence, token, holder, facts)
    }

    pub fn given_as(&mut self, value: u64, seq: u64, token: u64, holder: u64, facts: Facts) -> &mut Self {
        let queue = facts.queue.clone();
        let asked = Facts { queue, holder: Some(holder), ..Facts::default() };
        let asked_ns = self.events.len() as u64 * 1_000_000;
        let begun = self.begin(F::Dequeue, None, asked);
        let facts = Facts { sequence: Some(seq), token: Some(token), asked_ns: Some(asked_ns), ..facts };
        self.end(begun, Kind::Ok, Some(value), facts)
    }

    pub fn empty(&mut self) -> &mut Self {
        let begun = self.begin(F::Dequeue, None, Facts::default());
        self.end(begun, Kind::Ok, None, Facts::default())
    }

    pub fn settled(&mut self, f: F, value: u64, token: u64, kind: Kind) -> &mut Self {
        self.settled_on(QUEUE, f, value, token, kind)
    }

    pub fn settled_on(&mut self, queue: &str, f: F, value: u64, token: u64, kind: Kind) -> &mut Self {
        let begun = self.begin(f, Some(value), Facts { token: Some(token), ..on(queue) });
        self.end(begun, kind, None, Facts::default())
    }

    pub fn acked(&mut self, value: u64, token: u64) -> &mut Self {
        self.settled(F::Ack, value, token, Kind::Ok)
    }

    pub fn drained(&mut self, queue: &str) -> &mut Self {
        self.note(F::Drain, Kind::Ok, Facts { took_ms: Some(5), ..on(queue) })
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The checker of that name comes to this verdict.
    #[track_caller]
    pub fn expect(&self, checker: &str, verdict: Verdict) {
        let results = check(&self.events);
        let finding = results.findings.iter().find(|finding| finding.name == checker);
        let finding = finding.unwrap_or_else(|| panic!("no {checker} in {results:?}"));
        assert_eq!(finding.verdict, verdict, "{finding:?}");
    }

    #[track_caller]
    pub fn valid(&self, checker: &str) {
        self.expect(checker, Verdict::Valid);
    }

    #[track_caller]
    pub fn invalid(&self, checker: &str) {
        self.expect(checker, Verdict::Invalid);
    }
}
