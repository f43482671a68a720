//! Whole checkpoints: what a fixed history leaves in the rows, and that an old checkpoint still makes the same machine.

use std::collections::BTreeSet;

use phalanx_state_machine::command::{
    Attach, CommandKind, ConfirmQueue, CreateQueue, Detach, DropQueue, NewMessage, PutQueue, QueueSettings,
    Receive, Send, Settle, SettleAction, SettleItem, TermStart, TokenRange,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::MachineKind;

use super::commands::{id, settings};
use super::{bytes, from_hex, golden, to_hex};
use crate::support::{Driver, Rows};

/// The files of this module.
pub const NAMES: [&str; 2] = ["checkpoint-catalog", "checkpoint-shard"];

fn message(payload: &'static str, group: &'static str, dedup: Option<u64>) -> NewMessage {
    NewMessage { payload: bytes(payload), group: bytes(group), dedup: dedup.map(id) }
}

fn settle(action: SettleAction, token: u64, delay_ms: u64) -> CommandKind {
    let tokens = vec![TokenRange { first: token, last: token }];
    let item = SettleItem { action: action.into(), tokens, delay_ms, ..Default::default() };
    CommandKind::Settle(Settle { uid: 1, consumer: id(1), items: vec![item] })
}

/// A history that leaves a row in every table of a shard. The first checkpoint holds the messages' pages, the second
/// what happened to them since.
fn shard() -> (Driver, Rows) {
    let mut driver = Driver::new(MachineKind::Shard(2));
    let mut rows = Rows::default();
    let put = |uid, settings| {
        CommandKind::PutQueue(PutQueue {
            uid,
            version: 1,
            namespace: "default".into(),
            name: format!("q{uid}"),
            settings,
            first_token: 0,
            ..PutQueue::default()
        })
    };
    let small = QueueSettings { length_max: 6, ..Default::default() };
    driver.apply(vec![
        put(1, small),
        put(2, settings()),
        put(3, settings()),
        CommandKind::DropQueue(DropQueue { uid: 3 }),
    ]);
    driver.one(CommandKind::TermStart(TermStart { term: 3, leader: 1 }));
    let of_producer = |producer_sequence, messages| {
        CommandKind::Send(Send {
            uid: 1,
            producer: Some(id(50)),
            producer_sequence,
            messages,
            ..Default::default()
        })
    };
    driver.one(of_producer(
        1,
        vec![message("one", "red", Some(60)), message("two", "red", None), message("three", "", None)],
    ));
    driver.one(of_producer(2, vec![message("one again", "", Some(60))]));
    let request = vec![message("four", "blue", None), message("five", "", None), message("six", "", None)];
    driver.one(CommandKind::Send(Send {
        uid: 1,
        request: Some(id(70)),
        messages: request,
        ..Default::default()
    }));
    driver.one(of_producer(3, vec![message("too many", "", None)]));
    rows.checkpoint(&mut driver.machine, true);
    driver.now_ms += 1_000;
    driver.one(CommandKind::Attach(Attach {
        uid: 1,
        consumer: id(1),
        incarnation: 1,
        name: "worker".into(),
        window_messages: 3,
        window_bytes: 1_000,
        ..Default::default()
    }));
    driver.apply(vec![settle(SettleAction::Ack, 3, 0), settle(SettleAction::Nack, 4, 5_000)]);
    driver.one(CommandKind::Receive(Receive {
        uid: 1,
        consumer: id(2),
        request: id(80),
        messages_max: 1,
        ..Default::default()
    }));
    driver.one(CommandKind::Detach(Detach { uid: 1, consumer: id(1), incarnation: 1, clean: false }));
    rows.checkpoint(&mut driver.machine, true);
    (driver, rows)
}

fn catalog() -> (Driver, Rows) {
    let mut driver = Driver::new(MachineKind::Catalog);
    let mut rows = Rows::default();
    let create = |name: &str| {
        CommandKind::CreateQueue(CreateQueue {
            namespace: "default".into(),
            name: name.into(),
            settings: settings(),
            ..CreateQueue::default()
        })
    };
    driver.one(CommandKind::Bootstrap(crate::catalog::plan(2)));
    driver.apply(vec![create("orders"), create("invoices")]);
    driver.one(CommandKind::ConfirmQueue(ConfirmQueue { uid: 1, version: 1, dropped: false }));
    rows.checkpoint(&mut driver.machine, true);
    (driver, rows)
}

/// The tables that occur: the first key byte, and the table byte where there is one.
fn tables(rows: &Rows) -> BTreeSet<(u8, u8)> {
    let table = |key: &[u8]| match key[0] {
        0x10 => (0x10, key[9]),
        0x40 => (0x40, key[1]),
        first => (first, 0),
    };
    rows.rows.keys().map(|key| table(key)).collect()
}

fn check(name: &str, kind: MachineKind, (driver, rows): (Driver, Rows)) {
    let lines: Vec<String> =
        rows.rows.iter().map(|(key, value)| format!("{} {}\n", to_hex(key), to_hex(value))).collect();
    let text = format!("{}digest {:016x}\n", lines.concat(), driver.machine.digest());
    let old = golden(name, &text);
    let mut stored = Rows::default();
    let mut digest = None;
    for line in old.lines() {
        match line.split_once(' ').unwrap() {
            ("digest", value) => digest = Some(u64::from_str_radix(value, 16).unwrap()),
            (key, value) => drop(stored.rows.insert(from_hex(key).into(), from_hex(value).into())),
        }
    }
    let machine = stored.load(kind).unwrap_or_else(|why| panic!("{name}: {why}"));
    invariants::check(&machine).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(Some(machine.digest()), digest, "{name}: an old checkpoint makes another machine now");
    assert_eq!(machine.queue_info(1), driver.machine.queue_info(1), "{name}");
    assert_eq!(text, old, "{name}: the same history leaves other rows now");
}

#[test]
fn golden_checkpoint_of_a_shard_holds_every_table_and_loads() {
    let shard = shard();
    let mut expected: BTreeSet<(u8, u8)> = (1..=11).map(|table| (0x10, table)).collect();
    expected.extend([(0, 0), (1, 0)]);
    assert_eq!(tables(&shard.1), expected);
    check("checkpoint-shard", MachineKind::Shard(2), shard);
}

#[test]
fn golden_checkpoint_of_the_catalog_holds_every_table_and_loads() {
    let catalog = catalog();
    let mut expected: BTreeSet<(u8, u8)> = (0..=3).map(|table| (0x40, table)).collect();
    expected.insert((0, 0));
    assert_eq!(tables(&catalog.1), expected);
    check("checkpoint-catalog", MachineKind::Catalog, catalog);
}
