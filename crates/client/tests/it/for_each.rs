//! `for_each_concurrent`: many at a time, groups in order, every delivery settled as its handler says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{Client, Consumer, Delivery, Error, Message, Nack, ReturnReason};
use phalanx_proto::v1;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::fake::{Cluster, Fault, LEASE, refusal};

const SECOND: Duration = Duration::from_secs(1);

/// What handlers did, in the order in which they did it.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: &str, delivery: &Delivery) {
        self.0.lock().push(format!("{what} {}", body(delivery)));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.body()).into_owned()
}

/// A queue with these messages; of `g:text` the group is `g`.
async fn filled(messages: &[&str]) -> (Cluster, Client) {
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let messages = messages.iter().map(|text| {
        let message = Message::new(text.to_string());
        match text.split_once(':') {
            Some((group, _)) => message.group(group.to_owned()),
            None => message,
        }
    });
    client.send("q", messages).await.expect("the queue is there");
    (cluster, client)
}

async fn consumer(client: &Client) -> Consumer {
    client.consumer("q").open().await.expect("the queue is there")
}

/// Resolves when the queue has no message left.
async fn emptied(cluster: Cluster) {
    cluster.until(|state| state.queues["q"].messages.is_empty()).await;
}

fn settles(cluster: &Cluster, action: v1::SettleAction) -> usize {
    let tokens =
        |item: &v1::SettleItem| item.tokens.iter().map(|range| range.last - range.first + 1).sum::<u64>();
    cluster.with(|queue| {
        queue.settles.iter().filter(|item| item.action() == action).map(tokens).sum::<u64>() as usize
    })
}

