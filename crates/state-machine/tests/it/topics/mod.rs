//! Topics against a naive model, on random histories: who gets what, in which order, and that what nobody needs is gone.
//!
//! `PHALANX_TOPIC_HISTORIES` sets how many, `PHALANX_TOPIC_SEED` the first seed.

mod model;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use phalanx_state_machine::command::{
    ChunkMatches, CommandKind, DropQueue, Mark, NewMessage, Place, PlaceKind, Purge, PutQueue, QueueKind,
    QueueSettings, Receive, Replay, Seek, Send, Settle, SettleAction, SettleItem, Source, Tick, TokenRange,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{LookAt, MachineKind};
use phalanx_state_machine::reply::{Delivery, Payload, Reply, SettleResult};
use prost::Message as _;

use crate::support::{Driver, Rng, Rows, entry, env_number, id};
use model::Model;

/// Histories when the environment names no number.
const HISTORIES: u64 = 3_000;
const STEPS: u64 = 60;
const TOPIC: u64 = 1;
const KIND: MachineKind = MachineKind::Shard(1);
const LEASE_MS: u64 = 1_000;
/// What a subscription takes: pattern and filter.
pub const CONDITIONS: [(&str, &str); 8] = [
    ("", ""),
    ("", ""),
    ("a.#", ""),
    ("*.b", ""),
    ("", "x = 'y'"),
    ("", "n > 1 or exists(z)"),
    ("#", "x in ('y', 'z') and not n = 2"),
    ("nobody", ""),
];

/// What filters see, as clients encode it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Shown {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub headers: BTreeMap<String, Bytes>,
    #[prost(string, tag = "9")]
    pub routing_key: String,
}

pub fn message(random: &mut Rng, number: u64, groups: bool) -> (Shown, NewMessage) {
    let mut headers = BTreeMap::new();
    for (name, values) in [("x", ["y", "z", "w"]), ("n", ["1", "2", "3.5"]), ("z", ["", "1", "2"])] {
        if random.chance(50) {
            headers.insert(name.to_owned(), Bytes::from_static((*random.pick(&values)).as_bytes()));
        }
    }
    let routing_key = (*random.pick(&["a", "a.b", "c.b", "c", ""])).to_owned();
    let group = if groups && random.chance(70) { *random.pick(&["g", "h", "i"]) } else { "" };
    let body = if random.chance(20) { Bytes::new() } else { number.to_string().into() };
    let shown = Shown { body, headers, routing_key };
    let new = NewMessage { payload: shown.encode_to_vec().into(), group: group.into(), dedup: None };
    (shown, new)
}

fn put(uid: u64, version: u64, source: Option<(&str, &str)>) -> CommandKind {
    let kind = if source.is_some() { QueueKind::Subscription } else { QueueKind::Topic };
    let source = source.map(|(pattern, filter)| Source {
        topic: TOPIC,
        pattern: pattern.into(),
        filter: filter.into(),
        target: 0,
    });
    let settings = QueueSettings { lease_ms: LEASE_MS, ..QueueSettings::default() };
    let (namespace, name) = ("default".into(), format!("t/{uid}"));
    let (kind, start) = (kind.into(), None);
    let first_token = 1;
    CommandKind::PutQueue(PutQueue {
        uid,
        version,
        namespace,
        name,
        settings,
        first_token,
        kind,
        source,
        start,
    })
}

/// The topic, and for how long and how much it keeps.
fn put_topic(retain: Option<(u64, u64)>, compact: bool) -> CommandKind {
    let CommandKind::PutQueue(mut put) = put(TOPIC, 1, None) else { unreachable!() };
    put.settings.compact = compact;
    (put.settings.retain_ms, put.settings.retain_bytes) = retain.unwrap_or_default();
    CommandKind::PutQueue(put)
}

