//! Topics that keep what was settled: retention, seeking, marks, replay by conditions, compaction, reading the log.

use std::time::{Duration, SystemTime};

use phalanx_client::{Admin, Client, Error, LogMessage, Message, Place, SubscriptionSettings, TopicSettings};

use crate::support::{TestCluster, eventually};
use crate::talk::move_leader;
use crate::topics::{client, drain, taking};

const HOUR: Duration = Duration::from_secs(3600);

fn kept() -> TopicSettings {
    TopicSettings { retain: Some(HOUR), ..TopicSettings::default() }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn publish(client: &Client, topic: &str, range: std::ops::Range<usize>) {
    let messages = range.map(|number| {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        Message::new(number.to_string()).routing_key(parity).header("n", number.to_string())
    });
    client.send(topic, messages).await.unwrap();
}

/// All that is kept of a topic.
async fn log(admin: &Admin, topic: &str, page: u32) -> Vec<LogMessage> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let next = admin.read_log(topic, from, page).await.unwrap();
        all.extend(next.messages);
        from = next.next_sequence;
        if !next.more {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_settled_can_be_had_again_from_any_place() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_topic("t", kept()).await.unwrap();
    admin.create_subscription("t", "s", SubscriptionSettings::default()).await.unwrap();
    publish(&client, "t", 0..100).await;
    // The cluster's time goes on.
    tokio::time::sleep(Duration::from_millis(20)).await;
    publish(&client, "t", 100..150).await;
    let published: Vec<SystemTime> =
        log(&admin, "t", 50).await.into_iter().map(|one| one.published).collect();
    assert!(published[100] > published[99], "so that a time stands for a place");
    assert_eq!(drain(&client, "t/s", 150).await, numbers(0..150));
    assert_eq!(admin.topic_info("t").await.unwrap().stored, 150, "all of it is kept");

    assert_eq!(admin.mark_subscription("t", "s", "end of day").await.unwrap(), 151);
    assert_eq!(admin.seek_subscription("t", "s", Place::Sequence(141)).await.unwrap(), 141);
    assert_eq!(drain(&client, "t/s", 10).await, numbers(140..150));
    assert_eq!(admin.seek_subscription("t", "s", Place::Time(published[100])).await.unwrap(), 101);
    assert_eq!(drain(&client, "t/s", 50).await, numbers(100..150));
    publish(&client, "t", 150..160).await;
    let mark = Place::Mark("end of day".into());
    assert_eq!(admin.seek_subscription("t", "s", mark.clone()).await.unwrap(), 151);
    assert_eq!(drain(&client, "t/s", 10).await, numbers(150..160));
    let info = admin.queue_info("t/s").await.unwrap();
    assert_eq!(
        info.marks.iter().map(|mark| (mark.name.as_str(), mark.sequence)).collect::<Vec<_>>(),
        [("end of day", 151)]
    );
    admin.remove_mark("t", "s", "end of day").await.unwrap();
    let gone = admin.seek_subscription("t", "s", mark).await.unwrap_err();
    assert!(matches!(gone, Error::Invalid { .. }), "{gone}");

    // A newcomer reads it all, also with conditions, also through a restart of all nodes and a new leader.
    for node in 1..=3 {
        cluster.stop(node).await;
        cluster.start_some(&[node]).await;
    }
    let early = admin.create_subscription_at("t", "early", taking("", ""), Place::Earliest).await.unwrap();
    let odd = admin.create_subscription_at("t", "odd", taking("odd", "n < 120"), Place::Sequence(51)).await;
    move_leader(&cluster, "t").await;
    assert_eq!(drain(&client, &early.queue, 160).await, numbers(0..160));
    let expected: Vec<String> = (50..120).filter(|number| number % 2 == 1).map(|n| n.to_string()).collect();
    assert_eq!(drain(&client, &odd.unwrap().queue, expected.len()).await, expected);
    assert_eq!(admin.queue_info("t/odd").await.unwrap().unseen, 0);

    let all = log(&admin, "t", 37).await;
    let bodies: Vec<String> =
        all.iter().map(|one| String::from_utf8_lossy(&one.message.body).into()).collect();
    assert_eq!(bodies, numbers(0..160));
    assert!(all.iter().zip(1..).all(|(one, sequence)| one.sequence == sequence));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_no_more_than_it_is_told_to() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    let small = TopicSettings { retain_bytes: Some(20_000), ..TopicSettings::default() };
    admin.create_topic("t", small).await.unwrap();
    let body = "x".repeat(1_000);
    for _ in 0..100 {
        client.send("t", [body.clone()]).await.unwrap();
    }
    let info = admin.topic_info("t").await.unwrap();
    assert!(info.bytes <= 20_000 && info.stored >= 18, "{info:?}");
    assert_eq!(info.first_sequence + info.stored, 101);
    admin.create_subscription("t", "s", SubscriptionSettings::default()).await.unwrap();
    let refused = admin.seek_subscription("t", "s", Place::Sequence(1)).await.unwrap_err();
    let first = info.first_sequence;
    assert!(refused.to_string().contains(&format!("the first that is kept is {first}")), "{refused}");
    assert_eq!(admin.seek_subscription("t", "s", Place::Earliest).await.unwrap(), first);
    // What a subscription waits for stays, whatever retention says.
    for _ in 0..40 {
        client.send("t", [body.clone()]).await.unwrap();
    }
    let waiting = admin.queue_info("t/s").await.unwrap().ready;
    assert_eq!((waiting, admin.topic_info("t").await.unwrap().stored), (info.stored + 40, info.stored + 40));
    drain(&client, "t/s", usize::try_from(waiting).unwrap()).await;
    assert!(admin.topic_info("t").await.unwrap().bytes <= 20_000);
    // Nor more messages than its length, which refuses no publish.
    let many = TopicSettings { length_max: Some(10), retain: Some(HOUR), ..TopicSettings::default() };
    admin.update_topic("t", many, None).await.unwrap();
    for round in 0..5 {
        let bodies = [0; 8].map(|_| round.to_string());
        client.send("t", bodies.clone()).await.unwrap();
        assert_eq!(drain(&client, "t/s", 8).await, bodies);
        eventually("no more than its length is kept", async || {
            (admin.topic_info("t").await.unwrap().stored <= 10).then_some(())
        })
        .await;
    }
    assert_eq!(admin.topic_info("t").await.unwrap().stored, 10);
    let short = TopicSettings { retain: Some(Duration::from_millis(1)), ..TopicSettings::default() };
    admin.update_topic("t", short, None).await.unwrap();
    eventually("time lets it go", async || (admin.topic_info("t").await.unwrap().stored == 0).then_some(()))
        .await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_the_newest_of_each_key() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_topic("state", TopicSettings { compact: true, ..TopicSettings::default() }).await.unwrap();
    let set = |key: &str, body: String| Message::new(body).group(key.to_owned());
    for round in 0..5 {
        let all = ["a", "b", "c"].map(|key| set(key, format!("{key}{round}")));
        client.send("state", all).await.unwrap();
    }
    client.send("state", [set("b", String::new())]).await.unwrap();
    let bodies = |all: Vec<LogMessage>| -> Vec<String> {
        all.into_iter().map(|one| String::from_utf8_lossy(&one.message.body).into()).collect()
    };
    assert_eq!(bodies(log(&admin, "state", 10).await), ["a4", "c4"]);
    assert_eq!(admin.topic_info("state").await.unwrap().stored, 2);
    for node in 1..=3 {
        cluster.stop(node).await;
        cluster.start_some(&[node]).await;
    }
    admin.create_subscription_at("state", "s", taking("", ""), Place::Earliest).await.unwrap();
    client.send("state", [set("a", "a5".into())]).await.unwrap();
    // What it waits for may be the older one as well: it was told of it, or the newer came first.
    let got = drain_until(&client, "state/s", "a5").await;
    assert!(got == ["a4", "c4", "a5"] || got == ["c4", "a5"], "{got:?}");
    let latest = SubscriptionSettings { latest_only: true, ..SubscriptionSettings::default() };
    admin.create_subscription("state", "latest", latest).await.unwrap();
    for round in 6..9 {
        client.send("state", ["a", "c"].map(|key| set(key, format!("{key}{round}")))).await.unwrap();
    }
    assert_eq!(drain(&client, "state/latest", 2).await, ["a8", "c8"]);
    let fixed = admin.update_topic("state", TopicSettings::default(), None).await.unwrap_err();
    assert!(fixed.to_string().contains("compact is fixed"), "{fixed}");
    let fixed = admin.update_subscription("state", "latest", taking("", ""), None).await.unwrap_err();
    assert!(fixed.to_string().contains("latest_only is fixed"), "{fixed}");
    cluster.stop_all().await;
}

/// The bodies of a queue up to one.
async fn drain_until(client: &Client, queue: &str, last: &str) -> Vec<String> {
    let mut consumer = client.consumer(queue).open().await.unwrap();
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != last) {
        let delivery = consumer.next().await.expect("nobody closed it").unwrap();
        bodies.push(String::from_utf8(delivery.body().to_vec()).unwrap());
        delivery.ack().await.unwrap();
    }
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_subscription_goes_with_its_consumer() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_topic("t", TopicSettings::default()).await.unwrap();
    let settings = SubscriptionSettings { expires: Some(Duration::from_secs(1)), ..taking("", "") };
    let own = admin.create_ephemeral_subscription("t", settings, None).await.unwrap();
    let mut consumer = client.consumer(&own.queue).open().await.unwrap();
    let other = client.receiver(&own.queue).receive(1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(other, Error::Exclusive { .. }), "{other}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    publish(&client, "t", 0..1).await;
    consumer.next().await.expect("it is there still").unwrap().ack().await.unwrap();
    move_leader(&cluster, "t").await;
    consumer.close().await.unwrap();
    eventually("it goes", async || admin.list_subscriptions("t").await.unwrap().is_empty().then_some(()))
        .await;
    assert_eq!(client.send("t", ["x"]).await.unwrap()[0].matched, 0);
    cluster.stop_all().await;
}
