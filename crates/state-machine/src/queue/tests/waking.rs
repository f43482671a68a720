//! Who is woken when something can be received: somebody who gets it, and nobody for nothing.

use super::scenario::{Scenario, UID, id};
use crate::command::{CommandKind, Receive};
use crate::ids::Id128;
use crate::reply::Reply;

#[test]
fn a_receive_that_finds_nothing_wakes_nobody() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1", "a:a2"]);
    queue.at(0).receive("ann", 1).expect(&["a1"]);
    queue.at(1).receive("bob", 1).expect_empty();
    assert!(!queue.woke(), "bob would ask again, find nothing again, and so on until ann is done");
}

#[test]
fn the_next_message_of_a_group_wakes_its_holder_and_nobody_else() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["a:a1"]);
    let ann = queue.at(0).receive("ann", 1).expect(&["a1"]);
    queue.at(1).send(&["a:a2"]);
    assert_eq!((queue.woke(), queue.called()), (false, vec![id("ann")]));
    queue.at(2).send(&["a:a3"]);
    assert_eq!((queue.woke(), queue.called()), (false, vec![]), "ann was told of the first already");
    queue.at(3).receive("ann", 1).expect(&["a2"]);
    assert_eq!(queue.called(), [id("ann")], "there is more for another call of hers");
    queue.at(4).ack("ann", &ann);
    assert_eq!((queue.woke(), queue.called()), (false, vec![]), "she holds a2");
    queue.at(5).nack("ann", &[2], 0);
    assert_eq!((queue.woke(), queue.called()), (true, vec![]), "a2 may be anybody's again");
}

#[test]
fn a_consumer_that_loses_its_stream_is_told_of_what_waits_for_it() {
    let mut queue = Scenario::new();
    queue.at(0).attach("ann", 1, 1);
    queue.at(0).send(&["a:a1", "a:a2"]);
    assert_eq!(queue.called(), [], "its stream gets it when there is room");
    queue.at(1).detach("ann", 1, false);
    assert_eq!((queue.woke(), queue.called()), (false, vec![id("ann")]));
    queue.restart();
    queue.at(2).send(&["a:a3"]);
    assert_eq!(queue.called(), [], "a replica that was just loaded tells the same");
}

#[test]
fn a_repeated_receive_says_so_and_wakes_nobody_also_when_nothing_is_left_of_it() {
    let mut queue = Scenario::new().lease_ms(50);
    queue.at(0).send(&["m1"]);
    let request = Id128 { hi: 9, lo: 9 };
    let receive = || {
        let consumer = id("ann");
        CommandKind::Receive(Receive { uid: UID, consumer, request, messages_max: 1, ..Receive::default() })
    };
    let mut told = Vec::new();
    for now_ms in [1, 2, 100] {
        let Reply::Received { deliveries, repeated } = queue.at(now_ms).apply(receive()) else {
            panic!("a receive is answered");
        };
        told.push((deliveries.len(), repeated));
    }
    assert_eq!(told, [(1, false), (1, true), (0, true)]);
    assert!(queue.woke(), "the lease was over: the entry that found it so tells");
    queue.at(101).apply(receive());
    assert!(!queue.woke(), "and asking again does not");
}
