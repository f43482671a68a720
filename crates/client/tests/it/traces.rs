//! Spans, and trace contexts from producer to handler.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{Delivery, Message, Nack, TraceParent};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument as _, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::fake::{Cluster, Fault};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields = BTreeMap<&'static str, String>;

/// The spans of this thread's tests, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(u64, Fields, bool)>>>);

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !attributes.metadata().target().starts_with("phalanx_client") {
            return;
        }
        let mut fields = Fields::new();
        attributes.record(&mut Visitor(&mut fields));
        fields.insert("name", attributes.metadata().name().to_owned());
        let parent = context.span(id).and_then(|span| span.parent().map(|parent| parent.name()));
        fields.insert("parent", parent.unwrap_or_default().to_owned());
        self.0.lock().push((id.into_u64(), fields, false));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock();
        if let Some(span) = spans.iter_mut().rev().find(|span| span.0 == id.into_u64()) {
            values.record(&mut Visitor(&mut span.1));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut spans = self.0.lock();
        if let Some(span) = spans.iter_mut().rev().find(|span| span.0 == id.into_u64()) {
            span.2 = true;
        }
    }
}

impl Spans {
    fn listen() -> (Self, DefaultGuard) {
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        (spans, tracing::subscriber::set_default(subscriber))
    }

    /// Of this name, each with all its fields; all of them are over.
    fn of(&self, name: &str) -> Vec<Fields> {
        let spans = self.0.lock();
        let named = spans.iter().filter(|(_, fields, _)| fields["name"] == name);
        named
            .map(|(_, fields, closed)| {
                assert!(closed, "{fields:?} is still open");
                assert_eq!(fields["messaging.system"], "phalanx");
                assert_eq!(fields["messaging.destination.name"], "q");
                fields.clone()
            })
            .collect()
    }
}

