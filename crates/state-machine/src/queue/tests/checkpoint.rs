//! Checkpoints: what becomes a row, what does not, and what is read back.

use std::collections::BTreeMap;

use super::scenario::{Scenario, UID};
use crate::machine::{Machine, RowChange};
use crate::reply::Payload;
use crate::rows::Table;

fn tables(rows: &[(bytes::Bytes, bytes::Bytes)]) -> BTreeMap<u8, usize> {
    let mut counts = BTreeMap::new();
    for (key, _) in rows.iter().filter(|(key, _)| key.len() > 9) {
        *counts.entry(key[9]).or_default() += 1;
    }
    counts
}

#[test]
fn a_message_settled_before_its_first_checkpoint_never_becomes_a_row() {
    let mut queue = Scenario::new();
    for round in 0..50 {
        queue.at(round).send(&["a", "b:b"]);
        let tokens = queue.at(round).receive("ann", 2).expect(&["a", "b"]);
        queue.at(round).ack("ann", &tokens);
    }
    let changes = queue.machine.take_changes();
    let of = |table: Table| changes.rows.iter().filter(|row| row.key.get(9) == Some(&(table as u8))).count();
    assert_eq!((of(Table::Pages), of(Table::States), of(Table::Leases)), (0, 0, 0));
}

#[test]
fn a_checkpoint_holds_only_what_changed_since_the_last() {
    let mut queue = Scenario::new();
    let bodies: Vec<String> = (0..6400).map(|i| format!("m{i}")).collect();
    queue.at(0).send(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(queue.checkpoint() > 100);
    assert_eq!(queue.checkpoint(), 0, "nothing changed");
    queue.at(1).receive("ann", 1);
    // The machine, the queue, the consumer, the message's state, the lease, the request.
    assert_eq!(queue.checkpoint(), 6);
    queue.restart();
    assert_eq!(queue.checkpoint(), 0, "a loaded machine is clean");
}

#[test]
fn rows_go_when_their_messages_are_settled() {
    let mut queue = Scenario::new().lease_ms(3_600_000);
    for _ in 0..10 {
        queue.at(0).send(&["a", "g:b", "c"]);
        queue.checkpoint();
    }
    let tokens: Vec<u64> = queue.at(0).receive("ann", 99).0.iter().map(|delivery| delivery.token).collect();
    queue.restart();
    let (odd, even): (Vec<u64>, Vec<u64>) = tokens.iter().partition(|token| **token % 2 == 1);
    queue.at(1).ack("ann", &odd);
    queue.restart();
    assert!(tables(&queue.rows())[&(Table::States as u8)] > 0);
    queue.at(2).ack("ann", &even);
    queue.restart();
    let left = tables(&queue.rows());
    for table in [Table::Pages, Table::States, Table::Leases] {
        assert_eq!(left.get(&(table as u8)), None, "{table:?}");
    }
}

#[test]
fn pages_stay_small_and_a_long_payload_has_its_own() {
    let mut queue = Scenario::new();
    let (long, short) = ("l".repeat(100_000), "s".repeat(1_000));
    queue.at(0).send(&[&short, &long, &short, &short]);
    for _ in 0..10 {
        queue.at(0).send(&[short.as_str(); 10]);
    }
    queue.restart();
    let rows = queue.rows();
    let pages: Vec<usize> = rows
        .iter()
        .filter(|(key, _)| key.get(9) == Some(&(Table::Pages as u8)))
        .map(|(_, value)| value.len())
        .collect();
    assert_eq!(pages.iter().filter(|length| **length > 32 * 1024).count(), 1);
    assert!(pages.len() <= 8, "{pages:?}");
}

#[test]
fn only_durable_payloads_are_spilled_and_they_are_read_back() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["one", "g:two"]);
    assert_eq!(queue.machine.spill(UID, 99), 0, "no checkpoint has them");
    let taken = queue.machine.take_changes();
    assert_eq!(queue.machine.spill(UID, 99), 0, "the checkpoint is not known to be durable");
    assert_eq!(queue.machine.page_key_of(UID, 1), None);
    queue.machine.checkpoint_done();
    queue.at(0).send(&["three"]);
    let digest = queue.machine.digest();
    assert_eq!(queue.machine.spill(UID, 1), 3);
    assert_eq!(queue.machine.spill(UID, 99), 3);
    assert_eq!((queue.machine.resident_bytes(), queue.machine.digest()), (5, digest));
    let got = queue.at(1).receive("ann", 3).0;
    assert_eq!(got[0].payload, Payload::Spilled(3));
    assert_eq!(got[2].payload, Payload::Resident("three".into()));
    let key = queue.machine.page_key_of(UID, 2).unwrap();
    let row = taken.rows.iter().find(|row| row.key == key).and_then(|row| row.value.clone()).unwrap();
    assert_eq!(Machine::payload_in_page(&row, 2).unwrap().unwrap(), "two");
    assert_eq!(Machine::payload_in_page(&row, 9).unwrap(), None);
}