#[tokio::test(start_paused = true)]
async fn groups_are_worked_on_in_order_and_one_at_a_time_and_side_by_side_up_to_the_limit() {
    let texts: Vec<String> =
        (0..60).map(|i| if i % 4 == 3 { format!("{i}") } else { format!("{}:{i}", i % 4) }).collect();
    let (cluster, client) = filled(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (limit, most) in [(8, 8), (2, 2)] {
        let journal = Journal::default();
        let (busy, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler = {
            let (journal, peak) = (journal.clone(), peak.clone());
            move |delivery: Arc<Delivery>| {
                let (journal, busy, peak) = (journal.clone(), busy.clone(), peak.clone());
                async move {
                    peak.fetch_max(busy.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    journal.note("begin", &delivery);
                    sleep(Duration::from_millis(10 + delivery.sequence() * 7 % 30)).await;
                    journal.note("end", &delivery);
                    busy.fetch_sub(1, Ordering::Relaxed);
                    Ok(())
                }
            }
        };
        let call = consumer(&client).await.for_each_concurrent(limit, emptied(cluster.clone()), handler);
        tokio::spawn(call).await.expect("no panic").unwrap();
        assert_eq!(peak.load(Ordering::Relaxed), most);
        for group in ["0:", "1:", "2:"] {
            let of_group = |text: &&String| text.starts_with(group);
            let expected: Vec<String> = texts
                .iter()
                .filter(of_group)
                .flat_map(|t| [format!("begin {t}"), format!("end {t}")])
                .collect();
            let lines = journal.lines();
            let seen: Vec<String> = lines
                .into_iter()
                .filter(|line| line.split(' ').nth(1).is_some_and(|t| t.starts_with(group)))
                .collect();
            assert_eq!(seen, expected);
        }
        assert_eq!(journal.lines().len(), 120);
        client
            .send(
                "q",
                (0..60).map(|i| {
                    let message = Message::new(texts[i].clone());
                    if i % 4 == 3 { message } else { message.group(format!("{}", i % 4)) }
                }),
            )
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_queue_is_worked_on_one_by_one() {
    let (cluster, client) = filled(&["a:1", "2", "b:3", "4"]).await;
    cluster.with(|queue| queue.strict = true);
    let journal = Journal::default();
    let handler = {
        let journal = journal.clone();
        move |delivery: Arc<Delivery>| {
            let journal = journal.clone();
            async move {
                journal.note("begin", &delivery);
                sleep(SECOND).await;
                journal.note("end", &delivery);
                Ok(())
            }
        }
    };
    consumer(&client).await.for_each_concurrent(8, emptied(cluster), handler).await.unwrap();
    let expected = ["a:1", "2", "b:3", "4"].map(|text| [format!("begin {text}"), format!("end {text}")]);
    assert_eq!(journal.lines(), expected.concat());
}

#[tokio::test(start_paused = true)]
async fn a_returned_message_comes_again_before_any_later_one_of_its_group() {
    // `mute`: the later ones were delivered and have ended, and that news never comes.
    for (mute, delay) in
        [(false, Duration::ZERO), (true, Duration::ZERO), (true, 20 * SECOND), (false, 20 * SECOND)]
    {
        let (cluster, client) = filled(&["a:1", "a:2", "a:3", "b:1", "b:2"]).await;
        cluster.with(|queue| queue.mute = mute);
        let journal = Journal::default();
        let handler = {
            let journal = journal.clone();
            move |delivery: Arc<Delivery>| {
                journal.note(&format!("{}", delivery.attempt()), &delivery);
                let again = body(&delivery) == "a:2" && delivery.attempt() < 3;
                async move {
                    sleep(Duration::from_millis(10)).await;
                    if again { Err(Nack::after(delay)) } else { Ok(()) }
                }
            }
        };
        let call = consumer(&client).await.for_each_concurrent(4, emptied(cluster), handler);
        timeout(600 * SECOND, call).await.expect("in time").unwrap();
        let of = |group: &str| {
            let lines = journal.lines().into_iter();
            lines
                .filter(|line| line.split(' ').nth(1).is_some_and(|t| t.starts_with(group)))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("a"), ["1 a:1", "1 a:2", "2 a:2", "3 a:2", "1 a:3"], "mute {mute}, delay {delay:?}");
        assert_eq!(of("b"), ["1 b:1", "1 b:2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_return_and_rejections_reject() {
    let (cluster, client) = filled(&["12", "not a number", "never"]).await;
    let start = Instant::now();
    let mut attempts = Vec::new();
    let handler = |delivery: Arc<Delivery>| {
        let text = body(&delivery);
        if text == "not a number" {
            attempts.push((delivery.attempt(), start.elapsed().as_secs()));
        }
        let attempt = delivery.attempt();
        async move {
            if text == "never" {
                return Err(Nack::reject("no use"));
            }
            if attempt < 3 {
                let _number: u32 = text.parse()?;
            }
            Ok(())
        }
    };
    consumer(&client).await.for_each_concurrent(2, emptied(cluster.clone()), handler).await.unwrap();
    assert_eq!(attempts, [(1, 0), (2, 1), (3, 2)], "an error waits for a second");
    assert_eq!(settles(&cluster, v1::SettleAction::Reject), 1);
    assert_eq!(settles(&cluster, v1::SettleAction::Ack), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_returns_its_message_and_stops_nobody_else() {
    let (cluster, client) = filled(&["g:early", "g:late", "fine"]).await;
    let journal = Journal::default();
    let handler = {
        let journal = journal.clone();
        move |delivery: Arc<Delivery>| {
            journal.note(&format!("{}", delivery.attempt()), &delivery);
            assert!(body(&delivery) != "g:early" || delivery.attempt() > 1, "on purpose, before the future");
            async move {
                sleep(Duration::from_millis(1)).await;
                assert!(body(&delivery) != "g:late" || delivery.attempt() > 1, "on purpose, inside");
                Ok(())
            }
        }
    };
    let call = consumer(&client).await.for_each_concurrent(1, emptied(cluster.clone()), handler);
    timeout(60 * SECOND, call).await.expect("in time").unwrap();
    let lines = journal.lines();
    let grouped: Vec<&String> = lines.iter().filter(|line| line.contains("g:")).collect();
    assert_eq!(grouped, ["1 g:early", "2 g:early", "1 g:late", "2 g:late"]);
    assert!(lines.contains(&String::from("1 fine")));
    assert_eq!(settles(&cluster, v1::SettleAction::Nack), 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_running_handlers_finish_and_gives_back_the_rest_at_once() {
    let (cluster, client) = filled(&["a:1", "a:2", "b:1", "loose", "c:1"]).await;
    let (finish, stop) = (Arc::new(Notify::new()), oneshot::channel::<()>());
    let begun = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (finish, begun) = (finish.clone(), begun.clone());
        move |_: Arc<Delivery>| {
            begun.fetch_add(1, Ordering::Relaxed);
            let finish = finish.clone();
            async move {
                finish.notified().await;
                Ok(())
            }
        }
    };
    let call = tokio::spawn(consumer(&client).await.for_each_concurrent(2, stop.1, handler));
    cluster.until(|_| begun.load(Ordering::Relaxed) == 2).await;
    stop.0.send(()).unwrap();
    // Two are worked on, and nothing else is in this consumer's hands, although it has not ended.
    cluster.until(|state| state.queues["q"].leases.len() == 2 && state.queues["q"].ready.len() == 3).await;
    sleep(SECOND).await;
    assert_eq!((cluster.with(|queue| queue.leases.len()), call.is_finished()), (2, false));
    finish.notify_waiters();
    timeout(10 * SECOND, call).await.expect("in time").unwrap().unwrap();
    let left: Vec<u64> = cluster.with(|queue| queue.messages.keys().copied().collect());
    assert_eq!(left, [2, 4, 5], "the two are acknowledged");
    assert_eq!((begun.load(Ordering::Relaxed), cluster.with(|queue| queue.leases.len())), (2, 0));
    cluster.until(|state| state.consume_streams == 0).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_while_nothing_is_worked_on_costs_no_attempt() {
    let (cluster, client) = filled(&["a:1", "2", "3"]).await;
    let never = |_: Arc<Delivery>| async { panic!("it was stopped before") };
    let open = consumer(&client).await;
    cluster.until(|state| state.queues["q"].leases.len() == 3).await;
    open.for_each_concurrent(2, std::future::ready(()), never).await.unwrap();
    let mut next = consumer(&client).await;
    for _ in 0..3 {
        let delivery = next.next().await.unwrap().unwrap();
        assert_eq!((delivery.attempt(), delivery.redelivery()), (1, Some(ReturnReason::ConsumerClosed)));
        delivery.ack().await.unwrap();
    }
}

/// Says when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_when_its_lease_is_lost_and_its_group_waits_for_the_message() {
    let (cluster, client) = filled(&["g:1", "g:2", "loose"]).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let journal = Journal::default();
    let handler = {
        let (dropped, journal) = (dropped.clone(), journal.clone());
        move |delivery: Arc<Delivery>| {
            journal.note(&format!("{}", delivery.attempt()), &delivery);
            let guard = Guard(dropped.clone());
            async move {
                if delivery.attempt() == 1 && body(&delivery) != "g:2" {
                    std::future::pending::<()>().await;
                }
                drop(guard);
                Ok(())
            }
        }
    };
    let call =
        tokio::spawn(consumer(&client).await.for_each_concurrent(4, emptied(cluster.clone()), handler));
    cluster.until(|_| journal.lines().len() == 2).await;
    sleep(3 * LEASE).await;
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "leases of running handlers are extended");
    cluster.with(|queue| {
        let leased: Vec<u64> =
            queue.leases.iter().filter(|(_, l)| l.sequence != 2).map(|(t, _)| *t).collect();
        leased.into_iter().for_each(|token| queue.give_back(token, v1::ReturnReason::ConsumerLost));
    });
    timeout(60 * SECOND, call).await.expect("in time").unwrap().unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 5);
    let lines = journal.lines();
    let grouped: Vec<&String> = lines.iter().filter(|line| line.contains("g:")).collect();
    assert_eq!(grouped, ["1 g:1", "2 g:1", "1 g:2"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_dropped_after_max_processing_and_its_message_comes_again() {
    let (cluster, client) = filled(&["g:1", "g:2", "loose"]).await;
    let max = Duration::from_secs(40);
    let open = client.consumer("q").max_processing(Some(max)).open().await.unwrap();
    let begun = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let handler = {
        let begun = begun.clone();
        move |delivery: Arc<Delivery>| {
            begun.lock().push((body(&delivery), delivery.attempt(), start.elapsed()));
            async move {
                if delivery.attempt() == 1 && body(&delivery) != "g:2" {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        }
    };
    let call = open.for_each_concurrent(4, emptied(cluster.clone()), handler);
    timeout(600 * SECOND, call).await.expect("in time").unwrap();
    let begun = begun.lock().clone();
    let mut seen: Vec<(&str, u32)> =
        begun.iter().map(|(text, attempt, _)| (text.as_str(), *attempt)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("g:1", 1), ("g:1", 2), ("g:2", 1), ("loose", 1), ("loose", 2)]);
    for (text, _, at) in begun.iter().filter(|(_, attempt, _)| *attempt == 2) {
        assert!(*at >= max && *at <= max + LEASE + 10 * SECOND, "{text} came again after {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ack_after_the_lease_is_no_error_and_the_message_comes_again() {
    let (cluster, client) = filled(&["g:1", "g:2"]).await;
    cluster.with(|queue| queue.mute = true);
    let journal = Journal::default();
    let handler = {
        let (journal, cluster) = (journal.clone(), cluster.clone());
        move |delivery: Arc<Delivery>| {
            journal.note(&format!("{}", delivery.attempt()), &delivery);
            if delivery.attempt() == 1 && body(&delivery) == "g:1" {
                // The lease ends, and nobody tells the handler.
                cluster.with(|queue| queue.give_back(delivery.token(), v1::ReturnReason::ConsumerLost));
            }
            async { Ok(()) }
        }
    };
    let call = consumer(&client).await.for_each_concurrent(1, emptied(cluster), handler);
    timeout(60 * SECOND, call).await.expect("in time").unwrap();
    assert_eq!(journal.lines().last().unwrap(), "1 g:2");
    assert!(journal.lines().contains(&String::from("2 g:1")), "{:?}", journal.lines());
}

#[tokio::test(start_paused = true)]
async fn broken_streams_change_nothing_for_handlers() {
    let texts: Vec<String> = (0..200).map(|i| format!("{}:{i}", i % 7)).collect();
    let (cluster, client) = filled(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    cluster.lock().settle_faults.extend((0..60).map(|i| match i % 6 {
        1 => Fault::BreakAfter,
        3 => Fault::BreakBefore,
        5 => Fault::Swallow,
        _ => Fault::None,
    }));
    let begun = Arc::new(AtomicUsize::new(0));
    let handler = {
        let begun = begun.clone();
        move |_: Arc<Delivery>| {
            begun.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        }
    };
    let call = consumer(&client).await.for_each_concurrent(5, emptied(cluster), handler);
    timeout(600 * SECOND, call).await.expect("in time").unwrap();
    assert_eq!(begun.load(Ordering::Relaxed), 200, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_ends_the_stream_ends_the_handlers_and_the_call() {
    let (cluster, client) = filled(&["g:1", "2"]).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let handler = {
        let dropped = dropped.clone();
        move |_: Arc<Delivery>| {
            let guard = Guard(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            }
        }
    };
    let call =
        tokio::spawn(consumer(&client).await.for_each_concurrent(4, std::future::pending::<()>(), handler));
    cluster.until(|state| state.queues["q"].leases.len() == 2).await;
    sleep(SECOND).await;
    cluster.with(|queue| {
        for consumer in queue.consumers.values() {
            consumer.to.send(Err(refusal("QUEUE_GONE", None))).unwrap();
        }
    });
    let result = timeout(60 * SECOND, call).await.expect("in time").unwrap();
    assert!(matches!(result, Err(Error::QueueGone { .. })), "{result:?}");
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_its_handlers() {
    let (cluster, client) = filled(&["1", "2"]).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let handler = {
        let dropped = dropped.clone();
        move |_: Arc<Delivery>| {
            let guard = Guard(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            }
        }
    };
    let call = consumer(&client).await.for_each_concurrent(4, std::future::pending::<()>(), handler);
    assert!(timeout(SECOND, call).await.is_err());
    cluster.until(|_| dropped.load(Ordering::Relaxed) == 2).await;
    cluster.until(|state| state.consume_streams == 0).await;
}
