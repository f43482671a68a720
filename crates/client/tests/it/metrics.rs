//! What the application's metrics are told.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{
    Error, HandlerOutcome, Metrics, Nack, Producer, QueueName, ReturnReason, SettleKind, StreamKind,
};
use phalanx_proto::v1;
use tokio::time::{sleep, timeout};

use crate::fake::{Cluster, Fault, LEASE};

/// Counts of events by their texts, and sums of changes.
#[derive(Default)]
struct Book {
    events: Mutex<BTreeMap<String, u64>>,
    gauges: Mutex<BTreeMap<&'static str, i64>>,
    latency: Mutex<Duration>,
    /// Looked at from inside of an event: it must not be locked then.
    producer: OnceLock<Producer>,
}

impl Book {
    fn count(&self, event: String) {
        *self.events.lock().entry(event).or_default() += 1;
        if let Some(producer) = self.producer.get() {
            let _unlocked = producer.in_window();
        }
    }

    fn of(&self, event: &str) -> u64 {
        self.events.lock().get(event).copied().unwrap_or_default()
    }

    fn gauge(&self, name: &str) -> i64 {
        self.gauges.lock().get(name).copied().unwrap_or_default()
    }
}

fn name(error: &Error) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

impl Metrics for Book {
    fn sent(&self, queue: QueueName<'_>, messages: usize, latency: Duration) {
        assert_eq!((queue.namespace, queue.name), ("default", "q"));
        *self.latency.lock() += latency;
        self.count(format!("sent {messages}"));
    }

    fn send_failed(&self, _: QueueName<'_>, messages: usize, error: &Error, _: Duration) {
        self.count(format!("failed {messages} {}", name(error)));
    }

    fn unconfirmed(&self, _: QueueName<'_>, change: i64) {
        *self.gauges.lock().entry("unconfirmed").or_default() += change;
        self.count(String::from("unconfirmed"));
    }

    fn retried(&self, queue: Option<QueueName<'_>>, error: &Error) {
        self.count(format!("retried {} {}", queue.is_some(), name(error)));
    }

    fn stream_opened(&self, _: QueueName<'_>, kind: StreamKind, again: bool) {
        self.count(format!("opened {kind:?} {again}"));
    }

    fn stream_failed(&self, _: QueueName<'_>, kind: StreamKind, _: &Error) {
        self.count(format!("broke {kind:?}"));
    }

    fn delivered(&self, _: QueueName<'_>, redelivery: Option<ReturnReason>) {
        self.count(format!("delivered {redelivery:?}"));
    }

    fn in_hand(&self, _: QueueName<'_>, change: i64) {
        *self.gauges.lock().entry("in hand").or_default() += change;
    }

    fn settled(&self, _: QueueName<'_>, kind: SettleKind, result: Result<(), &Error>, _: Duration) {
        let result = result.map_or_else(name, |()| String::from("ok"));
        self.count(format!("{kind:?} {result}"));
    }

    fn lease_lost(&self, _: QueueName<'_>, reason: ReturnReason) {
        self.count(format!("lost {reason:?}"));
    }

    fn handled(&self, _: QueueName<'_>, outcome: HandlerOutcome, duration: Duration) {
        assert!(duration >= Duration::from_millis(5), "{duration:?}");
        self.count(format!("handled {outcome:?}"));
    }
}

/// Runs a test with paused time, where a deadlock ends it too.
fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(test());
        done.send(()).expect("the test waits");
    });
    wait.recv_timeout(Duration::from_secs(120)).expect("the test above failed, or waits for a lock for ever");
}

async fn book() -> (Cluster, Arc<Book>, phalanx_client::Client) {
    let cluster = Cluster::start(1);
    let book = Arc::new(Book::default());
    let client = cluster.builder().metrics(book.clone()).connect().await.expect("the fake cluster is there");
    (cluster, book, client)
}

#[test]
fn sends_are_told_with_their_outcome_and_what_is_unconfirmed_adds_up_to_nothing() {
    run(|| async {
        let (cluster, book, client) = book().await;
        let producer = client.producer("q").coalesce(1).open().await.unwrap();
        book.producer.set(producer.clone()).expect("once");
        cluster.lock().send_faults.extend([Fault::None, Fault::Consume("QUEUE_FULL"), Fault::BreakAfter]);
        let first = producer.enqueue("a").await.unwrap();
        assert_eq!(book.gauge("unconfirmed"), 1);
        first.await.unwrap();
        producer.send("b").await.unwrap_err();
        producer.send("c").await.unwrap();
        producer.enqueue_batch(["d", "e"]).await.unwrap().await.unwrap();
        assert_eq!((book.of("sent 1"), book.of("sent 2"), book.of("failed 1 QueueFull")), (2, 1, 1));
        assert_eq!((book.of("opened Producer false"), book.of("opened Producer true")), (1, 1));
        assert_eq!((book.of("broke Producer"), book.gauge("unconfirmed")), (1, 0));
        assert!(*book.latency.lock() >= Duration::from_millis(10), "the break took some time");
    });
}