struct World {
    driver: Driver,
    model: Model,
    random: Rng,
    rows: Rows,
    groups: bool,
    last_uid: u64,
    version: u64,
    request: u64,
    /// Tokens by subscription and holder.
    hands: BTreeMap<(u64, u64), Vec<(u64, u64)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::new(seed);
        let groups = random.chance(40);
        let mut driver = Driver::new(KIND);
        let retain = *random.pick(&[None, Some((250_000, 1 << 20)), Some((0, 200)), Some((150_000, 400))]);
        let compact = groups && random.chance(50);
        assert_eq!(driver.one(put_topic(retain, compact)), Reply::Done);
        let (rows, hands) = (Rows::default(), BTreeMap::new());
        let model = Model { retain, compact, ..Model::default() };
        Self { driver, model, random, rows, groups, last_uid: TOPIC, version: 1, request: 0, hands }
    }

    fn subscription(&mut self) -> Option<u64> {
        let uids: Vec<u64> = self.model.subscriptions.keys().copied().collect();
        (!uids.is_empty()).then(|| *self.random.pick(&uids))
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.publish(),
            30..38 => self.create(),
            38..41 => self.delete(),
            41..45 => self.change(),
            45..70 => self.receive(),
            70..88 => self.settle(),
            88..90 => self.purge(),
            90..92 => self.seek(),
            92 => self.mark(),
            93 => drop(self.replay()),
            94..96 => self.wait(),
            _ => self.reload(),
        }
        invariants::check(&self.driver.machine).expect("every entry leaves a sound machine");
        let needed = self.needed();
        let stored = self.stored();
        assert!(needed.is_subset(&stored), "needed {needed:?}, stored {stored:?}");
    }

    /// What the topic has.
    fn stored(&self) -> BTreeSet<u64> {
        let at = LookAt { from: 0, group: None, count_max: usize::MAX, bytes_max: u64::MAX };
        let page = self.driver.machine.look(TOPIC, &at).unwrap();
        page.messages.into_iter().map(|seen| seen.sequence).collect()
    }

    fn publish(&mut self) {
        let count = 1 + self.random.below(4);
        let first = self.model.messages.len() as u64 + 1;
        let (shown, messages): (Vec<_>, Vec<_>) =
            (0..count).map(|at| message(&mut self.random, first + at, self.groups)).unzip();
        let mandatory = self.random.chance(10);
        let send = Send { uid: TOPIC, messages: messages.clone(), mandatory, ..Send::default() };
        let reply = self.driver.one(CommandKind::Send(send));
        let matched: Vec<u64> =
            shown.iter().map(|shown| self.model.matched(&shown.routing_key, &shown.headers)).collect();
        if mandatory && matched.contains(&0) {
            assert!(matches!(reply, Reply::Rejected(_)), "{reply:?}");
            return;
        }
        let Reply::Sent(sent) = reply else { panic!("{reply:?}") };
        assert_eq!((sent.first, u64::from(sent.count)), (first, count));
        assert_eq!(sent.matched, matched.iter().sum::<u64>());
        for (shown, new) in shown.iter().zip(messages) {
            let deletes = shown.body.is_empty();
            self.model.publish(&shown.routing_key, &shown.headers, new, self.driver.now_ms, deletes);
        }
    }

    fn create(&mut self) {
        self.last_uid += 1;
        let (pattern, filter) = *self.random.pick(&CONDITIONS);
        let CommandKind::PutQueue(mut put) = put(self.last_uid, 1, Some((pattern, filter))) else {
            unreachable!()
        };
        let (kept, end) = (self.first(), self.model.messages.len() as u64 + 1);
        let (place, begins) = self.place(self.last_uid, kept);
        let is_mark = matches!(place, PlaceKind::Mark(_));
        let starts = self.random.chance(40) && !is_mark;
        put.start = starts.then_some(Place { kind: Some(place) });
        let latest_only = self.random.chance(30);
        put.settings.latest_only = latest_only;
        assert_eq!(self.driver.one(CommandKind::PutQueue(put)), Reply::Done);
        self.model.create(self.last_uid, pattern, filter, latest_only);
        if starts {
            self.model.seek(self.last_uid, begins.unwrap_or(end).clamp(kept, end));
        }
    }

    /// From where on the topic says that it has everything: never less than it promised.
    fn kept(&mut self) -> u64 {
        self.settle_down();
        let kept = self.driver.machine.queue_info(TOPIC).unwrap().kept_from;
        assert!(kept <= self.model.retained_from(self.driver.now_ms), "less is kept than was promised");
        kept
    }

    fn needed(&self) -> BTreeSet<u64> {
        let kept = self.driver.machine.queue_info(TOPIC).unwrap().kept_from;
        self.model.needed(self.driver.now_ms, kept)
    }

    /// The first message that somebody who comes now can have.
    fn first(&mut self) -> u64 {
        let kept = self.kept();
        let needed = self.needed();
        let first = needed.first().copied().filter(|_| self.model.compact);
        first.map_or(kept, |first| first.min(kept))
    }

    /// A place, and the sequence that it means; `None` if there is no such place.
    fn place(&mut self, uid: u64, kept: u64) -> (PlaceKind, Option<u64>) {
        let end = self.model.messages.len() as u64 + 1;
        match self.random.below(5) {
            0 => (PlaceKind::Earliest(true), Some(kept)),
            1 => (PlaceKind::Latest(true), Some(end)),
            2 => {
                let sequence = self.random.below(end + 3);
                (PlaceKind::Sequence(sequence), Some(sequence.clamp(1, end)))
            }
            3 => {
                let time_ms = self.driver.now_ms.saturating_sub(self.random.below(400_000));
                (PlaceKind::Time(time_ms), Some(self.model.since(time_ms, &self.stored().split_off(&kept))))
            }
            _ => {
                let name = *self.random.pick(&["a", "b"]);
                let known = self.model.subscriptions.contains_key(&uid);
                let at = if known { self.model.mark(uid, name) } else { None };
                (PlaceKind::Mark(name.into()), at)
            }
        }
    }

    fn seek(&mut self) {
        let Some(uid) = self.subscription() else { return };
        let kept = self.first();
        let (kind, to) = self.place(uid, kept);
        let place = Place { kind: Some(kind.clone()) };
        let reply = self.driver.one(CommandKind::Seek(Seek { uid, place }));
        match to.filter(|to| *to >= kept) {
            Some(to) => {
                assert_eq!(reply, Reply::Placed { sequence: to }, "{kind:?}");
                self.model.seek(uid, to);
                self.hands.retain(|(of, _), _| *of != uid);
            }
            None => assert!(matches!(reply, Reply::Rejected(_)), "{reply:?} for {to:?}, kept from {kept}"),
        }
    }

    fn mark(&mut self) {
        let Some(uid) = self.subscription() else { return };
        let name = *self.random.pick(&["a", "b"]);
        let mark = Mark { uid, name: name.into(), remove: false };
        let sequence = self.model.set_mark(uid, name);
        assert_eq!(self.driver.one(CommandKind::Mark(mark)), Reply::Placed { sequence });
    }

    /// As a leader does: looks at messages of the past.
    fn replay(&mut self) -> bool {
        let Some(task) = self.driver.machine.next_replay(self.random.below(self.last_uid + 1)) else {
            return false;
        };
        let end = task.end.min(task.from + 1 + self.random.below(20));
        let kept = self.driver.machine.queue_info(TOPIC).unwrap().kept_from;
        let stored = self.stored();
        let found = self.model.replay(task.uid, task.from, end, kept, &stored);
        let mut chunks: BTreeMap<u64, u64> = BTreeMap::new();
        for at in found {
            *chunks.entry(at / 64).or_default() |= 1 << (at % 64);
        }
        let matches = chunks.into_iter().map(|(chunk, bits)| ChunkMatches { chunk, bits }).collect();
        let replay = Replay { uid: task.uid, version: task.version, from: task.from, end, matches };
        let late = Replay { from: task.from + 1, ..replay.clone() };
        assert!(matches!(self.driver.one(CommandKind::Replay(late)), Reply::Rejected(_)));
        assert_eq!(self.driver.one(CommandKind::Replay(replay)), Reply::Done);
        true
    }

    fn delete(&mut self) {
        let Some(uid) = self.subscription() else { return };
        assert_eq!(self.driver.one(CommandKind::DropQueue(DropQueue { uid })), Reply::Done);
        self.model.subscriptions.remove(&uid);
        self.hands.retain(|(of, _), _| *of != uid);
    }

    fn change(&mut self) {
        let Some(uid) = self.subscription() else { return };
        let (pattern, filter) = *self.random.pick(&CONDITIONS);
        self.version += 1;
        assert_eq!(self.driver.one(put(uid, self.version, Some((pattern, filter)))), Reply::Done);
        self.model.change(uid, pattern, filter);
    }

    fn receive(&mut self) {
        let Some(uid) = self.subscription() else { return };
        let (consumer, messages_max) = (1 + self.random.below(2), 1 + self.random.below(4) as u32);
        self.request += 1;
        let receive = Receive {
            uid,
            consumer: id(consumer),
            request: id(1_000 + self.request),
            messages_max,
            bytes_max: 0,
            lease_ms: 0,
            last: false,
        };
        let reply = self.driver.one(CommandKind::Receive(receive));
        let Reply::Received { deliveries, .. } = reply else { panic!("{reply:?}") };
        let sequences: Vec<u64> = deliveries.iter().map(|delivery| delivery.sequence).collect();
        self.model.received(uid, consumer, &sequences, messages_max as usize, self.groups);
        for delivery in deliveries {
            self.check_payload(uid, &delivery);
            self.hands.entry((uid, consumer)).or_default().push((delivery.token, delivery.sequence));
        }
    }

    fn check_payload(&self, uid: u64, delivery: &Delivery) {
        let stored = &self.model.messages[delivery.sequence as usize - 1].new;
        assert_eq!(delivery.group, stored.group);
        match &delivery.payload {
            Payload::Resident(payload) => assert_eq!(*payload, stored.payload),
            Payload::Spilled(bytes) => {
                assert_eq!(*bytes as usize, stored.payload.len());
                let key =
                    self.driver.machine.page_key_of(uid, delivery.sequence).expect("a durable page has it");
                let payload = phalanx_state_machine::machine::Machine::payload_in_page(
                    &self.rows.rows[&key],
                    delivery.sequence,
                );
                assert_eq!(payload.unwrap().expect("it is in the page"), stored.payload);
            }
        }
    }

    fn settle(&mut self) {
        let holders: Vec<(u64, u64)> = self.hands.keys().copied().collect();
        if holders.is_empty() {
            return;
        }
        let (uid, consumer) = *self.random.pick(&holders);
        let Some(hand) = self.hands.get_mut(&(uid, consumer)).filter(|hand| !hand.is_empty()) else { return };
        let at = self.random.below(hand.len() as u64) as usize;
        let (token, sequence) = hand.remove(at);
        let action = *self.random.pick(&[
            SettleAction::Ack,
            SettleAction::Ack,
            SettleAction::Nack,
            SettleAction::Reject,
        ]);
        let tokens = vec![TokenRange { first: token, last: token }];
        let item = SettleItem { action: action.into(), tokens, ..SettleItem::default() };
        let settle = Settle { uid, consumer: id(consumer), items: vec![item] };
        let reply = self.driver.one(CommandKind::Settle(settle));
        let Reply::Settled { outcomes } = reply else { panic!("{reply:?}") };
        match outcomes[0].result {
            SettleResult::Acked | SettleResult::Rejected => self.model.done(uid, sequence),
            SettleResult::Nacked => self.model.returned(uid, sequence),
            SettleResult::LeaseOver if self.groups => {}
            result => panic!("{result:?} of a live lease"),
        }
    }

    fn purge(&mut self) {
        let Some(uid) = self.subscription() else { return };
        let reply = self.driver.one(CommandKind::Purge(Purge { uid }));
        assert_eq!(reply, Reply::Purged { count: self.model.purge(uid) });
        self.hands.retain(|(of, _), _| *of != uid);
    }

    /// Long enough for all leases and consumers to be over.
    fn wait(&mut self) {
        self.driver.now_ms += 100_000;
        self.driver.one(CommandKind::Tick(Tick {}));
        self.hands.clear();
        self.model.all_returned();
    }

    /// Checkpoint, and sometimes go on with what was loaded from it; sometimes with nothing in memory.
    fn reload(&mut self) {
        let sweep = self.random.chance(50);
        self.rows.checkpoint(&mut self.driver.machine, sweep);
        if self.random.chance(30) {
            self.driver.machine.spill(TOPIC, u64::MAX - 1);
        }
        let loaded = self.rows.load(KIND).expect("what was written is read");
        assert_eq!(loaded.digest(), self.driver.machine.digest());
        assert_eq!(loaded.next_due_ms(), self.driver.machine.next_due_ms());
        if self.random.chance(50) {
            self.driver.machine = loaded;
        }
    }

    /// As a leader does: a tick for what is due at once.
    fn settle_down(&mut self) {
        for _ in 0..10 {
            if self.driver.machine.next_due_ms().is_none_or(|due| due > self.driver.now_ms) {
                break;
            }
            self.driver.one(CommandKind::Tick(Tick {}));
        }
        invariants::check(&self.driver.machine).expect("ticks leave a sound machine");
    }

    /// Everything is consumed: nothing is left of the topic.
    fn drain(&mut self) {
        self.wait();
        while self.replay() {}
        let uids: Vec<u64> = self.model.subscriptions.keys().copied().collect();
        for uid in uids {
            while self.model.waits(uid) {
                self.request += 1;
                let request = id(1_000 + self.request);
                let receive =
                    Receive { uid, consumer: id(9), request, messages_max: 16, ..Receive::default() };
                let Reply::Received { deliveries, .. } = self.driver.one(CommandKind::Receive(receive))
                else {
                    panic!()
                };
                assert!(!deliveries.is_empty(), "subscription {uid} does not give what it has");
                for delivery in deliveries {
                    self.check_payload(uid, &delivery);
                    self.model.done(uid, delivery.sequence);
                    let tokens = vec![TokenRange { first: delivery.token, last: delivery.token }];
                    let item =
                        SettleItem { action: SettleAction::Ack.into(), tokens, ..SettleItem::default() };
                    self.driver.one(CommandKind::Settle(Settle { uid, consumer: id(9), items: vec![item] }));
                }
            }
        }
        self.settle_down();
        let info = self.driver.machine.queue_info(TOPIC).unwrap();
        let retained = self.needed().len() as u64;
        assert_eq!(info.ready_count, retained, "what nobody needs is gone");
        assert_eq!(info.bytes == 0, retained == 0);
    }
}

