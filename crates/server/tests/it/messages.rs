//! Sending, receiving and settling by unary calls, through three nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_server::status::{self, Reason};
use tonic::transport::Channel;

use crate::support::{SOON, TestCluster};
use crate::talk::{
    assert_reason, create, id, info, leader_of, message, move_leader, range, receive_request, send_request,
    settle_item, settle_request, texts, tokens,
};

const NOW: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(15);

fn messages(cluster: &TestCluster, through: u64) -> MessagesClient<Channel> {
    MessagesClient::new(cluster.channel(through))
}

async fn send(cluster: &TestCluster, through: u64, texts: &[&str]) -> v1::SendResponse {
    messages(cluster, through).send(send_request("orders", texts)).await.expect("it is sent").into_inner()
}

async fn receive(cluster: &TestCluster, through: u64, consumer: u8, count: u32) -> Vec<v1::Delivery> {
    let request = receive_request("orders", consumer, count, LONG);
    messages(cluster, through).receive(request).await.expect("it is received").into_inner().deliveries
}

async fn orders(settings: v1::QueueSettings) -> TestCluster {
    let cluster = TestCluster::started(3).await;
    create(&cluster, 1, "orders", settings).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_receive_and_ack_work_through_any_node() {
    let cluster = orders(v1::QueueSettings::default()).await;
    for through in 1..=3 {
        let first = send(&cluster, through, &["a", "b", "c"]).await;
        assert_eq!((first.count, first.repeated), (3, false));
        let other = through % 3 + 1;
        let deliveries = receive(&cluster, other, 1, 10).await;
        assert_eq!(texts(&deliveries), ["a", "b", "c"]);
        let sequences: Vec<_> = deliveries.iter().map(|one| one.sequence).collect();
        let expected: Vec<_> = (first.first_sequence..first.first_sequence + 3).collect();
        assert_eq!(sequences, expected);
        assert!(deliveries.iter().all(|one| one.attempt == 1 && one.redelivery == 0));
        let left = deliveries[0].lease_left_ms;
        assert!(left > 0 && left <= 30_000, "the lease counts down from the queue's: {left}");
        let item = v1::SettleItem {
            action: v1::SettleAction::Ack as i32,
            tokens: vec![range(deliveries[0].token, deliveries[2].token)],
            ..v1::SettleItem::default()
        };
        let third = other % 3 + 1;
        let settled = messages(&cluster, third).settle(settle_request("orders", 1, item)).await.unwrap();
        let outcomes = settled.into_inner().outcomes;
        assert_eq!(outcomes.len(), 1, "neighbouring tokens come as one: {outcomes:?}");
        assert_eq!(outcomes[0].result, v1::SettleResult::Acked as i32);
        assert_eq!(outcomes[0].tokens, Some(range(deliveries[0].token, deliveries[2].token)));
    }
    let info = info(&cluster, 2, "orders").await;
    assert_eq!((info.ready, info.leased, info.sent_total, info.acked_total), (0, 0, 9, 9));
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_arrives_as_it_was_sent() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let sent = v1::Message {
        body: vec![0, 255, 7].into(),
        headers: [("trace".to_owned(), bytes::Bytes::from_static(b"\x00\xff"))].into(),
        content_type: "application/octet-stream".to_owned(),
        group: bytes::Bytes::from_static(b"customer-7"),
        deduplication_id: "only-once".to_owned(),
        correlation_id: "c".to_owned(),
        reply_to: "r".to_owned(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        routing_key: "orders.new".to_owned(),
    };
    let mut request = send_request("orders", &[]);
    request.messages = vec![sent.clone()];
    let first = messages(&cluster, 1).send(request.clone()).await.unwrap().into_inner();
    let again = messages(&cluster, 2).send(request).await.unwrap().into_inner();
    assert_eq!(again.count, 0, "its deduplication id suppresses it");
    assert_eq!(again.duplicates[0].original_sequence, first.first_sequence);
    let deliveries = receive(&cluster, 3, 1, 10).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].message.as_ref(), Some(&sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_repeated_with_its_request_id_is_one_message_across_nodes_and_leaders() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let request = v1::SendRequest { request_id: id(9), ..send_request("orders", &["once"]) };
    let first = messages(&cluster, 1).send(request.clone()).await.unwrap().into_inner();
    let again = messages(&cluster, 2).send(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.first_sequence, again.count, again.repeated), (first.first_sequence, 1, true));
    move_leader(&cluster, "orders").await;
    let moved = messages(&cluster, 3).send(request).await.unwrap().into_inner();
    assert_eq!((moved.first_sequence, moved.repeated), (first.first_sequence, true));
    assert_eq!(info(&cluster, 1, "orders").await.ready, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_repeated_with_its_request_id_gets_the_same_tokens() {
    let cluster = orders(v1::QueueSettings::default()).await;
    send(&cluster, 1, &["a", "b", "c"]).await;
    let request = v1::ReceiveRequest { request_id: id(5), ..receive_request("orders", 1, 2, NOW) };
    let first = messages(&cluster, 1).receive(request.clone()).await.unwrap().into_inner().deliveries;
    assert_eq!(texts(&first), ["a", "b"]);
    let again = messages(&cluster, 2).receive(request.clone()).await.unwrap().into_inner().deliveries;
    assert_eq!(tokens(&again), tokens(&first));
    move_leader(&cluster, "orders").await;
    let moved = messages(&cluster, 3).receive(request).await.unwrap().into_inner().deliveries;
    assert_eq!((tokens(&moved), texts(&moved)), (tokens(&first), texts(&first)));
    assert!(moved.iter().all(|one| one.attempt == 1));
    let other = messages(&cluster, 1).receive(receive_request("orders", 1, 5, NOW)).await.unwrap();
    assert_eq!(texts(&other.into_inner().deliveries), ["c"], "another id gets others");
}

/// Found by the soak of real processes: an attempt that hung in a broken link arrived after its repetition had been answered with nothing, and leased
/// a message that nobody heard of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_comes_after_a_repetition_found_nothing_leases_nothing() {
    let cluster = orders(v1::QueueSettings::default()).await;
    for (number, wait) in [(5, NOW), (6, SHORT)] {
        let late = v1::ReceiveRequest { request_id: id(number), ..receive_request("orders", 1, 1, wait) };
        let repetition = v1::ReceiveRequest { repeated: true, ..late.clone() };
        let answer = messages(&cluster, 2).receive(repetition).await.unwrap().into_inner();
        assert!(answer.deliveries.is_empty());
        send(&cluster, 1, &["a"]).await;
        let answer = messages(&cluster, 1).receive(late).await.unwrap().into_inner();
        assert!(answer.deliveries.is_empty(), "{answer:?}");
        assert_eq!(info(&cluster, 1, "orders").await.ready, 1);
        let other = messages(&cluster, 3).receive(receive_request("orders", 2, 1, NOW)).await.unwrap();
        let other = other.into_inner().deliveries;
        assert_eq!((texts(&other), other[0].attempt), (vec!["a".to_owned()], 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_receives_share_what_comes() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let waits: Vec<_> = (1..=3u8)
        .map(|consumer| {
            let mut client = messages(&cluster, u64::from(consumer));
            let request = receive_request("orders", consumer, 1, LONG);
            tokio::spawn(
                async move { client.receive(request).await.map(|answer| answer.into_inner().deliveries) },
            )
        })
        .collect();
    let empty = messages(&cluster, 1).receive(receive_request("orders", 9, 1, NOW)).await.unwrap();
    assert!(empty.into_inner().deliveries.is_empty(), "no wait, nothing there: an empty answer");
    send(&cluster, 2, &["a", "b", "c"]).await;
    let mut got = BTreeSet::new();
    for wait in waits {
        let deliveries = tokio::time::timeout(SOON, wait).await.unwrap().unwrap().expect("it is received");
        assert_eq!(deliveries.len(), 1, "each asked for one");
        got.extend(texts(&deliveries));
    }
    assert_eq!(got, ["a", "b", "c"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_receive_survives_a_change_of_leader() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let leader = leader_of(&cluster, 1, "orders").await;
    let follower = leader % 3 + 1;
    let wait = |through: u64, consumer: u8| {
        let mut client = messages(&cluster, through);
        let request = receive_request("orders", consumer, 1, LONG);
        tokio::spawn(
            async move { client.receive(request).await.map(|answer| answer.into_inner().deliveries) },
        )
    };
    let waits = [wait(leader, 1), wait(follower, 2)];
    move_leader(&cluster, "orders").await;
    send(&cluster, 1, &["a", "b"]).await;
    let mut got = BTreeSet::new();
    for wait in waits {
        let deliveries = tokio::time::timeout(SOON, wait).await.unwrap().unwrap().expect("it is received");
        got.extend(texts(&deliveries));
    }
    assert_eq!(got, ["a", "b"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nacked_and_expired_messages_come_again_at_their_place() {
    let cluster = orders(v1::QueueSettings::default()).await;
    send(&cluster, 1, &["a", "b"]).await;
    let first = receive(&cluster, 2, 1, 1).await;
    let nack = settle_item(v1::SettleAction::Nack, &tokens(&first));
    let settled = messages(&cluster, 3).settle(settle_request("orders", 1, nack.clone())).await.unwrap();
    assert_eq!(settled.into_inner().outcomes[0].result, v1::SettleResult::Nacked as i32);
    let again = receive(&cluster, 1, 2, 2).await;
    assert_eq!(texts(&again), ["a", "b"]);
    assert_eq!((again[0].attempt, again[0].redelivery), (2, v1::ReturnReason::Nacked as i32));
    assert!(again[0].token > first[0].token);
    let late = settle_item(v1::SettleAction::Ack, &tokens(&first));
    let late = messages(&cluster, 1).settle(settle_request("orders", 1, late)).await.unwrap().into_inner();
    assert_eq!(late.outcomes[0].result, v1::SettleResult::Nacked as i32, "the same answer as the first time");

    let ack = settle_item(v1::SettleAction::Ack, &tokens(&again));
    messages(&cluster, 1).settle(settle_request("orders", 2, ack)).await.unwrap();
    send(&cluster, 1, &["c"]).await;
    let short = v1::ReceiveRequest { lease_ms: 50, ..receive_request("orders", 1, 1, LONG) };
    let short = messages(&cluster, 1).receive(short).await.unwrap().into_inner().deliveries;
    let expired = receive(&cluster, 2, 2, 1).await;
    assert_eq!(texts(&expired), ["c"], "a waiting receive gets it when the lease is over");
    assert_eq!(expired[0].redelivery, v1::ReturnReason::Expired as i32);
    let late = settle_item(v1::SettleAction::Ack, &tokens(&short));
    let late = messages(&cluster, 1).settle(settle_request("orders", 1, late)).await.unwrap().into_inner();
    assert_eq!(late.outcomes[0].result, v1::SettleResult::LeaseOver as i32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_their_reason_and_leave_nothing_behind() {
    let settings = v1::QueueSettings { body_bytes_max: 100, length_max: 2, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    for through in 1..=3 {
        let mut client = messages(&cluster, through);
        let missing = client.send(send_request("nowhere", &["a"])).await;
        assert_reason(missing, Reason::QueueNotFound);
        assert_reason(client.receive(receive_request("nowhere", 1, 1, NOW)).await, Reason::QueueNotFound);
        let item = settle_item(v1::SettleAction::Ack, &[1]);
        let nowhere = client.settle(settle_request("nowhere", 1, item)).await;
        assert_reason(nowhere, Reason::QueueNotFound);

        let large =
            assert_reason(client.send(send_request("orders", &[&"x".repeat(101)])).await, Reason::Invalid);
        assert_eq!(large.message(), "messages[0].body: bytes: 101, at most 100");
        assert_reason(client.send(send_request("orders", &[])).await, Reason::Invalid);
        let many = vec!["x"; 1025];
        assert_reason(client.send(send_request("orders", &many)).await, Reason::Invalid);
        let long_name = send_request(&"q".repeat(256), &["a"]);
        assert_reason(client.send(long_name).await, Reason::Invalid);
        let mut short_id = send_request("orders", &["a"]);
        short_id.request_id = vec![1; 15].into();
        assert_reason(client.send(short_id).await, Reason::Invalid);
        let nobody =
            v1::ReceiveRequest { consumer_id: bytes::Bytes::new(), ..receive_request("orders", 1, 1, NOW) };
        assert_reason(client.receive(nobody).await, Reason::Invalid);
        let forever = receive_request("orders", 1, 1, Duration::from_secs(21));
        assert_reason(client.receive(forever).await, Reason::Invalid);

        let full = client.send(send_request("orders", &["1", "2", "3"])).await;
        let full = assert_reason(full, Reason::QueueFull);
        assert!(status::retry_delay_of(&full).is_some(), "waiting may help");
    }
    let info = info(&cluster, 1, "orders").await;
    assert_eq!((info.ready, info.sent_total), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_deleted_and_made_again_is_reached_through_every_node() {
    let cluster = orders(v1::QueueSettings::default()).await;
    for through in 1..=3 {
        send(&cluster, through, &["old"]).await;
    }
    let request = v1::DeleteQueueRequest { name: "orders".to_owned(), ..v1::DeleteQueueRequest::default() };
    cluster.queues(2).delete_queue(request).await.expect("it is deleted");
    assert_reason(messages(&cluster, 2).send(send_request("orders", &["x"])).await, Reason::QueueNotFound);
    create(&cluster, 3, "orders", v1::QueueSettings::default()).await;
    for through in 1..=3 {
        send(&cluster, through, &["new"]).await;
    }
    let deliveries = receive(&cluster, 1, 1, 10).await;
    assert_eq!(texts(&deliveries), ["new", "new", "new"]);
    assert_eq!(message("new").body, deliveries[0].message.as_ref().unwrap().body);
}
