//! A broker in memory does what a cluster does.

mod blocking;

use std::time::Duration;

use futures::future::join_all;
use phalanx_client::{Error, Message, QueueSettings};
use phalanx_memory::MemoryBroker;

async fn with_queue(settings: QueueSettings) -> (MemoryBroker, phalanx_client::Client) {
    let broker = MemoryBroker::start().await.expect("nothing is in its way");
    let client = broker.client().await.expect("it runs");
    client.admin().create_queue("q", settings).await.expect("a new queue");
    (broker, client)
}

#[tokio::test]
async fn what_is_sent_is_received_in_order_on_one_thread() {
    let (broker, client) = with_queue(QueueSettings::default()).await;
    let producer = client.producer("q").open().await.unwrap();
    for number in 0..500 {
        drop(producer.enqueue(number.to_string()).await.unwrap());
    }
    producer.close().await.unwrap();
    let mut consumer = client.consumer("q").open().await.unwrap();
    for number in 0..500 {
        let delivery = consumer.next().await.unwrap().unwrap();
        assert_eq!(delivery.body(), number.to_string().as_bytes());
        delivery.ack().await.unwrap();
    }
    consumer.close().await.unwrap();
    assert_eq!((client.admin().queue_info("q").await.unwrap().acked_total, broker.failure()), (500, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_brokers_live_side_by_side() {
    let brokers = join_all((0..8).map(|number| async move {
        let (broker, client) = with_queue(QueueSettings::default()).await;
        client.send("q", [format!("of {number}")]).await.unwrap();
        (broker, client)
    }));
    for (number, (_broker, client)) in brokers.await.into_iter().enumerate() {
        let received = client.receiver("q").receive(9, Duration::ZERO).await.unwrap();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].body(), format!("of {number}").as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn paused_time_runs_leases_out_at_once() {
    let lease = Some(Duration::from_secs(60));
    let (_broker, client) = with_queue(QueueSettings { lease, ..QueueSettings::default() }).await;
    client.send("q", ["slow"]).await.unwrap();
    let receiver = client.receiver("q");
    let held = receiver.receive(1, Duration::ZERO).await.unwrap().pop().expect("it was sent");
    assert!(receiver.receive(1, Duration::from_secs(10)).await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let again =
        client.receiver("q").receive(1, Duration::from_secs(10)).await.unwrap().pop().expect("it came back");
    assert_eq!((again.attempt(), again.sequence()), (2, held.sequence()));
    assert!(matches!(held.ack().await, Err(Error::LeaseOver { .. })));
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged_and_repeats_nothing() {
    let (mut broker, client) = with_queue(QueueSettings::default()).await;
    let producer = client.producer("q").open().await.unwrap();
    let mut confirmed = Vec::new();
    for round in 0..3 {
        let confirmations = (0..200).map(|n| producer.enqueue(Message::new(format!("{round}/{n}"))));
        let confirmations: Vec<_> = join_all(confirmations).await.into_iter().map(Result::unwrap).collect();
        broker.crash().await;
        let hasty = broker.client_builder().request_deadline(Duration::from_millis(100));
        assert!(matches!(hasty.connect().await, Err(Error::Unavailable { .. })), "nobody is there");
        broker.restart().await.unwrap();
        confirmed.extend(join_all(confirmations).await.into_iter().map(|sent| sent.unwrap().sequence));
    }
    producer.close().await.unwrap();
    assert_eq!(confirmed, (1..=600).collect::<Vec<u64>>());
    let mut consumer = client.consumer("q").open().await.unwrap();
    for round in 0..3 {
        for n in 0..200 {
            let delivery = consumer.next().await.unwrap().unwrap();
            assert_eq!(delivery.body(), format!("{round}/{n}").as_bytes());
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(client.admin().queue_info("q").await.unwrap().ready, 0);
    assert_eq!(broker.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_broker_is_gone_and_its_clients_are_told() {
    let (broker, client) = with_queue(QueueSettings::default()).await;
    drop(broker);
    let error = client.send("q", ["late"]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_holds_knows_of_its_extensions() {
    let lease = Some(Duration::from_secs(10));
    let (_broker, client) = with_queue(QueueSettings { lease, ..QueueSettings::default() }).await;
    client.send("q", ["slow"]).await.unwrap();
    let held = client.receiver("q").receive(1, Duration::ZERO).await.unwrap().pop().expect("it was sent");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        held.extend(None).await.unwrap();
        assert!(!held.is_lost() && held.lease_left() > Duration::from_secs(8), "{:?}", held.lease_left());
    }
    held.extend(Some(Duration::from_secs(60))).await.unwrap();
    assert!(held.lease_left() > Duration::from_secs(50));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(matches!(held.extend(None).await, Err(Error::LeaseOver { .. })));
    assert!(held.is_lost());
}
