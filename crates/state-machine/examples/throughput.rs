//! How long the machine alone takes for simple work: `cargo run --release -p phalanx-state-machine --example throughput`.
//!
//! Prints nanoseconds per message for one queue, in entries of 64 to 256 messages of 256 bytes.
#![allow(clippy::print_stdout, clippy::disallowed_types, clippy::disallowed_methods)] // a program that takes the time

use std::time::Instant;

use bytes::Bytes;
use phalanx_state_machine::command::{
    Attach, Batch, CommandKind, NewMessage, PutQueue, QueueSettings, Send, Settle, SettleAction, SettleItem,
    TokenRange,
};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::machine::{Entry, Machine};
use phalanx_state_machine::reply::Effect;

const MESSAGES: u64 = 1_000_000;

struct Bench {
    machine: Machine,
    index: u64,
    now_ms: u64,
}

impl Bench {
    fn new(strict: bool) -> Self {
        let mut bench = Self { machine: Machine::shard(1), index: 0, now_ms: 1_700_000_000_000 };
        let settings = QueueSettings { strict, ..QueueSettings::default() };
        let put = PutQueue {
            uid: 1,
            version: 1,
            namespace: "default".into(),
            name: "q".into(),
            settings,
            first_token: 1,
            ..PutQueue::default()
        };
        bench.apply(vec![CommandKind::PutQueue(put)]);
        bench
    }

    fn apply(&mut self, kinds: Vec<CommandKind>) -> Vec<Effect> {
        self.index += 1;
        self.now_ms += u64::from(self.index.is_multiple_of(4));
        let batch = Batch {
            version: Batch::VERSION,
            now_ms: self.now_ms,
            commands: kinds.into_iter().map(Into::into).collect(),
        };
        self.machine.apply(Entry { index: self.index, term: 1, batch }).effects
    }

    fn attach(&mut self, consumer: u64) {
        self.apply(vec![CommandKind::Attach(Attach {
            uid: 1,
            consumer: Id128 { hi: 1, lo: consumer },
            incarnation: 1,
            window_messages: 256,
            window_bytes: 8 << 20,
            ..Attach::default()
        })]);
    }
}

fn send(batch: usize, groups: u64, from: u64, producer: Option<u64>, sequence: u64) -> CommandKind {
    let payload = Bytes::from(vec![7; 256]);
    let message = |i: usize| NewMessage {
        payload: payload.clone(),
        group: if groups == 0 {
            Bytes::new()
        } else {
            Bytes::from(format!("g{}", (from + i as u64) % groups))
        },
        dedup: None,
    };
    CommandKind::Send(Send {
        uid: 1,
        producer: producer.map(|lo| Id128 { hi: 2, lo }),
        producer_sequence: sequence,
        messages: (0..batch).map(message).collect(),
        ..Send::default()
    })
}

/// Sends, assigns to four consumers, acknowledges each token in the next entry.
fn flow(name: &str, batch: usize, groups: u64, strict: bool, one_ack_each: bool, commands: usize) {
    let mut bench = Bench::new(strict);
    for consumer in 1..=4 {
        bench.attach(consumer);
    }
    let mut entries = Vec::new();
    for i in 0..MESSAGES / (batch * commands) as u64 {
        let sends = (0..commands as u64)
            .map(|k| send(batch, groups, (i * commands as u64 + k) * batch as u64, Some(k), i + 1));
        entries.push(sends.collect::<Vec<_>>());
    }
    let mut acks: Vec<CommandKind> = Vec::new();
    let mut delivered = 0_u64;
    let mut elapsed = std::time::Duration::ZERO;
    for mut entry in entries {
        entry.append(&mut acks);
        let begin = Instant::now();
        let effects = bench.apply(entry);
        elapsed += begin.elapsed();
        let mut hands: Vec<Vec<u64>> = vec![Vec::new(); 5];
        for effect in &effects {
            if let Effect::Deliver { consumer, delivery, .. } = effect {
                hands[consumer.lo as usize].push(delivery.token);
                delivered += 1;
            }
        }
        for (consumer, tokens) in hands.into_iter().enumerate().filter(|(_, tokens)| !tokens.is_empty()) {
            let range = |token: u64| TokenRange { first: token, last: token };
            let item = SettleItem {
                action: SettleAction::Ack.into(),
                tokens: if one_ack_each {
                    tokens.iter().map(|token| range(*token)).collect()
                } else {
                    vec![TokenRange { first: tokens[0], last: tokens[tokens.len() - 1] }]
                },
                ..SettleItem::default()
            };
            let consumer = Id128 { hi: 1, lo: consumer as u64 };
            acks.push(CommandKind::Settle(Settle { uid: 1, consumer, items: vec![item] }));
        }
    }
    let nanos = elapsed.as_nanos() as u64 / delivered.max(1);
    println!("{name:44} {nanos:6} ns a message, {:5.2} M/s, {delivered} delivered", 1e3 / nanos as f64);
}

/// Fills a queue, checkpoints, loads.
fn store(groups: u64) {
    let mut bench = Bench::new(false);
    let begin = Instant::now();
    for i in 0..MESSAGES / 256 {
        bench.apply(vec![send(256, groups, i * 256, None, 0)]);
    }
    println!("fill, {groups} groups: {} ns a message", begin.elapsed().as_nanos() as u64 / MESSAGES);
    let begin = Instant::now();
    let changes = bench.machine.take_changes();
    println!(
        "checkpoint: {} rows, {} ns a message",
        changes.rows.len(),
        begin.elapsed().as_nanos() as u64 / MESSAGES
    );
    let begin = Instant::now();
    let rows = changes.rows.into_iter().filter_map(|row| Some((row.key, row.value?)));
    let machine = Machine::load(bench.machine.kind(), rows).expect("rows of a machine load");
    println!("load: {} ns a message", begin.elapsed().as_nanos() as u64 / MESSAGES);
    assert_eq!(machine.digest(), bench.machine.digest());
    drop(machine);
    bench.attach(1);
    let begin = Instant::now();
    let mut acked = 0;
    let mut last = 256;
    while acked < MESSAGES {
        let item = SettleItem { action: SettleAction::Ack.into(), up_to: last, ..SettleItem::default() };
        let consumer = Id128 { hi: 1, lo: 1 };
        bench.apply(vec![CommandKind::Settle(Settle { uid: 1, consumer, items: vec![item] })]);
        acked += 256;
        last += 256;
    }
    println!("drain: {} ns a message", begin.elapsed().as_nanos() as u64 / MESSAGES);
}

fn main() {
    flow("64 a send, 4 consumers, acks by token", 64, 0, false, true, 1);
    flow("1 a send, 64 sends an entry, acks by token", 1, 0, false, true, 64);
    flow("64 a send, 4 consumers, acks by range", 64, 0, false, false, 1);
    flow("64 a send, 1,000 groups, acks by token", 64, 1000, false, true, 1);
    flow("64 a send, strict, acks by token", 64, 0, true, true, 1);
    store(0);
    store(1000);
}
