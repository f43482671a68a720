//! Events of a history put together to operations.

use std::collections::BTreeMap;

use super::{Event, F, Facts, Kind, Process};

/// An operation of a client.
#[derive(Clone, Debug)]
pub struct Op {
    /// What.
    pub f: F,
    /// The message's number: of the completion, or else of the invocation.
    pub value: Option<u64>,
    /// How it ended. Never [`Kind::Invoke`]; what has no end ends in [`Kind::Info`].
    pub kind: Kind,
    /// Place of its beginning in the history.
    pub began: usize,
    /// Place of its end; `usize::MAX`: it may happen at any time.
    pub ended: usize,
    /// Since the beginning, ns.
    pub began_ns: u64,
    /// Since the beginning, ns; `u64::MAX` when it is not known to have ended.
    pub ended_ns: u64,
    /// Of both events.
    pub facts: Facts,
}

impl Op {
    /// It happened.
    pub fn is_ok(&self) -> bool {
        self.kind == Kind::Ok
    }

    /// It may have happened.
    pub fn is_possible(&self) -> bool {
        self.kind != Kind::Fail
    }

    /// The queue it was about.
    pub fn queue(&self) -> &str {
        self.facts.queue.as_deref().unwrap_or("")
    }
}

/// A history by its operations.
#[derive(Debug, Default)]
pub struct Index {
    /// Of clients, in the order of their beginnings.
    pub ops: Vec<Op>,
    /// What the run itself noted, with its place.
    pub notes: Vec<(usize, Event)>,
    /// Queues and their classes.
    pub queues: BTreeMap<String, String>,
}

impl Index {
    /// Puts the events together.
    ///
    /// # Errors
    /// When it is no history: a completion of nothing, or a process that does two things at once.
    pub fn new(events: &[Event]) -> Result<Self, String> {
        let mut index = Self::default();
        let mut running: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            let Process::Client(process) = event.process else {
                if event.f == F::Queue {
                    let (queue, class) = (event.facts.queue.clone(), event.facts.note.clone());
                    index.queues.insert(queue.unwrap_or_default(), class.unwrap_or_default());
                }
                index.notes.push((place, event.clone()));
                continue;
            };
            if event.kind == Kind::Invoke {
                if running.insert(process, index.ops.len()).is_some() {
                    return Err(format!("event {place}: process {process} is busy, or retired"));
                }
                index.ops.push(Op {
                    f: event.f,
                    value: event.value,
                    kind: Kind::Info,
                    began: place,
                    ended: usize::MAX,
                    began_ns: event.time_ns,
                    ended_ns: u64::MAX,
                    facts: event.facts.clone(),
                });
                continue;
            }
            // A process with an unknown end stays busy for ever.
            let begun = match event.kind {
                Kind::Info => running.get(&process).copied(),
                _ => running.remove(&process),
            };
            let op = begun.and_then(|begun| index.ops.get_mut(begun));
            let Some(op) = op.filter(|op| op.f == event.f) else {
                return Err(format!("event {place}: nothing begins what ends here"));
            };
            op.kind = event.kind;
            op.value = event.value.or(op.value);
            op.facts = event.facts.clone().over(&op.facts);
            if event.kind != Kind::Info {
                (op.ended, op.ended_ns) = (place, event.time_ns);
            }
        }
        Ok(index)
    }

    /// Operations of one kind on one queue.
    pub fn of<'a>(&'a self, queue: &'a str, f: F) -> impl Iterator<Item = &'a Op> + Clone {
        self.ops.iter().filter(move |op| op.f == f && op.queue() == queue)
    }

    /// Deliveries of a queue: receives that gave a message.
    pub fn deliveries<'a>(&'a self, queue: &'a str) -> impl Iterator<Item = &'a Op> {
        self.of(queue, F::Dequeue).filter(|op| op.is_ok() && op.value.is_some())
    }

    /// Queues of a class.
    pub fn queues_of<'a>(&'a self, classes: &'a [&str]) -> impl Iterator<Item = &'a str> + Clone {
        let known = self.queues.iter();
        known.filter(|(_, class)| classes.contains(&class.as_str())).map(|(queue, _)| queue.as_str())
    }

    /// Notes of one kind.
    pub fn noted(&self, f: F) -> impl Iterator<Item = &Event> {
        self.notes.iter().map(|(_, event)| event).filter(move |event| event.f == f)
    }

    /// The times in which a fault was in force: begin, end (ns), and the note of its beginning.
    pub fn bands(&self) -> Vec<(u64, u64, &Event)> {
        let mut bands: Vec<(u64, u64, &Event)> = Vec::new();
        let mut open = 0;
        for (_, event) in &self.notes {
            match event.f {
                F::Fault => bands.push((event.time_ns, u64::MAX, event)),
                F::Heal | F::Healed => {
                    for band in &mut bands[open..] {
                        band.1 = event.time_ns;
                    }
                    open = bands.len();
                }
                _ => {}
            }
        }
        bands
    }
}
