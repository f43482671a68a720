//! Groups: order, one holder, return.

use super::scenario::Scenario;
use crate::command::SettleAction;
use crate::reply::{ReturnReason, SettleResult};

#[test]
fn a_group_has_one_holder_and_other_groups_flow_past_it() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1", "a:a2", "b:b1", "loose"]);
    let ann = queue.at(0).receive("ann", 1).expect(&["a1"]);
    queue.at(0).receive("bob", 9).expect(&["b1", "loose"]);
    queue.at(1).ack("ann", &ann);
    queue.at(2).receive("bob", 9).expect(&["a2"]);
}

#[test]
fn several_messages_of_a_group_may_be_in_one_hand_in_order() {
    let mut queue = Scenario::new();
    queue.at(0).attach("ann", 1, 2);
    queue.at(0).attach("bob", 1, 2);
    queue.at(0).send(&["a:a1", "a:a2", "a:a3"]);
    let ann = queue.delivered("ann").expect(&["a1", "a2"]);
    queue.delivered("bob").expect_empty();
    queue.at(1).ack("ann", &ann[..1]);
    queue.delivered("ann").expect(&["a3"]);
    queue.at(2).send(&["b:b1"]);
    queue.delivered("bob").expect(&["b1"]);
}

#[test]
fn a_returned_message_ends_the_later_leases_of_its_group_without_counting_them() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1", "a:a2", "a:a3", "b:b1"]);
    let tokens = queue.at(0).receive("ann", 4).expect(&["a1", "a2", "a3", "b1"]);
    assert_eq!(queue.at(1).nack("ann", &tokens[1..2], 0), [SettleResult::Nacked]);
    assert_eq!(queue.ended(), [(tokens[2], ReturnReason::GroupReturned)]);
    let late = queue.at(2).ack("ann", &tokens);
    assert_eq!(
        late,
        [SettleResult::Acked, SettleResult::Nacked, SettleResult::LeaseOver, SettleResult::Acked]
    );
    let again = queue.at(3).receive("bob", 9).0;
    let told: Vec<_> = again.iter().map(|d| (d.sequence, d.attempt, d.redelivery)).collect();
    assert_eq!(told, [(2, 2, Some(ReturnReason::Nacked)), (3, 1, Some(ReturnReason::GroupReturned))]);
}

#[test]
fn a_group_waits_for_the_back_off_of_its_first_message_and_others_do_not() {
    let mut queue = Scenario::new();
    queue.at(0).attach("ann", 1, 9);
    queue.at(0).send(&["a:a1", "a:a2", "b:b1"]);
    let tokens = queue.delivered("ann").expect(&["a1", "a2", "b1"]);
    queue.at(0).nack("ann", &tokens[..1], 50);
    queue.delivered("ann").expect_empty();
    assert_eq!(queue.info().delayed_count, 1);
    queue.at(1).send(&["b:b2", "a:a3"]);
    queue.delivered("ann").expect(&["b2"]);
    queue.restart();
    assert_eq!(queue.machine.next_due_ms(), Some(50));
    queue.at(49).tick();
    queue.delivered("ann").expect_empty();
    queue.at(50).tick();
    queue.delivered("ann").expect(&["a1", "a2", "a3"]);
}

#[test]
fn a_message_behind_a_live_lease_of_its_group_may_wait_and_only_the_holder_gets_it() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1", "a:a2"]);
    let tokens = queue.at(0).receive("ann", 2).expect(&["a1", "a2"]);
    queue.at(0).nack("ann", &tokens[1..], 0);
    queue.at(1).receive("bob", 2).expect_empty();
    queue.at(2).receive("ann", 2).expect(&["a2"]);
}

#[test]
fn expiry_in_a_group_returns_all_behind_it_in_order() {
    let mut queue = Scenario::new().lease_ms(100);
    queue.at(0).send(&["a:a1", "a:a2", "a:a3"]);
    let tokens = queue.at(0).receive("ann", 3).expect(&["a1", "a2", "a3"]);
    queue.at(50).settle("ann", SettleAction::Extend, &tokens[..1]);
    queue.at(100).tick();
    assert_eq!(queue.ended(), [(tokens[1], ReturnReason::Expired), (tokens[2], ReturnReason::GroupReturned)]);
    queue.at(101).receive("bob", 3).expect_empty();
    queue.at(150).receive("bob", 3).expect(&["a1", "a2", "a3"]);
}

#[test]
fn a_rejected_message_leaves_its_group_which_goes_on() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1", "a:a2"]);
    let tokens = queue.at(0).receive("ann", 2).expect(&["a1", "a2"]);
    assert_eq!(queue.at(0).settle("ann", SettleAction::Reject, &tokens[..1]), [SettleResult::Rejected]);
    assert_eq!(queue.ended(), []);
    assert_eq!(queue.at(0).ack("ann", &tokens), [SettleResult::Rejected, SettleResult::Acked]);
    assert_eq!(queue.info().group_count, 0);
}

#[test]
fn a_strict_queue_is_one_group_whatever_the_keys() {
    let mut queue = Scenario::strict();
    queue.at(0).attach("ann", 1, 2);
    queue.at(0).attach("bob", 1, 2);
    queue.at(0).send(&["a:m1", "m2", "b:m3"]);
    let ann = queue.delivered("ann").0;
    assert_eq!(ann.iter().map(|d| d.group.as_ref()).collect::<Vec<_>>(), [b"a".as_ref(), b""]);
    queue.delivered("bob").expect_empty();
    queue.at(1).nack("ann", &[1], 20);
    queue.delivered("ann").expect_empty();
    queue.delivered("bob").expect_empty();
    queue.restart();
    queue.at(20).tick();
    queue.at(21).tick();
    assert_eq!(queue.info().leased_count, 2, "all to one consumer");
}
