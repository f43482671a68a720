//! From effects to streams and waits.

use std::sync::Arc;

use futures::FutureExt as _;
use phalanx_server::dispatch::{
    Dispatcher, RegisterError, StreamEnd, StreamEvent, StreamEvents, Waiter, Wake,
};
use phalanx_state_machine::ids::{GroupId, Id128, QueueUid, Token};
use phalanx_state_machine::reply::{Delivery, Effect, Payload, ReturnReason};

const GROUP: GroupId = 2;
const QUEUE: QueueUid = 11;
const ANN: Id128 = Id128 { hi: 1, lo: 1 };
const BOB: Id128 = Id128 { hi: 2, lo: 2 };

fn leading() -> Arc<Dispatcher> {
    let dispatcher = Dispatcher::new();
    dispatcher.lead(GROUP, 1);
    dispatcher
}

fn stream(dispatcher: &Dispatcher, consumer: Id128, incarnation: u64, window: u32) -> StreamEvents {
    let events = dispatcher.register_stream(GROUP, QUEUE, consumer, incarnation).expect("it is led here");
    events.attached(window);
    events
}

fn waiter(dispatcher: &Dispatcher) -> Waiter {
    waiter_of(dispatcher, ANN)
}

fn waiter_of(dispatcher: &Dispatcher, consumer: Id128) -> Waiter {
    dispatcher.register_waiter(GROUP, QUEUE, consumer).expect("it is led here")
}

fn deliver(consumer: Id128, incarnation: u64, token: Token) -> Effect {
    let delivery = Delivery {
        token,
        sequence: token,
        attempt: 1,
        deadline_ms: 1000,
        enqueued_ms: 1,
        redelivery: None,
        group: bytes::Bytes::new(),
        payload: Payload::Resident(bytes::Bytes::from_static(b"x")),
    };
    Effect::Deliver { uid: QUEUE, consumer, incarnation, delivery }
}

fn ended(consumer: Id128, token: Token) -> Effect {
    Effect::LeaseEnded { uid: QUEUE, consumer, token, reason: ReturnReason::Expired }
}

fn detached(consumer: Id128, incarnation: u64) -> Effect {
    Effect::Detached { uid: QUEUE, consumer, incarnation }
}

fn ready(dispatcher: &Dispatcher) {
    dispatcher.applied(GROUP, vec![Effect::Ready { uid: QUEUE }]);
}

/// What waits for a stream: delivered tokens, and ended ones as negative numbers; then why it is over, if it is.
fn taken(stream: &mut StreamEvents) -> (Vec<i64>, Option<StreamEnd>) {
    let mut events = Vec::new();
    let mut end = None;
    while let Some(more) = stream.take(&mut events, 1000).now_or_never() {
        if let Err(reason) = more {
            end = Some(reason);
            break;
        }
    }
    let number = |event: &StreamEvent| match event {
        StreamEvent::Deliver(delivery) => delivery.token as i64,
        StreamEvent::Ended { token, .. } => -(*token as i64),
    };
    (events.iter().map(number).collect(), end)
}

#[test]
fn stream_gets_its_events_in_the_order_of_the_effects() {
    let dispatcher = leading();
    let mut ann = stream(&dispatcher, ANN, 1, 8);
    let mut bob = stream(&dispatcher, BOB, 1, 8);
    dispatcher
        .applied(GROUP, vec![deliver(ANN, 1, 1), deliver(BOB, 1, 2), deliver(ANN, 1, 3), ended(ANN, 1)]);
    dispatcher.applied(GROUP, vec![deliver(ANN, 1, 4), deliver(ANN, 2, 5)]);
    assert_eq!(taken(&mut ann), (vec![1, 3, -1, 4], None), "5 is for another incarnation");
    assert_eq!(taken(&mut bob), (vec![2], None));
}

#[test]
fn stream_without_room_ends_and_the_others_go_on() {
    let dispatcher = leading();
    let mut slow = stream(&dispatcher, ANN, 1, 1);
    let mut quick = stream(&dispatcher, BOB, 1, 1);
    for token in 1..=1000 {
        dispatcher.applied(GROUP, vec![deliver(ANN, 1, token), deliver(BOB, 1, token)]);
        assert_eq!(taken(&mut quick), (vec![token as i64], None));
    }
    let (tokens, end) = taken(&mut slow);
    assert_eq!(end, Some(StreamEnd::Overflow));
    assert!(tokens.len() < 1000);
    let expected: Vec<i64> = (1..=tokens.len() as i64).collect();
    assert_eq!(tokens, expected, "what it got has no hole");
}

