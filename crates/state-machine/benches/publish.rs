//! What a publish costs when 1, 100 or 10,000 subscriptions are there and one of them matches.
//!
//! `cargo bench -p phalanx-state-machine`: the ratios are what counts.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use phalanx_state_machine::command::{
    Batch, CommandKind, NewMessage, Purge, PutQueue, QueueKind, Send, Source,
};
use phalanx_state_machine::machine::{Entry, Machine, MachineKind};
use prost::Message as _;

const TOPIC: u64 = 1;

/// Pattern and filter of a subscription by its number.
type Condition = fn(u64) -> (String, String);

/// What filters see, as clients encode it.
#[derive(Clone, PartialEq, prost::Message)]
struct Shown {
    #[prost(btree_map = "string, string", tag = "2")]
    headers: std::collections::BTreeMap<String, String>,
    #[prost(string, tag = "9")]
    routing_key: String,
}

struct Driver {
    machine: Machine,
    index: u64,
}

impl Driver {
    fn apply(&mut self, kind: CommandKind) {
        self.index += 1;
        let batch = Batch { version: Batch::VERSION, now_ms: 1_000, commands: vec![kind.into()] };
        std::hint::black_box(self.machine.apply(Entry { index: self.index, term: 1, batch }));
    }
}

/// A topic with so many subscriptions, each with a condition of its own.
fn topic(subscriptions: u64, condition: Condition) -> Driver {
    let mut driver = Driver { machine: Machine::new(MachineKind::Shard(1)), index: 0 };
    let kind = QueueKind::Topic.into();
    driver.apply(CommandKind::PutQueue(PutQueue { uid: TOPIC, version: 1, kind, ..PutQueue::default() }));
    for number in 0..subscriptions {
        let (pattern, filter) = condition(number);
        driver.apply(CommandKind::PutQueue(PutQueue {
            uid: TOPIC + 1 + number,
            version: 1,
            kind: QueueKind::Subscription.into(),
            source: Some(Source { topic: TOPIC, pattern, filter, target: 0 }),
            ..PutQueue::default()
        }));
    }
    driver
}

fn publish(criterion: &mut Criterion) {
    let shown = Shown {
        headers: [("customer".to_owned(), "c0".to_owned())].into(),
        routing_key: "orders.c0.eu".to_owned(),
    };
    let payload: bytes::Bytes = shown.encode_to_vec().into();
    let conditions: [(&str, Condition); 3] = [
        ("pattern", |number| (format!("orders.c{number}.*"), String::new())),
        ("equality", |number| (String::new(), format!("customer = 'c{number}'"))),
        ("tried", |number| (String::new(), format!("customer prefix 'c{number}' and not exists(x{number})"))),
    ];
    let mut group = criterion.benchmark_group("publish");
    for (name, condition) in conditions {
        for subscriptions in [1, 100, 10_000] {
            let mut driver = topic(subscriptions, condition);
            let messages = vec![NewMessage { payload: payload.clone(), ..NewMessage::default() }];
            let send = Send { uid: TOPIC, messages, ..Send::default() };
            group.bench_function(BenchmarkId::new(name, subscriptions), |bencher| {
                bencher.iter(|| {
                    driver.apply(CommandKind::Send(send.clone()));
                    // Nothing may pile up: what is measured must not grow.
                    driver.apply(CommandKind::Purge(Purge { uid: TOPIC + 1 }));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