#[test]
fn a_dropped_producer_takes_what_was_unconfirmed_along() {
    run(|| async {
        let (cluster, book, client) = book().await;
        let producer = client.producer("q").open().await.unwrap();
        cluster.lock().send_faults.extend([Fault::Swallow; 10]);
        let (lost, also) =
            (producer.enqueue("a").await.unwrap(), producer.enqueue_batch(["b", "c"]).await.unwrap());
        assert_eq!(book.gauge("unconfirmed"), 3);
        drop(producer);
        lost.await.unwrap_err();
        also.await.unwrap_err();
        assert_eq!(book.gauge("unconfirmed"), 0);
        assert_eq!((book.of("failed 1 OutcomeUnknown"), book.of("failed 2 OutcomeUnknown")), (1, 1));
    });
}

#[test]
fn unary_calls_are_told_with_their_retries() {
    run(|| async {
        let (cluster, book, client) = book().await;
        cluster.lock().send_faults.extend([Fault::Refuse("OVERLOADED"), Fault::Refuse("NOT_LEADER")]);
        client.send("q", ["a", "b"]).await.unwrap();
        client.send("none", ["a"]).await.unwrap_err();
        assert_eq!((book.of("retried true Overloaded"), book.of("retried true NotLeader")), (1, 1));
        assert_eq!((book.of("sent 2"), book.of("failed 1 QueueNotFound")), (1, 1));
        let receiver = client.receiver("q");
        for delivery in receiver.receive(2, Duration::ZERO).await.unwrap() {
            delivery.ack().await.unwrap();
        }
        assert_eq!((book.of("delivered None"), book.of("Ack ok")), (2, 2));
    });
}

#[test]
fn deliveries_settles_and_lost_leases_are_told_and_the_hand_is_empty_in_the_end() {
    run(|| async {
        let (cluster, book, client) = book().await;
        client.send("q", ["a", "b", "c", "d"]).await.unwrap();
        let mut consumer = client.consumer("q").open().await.unwrap();
        let mut hand = Vec::new();
        for _ in 0..4 {
            hand.push(consumer.next().await.unwrap().unwrap());
        }
        assert_eq!((book.of("delivered None"), book.gauge("in hand")), (4, 4));
        let [a, b, c, d] = hand.try_into().unwrap();
        a.ack().await.unwrap();
        b.nack(Duration::from_secs(3_600)).await.unwrap();
        c.reject().await.unwrap();
        assert_eq!((book.of("Ack ok"), book.of("Nack ok"), book.of("Reject ok")), (1, 1, 1));
        assert_eq!(book.gauge("in hand"), 1);
        sleep(2 * LEASE).await;
        assert!(book.of("Extend ok") >= 2);
        cluster.with(|queue| queue.give_back(d.token(), v1::ReturnReason::ConsumerLost));
        let again = consumer.next().await.unwrap().unwrap();
        assert_eq!((book.of("lost ConsumerLost"), book.of("delivered Some(ConsumerLost)")), (1, 1));
        assert!(d.ack().await.is_err());
        assert_eq!((book.of("Ack LeaseOver"), book.gauge("in hand")), (1, 1));
        cluster.net().cut("n1");
        again.ack().await.unwrap();
        assert_eq!((book.of("opened Consumer true"), book.of("broke Consumer")), (1, 1));
        consumer.close().await.unwrap();
        assert_eq!(book.gauge("in hand"), 0);
    });
}

#[test]
fn handlers_are_told_by_how_they_ended() {
    run(|| async {
        let (cluster, book, client) = book().await;
        client.send("q", ["done", "returned", "rejected", "panicked", "lost", "late"]).await.unwrap();
        let emptied = cluster.clone();
        let handler = {
            let cluster = cluster.clone();
            move |delivery: Arc<phalanx_client::Delivery>| {
                let cluster = cluster.clone();
                async move {
                    sleep(Duration::from_millis(6)).await;
                    match (&delivery.body()[..], delivery.attempt()) {
                        (b"returned", 1) => return Err(Nack::after(Duration::ZERO)),
                        (b"rejected", _) => return Err(Nack::reject("no use")),
                        (b"panicked", 1) => panic!("on purpose"),
                        (b"lost", 1) => {
                            cluster.with(|queue| {
                                queue.give_back(delivery.token(), v1::ReturnReason::ConsumerLost)
                            });
                            std::future::pending::<()>().await;
                        }
                        (b"late", 1) => cluster.with(|queue| {
                            queue.mute = true;
                            queue.give_back(delivery.token(), v1::ReturnReason::ConsumerLost);
                            queue.mute = false;
                        }),
                        _ => {}
                    }
                    Ok(())
                }
            }
        };
        let stop = async move { emptied.until(|state| state.queues["q"].messages.is_empty()).await };
        let call = client.consumer("q").open().await.unwrap().for_each_concurrent(6, stop, handler);
        timeout(Duration::from_secs(60), call).await.expect("in time").unwrap();
        let handled = ["Done", "Returned", "Rejected", "Panicked", "LeaseLost"];
        let counts = handled.map(|outcome| book.of(&format!("handled {outcome}")));
        assert_eq!(counts, [6, 1, 1, 1, 1]);
        assert_eq!((book.of("Ack LeaseOver"), book.gauge("in hand")), (1, 0));
    });
}
