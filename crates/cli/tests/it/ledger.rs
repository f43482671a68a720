//! What producers and consumers of a test saw, and whether that is what Phalanx promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

/// One message of a test: producer, and number with it, from 0. Its group is one of the producer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub producer: usize,
    pub number: u64,
}

/// Ordering groups of each producer.
pub const GROUPS: u64 = 8;

impl Name {
    pub fn body(self) -> String {
        format!("{}-{}", self.producer, self.number)
    }

    pub fn group(self) -> String {
        format!("{}/{}", self.producer, self.number % GROUPS)
    }

    pub fn parse(body: &[u8]) -> Option<Self> {
        let (producer, number) = std::str::from_utf8(body).ok()?.split_once('-')?;
        Some(Self { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// One delivery, as its consumer saw it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub token: u64,
    pub sequence: u64,
    pub attempt: u32,
    pub name: Name,
    /// The server said so.
    pub acked: bool,
    #[expect(dead_code, reason = "for the messages of failed tests")]
    pub consumer: usize,
}

#[derive(Default)]
struct Entries {
    attempted: BTreeSet<Name>,
    confirmed: BTreeMap<Name, u64>,
    /// Enqueued at, confirmed at.
    latest: Option<(Instant, Instant)>,
    seen: BTreeMap<u64, Seen>,
    doubled: Vec<Seen>,
    acks: u64,
    problems: Vec<String>,
}

/// See the module. Shared by all tasks of a test.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

impl Ledger {
    fn with<T>(&self, f: impl FnOnce(&mut Entries) -> T) -> T {
        f(&mut self.0.lock().expect("no task panics while it writes"))
    }

    pub fn attempted(&self, name: Name) {
        self.with(|e| e.attempted.insert(name));
    }

    pub fn confirmed(&self, name: Name, sequence: u64, enqueued: Instant) {
        self.with(|e| {
            e.confirmed.insert(name, sequence);
            if e.latest.is_none_or(|(before, _)| before < enqueued) {
                e.latest = Some((enqueued, Instant::now()));
            }
        });
    }

    pub fn delivered(&self, seen: Seen) {
        self.with(|e| {
            if e.seen.insert(seen.token, seen).is_some() {
                e.doubled.push(seen);
            }
        });
    }

    pub fn acked(&self, token: u64) {
        self.with(|e| {
            e.acks += 1;
            if let Some(seen) = e.seen.get_mut(&token) {
                seen.acked = true;
            }
        });
    }

    pub fn problem(&self, what: String) {
        self.with(|e| e.problems.push(what));
    }

    /// When a message enqueued after `since` was confirmed first, as far as is known.
    pub fn confirmed_after(&self, since: Instant) -> Option<Instant> {
        self.with(|e| e.latest.filter(|(enqueued, _)| *enqueued > since).map(|(_, confirmed)| confirmed))
    }

    pub fn counts(&self) -> (usize, usize, u64) {
        self.with(|e| (e.confirmed.len(), e.seen.len(), e.acks))
    }

    /// Confirmed messages that no consumer has seen.
    pub fn missing(&self) -> usize {
        self.with(|e| {
            let seen: BTreeSet<Name> = e.seen.values().map(|seen| seen.name).collect();
            e.confirmed.keys().filter(|name| !seen.contains(name)).count()
        })
    }

    /// Every promise that was broken.
    pub fn verdict(&self) -> Vec<String> {
        self.with(|e| {
            let mut broken = std::mem::take(&mut e.problems);
            lost(e, &mut broken);
            order_of_producers(e, &mut broken);
            order_of_groups(e, &mut broken);
            for seen in &e.doubled {
                broken.push(format!("token used twice: {seen:?}"));
            }
            for seen in e.seen.values().filter(|seen| seen.attempt > 1) {
                broken.push(format!("lease taken from a live consumer: {seen:?}"));
            }
            broken
        })
    }
}

fn lost(e: &Entries, broken: &mut Vec<String>) {
    let seen: BTreeMap<Name, u64> = e.seen.values().map(|seen| (seen.name, seen.sequence)).collect();
    for (name, sequence) in &e.confirmed {
        match seen.get(name) {
            None => broken.push(format!("lost: {name:?}, confirmed as {sequence}")),
            Some(delivered) if delivered != sequence => {
                broken.push(format!("{name:?} was confirmed as {sequence} and delivered as {delivered}"));
            }
            Some(_) => {}
        }
    }
    for name in seen.keys().filter(|name| !e.attempted.contains(name)) {
        broken.push(format!("nobody sent {name:?}"));
    }
    let sequences: BTreeMap<u64, Name> = e.seen.values().map(|seen| (seen.sequence, seen.name)).collect();
    if sequences.len() != seen.len() {
        broken.push(format!("{} messages in {} places", seen.len(), sequences.len()));
    }
}

/// Order of sends = order of sequences.
fn order_of_producers(e: &Entries, broken: &mut Vec<String>) {
    let mut last: BTreeMap<usize, (u64, Name)> = BTreeMap::new();
    for (name, sequence) in &e.confirmed {
        if let Some((before, earlier)) = last.insert(name.producer, (*sequence, *name))
            && before >= *sequence
        {
            broken.push(format!("{earlier:?} is at {before}, and {name:?} at {sequence}"));
        }
    }
}

/// Order of deliveries in a group = order of sends. Tokens rise with every delivery.
fn order_of_groups(e: &Entries, broken: &mut Vec<String>) {
    let mut last: BTreeMap<String, Seen> = BTreeMap::new();
    for seen in e.seen.values() {
        if let Some(before) = last.insert(seen.name.group(), *seen)
            && before.acked
            && before.name.number >= seen.name.number
        {
            broken.push(format!("{before:?} came before {seen:?}"));
        }
    }
}

#[test]
fn the_ledger_notices_each_kind_of_broken_promise() {
    let name = |number| Name { producer: 0, number };
    let seen = |token, number, attempt| Seen {
        token,
        sequence: number + 1,
        attempt,
        name: name(number),
        acked: true,
        consumer: 0,
    };
    let check = |act: &dyn Fn(&Ledger), expect: &str| {
        let ledger = Ledger::default();
        for number in [0, GROUPS] {
            ledger.attempted(name(number));
            ledger.confirmed(name(number), number + 1, Instant::now());
        }
        act(&ledger);
        let verdict = ledger.verdict().join("; ");
        assert!(if expect.is_empty() { verdict.is_empty() } else { verdict.contains(expect) }, "{verdict}");
    };
    let both = |ledger: &Ledger| {
        ledger.delivered(seen(1, 0, 1));
        ledger.delivered(seen(2, GROUPS, 1));
    };
    check(&both, "");
    check(&|ledger| ledger.delivered(seen(1, 0, 1)), "lost");
    check(&|ledger| (both(ledger), ledger.delivered(seen(2, GROUPS, 1))).1, "token used twice");
    check(&|ledger| (both(ledger), ledger.delivered(seen(3, GROUPS, 2))).1, "lease taken");
    check(&|ledger| (ledger.delivered(seen(1, GROUPS, 1)), ledger.delivered(seen(2, 0, 1))).1, "came before");
    check(&|ledger| (both(ledger), ledger.delivered(seen(3, 77, 1))).1, "nobody sent");
    check(&|ledger| (both(ledger), ledger.confirmed(name(GROUPS), 1, Instant::now())).1, "is at");
}