#[test]
fn stream_has_room_for_its_whole_window_twice() {
    let dispatcher = leading();
    let mut ann = stream(&dispatcher, ANN, 1, 10);
    let window = |first: u64| (first..first + 10).map(|token| deliver(ANN, 1, token)).collect::<Vec<_>>();
    dispatcher.applied(GROUP, window(1));
    dispatcher.applied(GROUP, (1..11).map(|token| ended(ANN, token)).collect());
    dispatcher.applied(GROUP, window(11));
    assert_eq!(taken(&mut ann).1, None);
    ann.set_window(65_536);
    dispatcher.applied(GROUP, (21..65_557).map(|token| deliver(ANN, 1, token)).collect());
    let (tokens, end) = taken(&mut ann);
    assert_eq!((tokens.len(), end), (65_536, None), "a larger window has room too");
}

#[test]
fn stream_has_room_for_all_that_its_consumer_had_in_hand_before_and_no_more_for_ever() {
    let dispatcher = leading();
    let mut ann = dispatcher.register_stream(GROUP, QUEUE, ANN, 2).unwrap();
    dispatcher.applied(GROUP, (1..=65_536).map(|token| deliver(ANN, 2, token)).collect());
    ann.attached(1);
    dispatcher.applied(GROUP, (1..=65_536).map(|token| ended(ANN, token)).collect());
    let (events, end) = taken(&mut ann);
    assert_eq!((events.len(), end), (2 * 65_536, None));
    let mut bob = dispatcher.register_stream(GROUP, QUEUE, BOB, 1).unwrap();
    bob.attached(1);
    dispatcher.applied(GROUP, (1..=100).map(|token| deliver(BOB, 1, token)).collect());
    assert_eq!(taken(&mut bob).1, Some(StreamEnd::Overflow));
}

#[test]
fn detached_stream_ends_and_says_whether_another_took_its_place() {
    let dispatcher = leading();
    let mut old = stream(&dispatcher, ANN, 1, 8);
    let mut new = stream(&dispatcher, ANN, 2, 8);
    dispatcher.applied(GROUP, vec![deliver(ANN, 1, 1), detached(ANN, 1), deliver(ANN, 2, 2), ended(ANN, 1)]);
    assert_eq!(taken(&mut old), (vec![1], Some(StreamEnd::Replaced)));
    assert_eq!(taken(&mut new), (vec![2, -1], None));
    dispatcher.applied(GROUP, vec![detached(ANN, 2), deliver(ANN, 2, 3)]);
    assert_eq!(taken(&mut new), (vec![], Some(StreamEnd::Detached)));
}

#[test]
fn same_attach_again_takes_the_place_of_the_first() {
    let dispatcher = leading();
    let mut first = stream(&dispatcher, ANN, 1, 8);
    let mut again = stream(&dispatcher, ANN, 1, 8);
    assert_eq!(first.end_reason(), Some(StreamEnd::Replaced));
    assert_eq!(taken(&mut first).1, Some(StreamEnd::Replaced));
    drop(first);
    dispatcher.applied(GROUP, vec![deliver(ANN, 1, 1)]);
    assert_eq!(taken(&mut again), (vec![1], None));
}

#[tokio::test]
async fn everything_ends_with_the_queue_or_with_the_leadership() {
    let dispatcher = leading();
    let ann = stream(&dispatcher, ANN, 1, 8);
    let mut wait = waiter(&dispatcher);
    dispatcher.applied(GROUP, vec![Effect::QueueGone { uid: QUEUE }]);
    assert_eq!(ann.ended().await, StreamEnd::QueueGone);
    assert_eq!(wait.ready().await, Wake::Over);

    let bob = stream(&dispatcher, BOB, 1, 8);
    let mut wait = waiter(&dispatcher);
    dispatcher.unlead(GROUP);
    assert_eq!(bob.ended().await, StreamEnd::LeaderChanged);
    assert_eq!(wait.ready().await, Wake::Over);
    let refused = dispatcher.register_stream(GROUP, QUEUE, ANN, 2).err();
    assert_eq!(refused, Some(RegisterError::NotLeading));
    assert_eq!(dispatcher.register_waiter(GROUP, QUEUE, ANN).err(), Some(RegisterError::NotLeading));
}

