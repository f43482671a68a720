//! Receiving, deadlines, redelivery.

use super::scenario::{Scenario, id};
use crate::command::{QueueSettings, SettleAction};
use crate::ids::Id128;
use crate::reply::{ReturnReason, SettleResult};

#[test]
fn messages_are_received_in_the_order_of_their_sends_under_rising_tokens() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2"]);
    queue.at(1).send(&["m3"]);
    assert_eq!(queue.at(2).receive("ann", 2).expect(&["m1", "m2"]), [1, 2]);
    assert_eq!(queue.at(2).receive("bob", 9).expect(&["m3"]), [3]);
    queue.at(3).receive("ann", 1).expect_empty();
}

#[test]
fn expired_lease_goes_to_the_next_consumer() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["m1"]);
    let first = queue.at(10).receive("ann", 1).expect(&["m1"]);
    queue.at(109).receive("bob", 1).expect_empty();
    let again = queue.at(110).receive("bob", 1).only("m1"); // deadline = 10 + 100, exclusive
    assert_eq!(queue.ended(), [(first[0], ReturnReason::Expired)]);
    assert_eq!((again.attempt, again.redelivery), (2, Some(ReturnReason::Expired)));
    assert!(again.token > first[0]);
    assert_eq!(queue.at(111).ack("ann", &first), [SettleResult::LeaseOver]); // a late ack loses, quietly
    assert_eq!(queue.at(112).ack("bob", &[again.token]), [SettleResult::Acked]);
    assert_eq!(queue.info().ready_count + queue.info().leased_count, 0);
}

#[test]
fn an_ack_at_the_deadline_is_late_even_when_it_is_in_the_entry_that_sweeps() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["m1"]);
    let token = queue.at(0).receive("ann", 1).expect(&["m1"]);
    assert_eq!(queue.at(100).ack("ann", &token), [SettleResult::LeaseOver]);
    queue.at(100).receive("ann", 1).expect(&["m1"]);
}

#[test]
fn a_returned_message_comes_before_later_ones_that_were_never_delivered() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["m1", "m2", "m3", "m4"]);
    let tokens = queue.at(0).receive("ann", 2).expect(&["m1", "m2"]);
    queue.at(1).nack("ann", &tokens[1..], 0);
    queue.at(2).receive("bob", 2).expect(&["m2", "m3"]);
    queue.at(100).receive("bob", 2).expect(&["m1", "m4"]);
}

#[test]
fn extending_moves_the_deadline_and_may_be_repeated() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["m1"]);
    let token = queue.at(0).receive("ann", 1).expect(&["m1"]);
    let extended = queue.at(90).settle("ann", SettleAction::Extend, &token);
    assert_eq!(extended, [SettleResult::Extended(190)]);
    assert_eq!(queue.at(90).settle("ann", SettleAction::Extend, &token), [SettleResult::Extended(190)]);
    queue.at(189).receive("bob", 1).expect_empty();
    assert_eq!(queue.at(190).settle("ann", SettleAction::Extend, &token), [SettleResult::LeaseOver]);
    queue.at(190).receive("bob", 1).expect(&["m1"]);
}

#[test]
fn a_repeated_receive_gets_its_live_leases_again_and_nothing_else() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["m1", "m2", "m3"]);
    let request = Id128 { hi: 9, lo: 9 };
    let first = queue.at(0).receive_as("ann", 2, request).expect(&["m1", "m2"]);
    assert_eq!(queue.at(5).receive_as("ann", 2, request).expect(&["m1", "m2"]), first);
    queue.at(6).ack("ann", &first[..1]);
    assert_eq!(queue.at(7).receive_as("ann", 2, request).expect(&["m2"]), first[1..]);
    queue.restart();
    assert_eq!(queue.at(8).receive_as("ann", 2, request).expect(&["m2"]), first[1..]);
    queue.at(100).receive_as("ann", 2, request).expect_empty(); // its lease is over; m2 waits for another request
    queue.at(100).receive("ann", 2).expect(&["m2", "m3"]);
}

