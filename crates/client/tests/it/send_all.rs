//! `send_all`: a stream of messages in, what became of each out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use phalanx_client::{Error, Message, Sent};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use crate::fake::{Cluster, Fault};

fn numbers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| i.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_became_of_each_comes_in_the_order_of_the_stream_over_broken_streams() {
    for seed in 0..3 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let cluster = Cluster::start(3);
        let choices = [Fault::BreakBefore, Fault::BreakAfter, Fault::Refuse("NOT_LEADER")];
        let script: Vec<Fault> = (0..1_000)
            .map(|_| if rng.random_ratio(1, 20) { choices[rng.random_range(0..3)] } else { Fault::None })
            .collect();
        cluster.lock().send_faults.extend(script);
        let client = cluster.client().await;
        let producer = client.producer("q").window(32).coalesce(5).open().await.unwrap();
        let sent: Vec<Sent> = producer.send_all(stream::iter(numbers(1_000))).try_collect().await.unwrap();
        let sequences: Vec<u64> = sent.into_iter().map(|sent| sent.sequence).collect();
        assert_eq!(sequences, (1..=1_000).collect::<Vec<u64>>(), "seed {seed}");
        assert_eq!(cluster.bodies(), numbers(1_000).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_than_a_window_beyond_what_was_given() {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let producer = client.producer("q").window(10).open().await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = numbers(1_000).inspect({
        let taken = taken.clone();
        move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut sent = producer.send_all(stream::iter(counted));
    assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing before it is polled");
    for given in 1..=20 {
        sent.next().await.unwrap().unwrap();
        // All is confirmed meanwhile, and yet nobody has heard of it.
        sleep(Duration::from_secs(1)).await;
        assert!(taken.load(Ordering::Relaxed) <= given + 10, "{taken:?} after {given}");
    }
    // Confirmations stop: so does the taking.
    cluster.lock().send_faults.extend([Fault::Swallow; 1_000]);
    let all = timeout(Duration::from_secs(2), sent.by_ref().count()).await;
    assert!(all.is_err());
    assert!(taken.load(Ordering::Relaxed) <= 50, "{taken:?}");
    cluster.lock().send_faults.clear();
    assert!(sent.all(|result| async move { result.is_ok() }).await);
    assert_eq!(cluster.bodies(), numbers(1_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn messages_are_sent_as_they_come_and_confirmed_before_the_next_one() {
    let cluster = Cluster::start(1);
    let producer = cluster.client().await.producer("q").open().await.unwrap();
    let (to, from) = tokio::sync::mpsc::channel::<Message>(1);
    let mut sent = producer.send_all(tokio_stream::wrappers::ReceiverStream::new(from));
    for sequence in 1..=3 {
        to.send(Message::new("x")).await.unwrap();
        let result = timeout(Duration::from_secs(1), sent.next()).await;
        assert_eq!(result.expect("in time").unwrap().unwrap().sequence, sequence);
    }
    drop(to);
    assert!(sent.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_message_is_its_item_and_the_next_ones_are_sent() {
    let cluster = Cluster::start(1);
    let producer = cluster.client().await.producer("q").coalesce(1).open().await.unwrap();
    cluster.lock().send_faults.extend([Fault::None, Fault::Consume("QUEUE_FULL")]);
    let bodies = [vec![b'a'], vec![b'b'], vec![0; 30 * 1024 * 1024], vec![b'd']];
    let sent: Vec<Result<Sent, Error>> = producer.send_all(stream::iter(bodies)).collect().await;
    assert!(matches!(sent[1], Err(Error::QueueFull { .. })), "{sent:?}");
    assert!(matches!(sent[2], Err(Error::Invalid { .. })), "{sent:?}");
    assert_eq!((sent[0].as_ref().unwrap().sequence, sent[3].as_ref().unwrap().sequence), (1, 2));
    assert_eq!(sent.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_all_would_get_ends_it_and_what_was_taken_is_told() {
    let cluster = Cluster::start(1);
    let producer = cluster.client().await.producer("q").window(4).open().await.unwrap();
    let endless = stream::iter(std::iter::repeat("x"));
    let mut sent = producer.send_all(endless);
    sent.next().await.unwrap().unwrap();
    cluster.lock().queues.remove("q");
    let rest: Vec<_> = timeout(Duration::from_secs(60), sent.collect()).await.expect("it ends");
    let rest: Vec<Result<Sent, Error>> = rest;
    assert!(
        rest.iter()
            .any(|result| matches!(result, Err(Error::QueueGone { .. } | Error::QueueNotFound { .. })))
    );

    let producer = Cluster::start(1).client().await.producer("q").open().await.unwrap();
    let closed = producer.clone();
    closed.close().await.unwrap();
    let sent: Vec<_> = producer.send_all(stream::iter(std::iter::repeat("x"))).collect().await;
    assert_eq!(sent, [Err(Error::Closed)]);
}
