//! Sending: atomic batches, producers, requests, deduplication ids.

use super::scenario::{Scenario, UID, id, message};
use crate::command::{CommandKind, NewMessage, PutQueue, QueueSettings, Send};
use crate::reply::Rejection;

fn produced(producer: &str, producer_sequence: u64, bodies: &[&str]) -> Send {
    Send {
        producer: Some(id(producer)),
        producer_sequence,
        messages: bodies.iter().map(|body| message(body)).collect(),
        ..Send::default()
    }
}

fn deduplicated(ids: &[&str]) -> Send {
    let message = |name: &&str| NewMessage { dedup: Some(id(name)), ..message("x") };
    Send { messages: ids.iter().map(message).collect(), ..Send::default() }
}

#[test]
fn a_producers_repeated_send_is_answered_and_not_appended() {
    let mut queue = Scenario::new();
    let first = queue.at(0).send_as(produced("p", 1, &["m1", "m2"]));
    assert_eq!((first.first, first.count, first.repeated), (1, 2, false));
    queue.restart();
    let again = queue.at(1).send_as(produced("p", 1, &["m1", "m2"]));
    assert_eq!((again.first, again.count, again.repeated), (1, 2, true));
    assert_eq!(queue.info().sent_total, 2);
}

#[test]
fn a_producer_may_neither_skip_nor_start_in_the_middle() {
    let mut queue = Scenario::new();
    assert_eq!(queue.at(0).try_send(produced("p", 2, &["m"])), Err(Rejection::ProducerForgotten));
    queue.at(0).send_as(produced("p", 1, &["m"]));
    let gap = queue.at(0).try_send(produced("p", 3, &["m"]));
    assert_eq!(gap, Err(Rejection::SequenceGap { expected: 2 }));
    queue.at(0).send_as(produced("p", 2, &["m"]));
    assert!(matches!(queue.at(0).try_send(produced("p", 0, &["m"])), Err(Rejection::Invalid(_))));
}

#[test]
fn a_rejection_in_apply_uses_up_the_sequence_and_is_remembered() {
    let mut queue = Scenario::with(QueueSettings { length_max: 1, ..QueueSettings::default() });
    queue.at(0).send_as(produced("p", 1, &["m1"]));
    let full = queue.at(0).try_send(produced("p", 2, &["m2"]));
    assert!(matches!(full, Err(Rejection::QueueFull(_))));
    let tokens = queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(0).ack("ann", &tokens);
    queue.restart();
    assert_eq!(queue.at(1).try_send(produced("p", 2, &["m2"])), full, "though there is room now");
    queue.at(1).send_as(produced("p", 3, &["m3"]));
}

#[test]
fn the_last_1024_results_are_remembered_and_older_ones_are_duplicates() {
    let mut queue = Scenario::new();
    for sequence in 1..=1100 {
        queue.at(sequence).send_as(produced("p", sequence, &["m"]));
        if sequence % 300 == 0 {
            queue.restart();
        }
    }
    assert_eq!(queue.at(2000).try_send(produced("p", 76, &["m"])), Err(Rejection::Duplicate));
    assert_eq!(queue.at(2000).send_as(produced("p", 77, &["m"])).first, 77);
    assert_eq!(queue.at(2000).send_as(produced("p", 1100, &["m"])).first, 1100);
}

#[test]
fn a_producer_is_forgotten_after_seven_idle_days_and_told_so() {
    let mut queue = Scenario::new();
    queue.at(1).send_as(produced("p", 1, &["m"]));
    let days = 7 * 86_400_000;
    assert!(queue.at(days).send_as(produced("p", 1, &["m"])).repeated);
    assert_eq!(queue.at(days + 1).try_send(produced("p", 2, &["m"])), Err(Rejection::ProducerForgotten));
    queue.at(days + 20_000).tick();
    assert_eq!(queue.info().producer_count, 0);
    queue.restart();
}

#[test]
fn a_unary_request_is_one_send_for_two_minutes() {
    let mut queue = Scenario::new();
    let send = |body| Send { request: Some(id("r")), messages: vec![message(body)], ..Send::default() };
    queue.at(0).send_as(send("m1"));
    queue.restart();
    let again = queue.at(119_999).send_as(send("m1"));
    assert_eq!((again.first, again.repeated), (1, true));
    assert!(!queue.at(120_000).send_as(send("m1")).repeated);
}

#[test]
fn a_rejected_unary_send_may_be_repeated_with_its_request_id() {
    let mut queue = Scenario::with(QueueSettings { length_max: 1, ..QueueSettings::default() });
    queue.at(0).send(&["m1"]);
    let send = || Send { request: Some(id("r")), messages: vec![message("m2")], ..Send::default() };
    assert!(matches!(queue.at(0).try_send(send()), Err(Rejection::QueueFull(_))));
    queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(0).ack("ann", &[1]);
    assert_eq!(queue.at(0).send_as(send()).first, 2);
}

#[test]
fn a_deduplication_id_suppresses_repeats_in_its_window_and_inside_one_batch() {
    let mut queue = Scenario::with(QueueSettings { dedup_window_ms: 100, ..QueueSettings::default() });
    let sent = queue.at(0).send_as(deduplicated(&["a", "b", "a", "c"]));
    assert_eq!((sent.first, sent.count), (1, 3));
    assert_eq!(sent.duplicates, [(2, 1)]);
    queue.restart();
    let sent = queue.at(99).send_as(deduplicated(&["c", "d"]));
    assert_eq!((sent.first, sent.count), (4, 1));
    assert_eq!(sent.duplicates, [(0, 3)]);
    let sent = queue.at(99).send_as(deduplicated(&["d"]));
    assert_eq!((sent.first, sent.count), (0, 0));
    let sent = queue.at(100).send_as(deduplicated(&["a"]));
    assert_eq!((sent.first, sent.count), (5, 1), "the window is over");
}

#[test]
fn a_suppressed_message_counts_even_after_the_original_was_acknowledged() {
    let mut queue = Scenario::new();
    queue.at(0).send_as(deduplicated(&["a"]));
    let tokens = queue.at(0).receive("ann", 1).expect(&["x"]);
    queue.at(0).ack("ann", &tokens);
    assert_eq!(queue.at(1).send_as(deduplicated(&["a"])).count, 0);
}

#[test]
fn a_shorter_window_counts_from_the_change_for_ids_that_were_sent_before() {
    let mut queue = Scenario::with(QueueSettings { dedup_window_ms: 1_000, ..QueueSettings::default() });
    queue.at(0).send_as(deduplicated(&["a"]));
    queue.at(500).send_as(deduplicated(&["b"]));
    queue.checkpoint();
    let put = |version, dedup_window_ms| {
        let settings = QueueSettings { dedup_window_ms, ..QueueSettings::default() };
        CommandKind::PutQueue(PutQueue { uid: UID, version, settings, ..PutQueue::default() })
    };
    queue.at(600).apply(put(9, 450));
    queue.restart();
    assert_eq!(queue.at(999).send_as(deduplicated(&["a", "b"])).count, 0);
    assert_eq!(
        queue.at(1_000).send_as(deduplicated(&["a", "b"])).duplicates,
        [(1, 2)],
        "no id is kept longer"
    );
    assert_eq!(queue.at(1_050).send_as(deduplicated(&["b"])).count, 1);
    queue.at(1_060).apply(put(10, 5_000));
    assert_eq!(queue.at(1_500).send_as(deduplicated(&["b"])).count, 1, "a longer one is for later ids");
    queue.restart();
}
