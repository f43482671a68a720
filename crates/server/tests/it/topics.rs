//! Topics over real gRPC: what is published reaches whom it should, also while leaders move and nodes restart.

use std::collections::BTreeMap;
use std::time::Duration;

use phalanx_client::{Client, Error, Message, QueueSettings, SubscriptionSettings, TopicSettings};

use crate::support::TestCluster;
use crate::talk::move_leader;

const PATIENCE: Duration = Duration::from_secs(30);
/// Published while leaders move.
const MESSAGES: usize = 600;

pub fn taking(pattern: &str, filter: &str) -> SubscriptionSettings {
    SubscriptionSettings { pattern: pattern.into(), filter: filter.into(), ..SubscriptionSettings::default() }
}

pub async fn client(cluster: &TestCluster) -> Client {
    Client::connect((1..=3).map(|node| cluster.client_address(node))).await.unwrap()
}

/// The bodies that wait in a queue, acknowledged.
pub async fn drain(client: &Client, queue: &str, count: usize) -> Vec<String> {
    let mut consumer = client.consumer(queue).open().await.unwrap();
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let next = tokio::time::timeout(PATIENCE, consumer.next());
        let delivery = next.await.expect("it waits there").expect("nobody closed it").unwrap();
        bodies.push(String::from_utf8(delivery.body().to_vec()).unwrap());
        delivery.ack().await.unwrap();
    }
    consumer.close().await.unwrap();
    assert_eq!(client.admin().queue_info(queue).await.unwrap().ready, 0, "and nothing else");
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_to_every_subscription_that_it_matches() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_topic("orders", TopicSettings::default()).await.unwrap();
    for (name, pattern, filter) in [
        ("all", "", ""),
        ("eu", "*.eu", ""),
        ("dear", "", "amount >= 100 and not exists(test)"),
        ("none", "x", ""),
    ] {
        let made = admin.create_subscription("orders", name, taking(pattern, filter)).await.unwrap();
        assert_eq!((made.queue, made.topic.as_str()), (format!("orders/{name}"), "orders"));
    }
    let order = |body: &str, key: &str, amount: &str| {
        Message::new(body.to_owned()).routing_key(key).header("amount", amount.to_owned())
    };
    let sent = client.send("orders", [order("a", "new.eu", "99.99")]).await.unwrap();
    assert_eq!((sent[0].sequence, sent[0].matched), (1, 2));
    let sent =
        client.send("orders", [order("b", "new.us", "100"), order("c", "new.eu", "1000")]).await.unwrap();
    assert_eq!(sent[0].matched, 5, "two and three");
    let info = admin.topic_info("orders").await.unwrap();
    assert_eq!((info.stored, info.subscriptions, info.published_total), (3, 4, 3));

    assert_eq!(drain(&client, "orders/all", 3).await, ["a", "b", "c"]);
    assert_eq!(drain(&client, "orders/eu", 2).await, ["a", "c"]);
    assert_eq!(admin.topic_info("orders").await.unwrap().stored, 2, "what nobody needs any more is gone");
    assert_eq!(drain(&client, "orders/dear", 2).await, ["b", "c"]);
    assert_eq!(admin.topic_info("orders").await.unwrap().stored, 0);

    admin.update_subscription("orders", "none", taking("#.us", ""), None).await.unwrap();
    let refused = client.send_mandatory("orders", [order("d", "new.us", "1")]).await.unwrap();
    assert_eq!(refused[0].matched, 2);
    admin.delete_subscription("orders", "all").await.unwrap();
    let refused = client.send_mandatory("orders", [order("e", "nowhere", "1")]).await.unwrap_err();
    assert!(matches!(refused, Error::Unroutable { .. }), "{refused}");
    assert_eq!(drain(&client, "orders/none", 1).await, ["d"]);

    admin.delete_topic("orders").await.unwrap();
    assert!(matches!(client.send("orders", ["x"]).await, Err(Error::QueueNotFound { .. })));
    admin.create_topic("orders", TopicSettings::default()).await.unwrap();
    assert!(admin.list_subscriptions("orders").await.unwrap().is_empty(), "a namesake begins with none");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_with_a_reason() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_queue("jobs", QueueSettings::default()).await.unwrap();
    admin.create_topic("news", TopicSettings::default()).await.unwrap();
    let said = |error: Error| error.to_string();
    let wrong = admin.create_subscription("news", "a", taking("", "region = eu")).await.unwrap_err();
    assert!(
        said(wrong).contains("filter: column 10: expected a text in single quotes"),
        "the place is named"
    );
    let wrong = admin.create_subscription("jobs", "a", taking("", "")).await.unwrap_err();
    assert!(said(wrong).contains("no topic \"jobs\""));
    let wrong = admin.create_subscription("news", "a/b", taking("", "")).await.unwrap_err();
    assert!(said(wrong).contains("slash"));
    let wrong = admin.create_topic("jobs", TopicSettings::default()).await.unwrap_err();
    assert!(matches!(wrong, Error::AlreadyExists { .. }), "{wrong}");
    let wrong = admin.delete_queue("news").await.unwrap_err();
    assert!(matches!(wrong, Error::QueueNotFound { .. }), "{wrong}");
    let wrong = client.receiver("news").receive(1, Duration::ZERO).await.unwrap_err();
    assert!(said(wrong).contains("receive from one of its subscriptions"));
    admin.create_subscription("news", "a", taking("", "")).await.unwrap();
    let wrong = client.send("news/a", ["x"]).await.unwrap_err();
    assert!(said(wrong).contains("publish to its topic"));
    assert!(admin.list_queues().await.unwrap().iter().all(|queue| queue.name == "jobs"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_is_complete_while_leaders_move_and_nodes_restart() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_topic("events", TopicSettings::default()).await.unwrap();
    let parts = BTreeMap::from([("all", ""), ("even", "even"), ("odd", "odd"), ("any", "*")]);
    for (name, pattern) in &parts {
        admin.create_subscription("events", name, taking(pattern, "")).await.unwrap();
    }
    let publish = async {
        let producer = client.producer("events").window(16).mandatory().open().await.unwrap();
        for number in 0..MESSAGES {
            let key = if number % 2 == 0 { "even" } else { "odd" };
            let message = Message::new(number.to_string()).routing_key(key);
            producer.enqueue(message).await.unwrap().await.unwrap();
        }
        producer.close().await.unwrap();
    };
    let consume = |name: &'static str, count| {
        let client = client.clone();
        async move { (name, drain(&client, &format!("events/{name}"), count).await) }
    };
    let trouble = async {
        for node in [1, 2, 3] {
            move_leader(&cluster, "events").await;
            tokio::time::sleep(Duration::from_millis(100 * node)).await;
        }
    };
    let (half, all) = (MESSAGES / 2, MESSAGES);
    let consumers = futures::future::join_all([
        tokio::spawn(consume("all", all)),
        tokio::spawn(consume("even", half)),
        tokio::spawn(consume("odd", half)),
    ]);
    let ((), consumed, ()) = tokio::join!(publish, consumers, trouble);
    for result in consumed {
        let (name, bodies) = result.unwrap();
        let expected = (0..MESSAGES).filter(|number| match name {
            "even" => number % 2 == 0,
            "odd" => number % 2 == 1,
            _ => true,
        });
        assert_eq!(
            bodies,
            expected.map(|number| number.to_string()).collect::<Vec<_>>(),
            "{name}: all, in order"
        );
    }
    for node in 1..=3 {
        cluster.stop(node).await;
        cluster.start_some(&[node]).await;
    }
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(drain(&client, "events/any", MESSAGES).await, expected, "what waited survived the restarts");
    assert_eq!(admin.topic_info("events").await.unwrap().stored, 0);
    cluster.stop_all().await;
}
