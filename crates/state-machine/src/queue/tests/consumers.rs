//! Streams: windows, shares, attach, detach, resume.

use super::scenario::{Scenario, UID, id};
use crate::command::{Attach, CommandKind, QueueSettings, TokenRange};
use crate::reply::{Effect, Rejection, Reply, ReturnReason, SettleResult};

fn attach(who: &str, incarnation: u64, held: &[u64]) -> Attach {
    let range = |token: &u64| TokenRange { first: *token, last: *token };
    Attach {
        consumer: id(who),
        incarnation,
        window_messages: 8,
        window_bytes: 1 << 20,
        held: held.iter().map(range).collect(),
        ..Attach::default()
    }
}

#[test]
fn a_window_bounds_what_is_in_hand_and_an_ack_frees_it() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2", "m3", "m4"]);
    let tokens = queue.at(0).attach("ann", 1, 2).expect(&["m1", "m2"]);
    queue.at(1).ack("ann", &tokens[..1]);
    queue.delivered("ann").expect(&["m3"]);
    assert_eq!(queue.at(2).window("ann", 1, 3), Reply::Done);
    queue.delivered("ann").expect(&["m4"]);
}

#[test]
fn a_byte_window_is_never_exceeded_except_by_a_single_message() {
    let mut queue = Scenario::new();
    let (small, large) = ("s".repeat(40), "l".repeat(500));
    queue.at(0).send(&[&small, &small, &small, &large]);
    let attach = Attach { window_bytes: 100, ..attach("ann", 1, &[]) };
    let (_, got) = queue.at(0).attach_as(attach);
    let tokens = got.expect(&[&small, &small]);
    queue.at(1).ack("ann", &tokens);
    let tokens = queue.delivered("ann").expect(&[&small]);
    queue.at(2).ack("ann", &tokens);
    queue.delivered("ann").expect(&[&large]);
}

#[test]
fn the_least_loaded_consumer_gets_the_next_message_and_the_longest_idle_of_equals() {
    let mut queue = Scenario::new();
    for who in ["ann", "bob", "cid"] {
        queue.at(0).attach(who, 1, 8);
    }
    queue.at(0).send(&["m1", "m2", "m3", "m4"]);
    let ann = queue.delivered("ann").expect(&["m1", "m4"]);
    queue.delivered("bob").expect(&["m2"]);
    queue.delivered("cid").expect(&["m3"]);
    queue.at(1).ack("ann", &ann);
    queue.at(1).send(&["m5"]);
    queue.delivered("ann").expect(&["m5"]);
    queue.at(2).send(&["m6", "m7"]);
    queue.delivered("bob").expect(&["m6"]);
    queue.delivered("cid").expect(&["m7"]);
}

#[test]
fn a_new_consumer_gets_its_share_at_once() {
    let mut queue = Scenario::new();
    queue.at(0).attach("ann", 1, 4);
    queue.at(0).send(&["m1", "m2", "m3", "m4", "m5", "m6"]);
    queue.at(1).attach("bob", 1, 4).expect(&["m5", "m6"]);
    queue.at(2).send(&["m7"]);
    queue.delivered("bob").expect(&["m7"]);
}

#[test]
fn a_new_term_detaches_all_and_leases_stay() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2", "m3", "m4", "m5"]);
    let tokens = queue.at(0).attach("ann", 1, 3).expect(&["m1", "m2", "m3"]);
    queue.at(5).term(2);
    let detached = Effect::Detached { uid: UID, consumer: id("ann"), incarnation: 1 };
    assert!(queue.effects.contains(&detached));
    assert_eq!(queue.info().leased_count, 3);
    assert_eq!(queue.at(6).ack("ann", &tokens[..1]), [SettleResult::Acked]);
    queue.delivered("ann").expect_empty(); // no credit
    queue.at(6).term(2);
    let (lost, got) = queue.at(7).attach_as(attach("ann", 2, &[tokens[1], 99]));
    assert_eq!(lost, [99]);
    let again = got.expect(&["m3", "m4", "m5"]); // the lease it did not name, then new ones
    assert_eq!(again[0], tokens[2], "same token");
    assert_eq!(queue.info().delivered_total, 5, "delivering again is no delivery");
    queue.at(8).term(2);
    assert!(queue.effects.is_empty(), "a term that was seen does nothing");
}