fn pick(fields: &Fields, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| fields.get(name).cloned().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn sends_have_a_span_each_with_their_outcome() {
    let (spans, _listening) = Spans::listen();
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let producer = client.producer("q").coalesce(1).open().await.unwrap();
    cluster.lock().send_faults.extend([Fault::None, Fault::Consume("QUEUE_FULL")]);
    producer.send("abc").instrument(tracing::info_span!("request")).await.unwrap();
    producer.send("d").await.unwrap_err();
    producer.enqueue_batch(["e", "f"]).await.unwrap().await.unwrap();
    client.send("q", ["g"]).await.unwrap();
    let names = [
        "messaging.operation.type",
        "otel.name",
        "otel.kind",
        "messaging.batch.message_count",
        "messaging.message.body.size",
        "messaging.message.id",
        "error.type",
        "parent",
    ];
    let seen: Vec<Vec<String>> = spans.of("send").iter().map(|fields| pick(fields, &names)).collect();
    assert_eq!(
        seen,
        [
            ["send", "send q", "producer", "1", "3", "1", "", "request"],
            ["send", "send q", "producer", "1", "1", "", "queue_full", ""],
            ["send", "send q", "producer", "2", "2", "", "", ""],
            ["send", "send q", "producer", "1", "1", "4", "", ""],
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn receives_and_settles_have_a_span_each() {
    let (spans, _listening) = Spans::listen();
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    client.send("q", ["a", "b"]).await.unwrap();
    let deliveries = client.receiver("q").receive(2, Duration::ZERO).await.unwrap();
    let [a, b] = deliveries.try_into().unwrap();
    a.ack().await.unwrap();
    b.extend(None).await.unwrap();
    cluster.with(|queue| queue.give_back(2, phalanx_proto::v1::ReturnReason::Expired));
    b.nack(Duration::ZERO).await.unwrap_err();
    let receive = spans.of("receive");
    let names = ["messaging.operation.type", "otel.name", "messaging.batch.message_count"];
    assert_eq!(receive.iter().map(|f| pick(f, &names)).collect::<Vec<_>>(), [["receive", "receive q", "2"]]);
    let names = ["messaging.operation.type", "otel.name", "messaging.phalanx.token", "error.type"];
    let settles: Vec<Vec<String>> = spans.of("settle").iter().map(|fields| pick(fields, &names)).collect();
    assert_eq!(
        settles,
        [
            ["settle", "ack q", "1", ""],
            ["settle", "extend q", "2", ""],
            ["settle", "nack q", "2", "lease_over"]
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_runs_in_a_span_that_names_the_trace_of_its_message() {
    let (spans, _listening) = Spans::listen();
    let cluster = Cluster::start(1);
    let client = cluster.client().await;
    let messages = [
        Message::new("traced").traceparent(PARENT),
        Message::new("bad").traceparent("00-nonsense"),
        Message::new("rejected"),
    ];
    client.send("q", messages).await.unwrap();
    let handler = |delivery: Arc<Delivery>| async move {
        assert_eq!(tracing::Span::current().metadata().map(|metadata| metadata.name()), Some("process"));
        let expected = (delivery.body() == "traced").then(|| PARENT.parse::<TraceParent>().unwrap());
        assert_eq!(delivery.traceparent(), expected);
        if delivery.body() == "rejected" { Err(Nack::reject("no use")) } else { Ok(()) }
    };
    let emptied = cluster.until(|state| state.queues["q"].messages.is_empty());
    let consumer = client.consumer("q").open().await.unwrap();
    consumer.for_each_concurrent(2, emptied, handler).await.unwrap();
    let names = ["messaging.operation.type", "messaging.message.id", "trace_id", "parent_id", "error.type"];
    let process: Vec<Vec<String>> = spans.of("process").iter().map(|fields| pick(fields, &names)).collect();
    assert_eq!(
        process,
        [
            ["process", "1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", ""],
            ["process", "2", "", "", ""],
            ["process", "3", "", "", "reject"],
        ]
    );
    let settles: Vec<Vec<String>> =
        spans.of("settle").iter().map(|fields| pick(fields, &["otel.name", "parent"])).collect();
    assert_eq!(settles, [["ack q", "process"], ["ack q", "process"], ["reject q", "process"]]);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_trace_context_gets_one_from_the_hook_inside_the_span_of_its_send() {
    let (_spans, _listening) = Spans::listen();
    let cluster = Cluster::start(1);
    let next = Arc::new(Mutex::new(None::<String>));
    let hook = {
        let next = next.clone();
        move || {
            assert_eq!(tracing::Span::current().metadata().map(|metadata| metadata.name()), Some("send"));
            next.lock().clone()
        }
    };
    let client = cluster.builder().traceparent(hook).connect().await.unwrap();
    let producer = client.producer("q").window(1).open().await.unwrap();
    let own = "00-11111111111111111111111111111111-2222222222222222-00";
    producer.send("none").await.unwrap();
    *next.lock() = Some(PARENT.into());
    producer.send("hook").await.unwrap();
    producer.send(Message::new("own").traceparent(own)).await.unwrap();
    producer.enqueue_batch(["batch"]).await.unwrap().await.unwrap();
    client.send("q", ["unary"]).await.unwrap();
    producer.try_enqueue(Message::new("try")).unwrap().await.unwrap();
    *next.lock() = Some("nonsense".into());
    producer.send("malformed").await.unwrap();
    let mut consumer = client.consumer("q").open().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..7 {
        let delivery = consumer.next().await.unwrap().unwrap();
        let body = String::from_utf8_lossy(delivery.body()).into_owned();
        seen.push((body, delivery.message().traceparent.clone()));
        delivery.ack().await.unwrap();
    }
    let expected = [
        ("none", ""),
        ("hook", PARENT),
        ("own", own),
        ("batch", PARENT),
        ("unary", PARENT),
        ("try", PARENT),
        ("malformed", ""),
    ];
    assert_eq!(seen, expected.map(|(body, parent)| (body.to_owned(), parent.to_owned())));
    // A message that was not taken is given back as it was.
    *next.lock() = Some(PARENT.into());
    cluster.lock().send_faults.push_back(Fault::Swallow);
    drop(producer.enqueue("fills the window").await.unwrap());
    let refused = producer.try_enqueue(Message::new("late")).unwrap_err();
    assert_eq!((refused.message, refused.error), (Message::new("late"), None));
}
