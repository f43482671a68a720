//! Consumers: every delivery once under its token, settles that arrive, leases that last.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use phalanx_client::{Client, Consumer, Delivery, Error, Id, ReturnReason};
use phalanx_proto::v1;
use tokio::time::{Instant, sleep, timeout};

use crate::fake::{Cluster, Fault, LEASE, refusal};

async fn filled(nodes: u64, messages: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(nodes);
    let client = cluster.client().await;
    if messages > 0 {
        client.send("q", (0..messages).map(|i| i.to_string())).await.expect("the queue is there");
    }
    (cluster, client)
}

async fn next(consumer: &mut Consumer) -> Delivery {
    let delivery = timeout(Duration::from_secs(60), consumer.next()).await;
    delivery.expect("a delivery in time").expect("no end").expect("no error")
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.body()).into_owned()
}

fn held(cluster: &Cluster) -> usize {
    cluster.with(|queue| queue.leases.len())
}

#[tokio::test(start_paused = true)]
async fn deliveries_come_in_order_and_are_gone_when_acknowledged() {
    let (cluster, client) = filled(3, 1_000).await;
    let consumer = client.consumer("q").window(64).open().await.unwrap();
    let bodies: Vec<String> = consumer
        .take(1_000)
        .and_then(|delivery| async move {
            let text = body(&delivery);
            delivery.ack().await?;
            Ok(text)
        })
        .try_collect()
        .await
        .unwrap();
    assert_eq!(bodies, (0..1_000).map(|i| i.to_string()).collect::<Vec<_>>());
    assert!(cluster.with(|queue| queue.messages.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_in_hand_and_can_be_changed() {
    let (cluster, client) = filled(1, 100).await;
    let mut consumer = client.consumer("q").window(5).open().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&cluster), 5);
    next(&mut consumer).await.ack().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&cluster), 5);
    consumer.set_window(20, 1_000_000);
    cluster.until(|state| state.queues["q"].leases.len() == 20).await;
}