#[test]
fn an_unclean_detach_waits_resume_ms_and_then_returns_the_leases_as_lost() {
    let mut queue = Scenario::with(QueueSettings { resume_ms: 200, ..QueueSettings::default() });
    queue.at(0).send(&["m1", "m2"]);
    let tokens = queue.at(0).attach("ann", 1, 8).expect(&["m1", "m2"]);
    queue.at(10).detach("ann", 1, false);
    queue.restart();
    queue.at(209).receive("bob", 2).expect_empty();
    let again = queue.at(210).receive("bob", 1).only("m1");
    assert_eq!((again.attempt, again.redelivery), (2, Some(ReturnReason::ConsumerLost)));
    assert_eq!(queue.ended().len(), 2);
    assert_eq!(queue.at(211).ack("ann", &tokens), [SettleResult::LeaseOver, SettleResult::LeaseOver]);
    assert!(!queue.info().consumers.iter().any(|consumer| consumer.consumer == id("ann")));
}

#[test]
fn a_consumer_that_resumes_in_time_keeps_its_leases() {
    let mut queue = Scenario::with(QueueSettings { resume_ms: 200, ..QueueSettings::default() });
    queue.at(0).send(&["m1"]);
    let tokens = queue.at(0).attach("ann", 1, 8).expect(&["m1"]);
    queue.at(10).detach("ann", 1, false);
    let (lost, got) = queue.at(209).attach_as(attach("ann", 2, &tokens));
    assert_eq!((lost, got.0), (vec![], vec![]));
    queue.at(5000).receive("bob", 1).expect_empty();
    assert_eq!(queue.at(5001).ack("ann", &tokens), [SettleResult::Acked]);
}

#[test]
fn a_clean_detach_returns_the_leases_at_once_and_counts_no_attempt() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "a:a1", "a:a2"]);
    let tokens = queue.at(0).attach("ann", 1, 8).expect(&["m1", "a1", "a2"]);
    queue.at(1).ack("ann", &tokens[..1]);
    queue.at(1).detach("ann", 1, true);
    let again = queue.at(1).receive("bob", 9).0;
    assert_eq!(again.iter().map(|d| (d.sequence, d.attempt)).collect::<Vec<_>>(), [(2, 1), (3, 1)]);
    assert_eq!(again[0].redelivery, Some(ReturnReason::ConsumerClosed));
    assert_eq!(queue.at(2).ack("ann", &tokens[..1]), [SettleResult::Acked], "answers outlive the stream");
}

#[test]
fn a_newer_stream_replaces_the_older_one_and_an_older_one_is_refused() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    let tokens = queue.at(0).attach("ann", 5, 8).expect(&["m1"]);
    let (_, got) = queue.at(1).attach_as(attach("ann", 6, &[]));
    assert_eq!(got.expect(&["m1"]), tokens);
    assert_eq!(queue.effects[0], Effect::Detached { uid: UID, consumer: id("ann"), incarnation: 5 });
    let old = queue.at(2).apply(CommandKind::Attach(Attach { uid: UID, ..attach("ann", 5, &[]) }));
    assert_eq!(old, Reply::Rejected(Rejection::ConsumerReplaced));
    queue.at(3).detach("ann", 5, true); // of the stream that was replaced: nothing happens
    assert_eq!(queue.info().leased_count, 1);
    assert_eq!(queue.at(4).window("ann", 5, 1), Reply::Rejected(Rejection::ConsumerReplaced));
    assert_eq!(queue.at(4).window("bob", 1, 1), Reply::Rejected(Rejection::NotAttached));
}

#[test]
fn a_consumer_that_comes_back_too_late_gets_nothing_of_the_old_even_before_the_sweep() {
    let mut queue = Scenario::with(QueueSettings { resume_ms: 200, ..QueueSettings::default() });
    queue.at(0).send(&["m1"]);
    let tokens = queue.at(0).attach("ann", 1, 8).expect(&["m1"]);
    queue.at(0).detach("ann", 1, false);
    let (lost, got) = queue.at(200).attach_as(attach("ann", 2, &tokens));
    assert_eq!(lost, tokens);
    let again = got.only("m1");
    assert_eq!(again.redelivery, Some(ReturnReason::ConsumerLost));
}

#[test]
fn held_tokens_beyond_all_bounds_are_endured() {
    let mut queue = Scenario::new();
    let wild = Attach { held: vec![TokenRange { first: 0, last: u64::MAX }; 3], ..attach("ann", 1, &[]) };
    let (lost, _) = queue.at(0).attach_as(wild);
    assert!(lost.len() <= crate::limits::HELD_TOKENS_MAX);
}
