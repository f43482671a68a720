//! Limits that only a large state reaches, and a large checkpoint.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_state_machine::command::{
    Attach, CommandKind, NewMessage, Purge, PutQueue, QueueSettings, Receive, Send, Settle, SettleAction,
    SettleItem, TokenRange,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::{Effect, Rejection, Reply};

use crate::support::{Driver, Rng, Rows, id};

const KIND: MachineKind = MachineKind::Shard(1);
/// Deduplication ids remembered for each queue.
const DEDUP_IDS: u64 = 1_000_000;
/// Producers remembered for each queue.
const PRODUCERS: u64 = 100_000;
/// Consumers of a queue.
const CONSUMERS: u64 = 16_384;
/// Most messages of one send.
const SEND_MESSAGES: u64 = 16_384;

fn queue() -> Driver {
    let mut driver = Driver::new(KIND);
    driver.one(CommandKind::PutQueue(PutQueue { uid: 1, version: 1, ..Default::default() }));
    driver
}

fn numbered(range: std::ops::Range<u64>) -> CommandKind {
    let message = |number| NewMessage { dedup: Some(id(number)), ..Default::default() };
    CommandKind::Send(Send { uid: 1, messages: range.map(message).collect(), ..Default::default() })
}

#[test]
fn when_the_memory_of_deduplication_ids_is_full_sends_are_refused_and_no_id_is_forgotten_early() {
    let mut driver = queue();
    for start in (1..=DEDUP_IDS).step_by(SEND_MESSAGES as usize) {
        let reply = driver.one(numbered(start..(start + SEND_MESSAGES).min(DEDUP_IDS + 1)));
        assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
    }
    let refused = driver.one(numbered(DEDUP_IDS + 1..DEDUP_IDS + 2));
    assert!(matches!(refused, Reply::Rejected(Rejection::DedupFull(_))), "{refused:?}");
    let without = Send { uid: 1, messages: vec![NewMessage::default()], ..Default::default() };
    assert!(matches!(driver.one(CommandKind::Send(without)), Reply::Sent(_)), "a send without an id goes on");
    let Reply::Sent(first) = driver.one(numbered(1..3)) else { panic!("a repeat is no new id") };
    assert_eq!((first.count, first.duplicates), (0, vec![(0, 1), (1, 2)]));
    driver.now_ms += 300_000; // the window is over
    assert!(matches!(driver.one(numbered(DEDUP_IDS + 1..DEDUP_IDS + 2)), Reply::Sent(_)));
}

#[test]
fn a_shortened_deduplication_window_holds_for_the_ids_that_are_remembered_already() {
    let mut driver = queue();
    let put = |version, dedup_window_ms| {
        let settings = QueueSettings { dedup_window_ms, ..Default::default() };
        CommandKind::PutQueue(PutQueue { uid: 1, version, settings, ..Default::default() })
    };
    driver.one(put(2, 7 * 86_400_000));
    driver.one(numbered(1..2));
    driver.one(put(3, 60_000));
    for start in (2..=DEDUP_IDS).step_by(SEND_MESSAGES as usize) {
        let reply = driver.one(numbered(start..(start + SEND_MESSAGES).min(DEDUP_IDS + 1)));
        assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
    }
    driver.now_ms += 60_000;
    let reply = driver.one(numbered(DEDUP_IDS + 1..DEDUP_IDS + 2));
    assert!(matches!(reply, Reply::Sent(_)), "one old id kept all others remembered: {reply:?}");
    let mut rows = Rows::default();
    rows.checkpoint(&mut driver.machine, true);
    assert_eq!(rows.load(KIND).unwrap().digest(), driver.machine.digest());
}

fn produce(producer: u64, producer_sequence: u64) -> CommandKind {
    let messages = vec![NewMessage::default()];
    CommandKind::Send(Send {
        uid: 1,
        producer: Some(id(producer)),
        producer_sequence,
        messages,
        ..Default::default()
    })
}

