//! Producers: nothing lost, nothing twice, in order, within bounds, and honest about what is not known.

use std::time::Duration;

use futures::future::join_all;
use phalanx_client::{Error, Message, Producer};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, timeout};

use crate::fake::{Cluster, Fault};

async fn producer(cluster: &Cluster) -> Producer {
    cluster.client().await.producer("q").open().await.expect("the queue is there")
}

fn faults(cluster: &Cluster, faults: &[Fault]) {
    cluster.lock().send_faults.extend(faults);
}

#[tokio::test(start_paused = true)]
async fn a_send_resolves_with_the_place_in_the_queue() {
    let cluster = Cluster::start(3);
    let producer = producer(&cluster).await;
    assert_eq!(producer.send("a").await.unwrap().sequence, 1);
    let sent = producer.enqueue_batch(["b", "c"]).await.unwrap().await.unwrap();
    assert_eq!(sent.iter().map(|s| s.sequence).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(cluster.bodies(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_resend_after_a_lost_confirmation_is_one_message() {
    let cluster = Cluster::start(3);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::BreakAfter, Fault::BreakAfter, Fault::BreakBefore]);
    assert_eq!(producer.send("a").await.unwrap().sequence, 1);
    assert_eq!(cluster.bodies(), ["a"]);
    assert!(cluster.with(|queue| queue.batches.len()) >= 3, "it was sent again");
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_and_nothing_is_lost_or_doubled_over_many_broken_streams() {
    for seed in 0..5 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let cluster = Cluster::start(3);
        let choices =
            [Fault::BreakBefore, Fault::BreakAfter, Fault::Refuse("OVERLOADED"), Fault::Refuse("NOT_LEADER")];
        let script: Vec<Fault> = (0..2_000)
            .map(|_| if rng.random_ratio(1, 12) { choices[rng.random_range(0..4)] } else { Fault::None })
            .collect();
        faults(&cluster, &script);
        let client = cluster.client().await;
        let producer = client.producer("q").window(64).coalesce(7).open().await.unwrap();
        let mut confirmations = Vec::new();
        for i in 0..2_000 {
            confirmations.push(producer.enqueue(format!("{i}")).await.unwrap());
            if rng.random_ratio(1, 50) {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
            }
        }
        let sequences: Vec<u64> =
            join_all(confirmations).await.into_iter().map(|sent| sent.unwrap().sequence).collect();
        assert_eq!(sequences, (1..=2_000).collect::<Vec<u64>>(), "seed {seed}");
        assert_eq!(cluster.bodies(), (0..2_000).map(|i| i.to_string()).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_messages_and_resumes_when_they_are_confirmed() {
    let cluster = Cluster::start(1);
    faults(&cluster, &[Fault::Swallow; 10]);
    let client = cluster.client().await;
    let producer = client.producer("q").window(10).coalesce(1).open().await.unwrap();
    for i in 0..10 {
        drop(producer.enqueue(format!("{i}")).await.unwrap());
    }
    assert!(timeout(Duration::from_secs(1), producer.enqueue("late")).await.is_err(), "no room");
    assert_eq!(producer.try_enqueue(Message::new("late")).unwrap_err().error, None);
    assert_eq!(producer.in_window(), 10);
    // The node owes answers for too long: the producer opens a new stream, and is answered there.
    let late = producer.enqueue("late").await.unwrap();
    assert_eq!(late.await.unwrap().sequence, 11);
    assert_eq!(producer.in_window(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_bytes_but_takes_one_large_message() {
    let cluster = Cluster::start(1);
    faults(&cluster, &[Fault::Swallow]);
    let client = cluster.client().await;
    let producer = client.producer("q").window_bytes(1_000).open().await.unwrap();
    drop(producer.enqueue(vec![0; 5_000]).await.unwrap());
    assert!(timeout(Duration::from_secs(1), producer.enqueue("x")).await.is_err(), "no room");
    producer.flush().await.unwrap();
    faults(&cluster, &[Fault::Swallow; 2]);
    drop(producer.enqueue(vec![0; 500]).await.unwrap());
    drop(producer.enqueue(vec![0; 500]).await.unwrap());
    assert_eq!(producer.try_enqueue(Message::new("x")).unwrap_err().error, None);
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_that_is_given_up_sends_nothing() {
    let cluster = Cluster::start(1);
    faults(&cluster, &[Fault::Swallow]);
    let client = cluster.client().await;
    let producer = client.producer("q").window(1).open().await.unwrap();
    drop(producer.enqueue("first").await.unwrap());
    assert!(timeout(Duration::from_secs(1), producer.enqueue("given up")).await.is_err());
    producer.send("last").await.unwrap();
    assert_eq!(cluster.bodies(), ["first", "last"]);
}

#[tokio::test(start_paused = true)]
async fn order_of_calls_is_order_of_sends_among_concurrent_callers() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let producer = client.producer("q").window(3).open().await.unwrap();
    let sends = (0..100).map(|i| {
        let producer = producer.clone();
        async move { producer.send(format!("{i}")).await.unwrap().sequence }
    });
    assert_eq!(join_all(sends).await, (1..=100).collect::<Vec<u64>>());
    assert_eq!(cluster.bodies(), (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_send_without_an_answer_is_unknown_at_its_deadline_and_never_failed() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let producer = client.producer("q").send_deadline(Duration::from_secs(10)).open().await.unwrap();
    producer.send("before").await.unwrap();
    faults(&cluster, &[Fault::Swallow; 100]);
    let start = Instant::now();
    let error = producer.send("a").await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(start.elapsed().as_secs(), 10);
    drop(producer.enqueue("c").await.unwrap());
    assert!(producer.flush().await.unwrap_err().is_outcome_unknown());
    // It was appended indeed, and only once, however often it was repeated.
    cluster.lock().send_faults.clear();
    producer.send("b").await.unwrap();
    assert_eq!(cluster.bodies(), ["before", "a", "c", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_reported_as_not_sent_and_is_not_sent_later() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let producer = client.producer("q").send_deadline(Duration::from_secs(5)).open().await.unwrap();
    producer.send("a").await.unwrap();
    cluster.net().down("n1");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = producer.send("b").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable());
    cluster.net().up("n1");
    producer.send("c").await.unwrap();
    assert_eq!(cluster.bodies(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_producer_reports_the_unconfirmed_as_unknown_and_goes_on_under_a_new_identity() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    producer.send("a").await.unwrap();
    // The stream breaks with `b` appended and unconfirmed, and then the server forgets the producer.
    faults(&cluster, &[Fault::BreakAfter]);
    let lost = producer.enqueue("b").await.unwrap();
    cluster.until(|state| state.queues["q"].log.len() == 2).await;
    cluster.with(|queue| queue.producers.clear());
    let error = lost.await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(producer.send("c").await.unwrap().sequence, 3);
    assert_eq!(cluster.bodies(), ["a", "b", "c"]);
    let ids: Vec<_> = cluster.with(|queue| queue.batches.iter().map(|batch| batch.0.clone()).collect());
    assert_ne!(ids.first(), ids.last());
}

#[tokio::test(start_paused = true)]
async fn a_producer_forgotten_while_idle_sends_on_without_an_error() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    producer.send("a").await.unwrap();
    cluster.with(|queue| queue.producers.clear());
    assert_eq!(producer.send("b").await.unwrap().sequence, 2);
    assert_eq!(cluster.bodies(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_an_error_of_that_send_alone() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::Consume("QUEUE_FULL")]);
    let error = producer.send("a").await.unwrap_err();
    assert!(matches!(error, Error::QueueFull { .. }), "{error:?}");
    assert!(error.retry_after().is_some());
    assert_eq!(producer.send("b").await.unwrap().sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_refused_without_using_its_number_up_does_not_hold_up_the_next() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::None, Fault::Refuse("INVALID_ARGUMENT")]);
    producer.send("a").await.unwrap();
    let bad = producer.enqueue_batch(["bad"]).await.unwrap();
    let good = producer.enqueue_batch(["good"]).await.unwrap();
    assert!(matches!(bad.await.unwrap_err(), Error::Invalid { .. }));
    assert_eq!(good.await.unwrap()[0].sequence, 2);
    let ids: Vec<_> = cluster.with(|queue| queue.batches.iter().map(|batch| batch.0.clone()).collect());
    assert_eq!(ids.first(), ids.last(), "the identity is kept");
}

#[tokio::test(start_paused = true)]
async fn messages_refused_for_their_company_say_so_and_later_ones_go_alone() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::Consume("INVALID_ARGUMENT")]);
    let together = join_all((0..5).map(|i| producer.enqueue(format!("{i}")))).await;
    for confirmation in together {
        let error = confirmation.unwrap().await.unwrap_err();
        assert!(matches!(error, Error::BatchRefused { .. }) && error.is_retryable(), "{error:?}");
    }
    faults(&cluster, &[Fault::Consume("INVALID_ARGUMENT")]);
    let alone = join_all((0..5).map(|i| producer.enqueue(format!("{i}")))).await;
    let results = join_all(alone.into_iter().map(Result::unwrap)).await;
    assert!(matches!(results[0], Err(Error::Invalid { .. })));
    assert!(results[1..].iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_messages_share_batches_and_order_inside_them_is_kept() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    let sends = join_all((0..200).map(|i| producer.enqueue(format!("{i}")))).await;
    let sequences = join_all(sends.into_iter().map(Result::unwrap)).await;
    assert_eq!(
        sequences.into_iter().map(|s| s.unwrap().sequence).collect::<Vec<_>>(),
        (1..=200).collect::<Vec<_>>()
    );
    let batches = cluster.with(|queue| queue.batches.len());
    assert!(batches <= 10, "{batches} batches for 200 messages that waited together");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_gone_fails_what_is_there_and_a_namesake_is_served_again() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    producer.send("a").await.unwrap();
    cluster.lock().queues.remove("q");
    let error = producer.send("b").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. } | Error::QueueGone { .. }), "{error:?}");
    let error = producer.send("c").await.unwrap_err();
    assert!(matches!(error, Error::QueueNotFound { .. }), "{error:?}");
    cluster.lock().queues.insert("q".into(), crate::fake::Queue::default());
    assert_eq!(producer.send("d").await.unwrap().sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn opening_on_a_missing_queue_says_so() {
    let cluster = Cluster::start(3);
    let error = cluster.client().await.producer("none").open().await.unwrap_err();
    assert!(matches!(error, Error::QueueNotFound { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn flush_reports_the_first_error_of_dropped_confirmations_once() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::Consume("QUEUE_FULL")]);
    drop(producer.enqueue("a").await.unwrap());
    assert!(matches!(producer.flush().await, Err(Error::QueueFull { .. })));
    drop(producer.enqueue("b").await.unwrap());
    producer.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_that_somebody_was_told_of_is_not_told_again() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::Consume("QUEUE_FULL"), Fault::Consume("QUEUE_FULL")]);
    assert!(matches!(producer.send("told").await, Err(Error::QueueFull { .. })));
    producer.flush().await.unwrap();
    // Resolved while it was held, and then dropped unread.
    let unread = producer.enqueue("unread").await.unwrap();
    producer.flush().await.unwrap();
    drop(unread);
    assert!(matches!(producer.close().await, Err(Error::QueueFull { .. })));
}

#[tokio::test(start_paused = true)]
async fn closing_confirms_what_was_enqueued_and_refuses_more() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    let clone = producer.clone();
    let confirmations = join_all((0..50).map(|i| producer.enqueue(format!("{i}")))).await;
    producer.close().await.unwrap();
    assert_eq!(cluster.bodies().len(), 50);
    for confirmation in confirmations {
        confirmation.unwrap().await.unwrap();
    }
    assert!(matches!(clone.send("late").await, Err(Error::Closed)));
    cluster.until(|state| state.send_streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_producer_ends_its_task_and_leaves_the_outcome_unknown() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    faults(&cluster, &[Fault::Swallow; 10]);
    let confirmation = producer.enqueue("a").await.unwrap();
    cluster.until(|state| !state.queues["q"].log.is_empty()).await;
    drop(producer);
    assert!(confirmation.await.unwrap_err().is_outcome_unknown());
    cluster.until(|state| state.send_streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_answering_is_left_for_another() {
    let cluster = Cluster::start(3);
    let producer = producer(&cluster).await;
    producer.send("a").await.unwrap();
    cluster.net().freeze("n1");
    cluster.lock().leader = 2;
    let start = Instant::now();
    assert_eq!(producer.send("b").await.unwrap().sequence, 2);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_oversized_batch_is_refused_before_it_is_sent() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    let many = producer.enqueue_batch(vec!["x"; 2_000]).await.unwrap_err();
    let none = producer.enqueue_batch(Vec::<Message>::new()).await.unwrap_err();
    let large = producer.enqueue(vec![0; 30 * 1024 * 1024]).await.unwrap_err();
    for error in [many, none, large] {
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_for_the_server_harms_no_other() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster).await;
    // More than the four MiB of a frame that a tonic server takes.
    let sizes = [10, 5 * 1024 * 1024, 20, 2 * 1024 * 1024, 30];
    let sends = join_all(sizes.map(|size| producer.enqueue(vec![b'x'; size]))).await;
    let results = join_all(sends.into_iter().map(Result::unwrap)).await;
    assert!(matches!(results[1], Err(Error::Invalid { .. })), "{:?}", results[1]);
    let sequences: Vec<_> =
        results.iter().map(|result| result.as_ref().ok().map(|sent| sent.sequence)).collect();
    assert_eq!(sequences, [Some(1), None, Some(2), Some(3), Some(4)]);
}
