//! What clients did and saw, and which faults struck meanwhile, in Jepsen's terms.
//!
//! An operation is an `:invoke` and its completion by the same process: `:ok` (it happened, this is what it gave), `:fail` (it did not
//! happen, and never will) or `:info` (nobody knows). A process does one operation at a time, and one whose operation ended
//! in `:info` is never used again. The place of an event in the history is a sound order of real time.

mod index;
mod ranges;
mod recorder;

pub use index::{Index, Op};
pub use ranges::{ranges, runs};
pub use recorder::{Open, Recorder};

use crate::edn::Edn;

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows; of the nemesis: it happened.
    Info,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// A client's.
    Client(u64),
    /// The run's own: faults, and what was found out about the cluster.
    Nemesis,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum F {
    /// A message is sent.
    Enqueue,
    /// A message is leased; `nil`: there was none.
    Dequeue,
    /// A delivery is acknowledged.
    Ack,
    /// A delivery is given back.
    Nack,
    /// A queue is made; `uid`: which one it is.
    Create,
    /// A queue is deleted; `:ok`: there is none of its name now.
    Delete,
    /// A queue's figures are read.
    Read,
    /// Messages are looked at where they are; `seen`: their places.
    Peek,
    /// A queue of this run and its class (`note`).
    Queue,
    /// A fault begins.
    Fault,
    /// Faults end.
    Heal,
    /// All faults are over, for good.
    Healed,
    /// What a fault did to stored bytes.
    Damage,
    /// Every group has a leader again (`:ok`), after `took_ms`, or has not (`:fail`).
    Leader,
    /// A queue is empty, after `took_ms`, or is not.
    Drain,
    /// All replicas have applied the same entries, after `took_ms`, or have not.
    Level,
    /// A replica at the end of the run.
    Replica,
    /// A process ended by itself; `planned`: a fault explains it.
    Exit,
    /// A log holds a panic.
    Panic,
}

