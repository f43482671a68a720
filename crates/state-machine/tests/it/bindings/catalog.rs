//! What may be bound to what, as the catalog sees it: on random graphs no message ever goes round, nor over too many bindings.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_state_machine::catalog::QueueState;
use phalanx_state_machine::command::{
    CommandKind, ConfirmQueue, CreateQueue, DeleteQueue, QueueKind, QueueSettings, UpdateQueue,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::limits::{HOPS_MAX, INBOXES_MAX};
use phalanx_state_machine::machine::MachineKind;
use phalanx_state_machine::reply::{Rejection, Reply};

use crate::catalog::plan;
use crate::support::{Driver, Rng, Rows};

struct World {
    driver: Driver,
}

impl World {
    fn new() -> Self {
        let mut driver = Driver::new(MachineKind::Catalog);
        assert_eq!(driver.one(CommandKind::Bootstrap(plan(3))), Reply::Done);
        Self { driver }
    }

    fn create(&mut self, name: &str, kind: QueueKind) {
        let (namespace, name) = ("default".into(), name.into());
        let create = CreateQueue { namespace, name, kind: kind.into(), ..CreateQueue::default() };
        let Reply::Queue(entry) = self.driver.one(CommandKind::CreateQueue(create)) else {
            panic!("refused")
        };
        self.confirm(entry.uid);
    }

    fn confirm(&mut self, uid: u64) {
        let confirm = ConfirmQueue { uid, version: 1, dropped: false };
        assert_eq!(self.driver.one(CommandKind::ConfirmQueue(confirm)), Reply::Done);
    }

    fn bind(&mut self, topic: &str, name: &str, target: &str) -> Reply {
        let create = CreateQueue {
            namespace: "default".into(),
            name: format!("{topic}/{name}"),
            kind: QueueKind::Binding.into(),
            topic: topic.into(),
            target: target.into(),
            ..CreateQueue::default()
        };
        let reply = self.driver.one(CommandKind::CreateQueue(create));
        invariants::check(&self.driver.machine).unwrap();
        reply
    }

    /// Deletes, and has the shard confirm it.
    fn delete(&mut self, name: &str, kind: QueueKind) {
        let (namespace, name) = ("default".into(), name.into());
        let delete = DeleteQueue { namespace, name, kind: kind.into(), uid: 0 };
        assert!(matches!(self.driver.one(CommandKind::DeleteQueue(delete)), Reply::Queue(_)));
        let pending = self.driver.machine.catalog_state().unwrap().pending();
        let deleting = pending.filter(|entry| entry.state() == QueueState::Deleting);
        for uid in deleting.map(|entry| entry.uid).collect::<Vec<_>>().into_iter().rev() {
            let confirm = ConfirmQueue { uid, version: 0, dropped: true };
            assert_eq!(self.driver.one(CommandKind::ConfirmQueue(confirm)), Reply::Done);
        }
        invariants::check(&self.driver.machine).unwrap();
    }
}

fn said(reply: Reply) -> String {
    match reply {
        Reply::Rejected(Rejection::Invalid(text) | Rejection::AlreadyExists(text)) => text,
        other => panic!("not refused with a text: {other:?}"),
    }
}

#[test]
fn a_chain_may_be_so_long_and_no_longer_whichever_end_grows() {
    let mut world = World::new();
    for number in 0..=HOPS_MAX + 1 {
        world.create(&format!("t{number}"), QueueKind::Topic);
    }
    // The two halves, then what joins them.
    for number in (1..HOPS_MAX).filter(|number| *number != 8) {
        let reply = world.bind(&format!("t{number}"), "b", &format!("t{}", number + 1));
        assert!(matches!(reply, Reply::Queue(_)), "{reply:?}");
    }
    assert!(matches!(world.bind("t8", "b", "t9"), Reply::Queue(_)));
    assert!(matches!(world.bind("t0", "b", "t1"), Reply::Queue(_)));
    let last = (format!("t{HOPS_MAX}"), format!("t{}", HOPS_MAX + 1));
    assert!(said(world.bind(&last.0, "b", &last.1)).contains("bindings in a row"));
    assert!(said(world.bind(&last.0, "back", "t0")).contains("go round"));
}

#[test]
fn a_target_is_there_and_of_a_kind_that_takes_messages() {
    let mut world = World::new();
    world.create("t", QueueKind::Topic);
    assert!(said(world.bind("t", "b", "q")).contains("is none"));
    world.create("q", QueueKind::Queue);
    assert!(matches!(world.bind("t", "b", "q"), Reply::Queue(_)));
    assert!(said(world.bind("t", "c", "t/b")).contains("is none"));
    assert_eq!(world.bind("q", "b", "t"), Reply::Rejected(Rejection::NotFound), "a queue feeds nothing");
    assert!(said(world.bind("t", "t", "t")).contains("go round"));
    let settings = QueueSettings { length_max: 7, ..QueueSettings::default() };
    let update = UpdateQueue {
        namespace: "default".into(),
        name: "t/b".into(),
        settings,
        kind: QueueKind::Binding.into(),
        ..UpdateQueue::default()
    };
    assert!(said(world.driver.one(CommandKind::UpdateQueue(update))).contains("has none of its own"));
    // What feeds a queue that goes stays, for somebody to see.
    world.delete("q", QueueKind::Queue);
    assert!(world.driver.machine.catalog_state().unwrap().lookup("default", "t/b").is_some());
    world.create("q", QueueKind::Queue);
    assert!(said(world.bind("t", "b", "q")).contains("feeds another"), "a namesake");
    world.delete("t", QueueKind::Topic);
    assert!(world.driver.machine.catalog_state().unwrap().lookup("default", "t/b").is_none());
}

#[test]
fn a_queue_is_fed_by_so_many_and_no_more() {
    let mut world = World::new();
    world.create("t", QueueKind::Topic);
    world.create("q", QueueKind::Queue);
    for number in 0..INBOXES_MAX {
        let reply = world.bind("t", &number.to_string(), "q");
        assert!(matches!(reply, Reply::Queue(_)), "{reply:?}");
    }
    assert!(said(world.bind("t", "more", "q")).contains("as many as may"));
    assert!(matches!(world.bind("t", "0", "q"), Reply::Queue(_)), "the same once more");
}

#[test]
fn on_random_graphs_nothing_goes_round() {
    const TOPICS: u64 = 12;
    for seed in 1..60 {
        let (mut world, mut random, mut rows) = (World::new(), Rng::new(seed), Rows::default());
        for number in 0..TOPICS {
            world.create(&format!("t{number}"), QueueKind::Topic);
        }
        let mut edges: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for step in 0..60 {
            let (from, to) = (random.below(TOPICS), random.below(TOPICS));
            if edges.contains_key(&(from, to)) {
                if random.chance(50) {
                    let name = edges.remove(&(from, to)).unwrap();
                    world.delete(&name, QueueKind::Binding);
                }
                continue;
            }
            let name = format!("b{step}");
            let goes_round = reaches(&edges, to, from);
            match world.bind(&format!("t{from}"), &name, &format!("t{to}")) {
                Reply::Queue(entry) => {
                    assert!(!goes_round, "seed {seed}: {from} -> {to} goes round");
                    world.confirm(entry.uid);
                    edges.insert((from, to), entry.name);
                }
                reply => {
                    assert!(goes_round && said(reply).contains("go round"), "seed {seed}: {from} -> {to}")
                }
            }
            if random.chance(20) {
                rows.checkpoint(&mut world.driver.machine, true);
                world.driver.machine = rows.load(MachineKind::Catalog).unwrap();
            }
        }
    }
}

/// Whether messages at `from` come to `to`.
fn reaches(edges: &BTreeMap<(u64, u64), String>, from: u64, to: u64) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        if seen.insert(at) {
            next.extend(edges.keys().filter(|(start, _)| *start == at).map(|(_, end)| *end));
        }
    }
    seen.contains(&to)
}
