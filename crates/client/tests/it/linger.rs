//! Batching: what waits for company, how long, and what goes at once.

use std::time::Duration;

use futures::future::join_all;
use phalanx_client::{Producer, ProducerBuilder};
use tokio::time::{Instant, sleep};

use crate::fake::Cluster;

const LINGER: Duration = Duration::from_millis(400);

async fn producer(cluster: &Cluster, set: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Producer {
    let client = cluster.client().await;
    set(client.producer("q").linger(LINGER)).open().await.expect("the queue is there")
}

/// Messages in each batch, as they came.
fn batches(cluster: &Cluster) -> Vec<usize> {
    cluster.with(|queue| queue.batches.iter().map(|batch| batch.2).collect())
}

#[tokio::test(start_paused = true)]
async fn a_lone_message_waits_for_company_and_no_longer_than_the_linger() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster, |builder| builder).await;
    let start = Instant::now();
    producer.send("alone").await.unwrap();
    assert!(start.elapsed() >= LINGER, "{:?}", start.elapsed());
    assert!(start.elapsed() < LINGER + Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_linger_of_the_first_shares_its_batch() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster, |builder| builder).await;
    let mut confirmations = Vec::new();
    for i in 0..5 {
        confirmations.push(producer.enqueue(format!("{i}")).await.unwrap());
        sleep(LINGER * 3 / 10).await;
    }
    for confirmation in join_all(confirmations).await {
        confirmation.unwrap();
    }
    assert_eq!(batches(&cluster), [4, 1]);
    assert_eq!(cluster.bodies(), ["0", "1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once() {
    let cluster = Cluster::start(1);
    let by_count = producer(&cluster, |builder| builder.coalesce(3)).await;
    let start = Instant::now();
    for confirmation in join_all((0..6).map(|i| by_count.enqueue(format!("{i}")))).await {
        confirmation.unwrap().await.unwrap();
    }
    let by_bytes = producer(&cluster, |builder| builder.coalesce_bytes(1_000)).await;
    for confirmation in join_all((0..4).map(|_| by_bytes.enqueue(vec![0; 500]))).await {
        confirmation.unwrap().await.unwrap();
    }
    assert!(start.elapsed() < LINGER, "{:?}", start.elapsed());
    assert_eq!(batches(&cluster), [3, 3, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn coalesce_bytes_bounds_a_batch_without_a_linger_too() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster, |builder| builder.linger(Duration::ZERO).coalesce_bytes(1_000)).await;
    for confirmation in join_all([600, 600, 300, 2_000, 10].map(|size| producer.enqueue(vec![0; size]))).await
    {
        confirmation.unwrap().await.unwrap();
    }
    assert_eq!(batches(&cluster), [1, 2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_alone_does_not_wait_and_takes_along_what_waits_before_it() {
    let cluster = Cluster::start(1);
    let producer = producer(&cluster, |builder| builder).await;
    let start = Instant::now();
    producer.enqueue_batch(["a", "b"]).await.unwrap().await.unwrap();
    producer.send(vec![0; 100_000]).await.unwrap();
    let small = producer.enqueue("small").await.unwrap();
    let batch = producer.enqueue_batch(["c"]).await.unwrap();
    small.await.unwrap();
    batch.await.unwrap();
    assert!(start.elapsed() < LINGER, "{:?}", start.elapsed());
    assert_eq!(batches(&cluster), [2, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_a_close_and_a_full_window_do_not_wait_for_company() {
    let cluster = Cluster::start(1);
    let flushed = producer(&cluster, |builder| builder).await;
    let start = Instant::now();
    drop(flushed.enqueue("flushed").await.unwrap());
    flushed.flush().await.unwrap();
    drop(flushed.enqueue("closed").await.unwrap());
    flushed.close().await.unwrap();
    let small = producer(&cluster, |builder| builder.window(2)).await;
    for _ in 0..5 {
        drop(small.enqueue("small").await.unwrap());
    }
    assert!(small.in_window() <= 2);
    assert!(start.elapsed() < LINGER, "{:?}", start.elapsed());
    // The last one found room: it waits.
    small.enqueue("late").await.unwrap().await.unwrap();
    assert!(start.elapsed() >= LINGER, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_linger_beyond_its_bounds_is_cut_to_them() {
    let cluster = Cluster::start(1);
    let patient = producer(&cluster, |builder| builder.linger(Duration::from_secs(3_600))).await;
    let start = Instant::now();
    patient.send("a").await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let deadline = Duration::from_millis(600);
    let hurried = producer(&cluster, |b| b.linger(Duration::from_secs(1)).send_deadline(deadline)).await;
    hurried.send("b").await.expect("it is sent before its deadline");
}