#[test]
fn one_producer_too_many_makes_the_longest_idle_one_forgotten_but_none_that_may_still_repeat_its_first() {
    let mut driver = queue();
    for start in (1..=PRODUCERS).step_by(1_000) {
        driver.now_ms += 1;
        driver.apply((start..start + 1_000).map(|producer| produce(producer, 1)).collect());
    }
    assert_eq!(driver.machine.queue_info(1).unwrap().producer_count, PRODUCERS);
    driver.now_ms += 1;
    assert!(matches!(driver.one(produce(1, 2)), Reply::Sent(_)), "not idle any more");
    let busy = driver.one(produce(PRODUCERS + 1, 1));
    assert!(matches!(busy, Reply::Rejected(Rejection::DedupFull(_))), "all are in use: {busy:?}");
    let Reply::Sent(again) = driver.one(produce(2, 1)) else { panic!("it was sent before") };
    assert!(again.repeated, "a producer whose first answer was lost still gets it");
    driver.now_ms += 120_000;
    assert!(matches!(driver.one(produce(PRODUCERS + 1, 1)), Reply::Sent(_)));
    assert_eq!(driver.machine.queue_info(1).unwrap().producer_count, PRODUCERS);
    assert!(matches!(driver.one(produce(1, 3)), Reply::Sent(_)));
    let replies = driver.apply((2..1_001).map(|producer| produce(producer, 2)).collect()).replies;
    let forgotten = |reply: &&Reply| **reply == Reply::Rejected(Rejection::ProducerForgotten);
    assert_eq!(replies.iter().filter(forgotten).count(), 1, "one had to go, not two");
    invariants::check(&driver.machine).unwrap();
}

#[test]
fn one_consumer_too_many_is_refused_and_those_that_are_there_go_on() {
    let mut driver = queue();
    let attach = |consumer| {
        CommandKind::Attach(Attach { uid: 1, consumer: id(consumer), incarnation: 1, ..Default::default() })
    };
    let replies = driver.apply((1..=CONSUMERS).map(attach).collect()).replies;
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Attached { .. })));
    assert_eq!(driver.one(attach(CONSUMERS + 1)), Reply::Rejected(Rejection::TooManyConsumers));
    assert!(matches!(driver.one(attach(7)), Reply::Attached { .. }));
}

/// 20,000 messages of all sizes in 300 groups and none, half of them leased, a quarter settled.
fn busy() -> (Driver, BTreeMap<u64, Bytes>) {
    let mut rng = Rng::new(42);
    let mut driver = queue();
    let mut payloads = BTreeMap::new();
    for _ in 0..100 {
        let message = |rng: &mut Rng| {
            let size = [0, 1, 60, 300, 3_000, 40_000][rng.below(60).saturating_sub(54) as usize];
            let group = if rng.chance(50) { Vec::new() } else { format!("g{}", rng.below(300)).into_bytes() };
            NewMessage { payload: vec![rng.next() as u8; size].into(), group: group.into(), dedup: None }
        };
        let messages: Vec<NewMessage> = (0..200).map(|_| message(&mut rng)).collect();
        let first = driver.machine.queue_info(1).unwrap().next_sequence;
        payloads.extend((first..).zip(messages.iter().map(|message| message.payload.clone())));
        driver.one(CommandKind::Send(Send { uid: 1, messages, ..Default::default() }));
    }
    for consumer in 1..=5 {
        let applied = driver.apply(vec![CommandKind::Attach(Attach {
            uid: 1,
            consumer: id(consumer),
            incarnation: 1,
            window_messages: 2_000,
            window_bytes: u64::MAX,
            ..Default::default()
        })]);
        let delivered = applied.effects.iter().filter_map(|effect| match effect {
            Effect::Deliver { delivery, .. } => Some(delivery),
            _ => None,
        });
        let mut items = Vec::new();
        for delivery in delivered {
            if rng.chance(50) {
                continue;
            }
            let action = [SettleAction::Ack, SettleAction::Nack, SettleAction::Reject][rng.below(3) as usize];
            let tokens = vec![TokenRange { first: delivery.token, last: delivery.token }];
            items.push(SettleItem {
                action: action.into(),
                tokens,
                delay_ms: rng.below(2) * 60_000,
                ..Default::default()
            });
        }
        driver.one(CommandKind::Settle(Settle { uid: 1, consumer: id(consumer), items }));
    }
    (driver, payloads)
}