#[test]
fn dropped_stream_gets_nothing_and_holds_nothing_up() {
    let dispatcher = leading();
    drop(stream(&dispatcher, ANN, 1, 1));
    let mut bob = stream(&dispatcher, BOB, 1, 8);
    dispatcher.applied(GROUP, vec![deliver(ANN, 1, 1), deliver(BOB, 1, 2)]);
    assert_eq!(taken(&mut bob), (vec![2], None));
}

fn wakes(waiter: &mut Waiter) -> bool {
    waiter.ready().now_or_never() == Some(Wake::Ready)
}

#[test]
fn ready_wakes_waiting_receives_in_the_order_of_their_coming() {
    let dispatcher = leading();
    let mut waiters = [waiter(&dispatcher), waiter(&dispatcher), waiter(&dispatcher)];
    assert!(waiters.iter_mut().all(|waiter| !wakes(waiter)));
    ready(&dispatcher);
    ready(&dispatcher);
    assert_eq!(waiters.each_mut().map(wakes), [true, true, false]);
    assert_eq!(waiters.each_mut().map(wakes), [false, false, false], "each wake is for one attempt");
    ready(&dispatcher);
    assert_eq!(waiters.each_mut().map(wakes), [true, false, false], "its place is the one it came at");
}

#[test]
fn wake_between_an_empty_proposal_and_the_wait_is_not_lost() {
    let dispatcher = leading();
    let mut waiter = waiter(&dispatcher);
    ready(&dispatcher); // while its first proposal is under way
    assert!(wakes(&mut waiter));
    assert!(!wakes(&mut waiter));
}

#[test]
fn receive_that_leaves_after_a_wake_wakes_the_next() {
    let dispatcher = leading();
    let (mut first, mut second, mut third) = (waiter(&dispatcher), waiter(&dispatcher), waiter(&dispatcher));
    for waiter in [&mut first, &mut second, &mut third] {
        assert!(!wakes(waiter));
    }
    ready(&dispatcher);
    assert!(wakes(&mut first));
    drop(first); // it has what it wanted, and may have left some
    assert!(wakes(&mut second));
    assert!(!wakes(&mut second), "it proposed, and got nothing");
    assert!(!wakes(&mut third));
    ready(&dispatcher);
    drop(second); // woken, but gone before it looked
    assert!(wakes(&mut third));
}

#[test]
fn receive_whose_time_is_up_wakes_nobody() {
    let dispatcher = leading();
    let (mut first, mut second) = (waiter(&dispatcher), waiter(&dispatcher));
    assert!(!wakes(&mut first) && !wakes(&mut second));
    drop(first);
    assert!(!wakes(&mut second));
}

#[test]
fn next_of_a_group_wakes_a_waiting_receive_of_its_holder_only() {
    let dispatcher = leading();
    let (mut bob, mut ann) = (waiter_of(&dispatcher, BOB), waiter_of(&dispatcher, ANN));
    let mut later = waiter_of(&dispatcher, ANN);
    assert!(!wakes(&mut bob) && !wakes(&mut ann) && !wakes(&mut later));
    dispatcher.applied(GROUP, vec![Effect::GroupReady { uid: QUEUE, consumer: ANN }]);
    assert_eq!((wakes(&mut bob), wakes(&mut later)), (false, false));
    drop(ann); // woken, but gone before it looked
    assert!(wakes(&mut later));
}

#[test]
fn holder_that_is_woken_already_passes_the_next_of_its_group_on() {
    let dispatcher = leading();
    let (mut ann, mut later) = (waiter(&dispatcher), waiter(&dispatcher));
    let mut bob = waiter_of(&dispatcher, BOB);
    assert!(!wakes(&mut ann) && !wakes(&mut later) && !wakes(&mut bob));
    ready(&dispatcher);
    ready(&dispatcher);
    dispatcher.applied(GROUP, vec![Effect::GroupReady { uid: QUEUE, consumer: ANN }]);
    assert!(wakes(&mut ann) && wakes(&mut later));
    assert!(!wakes(&mut later), "nothing was there yet");
    drop(ann); // it took something else
    assert!(wakes(&mut later));
}