#[tokio::test(start_paused = true)]
async fn settles_are_repeated_after_a_break_and_answered_as_the_first_time() {
    for fault in [Fault::BreakBefore, Fault::BreakAfter, Fault::Swallow] {
        let (cluster, client) = filled(3, 4).await;
        let mut consumer = client.consumer("q").open().await.unwrap();
        let mut hand = Vec::new();
        for _ in 0..4 {
            hand.push(next(&mut consumer).await);
        }
        cluster.lock().settle_faults.extend([fault, fault]);
        let [a, b, c, d] = hand.try_into().unwrap();
        let (a, b, c) = (a.ack(), b.nack(Duration::from_secs(5)), c.reject());
        for settlement in [a, b, c] {
            settlement.await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        }
        drop(d);
        let left: Vec<u64> = cluster.with(|queue| queue.messages.keys().copied().collect());
        assert_eq!(left, [2, 4], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_names_what_is_in_hand_with_a_higher_incarnation_and_delivers_nothing_twice() {
    let (cluster, client) = filled(3, 10).await;
    let mut consumer = client.consumer("q").window(10).open().await.unwrap();
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    cluster.net().cut("n1");
    cluster.until(|state| state.queues["q"].attaches.len() == 2).await;
    let attaches = cluster.with(|queue| queue.attaches.clone());
    assert_eq!(attaches[0].consumer_id, attaches[1].consumer_id);
    assert!(attaches[1].incarnation > attaches[0].incarnation);
    assert_eq!(attaches[1].held, [v1::TokenRange { first: 1, last: 10 }]);
    first.ack().await.unwrap();
    second.ack().await.unwrap();
    for i in 2..10 {
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.attempt()), (i.to_string(), 1));
        delivery.ack().await.unwrap();
    }
    assert!(timeout(Duration::from_secs(60), consumer.next()).await.is_err(), "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_lost_on_the_way_comes_with_the_reconnect_under_its_token() {
    let (cluster, client) = filled(1, 0).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    // Leased at the server, and the frame that carries it never arrives.
    cluster.with(|queue| {
        queue.append(vec![v1::Message { body: Bytes::from_static(b"x"), ..v1::Message::default() }]);
        let id = queue.consumers.keys().next().unwrap().clone();
        let silent = tokio::sync::mpsc::unbounded_channel().0;
        let to = std::mem::replace(&mut queue.consumers.get_mut(&id).unwrap().to, silent);
        queue.dispatch();
        queue.consumers.get_mut(&id).unwrap().to = to;
    });
    assert_eq!(held(&cluster), 1);
    assert!(timeout(Duration::from_secs(5), consumer.next()).await.is_err());
    cluster.net().cut("n1");
    let delivery = next(&mut consumer).await;
    assert_eq!((delivery.token(), delivery.attempt()), (1, 1));
    delivery.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_are_extended_while_a_delivery_is_in_hand_and_no_longer_than_max_processing() {
    let (cluster, client) = filled(1, 3).await;
    let mut consumer =
        client.consumer("q").max_processing(Some(Duration::from_secs(300))).open().await.unwrap();
    let worked_on = next(&mut consumer).await;
    let dropped = next(&mut consumer).await;
    drop(dropped);
    sleep(Duration::from_secs(100)).await;
    assert!(!worked_on.is_lost(), "in hand");
    let leases = cluster.with(|queue| queue.leases.values().map(|lease| lease.sequence).collect::<Vec<_>>());
    // The dropped one came back at the end of its lease, to the same consumer; the third still waits in the client.
    assert!(leases.contains(&1) && leases.contains(&3), "{leases:?}");
    let third = next(&mut consumer).await;
    let again = next(&mut consumer).await;
    assert_eq!((third.sequence(), third.attempt()), (3, 1));
    assert_eq!((again.sequence(), again.attempt(), again.redelivery()), (2, 2, Some(ReturnReason::Expired)));
    let lost_at = async {
        worked_on.lost().await;
        Instant::now()
    };
    let start = Instant::now();
    let held_for = lost_at.await.duration_since(start) + Duration::from_secs(100);
    assert!(
        held_for >= Duration::from_secs(300) && held_for <= Duration::from_secs(301) + LEASE,
        "{held_for:?}"
    );
    // By the local clock the lease is over a little before it is over at the server.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worked_on.ack().await, Err(Error::LeaseOver { token: 1 }));
}

#[tokio::test(start_paused = true)]
async fn extension_can_be_switched_off_and_done_by_hand() {
    let (cluster, client) = filled(1, 2).await;
    let mut consumer =
        client.consumer("q").max_processing(None).lease(Duration::from_secs(10)).open().await.unwrap();
    let (left, extended) = (next(&mut consumer).await, next(&mut consumer).await);
    sleep(Duration::from_secs(8)).await;
    extended.extend(Some(Duration::from_secs(100))).await.unwrap();
    assert!(extended.lease_left() > Duration::from_secs(99));
    sleep(Duration::from_secs(8)).await;
    assert!(left.is_lost() && !extended.is_lost());
    extended.ack().await.unwrap();
    assert!(cluster.with(|queue| {
        queue.settles.iter().all(|item| item.action() != v1::SettleAction::Extend || item.lease_ms == 100_000)
    }));
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_away_cancels_the_work() {
    let (cluster, client) = filled(1, 2).await;
    let mut consumer = client.consumer("q").window(2).open().await.unwrap();
    let delivery = next(&mut consumer).await;
    assert!(!delivery.is_lost());
    cluster.with(|queue| {
        queue.give_back(1, v1::ReturnReason::GroupReturned);
        queue.give_back(2, v1::ReturnReason::GroupReturned);
    });
    assert_eq!(delivery.lost().await, ReturnReason::GroupReturned);
    assert!(delivery.is_lost());
    assert_eq!(delivery.ack().await, Err(Error::LeaseOver { token: 1 }));
    // The second was taken away while it waited in the client: only its new delivery is handed out.
    let tokens = [next(&mut consumer).await.token(), next(&mut consumer).await.token()];
    assert_eq!(tokens, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn leases_lost_while_away_are_told_at_the_reconnect() {
    let (cluster, client) = filled(1, 1).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    let delivery = next(&mut consumer).await;
    cluster.net().down("n1");
    cluster.until(|state| state.queues["q"].consumers.is_empty()).await;
    cluster.with(|queue| queue.give_back(1, v1::ReturnReason::ConsumerLost));
    cluster.net().up("n1");
    assert_eq!(delivery.lost().await, ReturnReason::ConsumerLost);
    assert_eq!(next(&mut consumer).await.attempt(), 2);
}

#[tokio::test(start_paused = true)]
async fn closing_settles_what_was_acknowledged_and_returns_the_rest_at_once() {
    let (cluster, client) = filled(1, 20).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    cluster.lock().settle_faults.extend([Fault::BreakAfter]);
    for _ in 0..10 {
        // Fire and forget.
        drop(next(&mut consumer).await.ack());
    }
    let in_hand = next(&mut consumer).await;
    let start = Instant::now();
    consumer.close().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(in_hand.is_lost());
    assert_eq!(in_hand.ack().await, Err(Error::Closed));
    let (left, ready) = cluster.with(|queue| (queue.messages.len(), queue.ready.len()));
    assert_eq!((left, ready), (10, 10));
    cluster.until(|state| state.consume_streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn closing_without_an_answer_ends_in_time_and_leaves_the_outcome_unknown() {
    let (cluster, client) = filled(1, 2).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    let (settled, in_hand) = (next(&mut consumer).await, next(&mut consumer).await);
    cluster.net().freeze("n1");
    let answer = settled.ack();
    let start = Instant::now();
    assert!(consumer.close().await.unwrap_err().is_outcome_unknown());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(answer.await.unwrap_err().is_outcome_unknown());
    assert_eq!(in_hand.lost().await, ReturnReason::ConsumerClosed);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_whose_settles_are_never_answered_says_so_in_time() {
    let (cluster, client) = filled(1, 20_000).await;
    let receiver = client.receiver("q").lease(Duration::from_secs(3_600));
    let mut hand = Vec::new();
    while hand.len() < 20_000 {
        hand.extend(receiver.receive(1_024, Duration::ZERO).await.unwrap());
    }
    cluster.net().freeze("n1");
    let answers: Vec<_> = hand.into_iter().map(Delivery::ack).collect();
    let start = Instant::now();
    let result = receiver.receive(1, Duration::ZERO).await;
    assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    drop(answers);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_ends_its_stream_and_its_deliveries() {
    let (cluster, client) = filled(1, 2).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    let delivery = next(&mut consumer).await;
    drop(consumer);
    assert_eq!(delivery.lost().await, ReturnReason::ConsumerClosed);
    cluster.until(|state| state.consume_streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_identity_was_taken_over_ends_with_an_error() {
    let (_cluster, client) = filled(1, 1).await;
    let id = Id::from_u128(99);
    let mut old = client.consumer("q").consumer_id(id).open().await.unwrap();
    let delivery = next(&mut old).await;
    sleep(Duration::from_millis(5)).await;
    std::thread::sleep(Duration::from_millis(5)); // incarnations follow the real clock
    let mut new = client.consumer("q").consumer_id(id).open().await.unwrap();
    assert!(matches!(old.next().await, Some(Err(Error::ConsumerReplaced { .. }))));
    assert!(old.next().await.is_none());
    assert!(delivery.is_lost());
    // The new one gets the delivery that the old one held, under the same token.
    assert_eq!(next(&mut new).await.token(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_queue_ends_its_consumers_with_an_error() {
    let (cluster, client) = filled(1, 0).await;
    let mut consumer = client.consumer("q").open().await.unwrap();
    cluster.with(|queue| {
        for consumer in queue.consumers.values() {
            consumer.to.send(Err(refusal("QUEUE_GONE", None))).unwrap();
        }
    });
    assert!(matches!(consumer.next().await, Some(Err(Error::QueueGone { .. }))));
    assert!(consumer.next().await.is_none());
    let error = client.consumer("none").open().await.unwrap_err();
    assert!(matches!(error, Error::QueueNotFound { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn acks_of_neighbours_travel_as_one_range() {
    let (cluster, client) = filled(1, 100).await;
    let mut consumer = client.consumer("q").window(100).open().await.unwrap();
    let mut hand = Vec::new();
    for _ in 0..100 {
        hand.push(next(&mut consumer).await);
    }
    let fiftieth = hand.remove(49);
    let acks: Vec<_> = hand.into_iter().map(Delivery::ack).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    assert!(!fiftieth.is_lost(), "a range never covers what was not acknowledged");
    let ranges: usize = cluster.with(|queue| queue.settles.iter().map(|item| item.tokens.len()).sum());
    assert_eq!(ranges, 2);
    fiftieth.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_is_never_answered_is_unknown_at_the_deadline() {
    let (cluster, client) = filled(1, 1).await;
    let mut consumer = client.consumer("q").settle_deadline(Duration::from_secs(4)).open().await.unwrap();
    let delivery = next(&mut consumer).await;
    cluster.net().freeze("n1");
    let start = Instant::now();
    assert!(delivery.ack().await.unwrap_err().is_outcome_unknown());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    cluster.net().up("n1");
    cluster.until(|state| state.queues["q"].messages.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_crosses_the_end_of_its_lease_says_so() {
    let (cluster, client) = filled(1, 3).await;
    let mut consumer = client.consumer("q").window(3).open().await.unwrap();
    let hand = [next(&mut consumer).await, next(&mut consumer).await, next(&mut consumer).await];
    // The leases end unseen, and the acks go out as one range, of which the server answers nothing.
    cluster.lock().settle_faults.push_back(Fault::Swallow);
    let acks = hand.map(Delivery::ack);
    sleep(Duration::from_millis(1)).await;
    cluster.with(|queue| {
        let id = queue.consumers.keys().next().unwrap().clone();
        for token in 1..=3 {
            let ended = vec![v1::LeaseEnded { token, reason: v1::ReturnReason::Expired.into() }];
            queue.consumers[&id].to.send(Ok(v1::ConsumeResponse { ended, ..Default::default() })).unwrap();
        }
    });
    for (ack, token) in acks.into_iter().zip(1..) {
        assert_eq!(timeout(Duration::from_secs(1), ack).await.unwrap(), Err(Error::LeaseOver { token }));
    }
}
