//! One of each row.

use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::{Place, PlaceKind, QueueKind, Source};
use phalanx_state_machine::reply::ReturnReason;
use phalanx_state_machine::rows::{
    AnswersRow, ConsumerRow, DuplicateRow, InboxRow, LeaseItem, LeaseRow, MachineRow, MarkRow, MatchRow,
    MemoryItem, MemoryRow, MemoryValue, PageMessage, PageRow, ProducerRow, QueueRow, ResultRow, ResultsRow,
    StateMessage, StateRow,
};

use super::commands::{group, id, node, settings};
use super::{bytes, check};

/// The files of this module.
pub fn names() -> Vec<String> {
    let names = [
        "machine",
        "queue",
        "consumer",
        "page",
        "state",
        "lease",
        "answers",
        "producer",
        "results",
        "memory",
        "catalog-queue",
        "catalog-subscription",
        "subscription",
        "binding",
        "queue-inboxes",
        "topic",
        "topic-retained",
        "queue-expired",
        "page-deletes",
        "replaying",
        "catalog-start",
        "match",
        "catalog-node",
        "catalog-group",
    ];
    names.iter().map(|name| format!("row-{name}")).collect()
}

fn result() -> ResultRow {
    ResultRow {
        first: 41,
        count: 2,
        duplicates: vec![DuplicateRow { position: 1, original: 17 }],
        rejection: 2,
        text: "10 of 10 messages".into(),
        ..ResultRow::default()
    }
}

#[test]
fn golden_rows_of_the_machine_and_of_queues() {
    check(
        "row-machine",
        &MachineRow { format: 1, group: 2, now_ms: 1_700_000_000_000, term: 7, applied_index: 99 },
    );
    check(
        "row-queue",
        &QueueRow {
            namespace: "default".into(),
            name: "orders".into(),
            version: 2,
            settings: settings(),
            next_sequence: 101,
            next_token: 102,
            floor: 3,
            next_consumer: 4,
            dedup_first: 5,
            sends_first: 6,
            receives_first: 7,
            sent_total: 108,
            acked_total: 109,
            rejected_total: 110,
            delivered_total: 111,
            redelivered_total: 112,
            ..QueueRow::default()
        },
    );
}

#[test]
fn golden_rows_of_topics_and_what_takes_from_them() {
    let source = Some(Source { topic: 4, pattern: "*.eu".into(), filter: "n >= 2".into(), target: 0 });
    let kind = QueueKind::Subscription.into();
    check(
        "row-subscription",
        &QueueRow { kind, source, matched: true, starved: true, ..QueueRow::default() },
    );
    let source = Some(Source { topic: 4, target: 11, ..Source::default() });
    check("row-binding", &QueueRow { kind: QueueKind::Binding.into(), source, ..QueueRow::default() });
    let inboxes = vec![InboxRow { binding: 5, through: 70 }, InboxRow { binding: 6, through: 0 }];
    check("row-queue-inboxes", &QueueRow { inboxes, ..QueueRow::default() });
    check("row-topic", &QueueRow { kind: QueueKind::Topic.into(), trim: 77, ..QueueRow::default() });
    let mark = MarkRow { name: "before".into(), sequence: 70 };
    let (replay_at, replay_end) = (100, 164);
    let replaying = QueueRow { replay_at, replay_end, marks: vec![mark], ..QueueRow::default() };
    check("row-replaying", &replaying);
    check(
        "row-queue-expired",
        &QueueRow { used_ms: 1_700_000_000_003, expired: true, ..QueueRow::default() },
    );
    let deletes = PageMessage { offset: 3, deletes: true, ..PageMessage::default() };
    check("row-page-deletes", &PageRow { first: 65, messages: vec![deletes] });
    check("row-topic-retained", &QueueRow { retained: 80, kept: 78, ..QueueRow::default() });
    check(
        "row-catalog-start",
        &QueueEntry { start: Some(Place { kind: Some(PlaceKind::Earliest(true)) }), ..QueueEntry::default() },
    );
    check("row-match", &MatchRow { bits: 0x8000_0000_0000_0101 });
}

#[test]
fn golden_rows_of_clients() {
    check(
        "row-consumer",
        &ConsumerRow {
            id: id(4),
            name: "worker".into(),
            incarnation: 2,
            phase: 1,
            until_ms: 1_700_000_010_000,
            window_messages: 256,
            window_bytes: 8_000_000,
            lease_ms: 9_000,
            last_token: 55,
            answers_first: 1,
        },
    );
    check("row-producer", &ProducerRow { last: 2_000, first_result: 977, active_ms: 1_700_000_000_001 });
    check("row-results", &ResultsRow { first: 960, results: vec![ResultRow::default(), result()] });
    let value = MemoryValue { first: 31, count: 3, consumer: Some(id(4)), result: Some(result()) };
    let item = MemoryItem { id: id(8), expires_ms: 1_700_000_120_000, value };
    check("row-memory", &MemoryRow { first: 256, items: vec![item] });
}

#[test]
fn golden_rows_of_messages_and_leases() {
    let message = |offset, payload, group| PageMessage {
        offset,
        payload: bytes(payload),
        group: bytes(group),
        enqueued_ms: 1_700_000_000_000 + u64::from(offset),
        deletes: false,
    };
    check(
        "row-page",
        &PageRow { first: 65, messages: vec![message(0, "first", "customer-1"), message(3, "second", "")] },
    );
    let state =
        |offset, due_ms| StateMessage { offset, attempts: 2, reason: ReturnReason::Nacked as u32, due_ms };
    let messages = vec![state(1, Some(1_700_000_005_000)), state(5, None)];
    check("row-state", &StateRow { settled: 0x8000_0000_0000_0005, messages });
    let lease =
        LeaseItem { offset: 9, sequence: 77, deadline_ms: 1_700_000_030_000, consumer: 3, lease_ms: 30_000 };
    check("row-lease", &LeaseRow { leases: vec![lease] });
    check("row-answers", &AnswersRow { words: vec![4, 9, 300] });
}

#[test]
fn golden_rows_of_the_catalog() {
    check(
        "row-catalog-queue",
        &QueueEntry {
            uid: 3,
            namespace: "default".into(),
            name: "orders".into(),
            group: 5,
            version: 2,
            confirmed_version: 1,
            state: QueueState::Deleting.into(),
            settings: settings(),
            created_ms: 1_700_000_000_000,
            ..QueueEntry::default()
        },
    );
    check(
        "row-catalog-subscription",
        &QueueEntry {
            uid: 5,
            kind: QueueKind::Subscription.into(),
            source: Some(Source { topic: 4, pattern: "*.eu".into(), filter: "n >= 2".into(), target: 0 }),
            ..QueueEntry::default()
        },
    );
    check("row-catalog-node", &node());
    check("row-catalog-group", &group());
}