#[test]
fn an_empty_receive_leaves_no_trace() {
    let mut queue = Scenario::new();
    let request = Id128 { hi: 9, lo: 9 };
    let before = queue.machine.digest();
    queue.at(0).receive_as("ann", 1, request).expect_empty();
    assert_eq!(queue.machine.digest(), before);
    queue.at(0).send(&["m1"]);
    queue.at(0).receive_as("ann", 1, request).expect(&["m1"]);
}

#[test]
fn a_copy_that_comes_after_the_last_answer_leases_nothing() {
    let mut queue = Scenario::new();
    let request = Id128 { hi: 9, lo: 9 };
    let last = crate::command::Receive {
        uid: super::scenario::UID,
        consumer: id("ann"),
        request,
        messages_max: 1,
        last: true,
        ..Default::default()
    };
    let nothing = crate::reply::Reply::Received { deliveries: Vec::new(), repeated: false };
    assert_eq!(queue.at(0).apply(crate::command::CommandKind::Receive(last)), nothing);
    queue.at(1).send(&["m1"]);
    queue.restart();
    // An earlier attempt of the same call was on its way for so long.
    queue.at(2).receive_as("ann", 1, request).expect_empty();
    assert_eq!(queue.info().leased_count, 0);
    queue.at(3).receive("bob", 1).expect(&["m1"]);
}

#[test]
fn a_request_of_another_consumer_is_not_answered() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    let request = Id128 { hi: 9, lo: 9 };
    queue.at(0).receive_as("ann", 1, request).expect(&["m1"]);
    let receive = crate::command::Receive {
        uid: super::scenario::UID,
        consumer: id("bob"),
        request,
        ..Default::default()
    };
    let reply = queue.at(0).apply(crate::command::CommandKind::Receive(receive));
    assert!(matches!(reply, crate::reply::Reply::Rejected(crate::reply::Rejection::Invalid(_))));
}

#[test]
fn at_most_4096_leases_end_in_one_entry_and_the_rest_are_over_all_the_same() {
    let mut queue = Scenario::with(QueueSettings { lease_ms: 100, ..QueueSettings::default() });
    let bodies: Vec<String> = (0..5000).map(|i| format!("m{i}")).collect();
    queue.at(0).send(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tokens = Vec::new();
    while tokens.len() < 5000 {
        tokens.extend(queue.at(0).receive("ann", 1024).0.into_iter().map(|delivery| delivery.token));
    }
    queue.at(100).tick();
    assert_eq!(queue.info().leased_count, 5000 - 4096);
    assert_eq!(queue.machine.next_due_ms(), Some(100), "the leader ticks again at once");
    assert_eq!(queue.ended().len(), 4096);
    let last = *tokens.last().unwrap();
    assert_eq!(queue.at(100).ack("ann", &[last]), [SettleResult::LeaseOver]);
    assert_eq!(queue.info().leased_count, 0, "that entry swept the rest");
}

#[test]
fn times_beyond_all_bounds_are_endured() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2"]);
    let tokens = queue.at(u64::MAX).receive("ann", 2).expect(&["m1", "m2"]);
    assert_eq!(queue.at(0).ack("ann", &tokens), [SettleResult::LeaseOver, SettleResult::LeaseOver]);
    queue.at(5).attach("bob", u64::MAX, u32::MAX);
    queue.at(u64::MAX).tick();
    queue.restart();
    queue.at(u64::MAX).tick();
    assert_eq!(queue.info().bytes, 4, "nothing was lost");
}

#[test]
fn a_ready_message_wakes_a_waiting_receive_only_if_no_stream_takes_it() {
    let mut queue = Scenario::new();
    queue.at(0).attach("ann", 1, 1);
    queue.at(0).send(&["m1"]);
    assert!(!queue.woke());
    queue.at(0).send(&["m2"]);
    assert!(queue.woke());
    queue.at(0).receive("bob", 1).expect(&["m2"]);
    assert!(!queue.woke());
}
