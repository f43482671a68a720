//! Queues that end when nobody uses them, and queues of one consumer.

use super::scenario::{Scenario, UID, id};
use crate::command::{Attach, CommandKind, Detach, QueueSettings, Receive, Tick};
use crate::reply::{Rejection, Reply, SettleResult};

const EXPIRES_MS: u64 = 1_000;

fn expiring() -> Scenario {
    Scenario::with(QueueSettings { expires_ms: EXPIRES_MS, resume_ms: 100, ..QueueSettings::default() })
}

fn attach(name: &str, incarnation: u64) -> CommandKind {
    let attach =
        Attach { uid: UID, consumer: id(name), incarnation, window_messages: 1, ..Attach::default() };
    CommandKind::Attach(attach)
}

fn detach(name: &str, incarnation: u64) -> CommandKind {
    CommandKind::Detach(Detach { uid: UID, consumer: id(name), incarnation, clean: true })
}

fn receive(name: &str, request: &str) -> CommandKind {
    let (consumer, request) = (id(name), id(request));
    CommandKind::Receive(Receive { uid: UID, consumer, request, messages_max: 1, ..Receive::default() })
}

#[test]
fn a_queue_ends_when_it_has_not_been_used_for_long_enough() {
    let mut queue = expiring();
    queue.at(500).send(&["m1", "m2"]);
    // A receive is use; a send is none.
    assert!(matches!(queue.at(900).apply(receive("ann", "r1")), Reply::Received { .. }));
    // One that finds nothing is one as well.
    assert!(matches!(queue.at(1_800).apply(receive("ann", "r2")), Reply::Received { .. }));
    queue.at(2_799).apply(CommandKind::Tick(Tick {}));
    assert_eq!(queue.machine.next_expired(), None);
    // A stream is use for as long as it lasts.
    assert!(matches!(queue.at(2_799).apply(attach("bob", 1)), Reply::Attached { .. }));
    queue.at(50_000).apply(CommandKind::Tick(Tick {}));
    queue.restart();
    assert_eq!(queue.machine.next_expired(), None);
    assert_eq!(queue.at(60_000).apply(detach("bob", 1)), Reply::Done);
    queue.at(60_999).apply(CommandKind::Tick(Tick {}));
    queue.restart();
    assert_eq!(queue.machine.next_expired(), None);
    queue.at(61_000).apply(CommandKind::Tick(Tick {}));
    let (uid, namespace, name, _) = queue.machine.next_expired().expect("its time is over");
    assert_eq!((uid, namespace.as_str(), name.as_str()), (UID, "default", "orders"));
}

#[test]
fn a_message_in_hand_is_use() {
    let mut queue = expiring().lease_ms(5_000);
    queue.at(10).send(&["m1"]);
    let token = queue.at(900).receive("ann", 1).only("m1").token;
    queue.at(4_000).apply(CommandKind::Tick(Tick {}));
    queue.restart();
    assert_eq!(queue.machine.next_expired(), None);
    assert_eq!(queue.at(4_100).ack("ann", &[token]), [SettleResult::Acked]);
    queue.at(5_099).apply(CommandKind::Tick(Tick {}));
    assert_eq!(queue.machine.next_expired(), None);
    queue.at(5_100).apply(CommandKind::Tick(Tick {}));
    assert!(queue.machine.next_expired().is_some());
}

#[test]
fn a_queue_whose_time_is_over_does_not_come_back() {
    let mut queue = expiring();
    queue.at(500).send(&["m1"]);
    queue.at(1_000).apply(CommandKind::Tick(Tick {}));
    queue.restart();
    assert!(queue.machine.next_expired().is_some());
    for kind in [attach("ann", 1), receive("ann", "r1")] {
        assert_eq!(queue.at(1_001).apply(kind), Reply::Rejected(Rejection::QueueGone));
    }
    assert_eq!(queue.at(9_000).apply(CommandKind::Tick(Tick {})), Reply::Done);
    assert_eq!(queue.machine.next_due_ms(), None, "it causes no ticks");
}

#[test]
fn an_exclusive_queue_has_one_consumer_at_a_time() {
    let mut queue =
        Scenario::with(QueueSettings { exclusive: true, resume_ms: 100, ..QueueSettings::default() });
    queue.at(0).send(&["m1", "m2"]);
    assert!(matches!(queue.at(0).apply(attach("ann", 1)), Reply::Attached { .. }));
    for kind in [attach("bob", 1), receive("bob", "r1")] {
        assert_eq!(queue.at(1).apply(kind), Reply::Rejected(Rejection::Exclusive));
    }
    // Its own new stream is no other consumer.
    assert!(matches!(queue.at(2).apply(attach("ann", 2)), Reply::Attached { .. }));
    // It may come back within its resume time.
    queue.at(3).apply(CommandKind::Detach(Detach {
        uid: UID,
        consumer: id("ann"),
        incarnation: 2,
        clean: false,
    }));
    assert_eq!(queue.at(102).apply(attach("bob", 1)), Reply::Rejected(Rejection::Exclusive));
    assert!(matches!(queue.at(103).apply(attach("bob", 1)), Reply::Attached { .. }));
    assert_eq!(queue.at(104).apply(receive("ann", "r2")), Reply::Rejected(Rejection::Exclusive));
    assert_eq!(queue.at(105).apply(detach("bob", 1)), Reply::Done);
    assert!(matches!(queue.at(106).apply(receive("ann", "r3")), Reply::Received { .. }));
}
