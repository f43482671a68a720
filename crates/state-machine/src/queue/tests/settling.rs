//! Acknowledging, returning, rejecting: each token once, each answer again.

use super::scenario::{Scenario, UID, id, message};
use crate::command::{
    CommandKind, DropQueue, PutQueue, QueueSettings, Receive, Send, Settle, SettleAction, SettleItem,
    TokenRange,
};
use crate::limits::first_token;
use crate::reply::{Rejection, Reply, SettleOutcome, SettleResult};

fn range(first: u64, last: u64, action: SettleAction) -> SettleItem {
    SettleItem { action: action.into(), tokens: vec![TokenRange { first, last }], ..SettleItem::default() }
}

#[test]
fn settling_twice_is_answered_the_same_way_twice() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2", "m3"]);
    let tokens = queue.at(0).receive("ann", 3).expect(&["m1", "m2", "m3"]);
    assert_eq!(queue.at(1).ack("ann", &tokens[..1]), [SettleResult::Acked]);
    assert_eq!(queue.at(1).nack("ann", &tokens[1..2], 0), [SettleResult::Nacked]);
    assert_eq!(queue.at(1).settle("ann", SettleAction::Reject, &tokens[2..]), [SettleResult::Rejected]);
    queue.restart();
    let again = queue.at(2).nack("ann", &tokens, 0);
    assert_eq!(again, [SettleResult::Acked, SettleResult::Nacked, SettleResult::Rejected]);
    queue.at(2).receive("bob", 3).expect(&["m2"]);
}

#[test]
fn an_old_token_never_touches_a_later_delivery() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    let old = queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(1).nack("ann", &old, 0);
    let new = queue.at(2).receive("ann", 1).expect(&["m1"]);
    assert_eq!(queue.at(3).ack("ann", &old), [SettleResult::Nacked], "the old answer");
    assert_eq!(queue.info().leased_count, 1);
    assert_eq!(queue.at(4).ack("ann", &new), [SettleResult::Acked]);
}

#[test]
fn an_old_token_never_touches_a_delivery_of_a_namesake() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    let old = queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(1).apply(CommandKind::DropQueue(DropQueue { uid: UID }));
    let next = UID + 1;
    queue.at(2).apply(CommandKind::PutQueue(PutQueue {
        uid: next,
        version: 1,
        first_token: first_token(next),
        ..PutQueue::default()
    }));
    queue.at(2).apply(CommandKind::Send(Send {
        uid: next,
        messages: vec![message("m2")],
        ..Send::default()
    }));
    let receive =
        Receive { uid: next, consumer: id("ann"), request: id("r"), messages_max: 1, ..Receive::default() };
    let Reply::Received { deliveries, .. } = queue.at(3).apply(CommandKind::Receive(receive)) else {
        panic!("a receive was not answered")
    };
    assert!(deliveries[0].token > old[0]);
    let items = vec![range(old[0], old[0], SettleAction::Ack)];
    let reply = queue.at(4).apply(CommandKind::Settle(Settle { uid: next, consumer: id("ann"), items }));
    let over = SettleOutcome { token: old[0], result: SettleResult::LeaseOver };
    assert_eq!(reply, Reply::Settled { outcomes: vec![over] });
    assert_eq!(queue.machine.queue_info(next).map(|info| info.leased_count), Some(1));
}

#[test]
fn tokens_of_others_are_over_by_name_and_passed_over_in_a_range() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2", "m3"]);
    queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(0).receive("bob", 1).expect(&["m2"]);
    queue.at(0).receive("ann", 1).expect(&["m3"]);
    assert_eq!(queue.at(1).ack("ann", &[2]), [SettleResult::LeaseOver]);
    let outcomes = queue.at(1).settle_outcomes("ann", range(1, u64::MAX, SettleAction::Ack));
    assert_eq!(outcomes, [(1, SettleResult::Acked), (3, SettleResult::Acked)]);
    let again = queue.at(2).settle_outcomes("ann", range(0, 3, SettleAction::Ack));
    assert_eq!(again, outcomes, "a range names remembered answers too");
    assert_eq!(queue.at(3).ack("nobody", &[1]), [SettleResult::LeaseOver]);
    assert_eq!(queue.at(3).settle_outcomes("ann", range(3, 1, SettleAction::Ack)), []);
}

#[test]
fn up_to_settles_all_live_leases_of_the_caller_up_to_there() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2", "m3", "m4"]);
    queue.at(0).receive("ann", 2).expect(&["m1", "m2"]);
    queue.at(0).receive("bob", 1).expect(&["m3"]);
    queue.at(0).receive("ann", 1).expect(&["m4"]);
    let item = SettleItem { action: SettleAction::Ack.into(), up_to: 3, ..SettleItem::default() };
    let outcomes = queue.at(1).settle_outcomes("ann", item.clone());
    assert_eq!(outcomes, [(1, SettleResult::Acked), (2, SettleResult::Acked)]);
    assert_eq!(queue.at(2).settle_outcomes("ann", item), []);
    assert_eq!(queue.info().leased_count, 2);
}

#[test]
fn a_nacked_message_waits_its_delay_and_keeps_its_place() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1", "m2"]);
    let tokens = queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(10).nack("ann", &tokens, 40);
    assert_eq!((queue.info().ready_count, queue.info().delayed_count), (2, 1));
    assert_eq!(queue.machine.next_due_ms(), Some(50));
    queue.restart();
    queue.at(50).receive("bob", 2).expect(&["m1", "m2"]);
}

#[test]
fn a_settle_without_a_known_action_is_refused_as_a_whole() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["m1"]);
    queue.at(0).receive("ann", 1).expect(&["m1"]);
    let unknown = SettleItem { action: 77, ..range(1, 1, SettleAction::Ack) };
    let settle =
        Settle { uid: UID, consumer: id("ann"), items: vec![range(1, 1, SettleAction::Ack), unknown] };
    let reply = queue.at(1).apply(CommandKind::Settle(settle));
    assert!(matches!(reply, Reply::Rejected(Rejection::Invalid(_))));
    assert_eq!(queue.info().leased_count, 1);
}

#[test]
fn answers_are_forgotten_when_resume_ends() {
    let mut queue = Scenario::with(QueueSettings { resume_ms: 100, ..QueueSettings::default() });
    queue.at(0).send(&["m1"]);
    let tokens = queue.at(0).receive("ann", 1).expect(&["m1"]);
    queue.at(50).ack("ann", &tokens);
    assert_eq!(queue.at(149).ack("ann", &tokens), [SettleResult::Acked]);
    assert_eq!(queue.at(249).ack("ann", &tokens), [SettleResult::LeaseOver]);
    assert!(queue.info().consumers.is_empty());
}

#[test]
fn purged_leases_are_over_and_their_windows_are_free() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:m1", "a:m2", "a:m3"]);
    queue.at(0).attach("ann", 1, 2).expect(&["m1", "m2"]);
    queue.restart();
    let purge = CommandKind::Purge(crate::command::Purge { uid: UID });
    assert_eq!(queue.at(1).apply(purge), Reply::Purged { count: 3 });
    assert_eq!(queue.ended().len(), 2);
    assert_eq!((queue.info().bytes, queue.info().group_count), (0, 0));
    queue.restart();
    let sent = queue.at(2).send(&["a:m4", "a:m5", "a:m6"]);
    assert_eq!(sent.first, 4, "sequences go on");
    queue.delivered("ann").expect(&["m4", "m5"]);
    assert_eq!(queue.at(3).ack("ann", &[1]), [SettleResult::LeaseOver]);
    queue.restart();
}
