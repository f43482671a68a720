//! Bindings over real gRPC: what a topic feeds gets each message once and in order, on its shard and on others, also while leaders move, nodes
//! restart, and targets are full or go.

use std::time::Duration;

use phalanx_client::{Client, Conditions, Error, Message, Place, QueueSettings, TopicSettings};

use crate::support::TestCluster;
use crate::talk::move_leader;
use crate::topics::{client, drain, taking};

/// Published while leaders move.
const MESSAGES: usize = 600;
/// Queues that are made so that some lie on the topic's shard and some on others.
const QUEUES: usize = 10;

fn key(pattern: &str) -> Conditions {
    Conditions { pattern: pattern.into(), ..Conditions::default() }
}

/// A topic and queues: of these one on its shard and one on another, in this order.
async fn near_and_far(client: &Client, topic: &str) -> (String, String) {
    let admin = client.admin();
    let shard = admin.create_topic(topic, TopicSettings::default()).await.unwrap().shard;
    let (mut near, mut far) = (None, None);
    for number in 0..QUEUES {
        let name = format!("{topic}-{number}");
        let queue = admin.create_queue(&name, QueueSettings::default()).await.unwrap();
        *(if queue.shard == shard { &mut near } else { &mut far }) = Some(name);
    }
    (near.expect("one on the topic's shard"), far.expect("one on another"))
}

