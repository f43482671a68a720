//! Where calls go.

use std::time::Duration;

use phalanx_client::{Client, Error};
use tokio::time::Instant;

use crate::fake::Cluster;

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_leader_directly() {
    let cluster = Cluster::start(3);
    cluster.lock().leader = 2;
    let client = cluster.client().await;
    for _ in 0..5 {
        client.send("q", ["x"]).await.unwrap();
    }
    assert_eq!(cluster.lock().calls.get(&2), Some(&5));
    assert_eq!(cluster.lock().calls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_is_found_after_a_refusal() {
    let cluster = Cluster::start(3);
    cluster.lock().forwarding = false;
    let client = cluster.client().await;
    client.send("q", ["x"]).await.unwrap();
    cluster.lock().leader = 3;
    client.send("q", ["y"]).await.unwrap();
    assert_eq!(cluster.lock().calls.get(&3), Some(&1));
    assert_eq!(cluster.bodies(), ["x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn an_advertised_address_that_nobody_reaches_leaves_the_client_on_its_seed() {
    let cluster = Cluster::start(2);
    cluster.lock().leader = 2;
    cluster.lock().advertised.insert(2, "nowhere:7420".into());
    let client = Client::builder()
        .addresses(["http://n1"])
        .connector(cluster.net().connector())
        .connect()
        .await
        .unwrap();
    for _ in 0..5 {
        client.send("q", ["x"]).await.unwrap();
    }
    assert_eq!(cluster.lock().calls.get(&1), Some(&5), "forwarded by the seed");
    assert_eq!(client.producer("q").open().await.unwrap().send("y").await.unwrap().sequence, 6);
}

#[tokio::test(start_paused = true)]
async fn a_client_told_to_stay_does_not_go_to_the_leader() {
    let cluster = Cluster::start(3);
    cluster.lock().leader = 3;
    let client = Client::builder()
        .addresses(["http://n1"])
        .connector(cluster.net().connector())
        .go_to_leader(false)
        .connect()
        .await
        .unwrap();
    client.send("q", ["x"]).await.unwrap();
    assert_eq!(cluster.lock().calls.get(&1), Some(&1));
    assert_eq!(cluster.net().dialled("n3"), 0);
}

#[tokio::test(start_paused = true)]
async fn connecting_tries_the_other_addresses() {
    let cluster = Cluster::start(3);
    cluster.net().down("n1");
    cluster.net().freeze("n2");
    cluster.lock().leader = 3;
    let start = Instant::now();
    let client = cluster.client().await;
    client.send("q", ["x"]).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connecting_to_nobody_fails_in_time() {
    let cluster = Cluster::start(2);
    cluster.net().down("n1");
    cluster.net().down("n2");
    let start = Instant::now();
    let error = cluster.builder().connect().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(start.elapsed() <= Duration::from_secs(11), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_none_is_refused() {
    for address in ["", "http://", "https://secure:1", "a b"] {
        let error = Client::connect([address]).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{address:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_survived_by_every_kind_of_call() {
    let cluster = Cluster::start(3);
    let client = cluster.client().await;
    let producer = client.producer("q").open().await.unwrap();
    let mut consumer = client.consumer("q").open().await.unwrap();
    producer.send("a").await.unwrap();
    let first = consumer.next().await.unwrap().unwrap();
    cluster.net().down("n1");
    cluster.lock().leader = 2;
    producer.send("b").await.unwrap();
    client.send("q", ["c"]).await.unwrap();
    first.ack().await.unwrap();
    for body in ["b", "c"] {
        let delivery = consumer.next().await.unwrap().unwrap();
        assert_eq!(delivery.body(), body);
        delivery.ack().await.unwrap();
    }
    assert_eq!(cluster.bodies(), ["a", "b", "c"]);
}
