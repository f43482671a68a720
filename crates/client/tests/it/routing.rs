//! Where calls go.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{ChannelSettings, Client, Error};
use tokio::time::Instant;
use tonic::transport::Endpoint;

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
    for address in ["", "http://", "ftp://files:1", "a b"] {
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

#[tokio::test]
async fn https_without_tls_is_refused_and_the_error_says_what_to_do() {
    for addresses in [vec!["https://secure:1"], vec!["HTTPS://secure:1"], vec!["plain:1", "https://secure:1"]]
    {
        let error = Client::builder().addresses(addresses).build().unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("ClientBuilder::tls"), "{error}");
    }
    // Never in the clear to one of them.
    let tls = |endpoint: Endpoint| Ok(endpoint);
    let mixed = Client::builder().addresses(["https://secure:1", "http://plain:1"]).tls(tls).build();
    assert!(matches!(mixed, Err(Error::Invalid { .. })), "{mixed:?}");
}

/// Addresses in the order in which something was done for them.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn add(&self, what: &str, endpoint: &Endpoint) {
        self.0.lock().push(format!("{what} {}", endpoint.uri()));
    }
}

#[tokio::test(start_paused = true)]
async fn tls_is_set_up_for_https_and_then_the_endpoint_changed_and_the_nodes_found_are_https_too() {
    let cluster = Cluster::start(3);
    cluster.lock().leader = 2;
    cluster.lock().advertised.insert(3, "http://n3".into());
    let seen = Seen::default();
    let (by_tls, by_hook, by_connector) = (seen.clone(), seen.clone(), seen.clone());
    let connector = cluster.net().connector();
    let client = Client::builder()
        .addresses(["https://n1"])
        .tls(move |endpoint| {
            by_tls.add("tls", &endpoint);
            Ok(endpoint)
        })
        .endpoint(move |endpoint| {
            by_hook.add("endpoint", &endpoint);
            endpoint
        })
        .connector(move |endpoint: Endpoint| {
            by_connector.add("connector", &endpoint);
            connector(endpoint)
        })
        .connect()
        .await
        .unwrap();
    client.send("q", ["x"]).await.unwrap();
    assert_eq!(cluster.lock().calls.get(&2), Some(&1), "the leader, at an address without a scheme");
    cluster.lock().leader = 3;
    cluster.lock().forwarding = true;
    client.send("q", ["y"]).await.unwrap();
    assert_eq!(cluster.net().dialled("n3"), 0, "not in the clear");
    let each = ["https://n1/", "https://n2/"]
        .map(|uri| ["tls", "endpoint", "connector"].map(|what| format!("{what} {uri}")));
    assert_eq!(*seen.0.lock(), each.concat());
}

#[tokio::test]
async fn an_error_of_the_tls_set_up_is_told() {
    let tls = |_: Endpoint| Endpoint::from_shared("not an address").map(|_| unreachable!("it is none"));
    let error = Client::builder().addresses(["https://secure:1"]).tls(tls).build().unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("TLS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_channel_settings_reach_the_channel() {
    let cluster = Cluster::start(1);
    let connect_timeout = Arc::new(Mutex::new(None));
    let seen = connect_timeout.clone();
    let connector = cluster.net().connector();
    let mut settings = ChannelSettings::default();
    settings.user_agent = format!("billing/2.1 {}", settings.user_agent);
    settings.connect_timeout = Duration::from_millis(1_234);
    settings.decode_bytes_max = 6_000;
    let builder = Client::builder().addresses(["n1"]).channel(settings.clone());
    let client = builder
        .connector(move |endpoint: Endpoint| {
            *seen.lock() = endpoint.get_connect_timeout();
            connector(endpoint)
        })
        .connect()
        .await
        .unwrap();
    let expected = format!("billing/2.1 phalanx-rust/{} ", env!("CARGO_PKG_VERSION"));
    let user_agent = cluster.lock().user_agents[0].clone();
    assert!(user_agent.starts_with(&expected), "{user_agent}");
    assert_eq!(*connect_timeout.lock(), Some(Duration::from_millis(1_234)));
    for _ in 0..5 {
        client.send("q", [vec![0; 1_500]]).await.unwrap();
    }
    let error = client.receiver("q").receive(5, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. } | Error::OutcomeUnknown { .. }), "{error:?}");
    settings.user_agent = String::from("two\nlines");
    let error = Client::builder().channel(settings).build().unwrap_err();
    assert!(error.to_string().contains("user agent"), "{error}");
}