#[test]
fn a_load_within_a_budget_leaves_the_rest_in_the_checkpoint() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["aaaa", "bbbb", "cccc"]);
    queue.checkpoint();
    let loaded = Machine::load_within(queue.machine.kind(), queue.rows().into_iter(), 9).unwrap();
    assert_eq!((loaded.resident_bytes(), loaded.digest()), (8, queue.machine.digest()));
    crate::invariants::check(&loaded).unwrap();
    assert!(loaded.page_key_of(UID, 3).is_some());
}

#[test]
fn garbage_rows_are_passed_over_and_reported_again() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2"]);
    queue.checkpoint();
    let before = queue.rows();
    queue.at(1).apply(crate::command::CommandKind::Purge(crate::command::Purge { uid: UID }));
    queue.at(2).send(&["m3"]);
    queue.checkpoint();
    // A crash before the garbage was collected: the old rows are still there.
    let mut rows: BTreeMap<_, _> = before.into_iter().collect();
    rows.extend(queue.rows());
    let mut loaded = Machine::load(queue.machine.kind(), rows.into_iter()).unwrap();
    assert_eq!(loaded.digest(), queue.machine.digest());
    let changes = loaded.take_changes();
    assert!(!changes.garbage.is_empty());
    let covers = |key: &bytes::Bytes| changes.garbage.iter().any(|(start, end)| (start..end).contains(&key));
    assert!(covers(&crate::rows::page_key(UID, 1)) && !covers(&crate::rows::page_key(UID, 3)));
}

#[test]
fn rows_of_another_group_out_of_order_or_without_a_machine_are_rejected() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    queue.checkpoint();
    let rows = queue.rows();
    let kind = queue.machine.kind();
    let load = |kind, rows: Vec<(bytes::Bytes, bytes::Bytes)>| Machine::load(kind, rows.into_iter()).is_ok();
    assert!(load(kind, rows.clone()));
    assert!(!load(crate::machine::MachineKind::Shard(4), rows.clone()));
    assert!(!load(kind, rows.iter().rev().cloned().collect()));
    assert!(!load(kind, rows[1..].to_vec()));
    assert!(!load(kind, vec![]));
}

#[test]
fn a_key_changes_once_in_a_checkpoint_even_if_it_was_deleted_and_written_anew() {
    let mut queue = Scenario::new();
    for round in 0..20 {
        queue.at(round).send(&["m"]);
        let tokens = queue.at(round).receive("ann", 1).expect(&["m"]);
        queue.checkpoint();
        queue.at(round).ack("ann", &tokens);
    }
    queue.at(30).send(&["last"]);
    queue.at(30).receive("ann", 1).expect(&["last"]);
    let rows = queue.machine.take_changes().rows;
    let keys: std::collections::BTreeSet<_> = rows.iter().map(|row: &RowChange| row.key.clone()).collect();
    assert_eq!(keys.len(), rows.len());
}