impl F {
    const ALL: [(Self, &'static str); 19] = [
        (Self::Enqueue, "enqueue"),
        (Self::Dequeue, "dequeue"),
        (Self::Ack, "ack"),
        (Self::Nack, "nack"),
        (Self::Create, "create"),
        (Self::Delete, "delete"),
        (Self::Read, "read"),
        (Self::Peek, "peek"),
        (Self::Queue, "queue"),
        (Self::Fault, "fault"),
        (Self::Heal, "heal"),
        (Self::Healed, "healed"),
        (Self::Damage, "damage"),
        (Self::Leader, "leader"),
        (Self::Drain, "drain"),
        (Self::Level, "level"),
        (Self::Replica, "replica"),
        (Self::Exit, "exit"),
        (Self::Panic, "panic"),
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(f, _)| *f == self).map_or("", |(_, name)| name)
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $field:ident = $key:literal),* ; $($(#[$text_doc:meta])* $text:ident = $text_key:literal),*) => {
        /// What else is known of an event. Absent is absent.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Facts {
            $($(#[$doc])* pub $field: Option<u64>,)*
            $($(#[$text_doc])* pub $text: Option<String>,)*
        }

        impl Facts {
            fn write(&self, rows: &mut Vec<(Edn, Edn)>) {
                $(if let Some(number) = self.$field {
                    rows.push((Edn::word($key), Edn::from(number)));
                })*
                $(if let Some(text) = &self.$text {
                    rows.push((Edn::word($text_key), Edn::text(text.clone())));
                })*
            }

            fn read(map: &Edn) -> Self {
                Self {
                    $($field: map.get($key).and_then(Edn::as_u64),)*
                    $($text: map.get($text_key).and_then(Edn::as_str).map(str::to_owned),)*
                }
            }

            /// These, and of `earlier` what is not among them.
            #[must_use]
            pub fn over(self, earlier: &Self) -> Self {
                Self {
                    $($field: self.$field.or(earlier.$field),)*
                    $($text: self.$text.or_else(|| earlier.$text.clone()),)*
                }
            }
        }
    };
}

facts! {
    /// Place of the message in its queue.
    sequence = "sequence",
    /// Fencing token of the delivery.
    token = "token",
    /// Of the delivery, from 1.
    attempt = "attempt",
    /// 1: the delivery is not the first of its message.
    again = "redelivered",
    /// Lease left when the answer was written, ms.
    left_ms = "left-ms",
    /// The answered attempt began then, ns since the beginning.
    asked_ns = "asked-ns",
    /// Ordering group.
    group = "group",
    /// Deduplication id.
    dedup = "dedup",
    /// 1: an earlier message with its deduplication id was kept instead.
    duplicate = "duplicate",
    /// Names the send for the server: repetitions share it.
    request = "request",
    /// A pipelined producer.
    producer = "producer",
    /// Place among the sends of its producer.
    place = "place",
    /// 1: an attempt at it was given up, and may still arrive.
    late = "late",
    /// Who holds the lease.
    holder = "holder",
    /// Which of the queues of that name.
    uid = "uid",
    /// Messages that were ever sent.
    sent = "sent",
    /// Messages that were ever acknowledged.
    acked = "acked",
    /// Messages that are there.
    depth = "depth",
    /// The next message gets this place; of a page: it ends before this place.
    next = "next",
    /// A node.
    node = "node",
    /// A Raft group.
    shard = "shard",
    /// Last entry applied.
    applied = "applied",
    /// Digest there.
    digest = "digest",
    /// How long it took, ms.
    took_ms = "took-ms",
    /// 1: the fault struck a leader.
    leader = "leader-hit",
    /// 1: a majority stays connected and running under the fault.
    majority = "majority",
    /// 1: no node was left running.
    all = "all-down",
    /// Unsynced blocks that did not survive.
    lost = "lost-blocks",
    /// Bits that flipped.
    flips = "flips",
    /// 1: something explains it.
    planned = "planned";
    /// The queue.
    queue = "queue",
    /// Places, as ranges: `1-3 7`.
    seen = "seen",
    /// Why not.
    error = "error",
    /// For people.
    note = "note"
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning, ns.
    pub time_ns: u64,
    /// How far.
    pub kind: Kind,
    /// Who.
    pub process: Process,
    /// What.
    pub f: F,
    /// The message's number, in its body and in no other.
    pub value: Option<u64>,
    /// What else.
    pub facts: Facts,
}

impl Event {
    /// As a line of a history. `index` is its place.
    pub fn to_edn(&self, index: usize) -> Edn {
        let kind = match self.kind {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        let process = match self.process {
            Process::Client(process) => Edn::from(process),
            Process::Nemesis => Edn::word("nemesis"),
        };
        let mut rows = vec![
            (Edn::word("index"), Edn::from(index)),
            (Edn::word("time"), Edn::from(self.time_ns)),
            (Edn::word("type"), Edn::word(kind)),
            (Edn::word("process"), process),
            (Edn::word("f"), Edn::word(self.f.name())),
            (Edn::word("value"), self.value.map_or(Edn::Nil, Edn::from)),
        ];
        self.facts.write(&mut rows);
        Edn::Map(rows)
    }

    /// From a line of a history.
    ///
    /// # Errors
    /// What is missing.
    pub fn from_edn(map: &Edn) -> Result<Self, String> {
        let word = |key: &str| map.get(key).and_then(Edn::as_str).ok_or(format!("no :{key}"));
        let kind = match word("type")? {
            "invoke" => Kind::Invoke,
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            "info" => Kind::Info,
            other => return Err(format!(":type :{other}")),
        };
        let process = match map.get("process") {
            Some(Edn::Word(_)) => Process::Nemesis,
            Some(number) => Process::Client(number.as_u64().ok_or(":process is no number")?),
            None => return Err("no :process".into()),
        };
        let name = word("f")?;
        let f = F::ALL.iter().find(|(_, known)| *known == name).ok_or(format!(":f :{name}"))?.0;
        let time_ns = map.get("time").and_then(Edn::as_u64).ok_or("no :time")?;
        let value = map.get("value").and_then(Edn::as_u64);
        Ok(Self { time_ns, kind, process, f, value, facts: Facts::read(map) })
    }
}

/// Writes a history, a line each.
pub fn to_text(events: &[Event]) -> String {
    let mut text = String::new();
    for (index, event) in events.iter().enumerate() {
        text.push_str(&event.to_edn(index).to_string());
        text.push('\n');
    }
    text
}

/// Reads a history: a map a line.
///
/// # Errors
/// The first line that is none.
pub fn from_text(text: &str) -> Result<Vec<Event>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let events = lines.map(|(number, line)| {
        let event = Edn::parse(line).and_then(|map| Event::from_edn(&map));
        event.map_err(|why| format!("line {}: {why}", number + 1))
    });
    events.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_the_same_after_it_was_written() {
        let facts = Facts { sequence: Some(7), queue: Some("a \"b\"".into()), ..Facts::default() };
        let told = |kind, process, f, value, facts| Event { time_ns: 12, kind, process, f, value, facts };
        let events = vec![
            told(Kind::Invoke, Process::Client(3), F::Enqueue, Some(5), Facts::default()),
            told(Kind::Ok, Process::Client(3), F::Enqueue, Some(5), facts),
            told(Kind::Info, Process::Nemesis, F::Fault, None, Facts::default()),
        ];
        assert_eq!(from_text(&to_text(&events)), Ok(events));
    }
}