fn numbers() -> Vec<String> {
    (0..MESSAGES).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_feeds_queues_and_topics_wherever_they_are() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    let (near, far) = near_and_far(&client, "orders").await;
    admin.create_topic("audit", TopicSettings::default()).await.unwrap();
    admin.create_subscription("audit", "all", taking("", "")).await.unwrap();
    let made = admin.create_binding("orders", "near", &near, key("*.eu"), None).await.unwrap();
    assert_eq!((made.target.as_str(), made.conditions), (near.as_str(), key("*.eu")));
    admin.create_binding("orders", "far", &far, Conditions::default(), None).await.unwrap();
    admin.create_binding("orders", "audit", "audit", key("new.#"), None).await.unwrap();

    let order = |body: &str, key: &str| Message::new(body.to_owned()).routing_key(key);
    let sent = client.send("orders", [order("a", "new.eu"), order("b", "old.us")]).await.unwrap();
    assert_eq!(sent[0].matched, 4, "three and one");
    assert_eq!(admin.queue_info(&near).await.unwrap().ready, 1, "on one shard: in the same entry");
    assert_eq!(drain(&client, &near, 1).await, ["a"]);
    assert_eq!(drain(&client, &far, 2).await, ["a", "b"]);
    assert_eq!(drain(&client, "audit/all", 1).await, ["a"]);

    admin.update_binding("orders", "near", key("*.us"), None).await.unwrap();
    client.send("orders", [order("c", "new.us")]).await.unwrap();
    assert_eq!(drain(&client, &near, 1).await, ["c"]);
    let names: Vec<String> =
        admin.list_bindings("orders").await.unwrap().into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["audit", "far", "near"]);
    assert!(admin.list_subscriptions("orders").await.unwrap().is_empty());

    assert_eq!(drain(&client, &far, 1).await, ["c"]);
    let info = admin.binding_info("orders", "far").await.unwrap();
    assert_eq!((info.waiting, info.carried_total, info.target_gone), (0, 3, false));
    admin.delete_binding("orders", "far").await.unwrap();
    client.send("orders", [order("d", "new.us")]).await.unwrap();
    assert_eq!(drain(&client, &near, 1).await, ["d"]);
    assert_eq!(admin.queue_info(&far).await.unwrap().ready, 0, "it is fed no more");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_bound_is_refused_with_a_reason() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    for topic in ["a", "b", "c"] {
        admin.create_topic(topic, TopicSettings::default()).await.unwrap();
    }
    admin.create_queue("jobs", QueueSettings::default()).await.unwrap();
    let bind = async |topic: &str, name: &str, target: &str| {
        admin.create_binding(topic, name, target, Conditions::default(), None).await
    };
    let said = |outcome: Result<phalanx_client::Binding, Error>| outcome.unwrap_err().to_string();
    bind("a", "b", "b").await.unwrap();
    bind("b", "c", "c").await.unwrap();
    assert!(said(bind("c", "a", "a").await).contains("go round for ever"));
    assert!(said(bind("a", "a", "a").await).contains("go round for ever"));
    assert!(said(bind("a", "x", "nothing").await).contains("no queue \"nothing\""));
    assert!(said(bind("nothing", "x", "jobs").await).contains("no topic \"nothing\""));
    admin.create_subscription("a", "all", taking("", "")).await.unwrap();
    assert!(said(bind("a", "all", "jobs").await).contains("is the name of a subscription"));
    assert!(said(bind("b", "x", "a/all").await).contains("feeds a queue or a topic"));
    let filter = Conditions { filter: "region = eu".into(), ..Conditions::default() };
    let wrong = admin.create_binding("a", "x", "jobs", filter, None).await;
    assert!(said(wrong).contains("filter: column 10"));
    let wrong = client.receiver("a/b").receive(1, Duration::ZERO).await.unwrap_err();
    assert!(wrong.to_string().contains("a binding has no consumers"), "{wrong}");
    let wrong = client.consumer("a/b").open().await.map(drop);
    assert!(wrong.is_err(), "nor by a stream");
    let wrong = client.send("a/b", ["x"]).await.unwrap_err();
    assert!(wrong.to_string().contains("publish to its topic"), "{wrong}");
    assert!(matches!(admin.delete_subscription("a", "b").await, Err(Error::QueueNotFound { .. })));
    assert_eq!(bind("a", "b", "b").await.unwrap().name, "b", "the same once more is the same");
    assert!(matches!(bind("a", "b", "jobs").await, Err(Error::AlreadyExists { .. })));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_target_waits_and_one_that_is_gone_holds_up_no_other() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    let (near, far) = near_and_far(&client, "orders").await;
    for queue in [&near, &far] {
        let small = QueueSettings { length_max: Some(5), ..QueueSettings::default() };
        admin.update_queue(queue, small, None).await.unwrap();
        admin.create_binding("orders", queue, queue, Conditions::default(), None).await.unwrap();
    }
    admin.create_queue("doomed", QueueSettings::default()).await.unwrap();
    admin.create_binding("orders", "doomed", "doomed", Conditions::default(), None).await.unwrap();
    admin.delete_queue("doomed").await.unwrap();
    for number in 0..20 {
        client.send("orders", [number.to_string()]).await.unwrap();
    }
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(drain(&client, &near, 20).await, expected);
    assert_eq!(drain(&client, &far, 20).await, expected);
    let parked = admin.binding_info("orders", "doomed").await.unwrap();
    assert_eq!((parked.waiting, parked.carried_total, parked.target_gone), (20, 0, true));
    // A namesake is another queue.
    admin.create_queue("doomed", QueueSettings::default()).await.unwrap();
    client.send("orders", ["20"]).await.unwrap();
    drain(&client, &far, 1).await;
    assert_eq!(admin.queue_info("doomed").await.unwrap().ready, 0);
    admin.delete_binding("orders", "doomed").await.unwrap();
    drain(&client, &near, 1).await;
    assert_eq!(admin.topic_info("orders").await.unwrap().stored, 0, "what waited went with the binding");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_may_begin_with_what_a_topic_has_kept() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    let kept = TopicSettings { retain: Some(Duration::from_secs(3_600)), ..TopicSettings::default() };
    admin.create_topic("log", kept).await.unwrap();
    for number in 0..30 {
        let message = Message::new(number.to_string()).header("n", number.to_string());
        client.send("log", [message]).await.unwrap();
    }
    for number in 0..QUEUES {
        let queue = format!("copy-{number}");
        admin.create_queue(&queue, QueueSettings::default()).await.unwrap();
        let late = Conditions { filter: "n >= 10".into(), ..Conditions::default() };
        admin.create_binding("log", &queue, &queue, late, Some(Place::Earliest)).await.unwrap();
    }
    let expected: Vec<String> = (10..30).map(|number| number.to_string()).collect();
    for number in 0..QUEUES {
        assert_eq!(drain(&client, &format!("copy-{number}"), 20).await, expected);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_carried_arrives_once_and_in_order_while_leaders_move_and_nodes_restart() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    let (near, far) = near_and_far(&client, "events").await;
    admin.create_topic("more", TopicSettings::default()).await.unwrap();
    admin.create_queue("last", QueueSettings::default()).await.unwrap();
    for target in [near.as_str(), far.as_str(), "more"] {
        admin.create_binding("events", target, target, Conditions::default(), None).await.unwrap();
    }
    admin.create_binding("more", "last", "last", Conditions::default(), None).await.unwrap();
    let publish = async {
        let producer = client.producer("events").window(16).open().await.unwrap();
        for number in 0..MESSAGES {
            producer.enqueue(number.to_string()).await.unwrap().await.unwrap();
        }
        producer.close().await.unwrap();
    };
    let trouble = async {
        for (node, queue) in (1..).zip(["events", far.as_str(), "more", "last"]) {
            move_leader(&cluster, queue).await;
            tokio::time::sleep(Duration::from_millis(50 * node)).await;
        }
    };
    tokio::join!(publish, trouble);
    for node in 1..=3 {
        cluster.stop(node).await;
        cluster.start_some(&[node]).await;
    }
    for queue in [near.as_str(), far.as_str(), "last"] {
        assert_eq!(drain(&client, queue, MESSAGES).await, numbers(), "{queue}: all, once, in order");
    }
    for topic in ["events", "more"] {
        assert_eq!(admin.topic_info(topic).await.unwrap().stored, 0, "{topic} has nothing left to carry");
    }
    cluster.stop_all().await;
}
