//! Producers' and consumers' streams through three nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_server::status::Reason;

use crate::support::{TestCluster, eventually};
use crate::talk::{
    Consumer, Producer, assert_reason, attach, batch, create, info, leader_of, move_leader, range, retryable,
    send_request, settle_item, texts, tokens,
};

async fn orders(settings: v1::QueueSettings) -> TestCluster {
    let cluster = TestCluster::started(3).await;
    create(&cluster, 1, "orders", settings).await;
    cluster
}

async fn send(cluster: &TestCluster, through: u64, texts: &[&str]) {
    let request = send_request("orders", texts);
    MessagesClient::new(cluster.channel(through)).send(request).await.expect("it is sent");
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Consumes and acknowledges `count` messages, in order.
async fn drain(cluster: &TestCluster, through: u64, count: usize) -> Vec<String> {
    let mut consumer = Consumer::attach_soon(cluster, through, attach("orders", 99, 1, 256)).await;
    let mut seen = Vec::new();
    while seen.len() < count {
        let some = consumer.take(1).await;
        consumer.ack(&tokens(&some)).await;
        seen.extend(texts(&some));
    }
    consumer.mark().await;
    assert!(consumer.deliveries.is_empty(), "there is no more than was sent");
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attach_tells_whether_the_queue_is_one_group() {
    let strict = v1::QueueSettings { strict: true, ..v1::QueueSettings::default() };
    let cluster = orders(strict).await;
    create(&cluster, 1, "loose", v1::QueueSettings::default()).await;
    for (queue, expected) in [("orders", true), ("loose", false)] {
        let consumer = Consumer::attach_soon(&cluster, 2, attach(queue, 1, 1, 8)).await;
        assert_eq!(consumer.attached.strict, expected, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_confirms_in_order_through_any_node() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let mut last_sequence = 0;
    for through in 1..=3 {
        let mut producer = Producer::open_soon(&cluster, through, "orders", through as u8).await;
        for start in (1..=100).step_by(10) {
            producer.send(start..start + 10).await;
        }
        let mut next = 1;
        while next <= 100 {
            for confirmation in producer.confirmations().await.unwrap().expect("the stream goes on") {
                assert_eq!(confirmation.number, next);
                let Some(v1::confirmation::Result::Sent(sent)) = confirmation.result else {
                    panic!("refused")
                };
                assert!(sent.first_sequence > last_sequence && sent.count == 1);
                last_sequence = sent.first_sequence;
                next += 1;
            }
        }
        drop(producer.say);
    }
    assert_eq!(info(&cluster, 1, "orders").await.ready, 300);
}

/// Keeps sending what is unconfirmed on new streams, as a client does, until all is confirmed.
async fn send_all(cluster: &TestCluster, throughs: &[u64], count: u64, confirmed_now: impl Fn(u64)) {
    let mut confirmed = 0;
    let mut attempt = 0;
    while confirmed < count {
        let through = throughs[attempt % throughs.len()];
        attempt += 1;
        assert!(attempt < 200, "it never gets on");
        let mut producer = Producer::open_soon(cluster, through, "orders", 7).await;
        let mut sent = confirmed;
        let end = loop {
            if sent < count && sent - confirmed < 64 {
                let until = (sent + 8).min(count);
                producer.send(sent + 1..=until).await;
                sent = until;
                continue;
            }
            match producer.confirmations().await {
                Ok(Some(some)) => {
                    for one in some {
                        if let Some(v1::confirmation::Result::Sent(_)) = one.result {
                            assert_eq!(one.number, confirmed + 1, "confirmations have no hole");
                            confirmed += 1;
                            confirmed_now(confirmed);
                        }
                    }
                    if confirmed == count {
                        return;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = end {
            assert!(retryable(&error), "a client can go on after {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_over_leader_transfers_loses_nothing_and_repeats_nothing() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let (progress, mut seen) = tokio::sync::watch::channel(0);
    let count = 600;
    let sending = send_all(&cluster, &[1, 2, 3], count, |confirmed| {
        progress.send_replace(confirmed);
    });
    let moving = async {
        for mark in [count / 6, count / 2] {
            seen.wait_for(|confirmed| *confirmed >= mark).await.expect("it gets there");
            move_leader(&cluster, "orders").await;
        }
    };
    tokio::join!(sending, moving);
    assert_eq!(drain(&cluster, 2, count as usize).await, numbers(1..=count));
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_over_a_crash_of_the_leader_loses_nothing_and_repeats_nothing() {
    let mut cluster = orders(v1::QueueSettings::default()).await;
    let leader = leader_of(&cluster, 1, "orders").await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    send_all(&cluster, &[leader], 100, |_| {}).await;
    cluster.crash(leader).await;
    // The same producer goes on: its first hundred are recognised when they come again.
    send_all(&cluster, &others, 300, |_| {}).await;
    assert_eq!(drain(&cluster, others[0], 300).await, numbers(1..=300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_batch_is_told_in_its_turn_and_says_whether_its_number_is_used_up() {
    let settings = v1::QueueSettings { length_max: 2, body_bytes_max: 100, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    let mut producer = Producer::open_soon(&cluster, 1, "orders", 1).await;
    producer.send(1..=3).await;
    let large = v1::SendStreamRequest { open: None, batches: vec![batch(4, &[&"x".repeat(101)])] };
    producer.say.send(large).await.unwrap();
    let mut all = Vec::new();
    let end = loop {
        match producer.confirmations().await {
            Ok(Some(some)) => all.extend(some),
            Ok(None) => panic!("a batch was refused"),
            Err(error) => break error,
        }
    };
    assert_eq!(all.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let failure = |position: usize| match &all[position].result {
        Some(v1::confirmation::Result::Failure(failure)) => failure.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((failure(2).reason.as_str(), failure(2).consumed), ("QUEUE_FULL", true));
    assert!(failure(2).retry_delay_ms > 0);
    assert_eq!((failure(3).reason.as_str(), failure(3).consumed), ("INVALID_ARGUMENT", false));
    assert_reason(Err::<(), _>(end), Reason::Invalid);

    let mut producer = Producer::open_soon(&cluster, 2, "orders", 1).await;
    producer.send(9..=9).await;
    let gap = producer.confirmations().await.unwrap().unwrap();
    let Some(v1::confirmation::Result::Failure(gap)) = &gap[0].result else { panic!("{gap:?}") };
    assert_eq!((gap.reason.as_str(), gap.consumed), ("SEQUENCE_GAP", false), "4 was not used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_share_the_messages_and_windows_are_respected() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 4)).await;
    let mut bob = Consumer::attach_soon(&cluster, 2, attach("orders", 2, 1, 4)).await;
    let texts: Vec<String> = numbers(1..=20);
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    send(&cluster, 3, &all).await;
    let (from_ann, from_bob) = (ann.take(4).await, bob.take(4).await);
    ann.mark().await;
    bob.mark().await;
    assert!(ann.deliveries.is_empty() && bob.deliveries.is_empty(), "no more than the window is in hand");
    let info_now = info(&cluster, 1, "orders").await;
    assert_eq!((info_now.ready, info_now.leased), (12, 8));
    let mut together: Vec<u64> = from_ann.iter().chain(&from_bob).map(|one| one.sequence).collect();
    together.sort_unstable();
    assert_eq!(together, (1..=8).collect::<Vec<_>>(), "the oldest are given out first");

    ann.ack(&tokens(&from_ann)).await;
    let outcomes = ann.outcomes(4).await;
    assert!(outcomes.iter().all(|one| one.result == v1::SettleResult::Acked as i32));
    assert_eq!(ann.take(4).await.len(), 4, "an ack frees the window");
    let window = Some(v1::Window { messages: 8, bytes: 0 });
    ann.say.send(v1::ConsumeRequest { window, ..v1::ConsumeRequest::default() }).await.unwrap();
    assert_eq!(ann.take(4).await.len(), 4, "a larger window is filled");
    bob.mark().await;
    assert!(bob.deliveries.is_empty(), "bob has acknowledged nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_stream_resumes_with_the_same_tokens_and_only_those_it_does_not_hold() {
    let settings = v1::QueueSettings { resume_ms: 600_000, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    send(&cluster, 1, &["a", "b", "c"]).await;
    for (incarnation, through) in [(1, 1), (2, 2), (3, 3)] {
        let held = if incarnation == 1 { Vec::new() } else { vec![range(1, 1)] };
        let ask = v1::ConsumerAttach { held, ..attach("orders", 1, incarnation, 2) };
        let mut ann = Consumer::attach_soon(&cluster, through, ask).await;
        assert!(ann.attached.lost.is_empty());
        let expected: &[&str] = if incarnation == 1 { &["a", "b"] } else { &["b"] };
        let got = ann.take(expected.len()).await;
        assert_eq!(texts(&got), expected);
        assert_eq!(*tokens(&got).last().unwrap(), 2, "the same token as before");
        assert!(got.iter().all(|one| one.attempt == 1 && one.redelivery == 0));
        // Dropped without a goodbye: the leases wait.
    }
    eventually("the broken stream is noticed", async || {
        let info = info(&cluster, 1, "orders").await;
        (!info.consumers[0].attached && info.leased == 2).then_some(())
    })
    .await;
    let lost = v1::ConsumerAttach { held: vec![range(1, 2), range(77, 77)], ..attach("orders", 1, 4, 2) };
    let mut ann = Consumer::attach_soon(&cluster, 1, lost).await;
    assert_eq!(ann.attached.lost, [77]);
    ann.ack(&[1, 2]).await;
    assert_eq!(texts(&ann.take(1).await), ["c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_comes_back_with_a_smaller_window_gets_all_that_it_had_in_hand() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let texts = numbers(1..=300);
    send(&cluster, 1, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 300)).await;
    let before = ann.take(300).await;
    drop(ann);
    let mut ann = Consumer::attach_soon(&cluster, 2, attach("orders", 1, 2, 2)).await;
    assert_eq!(tokens(&ann.take(300).await), tokens(&before), "as a process does that was started anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_a_lost_consumer_go_to_another_after_resume() {
    let settings = v1::QueueSettings { resume_ms: 100, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    send(&cluster, 1, &["a"]).await;
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 2)).await;
    let first = ann.take(1).await;
    let mut bob = Consumer::attach_soon(&cluster, 2, attach("orders", 2, 1, 2)).await;
    drop(ann);
    let again = bob.take(1).await;
    assert_eq!((texts(&again), again[0].attempt), (vec!["a".to_owned()], 2));
    assert_eq!(again[0].redelivery, v1::ReturnReason::ConsumerLost as i32);
    assert!(again[0].token > first[0].token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodbye_answers_settles_first_and_gives_everything_back_at_once() {
    let settings = v1::QueueSettings { resume_ms: 600_000, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    send(&cluster, 1, &["a", "b"]).await;
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 2)).await;
    let first = ann.take(2).await;
    let frame = v1::ConsumeRequest {
        settle: vec![settle_item(v1::SettleAction::Ack, &[first[0].token])],
        close: true,
        ..v1::ConsumeRequest::default()
    };
    ann.say.send(frame).await.unwrap();
    assert!(ann.end().await.is_none(), "a clean end");
    assert_eq!(ann.settled.len(), 1);
    let mut bob = Consumer::attach_soon(&cluster, 2, attach("orders", 2, 1, 2)).await;
    let again = bob.take(1).await;
    assert_eq!(texts(&again), ["b"]);
    assert_eq!(again[0].redelivery, v1::ReturnReason::ConsumerClosed as i32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_stream_of_a_consumer_ends_the_older_one() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let mut old = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 2)).await;
    let mut new = Consumer::attach_soon(&cluster, 2, attach("orders", 1, 2, 2)).await;
    let end = old.end().await.expect("it is told why");
    assert_reason(Err::<(), _>(end), Reason::ConsumerReplaced);
    let late = Consumer::attach(cluster.channel(3), attach("orders", 1, 1, 2)).await;
    assert_reason(late.map(drop), Reason::ConsumerReplaced);
    send(&cluster, 1, &["a"]).await;
    assert_eq!(texts(&new.take(1).await), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_leader_ends_streams_and_keeps_leases() {
    let settings = v1::QueueSettings { resume_ms: 600_000, ..v1::QueueSettings::default() };
    let cluster = orders(settings).await;
    send(&cluster, 1, &["a", "b"]).await;
    let leader = leader_of(&cluster, 1, "orders").await;
    let mut here = Consumer::attach_soon(&cluster, leader, attach("orders", 1, 1, 1)).await;
    let mut there = Consumer::attach_soon(&cluster, leader % 3 + 1, attach("orders", 2, 1, 1)).await;
    let (a, b) = (here.take(1).await, there.take(1).await);
    move_leader(&cluster, "orders").await;
    for consumer in [&mut here, &mut there] {
        let end = consumer.end().await.expect("it is told");
        assert!(retryable(&end), "{end:?}");
    }
    for (consumer, delivery) in [(1, &a), (2, &b)] {
        let held = vec![range(delivery[0].token, delivery[0].token)];
        let ask = v1::ConsumerAttach { held, ..attach("orders", consumer, 2, 1) };
        let mut again = Consumer::attach_soon(&cluster, 3, ask).await;
        assert!(again.attached.lost.is_empty(), "the lease has outlived the leader");
        again.ack(&tokens(delivery)).await;
        let outcomes = again.outcomes(1).await;
        assert_eq!(outcomes[0].result, v1::SettleResult::Acked as i32);
        assert!(again.deliveries.is_empty());
    }
    assert_eq!(info(&cluster, 2, "orders").await.acked_total, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_queue_ends_its_streams_and_waits() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 2)).await;
    let mut producer = Producer::open_soon(&cluster, 2, "orders", 1).await;
    let request = v1::DeleteQueueRequest { name: "orders".to_owned(), ..v1::DeleteQueueRequest::default() };
    cluster.queues(3).delete_queue(request).await.expect("it is deleted");
    assert_reason(Err::<(), _>(ann.end().await.expect("it is told")), Reason::QueueGone);
    producer.send(1..=1).await;
    let gone = producer.confirmations().await.unwrap().unwrap();
    let Some(v1::confirmation::Result::Failure(gone)) = &gone[0].result else { panic!("{gone:?}") };
    assert_eq!(gone.reason, "QUEUE_GONE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_streams_are_refused() {
    let cluster = orders(v1::QueueSettings::default()).await;
    let mut client = MessagesClient::new(cluster.channel(1));
    let no_attach = client.consume(futures::stream::iter([v1::ConsumeRequest::default()])).await;
    assert_reason(no_attach.map(drop), Reason::Invalid);
    let no_open = client.send_stream(futures::stream::iter([v1::SendStreamRequest::default()])).await;
    assert_reason(no_open.map(drop), Reason::Invalid);
    let nothing = client.consume(futures::stream::iter(Vec::<v1::ConsumeRequest>::new())).await;
    assert_reason(nothing.map(drop), Reason::Invalid);
    let unknown = Consumer::attach(cluster.channel(2), attach("nowhere", 1, 1, 1)).await;
    assert_reason(unknown.map(drop), Reason::QueueNotFound);
    let wide = Consumer::attach(cluster.channel(3), attach("orders", 1, 1, 65_537)).await;
    assert_reason(wide.map(drop), Reason::Invalid);
    let mut ann = Consumer::attach_soon(&cluster, 1, attach("orders", 1, 1, 1)).await;
    let twice =
        v1::ConsumeRequest { attach: Some(attach("orders", 1, 2, 1)), ..v1::ConsumeRequest::default() };
    ann.say.send(twice).await.unwrap();
    assert_reason(Err::<(), _>(ann.end().await.expect("it is told")), Reason::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_that_only_listens_settles_by_unary_calls() {
    let cluster = orders(v1::QueueSettings::default()).await;
    send(&cluster, 1, &["a", "b"]).await;
    let mut client = MessagesClient::new(cluster.channel(2));
    let first =
        v1::ConsumeRequest { attach: Some(attach("orders", 1, 1, 1)), ..v1::ConsumeRequest::default() };
    let mut frames = client.consume(futures::stream::iter([first])).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame =
            tokio::time::timeout(Duration::from_secs(60), frames.message()).await.unwrap().unwrap().unwrap();
        for delivery in frame.deliveries {
            seen.extend(texts(std::slice::from_ref(&delivery)));
            let ack = settle_item(v1::SettleAction::Ack, &[delivery.token]);
            client.settle(crate::talk::settle_request("orders", 1, ack)).await.unwrap();
        }
    }
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn balance_is_even_within_one_when_consumers_are_equal() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = orders(v1::QueueSettings::default()).await;
        let mut consumers = Vec::new();
        for consumer in 1..=4u8 {
            let through = u64::from(consumer) % 3 + 1;
            consumers
                .push(Consumer::attach_soon(&cluster, through, attach("orders", consumer, 1, 100)).await);
        }
        let texts = numbers(1..=40);
        send(&cluster, 1, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut shares = BTreeMap::new();
        for (number, consumer) in consumers.iter_mut().enumerate() {
            shares.insert(number, consumer.take(10).await.len());
            consumer.mark().await;
            assert!(consumer.deliveries.is_empty(), "nobody has more than a fourth");
        }
        assert_eq!(shares.values().sum::<usize>(), 40);
    });
}