#[test]
fn every_subscription_gets_what_matched_while_it_was_there_and_the_rest_goes() {
    let first = env_number("PHALANX_TOPIC_SEED", 1);
    for seed in first..first + env_number("PHALANX_TOPIC_HISTORIES", HISTORIES) {
        let caught = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.wait();
            world.settle_down();
            assert_eq!(world.stored(), world.needed(), "the topic keeps what somebody needs");
            world.drain();
        });
        assert!(caught.is_ok(), "seed {seed}: PHALANX_TOPIC_SEED={seed} PHALANX_TOPIC_HISTORIES=1");
    }
}

#[test]
fn two_replicas_agree_whatever_they_were_loaded_from() {
    for seed in 1..200 {
        let mut world = World::new(seed);
        let mut other = Driver::new(KIND);
        other.one(put_topic(world.model.retain, world.model.compact));
        let mut rows = Rows::default();
        for round in 0..STEPS {
            let (index, now_ms) = (world.driver.index, world.driver.now_ms);
            // The same commands, seen by a replica that is made anew from its checkpoint again and again.
            let mut random = Rng::new(seed * 1_000 + round);
            let kinds = rules::commands(&mut random, round);
            let replies = world.driver.apply(kinds.clone()).replies;
            let again = other.machine.apply(entry(index + 1, now_ms, kinds)).replies;
            assert_eq!(format!("{replies:?}"), format!("{again:?}"), "seed {seed}, round {round}");
            assert_eq!(world.driver.machine.digest(), other.machine.digest(), "seed {seed}, round {round}");
            rows.checkpoint(&mut other.machine, random.chance(50));
            other.machine = rows.load(KIND).unwrap();
            invariants::check(&other.machine).unwrap();
            world.driver.now_ms += random.below(3) * 400;
        }
    }
}

#[test]
fn a_body_is_stored_once_however_many_subscriptions_wait_for_it() {
    let stored = |subscriptions: u64, filter: &str| -> usize {
        let mut driver = Driver::new(KIND);
        driver.one(put(TOPIC, 1, None));
        for uid in TOPIC + 1..=TOPIC + subscriptions {
            driver.one(put(uid, 1, Some(("", filter))));
        }
        for number in 0..200_u64 {
            let shown = Shown { body: vec![number as u8; 1_000].into(), ..Shown::default() };
            let messages =
                vec![NewMessage { payload: shown.encode_to_vec().into(), ..NewMessage::default() }];
            driver.one(CommandKind::Send(Send { uid: TOPIC, messages, ..Send::default() }));
        }
        let mut rows = Rows::default();
        rows.checkpoint(&mut driver.machine, true);
        rows.rows.iter().map(|(key, value)| key.len() + value.len()).sum()
    };
    for filter in ["", "not exists(nothing)"] {
        let (one, fifty) = (stored(1, filter), stored(50, filter));
        assert!(one > 200_000 && fifty < one * 11 / 10, "{filter:?}: {one} bytes for one, {fifty} for fifty");
    }
}