#[test]
fn a_large_checkpoint_loads_to_the_same_machine_and_every_spilled_payload_is_read_back() {
    let (mut driver, payloads) = busy();
    let mut rows = Rows::default();
    rows.checkpoint(&mut driver.machine, true);
    let before = (driver.machine.digest(), driver.machine.queue_info(1));
    let longest = rows.rows.values().map(Bytes::len).max().unwrap();
    assert!(longest < 64 * 1024, "a row of {longest} bytes");

    let mut loaded = rows.load(KIND).unwrap();
    invariants::check(&loaded).unwrap();
    assert_eq!((loaded.digest(), loaded.queue_info(1)), before);
    loaded.spill(1, u64::MAX);
    assert_eq!(loaded.resident_bytes(), 0);

    let live = (1..=20_000).filter_map(|sequence| Some((sequence, loaded.page_key_of(1, sequence)?)));
    let mut count = 0;
    for (sequence, key) in live {
        let payload = Machine::payload_in_page(&rows.rows[&key], sequence).unwrap();
        assert_eq!(payload.as_ref(), payloads.get(&sequence), "sequence {sequence}");
        count += 1;
    }
    let info = loaded.queue_info(1).unwrap();
    assert_eq!(count, info.ready_count + info.leased_count);
}

#[test]
fn nothing_is_dirty_after_a_checkpoint_and_settling_all_leaves_few_rows() {
    let (mut driver, _) = busy();
    let mut rows = Rows::default();
    rows.checkpoint(&mut driver.machine, true);
    assert_eq!(driver.machine.dirty_estimate().0, 0);
    let before = rows.rows.len();
    rows.checkpoint(&mut driver.machine, true);
    assert_eq!(rows.rows.len(), before);
    driver.one(CommandKind::Purge(Purge { uid: 1 }));
    rows.checkpoint(&mut driver.machine, true);
    let page = |key: &&Bytes| key[0] == 0x10 && (3..=5).contains(&key[9]);
    assert_eq!(rows.rows.keys().filter(page).count(), 0, "rows of purged messages are garbage");
    let loaded = rows.load(KIND).unwrap();
    assert_eq!(loaded.digest(), driver.machine.digest());
    assert_eq!(loaded.queue_info(1), driver.machine.queue_info(1));
}

#[test]
fn checkpoints_of_every_size_across_the_borders_of_rows_load_to_the_same_machine() {
    let mut driver = queue();
    let mut rows = Rows::default();
    for round in 0..700_u64 {
        // Four of each: answers fill their first row of 2,048, remembered ids two of 256, results ten of 64.
        let message = |part| NewMessage { dedup: Some(id(10_000 + 4 * round + part)), ..Default::default() };
        let messages: Vec<NewMessage> = (0..if round < 150 { 1 } else { 4 }).map(message).collect();
        let count = messages.len() as u32;
        let (producer, request) = (
            round.is_multiple_of(2).then(|| id(1)),
            (!round.is_multiple_of(2)).then(|| id(1_000_000 + round)),
        );
        let send =
            Send { uid: 1, producer, producer_sequence: round / 2 + 1, request, messages, ..Send::default() };
        assert!(matches!(driver.one(CommandKind::Send(send)), Reply::Sent(_)));
        let (consumer, request) = (id(2), id(2_000_000 + round));
        let receive = Receive { uid: 1, consumer, request, messages_max: count, ..Default::default() };
        let Reply::Received { deliveries, .. } = driver.one(CommandKind::Receive(receive)) else {
            panic!("no receive")
        };
        assert_eq!(deliveries.len(), count as usize);
        let item = SettleItem { action: SettleAction::Ack.into(), up_to: u64::MAX, ..Default::default() };
        driver.one(CommandKind::Settle(Settle { uid: 1, consumer, items: vec![item] }));
        rows.checkpoint(&mut driver.machine, true);
        let loaded = rows.load(KIND).unwrap_or_else(|why| panic!("round {round}: {why}"));
        assert_eq!(loaded.digest(), driver.machine.digest(), "round {round}");
    }
    invariants::check(&rows.load(KIND).unwrap()).unwrap();
}
