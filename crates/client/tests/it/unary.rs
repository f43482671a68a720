//! Calls without a stream: retried without doing anything twice.

use std::time::Duration;

use phalanx_client::{Error, Id, QueueSettings, ReturnReason};
use tokio::time::Instant;

use crate::fake::{Cluster, Fault};

#[tokio::test(start_paused = true)]
async fn a_send_whose_answer_was_lost_is_repeated_and_sent_once() {
    let cluster = Cluster::start(3);
    let client = cluster.client().await;
    cluster.lock().send_faults.extend([Fault::BreakAfter, Fault::BreakBefore, Fault::Swallow]);
    let sent = client.send("q", ["a", "b"]).await.unwrap();
    assert_eq!(sent.iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(cluster.bodies(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_request_id_is_the_same_send() {
    let cluster = Cluster::start(3);
    let client = cluster.client().await;
    let id = Id::from_u128(7);
    let first = client.send_with_id("q", ["a"], id).await.unwrap();
    assert_eq!(client.send_with_id("q", ["a"], id).await.unwrap(), first);
    assert_eq!(cluster.bodies(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_never_answered_is_unknown_at_the_deadline() {
    let cluster = Cluster::start(3);
    let client = cluster.builder().request_deadline(Duration::from_secs(20)).connect().await.unwrap();
    cluster.lock().send_faults.extend([Fault::Swallow; 100]);
    let start = Instant::now();
    let error = client.send("q", ["a"]).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(start.elapsed() <= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_answer_does_not_claim_that_nothing_happened() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    cluster.lock().send_faults.extend([Fault::BreakAfter, Fault::Refuse("QUEUE_FULL")]);
    assert!(client.send("q", ["a"]).await.unwrap_err().is_outcome_unknown());
    cluster.lock().send_faults.extend([Fault::Refuse("QUEUE_FULL")]);
    assert!(matches!(client.send("q", ["b"]).await, Err(Error::QueueFull { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_is_asked_again() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    cluster.lock().send_faults.extend([Fault::Refuse("OVERLOADED"), Fault::Refuse("NOT_LEADER")]);
    assert_eq!(client.send("q", ["a"]).await.unwrap()[0].sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_whose_answer_was_lost_gets_the_same_messages_again() {
    let cluster = Cluster::start(3);
    let client = cluster.client().await;
    client.send("q", ["a", "b"]).await.unwrap();
    cluster.lock().receive_faults.extend([Fault::BreakAfter, Fault::BreakBefore]);
    let receiver = client.receiver("q");
    let deliveries = receiver.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(deliveries.iter().map(|d| (d.token(), d.attempt())).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    for delivery in deliveries {
        delivery.ack().await.unwrap();
    }
    assert!(cluster.with(|queue| queue.messages.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_for_the_first_message_also_longer_than_one_call_may() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let receiver = client.receiver("q");
    assert!(receiver.receive(1, Duration::from_millis(300)).await.unwrap().is_empty());
    let sender = client.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(50)).await;
        sender.send("q", ["late"]).await.unwrap();
    });
    let start = Instant::now();
    let deliveries = receiver.receive(1, Duration::from_secs(120)).await.unwrap();
    assert_eq!(&deliveries[0].body()[..], b"late");
    assert!(start.elapsed() < Duration::from_secs(55), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn received_messages_are_settled_over_broken_calls() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    client.send("q", ["a", "b", "c"]).await.unwrap();
    let receiver = client.receiver("q").lease(Duration::from_secs(60));
    let [a, b, c] = receiver.receive(3, Duration::ZERO).await.unwrap().try_into().unwrap();
    assert_eq!(a.lease_left(), Duration::from_secs(60));
    cluster.lock().settle_faults.extend([Fault::BreakAfter, Fault::BreakBefore]);
    a.ack().await.unwrap();
    b.reject().await.unwrap();
    c.extend(None).await.unwrap();
    c.nack(Duration::ZERO).await.unwrap();
    let [again] = receiver.receive(3, Duration::ZERO).await.unwrap().try_into().unwrap();
    assert_eq!((again.attempt(), again.redelivery()), (2, Some(ReturnReason::Nacked)));
}

#[tokio::test(start_paused = true)]
async fn a_settle_after_the_lease_says_so() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    client.send("q", ["a"]).await.unwrap();
    let receiver = client.receiver("q").lease(Duration::from_secs(1));
    let [a] = receiver.receive(1, Duration::ZERO).await.unwrap().try_into().unwrap();
    assert!(!a.is_lost());
    assert_eq!(a.lost().await, ReturnReason::Expired);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(a.is_lost());
    assert_eq!(a.ack().await, Err(Error::LeaseOver { token: 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_settle_is_carried_out_after_its_receiver_is_dropped() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    client.send("q", ["a"]).await.unwrap();
    let [a] = client.receiver("q").receive(1, Duration::ZERO).await.unwrap().try_into().unwrap();
    a.ack().await.unwrap();
    assert!(cluster.with(|queue| queue.messages.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_not_repeated_when_its_answer_is_lost() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    cluster.lock().purge_faults.push_back(Fault::BreakAfter);
    assert!(client.admin().purge_queue("q").await.unwrap_err().is_outcome_unknown());
    assert_eq!(cluster.lock().purges, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_repeated_leaves_the_queue_that_was_created_meanwhile() {
    let cluster = Cluster::start(1);
    let admin = cluster.client().await.admin();
    cluster.lock().delete_faults.push_back(Fault::BreakAfter);
    admin.delete_queue("q").await.unwrap();
    let state = cluster.lock();
    assert_eq!((state.lives_before, state.queues.contains_key("q")), (1, true));
}

#[tokio::test(start_paused = true)]
async fn an_update_says_which_version_it_replaces_and_gives_way_to_others() {
    let cluster = Cluster::start(1);
    let admin = cluster.client().await.admin();
    admin.update_queue("q", QueueSettings::default(), None).await.unwrap();
    cluster.lock().updates_between = 2;
    admin.update_queue("q", QueueSettings::default(), None).await.unwrap();
    assert_eq!(cluster.lock().updates, [1, 0, 0, 4], "its own, those of others, its own again");
    cluster.lock().updates_between = 1;
    let stale = admin.update_queue("q", QueueSettings::default(), Some(5)).await;
    assert!(matches!(stale, Err(Error::VersionMismatch { .. })), "{stale:?}");
    cluster.lock().updates_between = 100;
    let never = admin.update_queue("q", QueueSettings::default(), None).await;
    assert!(matches!(never, Err(Error::VersionMismatch { .. })), "{never:?}");
    assert_eq!(cluster.lock().updates_between, 92, "eight attempts");
}

#[tokio::test(start_paused = true)]
async fn queues_are_created_listed_page_by_page_and_deleted() {
    let cluster = Cluster::start(1);
    let admin = cluster.client().await.admin();
    for name in ["a", "b", "c", "d"] {
        admin.create_queue(name, QueueSettings::default()).await.unwrap();
    }
    let names: Vec<String> = admin.list_queues().await.unwrap().into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "q"]);
    admin.delete_queue("c").await.unwrap();
    assert!(matches!(admin.delete_queue("c").await, Err(Error::QueueNotFound { .. })));
    assert!(matches!(admin.queue_info("c").await, Err(Error::QueueNotFound { .. })));
    assert_eq!(admin.queue_info("d").await.unwrap().queue.name, "d");
}
