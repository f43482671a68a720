//! Leaderships that are handed over under load: no error reaches the application.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use phalanx_client::{Client, Error};
use phalanx_proto::v1;
use tokio::sync::{Semaphore, watch};

use crate::support::TestCluster;
use crate::talk::{create, move_leader};

const QUEUE: &str = "orders";
/// Of the calls without a stream.
const CALLS: &str = "calls";
const TRANSFERS: usize = 10;
/// Time under load between two of them.
const PAUSE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(60);
/// The producer is at most so many messages ahead of the consumer, who takes one at a time.
const AHEAD: usize = 1_000;

async fn produce(client: Client, ahead: Arc<Semaphore>, stop: watch::Receiver<bool>) -> Result<u64, Error> {
    let producer = client.producer(QUEUE).window(64).open().await?;
    let numbers = futures::stream::iter(1_u64..).then(|number| {
        let ahead = ahead.clone();
        async move {
            ahead.acquire_owned().await.expect("nobody closes it").forget();
            number
        }
    });
    let numbers = std::pin::pin!(numbers.take_while(|_| std::future::ready(!*stop.borrow())));
    let mut confirmed = producer.send_all(numbers.map(|number| number.to_string()));
    let mut count = 0;
    while let Some(sent) = confirmed.next().await {
        count += 1;
        assert_eq!(sent?.sequence, count, "order of sends is order of sequences, and nothing is sent twice");
    }
    producer.close().await?;
    Ok(count)
}

/// Consumes until nothing more was sent; how many messages there were.
async fn consume(
    client: Client,
    ahead: Arc<Semaphore>,
    mut sent: watch::Receiver<Option<u64>>,
) -> Result<u64, Error> {
    let mut consumer = client.consumer(QUEUE).window(1).open().await?;
    let mut done = 0;
    while sent.borrow_and_update().is_none_or(|sent| done < sent) {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery.expect("nobody closed it")?,
            _ = sent.changed() => continue,
            () = tokio::time::sleep(PATIENCE) => panic!("nothing came after {done} of {sent:?}"),
        };
        done += 1;
        assert_eq!(delivery.body(), done.to_string().as_bytes(), "with a window of one, in order");
        delivery.ack().await?;
        ahead.add_permits(1);
    }
    consumer.close().await?;
    Ok(done)
}

async fn call(client: Client, stop: watch::Receiver<bool>) -> Result<u64, Error> {
    let receiver = client.receiver(CALLS);
    let mut rounds = 0;
    while !*stop.borrow() {
        rounds += 1;
        assert_eq!(client.send(CALLS, ["call"]).await?[0].sequence, rounds);
        let delivery = receiver.receive(1, PATIENCE).await?.pop().expect("it waits until there is one");
        assert_eq!(delivery.sequence(), rounds);
        delivery.ack().await?;
        assert_eq!(client.admin().queue_info(CALLS).await?.ready, 0);
    }
    Ok(rounds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_transfers_under_load_are_noticed_by_no_application() {
    let mut cluster = TestCluster::started(3).await;
    for queue in [QUEUE, CALLS] {
        create(&cluster, 1, queue, v1::QueueSettings::default()).await;
    }
    let addresses: Vec<String> = (1..=3).map(|node| cluster.client_address(node)).collect();
    let client = Client::connect(addresses).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let (tell, told) = watch::channel(None);
    let ahead = Arc::new(Semaphore::new(AHEAD));
    let producer = tokio::spawn(produce(client.clone(), ahead.clone(), stopped.clone()));
    let consumer = tokio::spawn(consume(client.clone(), ahead, told));
    let calls = tokio::spawn(call(client.clone(), stopped));
    for round in 0..TRANSFERS {
        tokio::time::sleep(PAUSE).await;
        move_leader(&cluster, [QUEUE, CALLS][round % 2]).await;
    }
    stop.send_replace(true);
    let sent = producer.await.unwrap().expect("no send fails");
    let rounds = calls.await.unwrap().expect("no call fails");
    tell.send_replace(Some(sent));
    assert_eq!(consumer.await.unwrap().expect("no delivery or ack fails"), sent);
    assert!(sent > 100 && rounds > 10, "there was load: {sent} messages, {rounds} rounds of calls");
    cluster.stop_all().await;
}
