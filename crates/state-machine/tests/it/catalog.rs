//! The catalog's promises, command by command.

use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::{
    Bootstrap, CommandKind, ConfirmQueue, CreateQueue, DeleteQueue, GroupRow, NodeRow, Purge, QueueKind,
    QueueSettings, ReplicaRow, UpdateQueue,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::MachineKind;
use phalanx_state_machine::reply::{Rejection, Reply};

use crate::support::{Driver, Rng, Rows, id};

pub fn plan(shards: u64) -> Bootstrap {
    let replicas = |group: u64| (1..=3).map(|node| ReplicaRow { replica: group * 10 + node, node }).collect();
    Bootstrap {
        cluster: id(77),
        nodes: (1..=3)
            .map(|node| NodeRow {
                node,
                store: id(100 + node),
                client_address: format!("127.0.0.1:{}", 7419 + node),
                peer_address: format!("127.0.0.1:{}", 7519 + node),
                zone: String::new(),
            })
            .collect(),
        groups: (0..=shards).map(|group| GroupRow { group, replicas: replicas(group) }).collect(),
    }
}

fn started(shards: u64) -> Driver {
    let mut driver = Driver::new(MachineKind::Catalog);
    assert_eq!(driver.one(CommandKind::Bootstrap(plan(shards))), Reply::Done);
    driver
}

fn create_with(name: &str, settings: QueueSettings) -> CommandKind {
    CommandKind::CreateQueue(CreateQueue {
        namespace: "default".into(),
        name: name.into(),
        settings,
        ..CreateQueue::default()
    })
}

fn create(name: &str) -> CommandKind {
    create_with(name, QueueSettings::default())
}

fn update(name: &str, lease_ms: u64, if_version: u64) -> CommandKind {
    let settings = QueueSettings { lease_ms, ..Default::default() };
    CommandKind::UpdateQueue(UpdateQueue {
        namespace: "default".into(),
        name: name.into(),
        settings,
        if_version,
        ..UpdateQueue::default()
    })
}

fn delete(name: &str) -> CommandKind {
    CommandKind::DeleteQueue(DeleteQueue {
        namespace: "default".into(),
        name: name.into(),
        ..DeleteQueue::default()
    })
}

fn confirm(uid: u64, version: u64) -> CommandKind {
    CommandKind::ConfirmQueue(ConfirmQueue { uid, version, dropped: false })
}

fn confirm_dropped(uid: u64) -> CommandKind {
    CommandKind::ConfirmQueue(ConfirmQueue { uid, version: 0, dropped: true })
}

/// The row that a reply carries.
fn row(reply: Reply) -> QueueEntry {
    match reply {
        Reply::Queue(entry) => *entry,
        other => panic!("no row: {other:?}"),
    }
}

fn already_exists(reply: Reply) -> String {
    match reply {
        Reply::Rejected(Rejection::AlreadyExists(text)) => text,
        other => panic!("not refused as existing: {other:?}"),
    }
}

fn invalid(reply: Reply) -> String {
    match reply {
        Reply::Rejected(Rejection::Invalid(text)) => text,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

/// Digest of the rows alone: the machine's own also knows the time.
fn rows_digest(driver: &Driver) -> u64 {
    driver.machine.catalog_state().unwrap().digest()
}

fn pending(driver: &Driver) -> Vec<u64> {
    driver.machine.catalog_state().unwrap().pending().map(|entry| entry.uid).collect()
}

#[test]
fn bootstrap_applied_twice_does_nothing_and_another_cluster_is_refused() {
    let mut driver = started(2);
    let uid = row(driver.one(create("q"))).uid;
    assert_eq!(driver.one(CommandKind::Bootstrap(plan(8))), Reply::Done);
    let catalog = driver.machine.catalog_state().unwrap();
    assert_eq!(catalog.cluster(), Some(id(77)));
    assert_eq!(catalog.groups().count(), 3);
    assert_eq!(catalog.nodes().map(|node| node.node).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(catalog.lookup("default", "q").unwrap().uid, uid);
    let stranger = Bootstrap { cluster: id(78), ..plan(2) };
    assert!(invalid(driver.one(CommandKind::Bootstrap(stranger))).contains("belongs to cluster"));
}

#[test]
fn a_plan_that_breaks_a_rule_is_refused_by_that_rule_and_leaves_nothing() {
    type Change = fn(&mut Bootstrap);
    let cases: [(&str, Change); 9] = [
        ("id is zero", |plan| plan.cluster = Default::default()),
        ("numbers are 1 to", |plan| plan.nodes[0].node = 0),
        ("numbers are 1 to", |plan| plan.nodes[0].node = 65_536),
        ("named twice", |plan| plan.nodes[1].node = 1),
        ("group 1 is named twice", |plan| plan.groups[2].group = 1),
        ("unknown node 9", |plan| plan.groups[1].replicas[0].node = 9),
        ("two replicas on node 1", |plan| plan.groups[1].replicas[1].node = 1),
        ("group 0", |plan| drop(plan.groups.remove(0))),
        ("no shard", |plan| plan.groups.truncate(1)),
    ];
    for (rule, break_it) in cases {
        let mut driver = Driver::new(MachineKind::Catalog);
        let before = rows_digest(&driver);
        let mut broken = plan(2);
        break_it(&mut broken);
        let text = invalid(driver.one(CommandKind::Bootstrap(broken)));
        assert!(text.contains(rule), "{text:?} does not say {rule:?}");
        assert_eq!(driver.machine.catalog_state().unwrap().cluster(), None);
        assert_eq!(rows_digest(&driver), before);
    }
}

#[test]
fn queues_cannot_be_created_before_bootstrap() {
    let mut driver = Driver::new(MachineKind::Catalog);
    assert!(invalid(driver.one(create("q"))).contains("bootstrap"));
}

#[test]
fn a_new_queue_goes_to_the_shard_with_the_fewest_queues_and_then_the_lowest_id() {
    let mut driver = started(3);
    let groups: Vec<u64> = (0..7).map(|i| row(driver.one(create(&format!("q{i}")))).group).collect();
    assert_eq!(groups, [1, 2, 3, 1, 2, 3, 1]);
    // Shard 2 loses one; until it is gone it still counts.
    let uid = row(driver.one(delete("q1"))).uid;
    assert_eq!(row(driver.one(create("a"))).group, 2);
    driver.one(confirm_dropped(uid));
    assert_eq!(row(driver.one(create("b"))).group, 2);
    assert_eq!(row(driver.one(create("c"))).group, 3);
}

#[test]
fn create_answers_the_same_row_again_while_creating_and_when_live() {
    let mut driver = started(1);
    let first = row(driver.one(create("q")));
    assert_eq!((first.state(), first.version, first.confirmed_version), (QueueState::Creating, 1, 0));
    assert_eq!(first.settings.lease_ms, 30_000, "defaults are filled in");
    assert_eq!(first.created_ms, driver.now_ms);
    driver.now_ms += 5;
    assert_eq!(row(driver.one(create("q"))), first);
    let spelled_out = QueueSettings { lease_ms: 30_000, ..Default::default() };
    assert_eq!(
        row(driver.one(create_with("q", spelled_out))),
        first,
        "a default spelled out is the same setting"
    );
    assert_eq!(driver.one(confirm(first.uid, 1)), Reply::Done);
    let live = row(driver.one(create("q")));
    assert_eq!((live.uid, live.state(), live.confirmed_version), (first.uid, QueueState::Live, 1));
}

#[test]
fn create_with_other_settings_says_to_update() {
    let mut driver = started(1);
    driver.one(create("q"));
    let other = QueueSettings { strict: true, ..Default::default() };
    assert!(already_exists(driver.one(create_with("q", other))).contains("update it"));
}

#[test]
fn a_name_is_free_only_when_its_last_bearer_is_gone_and_its_uid_is_never_reused() {
    let mut driver = started(1);
    let old = row(driver.one(create("q")));
    assert_eq!(row(driver.one(delete("q"))).state(), QueueState::Deleting);
    assert!(already_exists(driver.one(create("q"))).contains("being deleted"));
    assert_eq!(row(driver.one(delete("q"))).uid, old.uid, "a repeated delete answers the row");
    assert_eq!(driver.one(confirm_dropped(old.uid)), Reply::Done);
    assert_eq!(driver.one(delete("q")), Reply::Rejected(Rejection::NotFound));
    let new = row(driver.one(create("q")));
    assert!(new.uid > old.uid);
    assert_eq!(driver.one(confirm_dropped(old.uid)), Reply::Done, "a repeated confirmation of the old life");
    assert_eq!(driver.machine.catalog_state().unwrap().queue(new.uid).unwrap().state(), QueueState::Creating);
}

#[test]
fn a_change_that_means_an_earlier_life_changes_no_later_one() {
    let mut driver = started(1);
    let old = row(driver.one(create("q"))).uid;
    driver.one(delete("q"));
    driver.one(confirm_dropped(old));
    let new = row(driver.one(create("q"))).uid;
    let late = |uid| {
        let mut commands = [delete("q"), update("q", 7_000, 0), update("q", 7_000, 1)];
        for command in &mut commands {
            match command {
                CommandKind::DeleteQueue(delete) => delete.uid = uid,
                CommandKind::UpdateQueue(update) => update.uid = uid,
                other => panic!("{other:?}"),
            }
        }
        commands
    };
    for command in late(old) {
        assert_eq!(driver.one(command), Reply::Rejected(Rejection::NotFound));
    }
    let entry = driver.machine.catalog_state().unwrap().queue(new).unwrap();
    assert_eq!((entry.state(), entry.version), (QueueState::Creating, 1));
    let [delete, update, _] = late(new);
    assert_eq!(row(driver.one(update)).version, 2);
    assert_eq!(row(driver.one(delete)).state(), QueueState::Deleting);
}

#[test]
fn update_gives_a_new_version_and_waits_for_its_confirmation() {
    let mut driver = started(1);
    let uid = row(driver.one(create("q"))).uid;
    assert_eq!(pending(&driver), [uid]);
    driver.one(confirm(uid, 1));
    assert_eq!(pending(&driver), Vec::<u64>::new());
    let entry = row(driver.one(update("q", 5_000, 1)));
    assert_eq!((entry.version, entry.confirmed_version, entry.settings.lease_ms), (2, 1, 5_000));
    assert_eq!(pending(&driver), [uid]);
    driver.one(confirm(uid, 1));
    assert_eq!(pending(&driver), [uid], "a late confirmation of the version before");
    driver.one(confirm(uid, 2));
    assert_eq!(pending(&driver), Vec::<u64>::new());
}

#[test]
fn update_with_another_version_is_refused_and_a_repeated_update_answers_the_row() {
    let mut driver = started(1);
    driver.one(create("q"));
    let entry = row(driver.one(update("q", 5_000, 1)));
    assert_eq!(row(driver.one(update("q", 5_000, 1))), entry, "the lost answer can be had again");
    assert_eq!(row(driver.one(update("q", 5_000, 0))), entry, "the same settings are no new version");
    assert_eq!(driver.one(update("q", 6_000, 1)), Reply::Rejected(Rejection::VersionMismatch { actual: 2 }));
    assert_eq!(
        driver.one(update("q", 5_000, u64::MAX)),
        Reply::Rejected(Rejection::VersionMismatch { actual: 2 })
    );
    assert_eq!(row(driver.one(update("q", 6_000, 0))).version, 3);
    assert_eq!(driver.one(update("nobody", 1, 0)), Reply::Rejected(Rejection::NotFound));
    driver.one(delete("q"));
    assert_eq!(driver.one(update("q", 7_000, 0)), Reply::Rejected(Rejection::NotFound));
}

#[test]
fn strict_is_fixed_at_creation() {
    let mut driver = started(1);
    driver.one(create("q"));
    let settings = QueueSettings { strict: true, ..Default::default() };
    let command = UpdateQueue {
        namespace: "default".into(),
        name: "q".into(),
        settings,
        if_version: 0,
        ..UpdateQueue::default()
    };
    assert!(invalid(driver.one(CommandKind::UpdateQueue(command))).contains("strict"));
}

#[test]
fn a_confirmation_that_nobody_asked_for_is_refused() {
    let mut driver = started(1);
    let uid = row(driver.one(create("q"))).uid;
    assert!(invalid(driver.one(confirm(uid, 2))).contains("never asked"));
    assert!(invalid(driver.one(confirm(uid, 0))).contains("never asked"));
    assert!(invalid(driver.one(confirm_dropped(uid))).contains("not being deleted"));
    assert_eq!(driver.one(confirm(99, 1)), Reply::Rejected(Rejection::NotFound));
    driver.one(delete("q"));
    assert_eq!(driver.one(confirm(uid, 1)), Reply::Done, "it was created before it is dropped");
    assert_eq!(driver.machine.catalog_state().unwrap().queue(uid).unwrap().state(), QueueState::Deleting);
}

#[test]
fn names_and_settings_are_checked_before_anything_is_stored() {
    let mut driver = started(1);
    let before = rows_digest(&driver);
    assert!(invalid(driver.one(create(""))).contains("queue name is empty"));
    assert!(invalid(driver.one(create(&"x".repeat(256)))).contains("256 bytes"));
    assert!(invalid(driver.one(create("a\u{0}b"))).contains("control character"));
    let long = QueueSettings { lease_ms: 43_200_001, ..Default::default() };
    assert!(invalid(driver.one(create_with("q", long))).contains("lease_ms is 43200001: at most 43200000"));
    let nowhere = CreateQueue {
        namespace: String::new(),
        name: "q".into(),
        settings: Default::default(),
        ..CreateQueue::default()
    };
    assert!(invalid(driver.one(CommandKind::CreateQueue(nowhere))).contains("namespace is empty"));
    assert_eq!(rows_digest(&driver), before);
}

#[test]
fn the_same_name_in_two_namespaces_is_two_queues() {
    let mut driver = started(1);
    let here = row(driver.one(create("q")));
    let there = CreateQueue {
        namespace: "other".into(),
        name: "q".into(),
        settings: Default::default(),
        ..CreateQueue::default()
    };
    let there = row(driver.one(CommandKind::CreateQueue(there)));
    assert_ne!(here.uid, there.uid);
    driver.one(delete("q"));
    driver.one(confirm_dropped(here.uid));
    let catalog = driver.machine.catalog_state().unwrap();
    assert!(catalog.lookup("default", "q").is_none());
    assert_eq!(catalog.lookup("other", "q").unwrap().uid, there.uid);
}

#[test]
fn listing_page_by_page_gives_each_name_once_and_in_order() {
    let mut driver = started(2);
    for name in ["b", "a", "ä", "c", "aa"] {
        driver.one(create(name));
    }
    let catalog = driver.machine.catalog_state().unwrap();
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let page = catalog.list(QueueKind::Queue, "default", &after, 2);
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.name.clone();
        names.extend(page.iter().map(|entry| entry.name.clone()));
    }
    assert_eq!(names, ["a", "aa", "b", "c", "ä"]);
    assert!(catalog.list(QueueKind::Queue, "nowhere", "", 10).is_empty());
}

#[test]
fn commands_of_a_shard_are_not_supported_by_the_catalog_and_the_reverse() {
    let mut driver = started(1);
    assert_eq!(driver.one(CommandKind::Purge(Purge { uid: 1 })), Reply::Rejected(Rejection::Unsupported));
    let mut shard = Driver::new(MachineKind::Shard(1));
    assert_eq!(shard.one(create("q")), Reply::Rejected(Rejection::Unsupported));
    assert_eq!(shard.one(CommandKind::Bootstrap(plan(1))), Reply::Rejected(Rejection::Unsupported));
}

#[test]
fn one_queue_more_than_the_cluster_may_have_is_refused() {
    let mut driver = started(8);
    for start in (0..100_000).step_by(1_000) {
        let applied = driver.apply((start..start + 1_000).map(|i| create(&format!("q{i}"))).collect());
        assert!(applied.replies.iter().all(|reply| matches!(reply, Reply::Queue(_))));
    }
    assert!(invalid(driver.one(create("one more"))).contains("100000 queues"));
    assert_eq!(driver.machine.catalog_state().unwrap().queue_count(), 100_000);
    row(driver.one(create("q5")));
    let uid = row(driver.one(delete("q7"))).uid;
    driver.one(confirm_dropped(uid));
    row(driver.one(create("one more")));
    invariants::check(&driver.machine).unwrap();
}

/// Some command that may or may not make sense now.
fn random_command(rng: &mut Rng) -> CommandKind {
    let name = ["a", "b", "c", "d"][rng.below(4) as usize];
    match rng.below(12) {
        0..3 => create(name),
        3 => create_with(name, QueueSettings { lease_ms: 1 + rng.below(2), ..Default::default() }),
        4..6 => update(name, rng.below(3), rng.below(4)),
        6..8 => delete(name),
        8..10 => confirm(rng.below(12), rng.below(4)),
        10 => confirm_dropped(rng.below(12)),
        _ => CommandKind::Bootstrap(plan(1 + rng.below(3))),
    }
}

#[test]
fn checkpoints_at_any_time_load_to_the_same_catalog() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut often = Driver::new(MachineKind::Catalog);
        let mut never = Driver::new(MachineKind::Catalog);
        let mut rows = Rows::default();
        for _ in 0..60 {
            let command = random_command(&mut rng);
            let expected = never.one(command.clone());
            assert_eq!(often.one(command.clone()), expected, "seed {seed}: {command:?}");
            invariants::check(&often.machine).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            if rng.chance(20) {
                rows.checkpoint(&mut often.machine, rng.chance(50));
                often.machine =
                    rows.load(MachineKind::Catalog).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                invariants::check(&often.machine).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            }
            assert_eq!(often.machine.digest(), never.machine.digest(), "seed {seed}");
        }
        let list = |driver: &Driver| -> Vec<QueueEntry> {
            let catalog = driver.machine.catalog_state().unwrap();
            catalog.list(QueueKind::Queue, "default", "", 100).into_iter().cloned().collect()
        };
        assert_eq!(list(&often), list(&never), "seed {seed}");
        assert_eq!(pending(&often), pending(&never), "seed {seed}");
    }
}
