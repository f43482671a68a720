//! Two shards, the model of what their topics feed, and one step of a history.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_filter::{Attributes, Filter, Pattern};
use phalanx_state_machine::command::{
    ChunkMatches, CommandKind, DropQueue, Inbox, NewMessage, Place, PlaceKind, PutQueue, QueueKind,
    QueueSettings, Receive, Replay, Send, Settle, SettleAction, SettleItem, Source, Tick, TokenRange,
    Transfer, TransferMessage, Transferred,
};
use phalanx_state_machine::invariants;
use phalanx_state_machine::machine::{LookAt, Machine, MachineKind, QueueInfo};
use phalanx_state_machine::reply::{Payload, Reply};

use crate::support::{Driver, Rng, Rows, id};
use crate::topics::{CONDITIONS, Shown, message};

pub const TOPIC_A: u64 = 1;
pub const TOPIC_A2: u64 = 2;
pub const QUEUE_A: u64 = 3;
pub const QUEUE_A2: u64 = 4;
pub const TOPIC_B: u64 = 5;
pub const QUEUE_B: u64 = 6;
const PLACES: [u64; 6] = [TOPIC_A, TOPIC_A2, QUEUE_A, QUEUE_A2, TOPIC_B, QUEUE_B];
/// What may feed what: no way leads back.
const WAYS: [(u64, u64); 11] = [
    (TOPIC_A, TOPIC_A2),
    (TOPIC_A, QUEUE_A),
    (TOPIC_A, QUEUE_A2),
    (TOPIC_A, TOPIC_B),
    (TOPIC_A, QUEUE_B),
    (TOPIC_A2, QUEUE_A2),
    (TOPIC_A2, QUEUE_B),
    (TOPIC_A2, TOPIC_B),
    (TOPIC_B, QUEUE_B),
    (TOPIC_B, QUEUE_A),
    (TOPIC_B, QUEUE_A2),
];

struct Shard {
    driver: Driver,
    rows: Rows,
    kind: MachineKind,
}

/// A binding as the model sees it.
struct Bound {
    topic: u64,
    target: u64,
    pattern: String,
    filter: String,
    /// Sequences of its topic that it is to carry, in order.
    expected: Vec<u64>,
    /// The last that its target is known to have.
    through: u64,
    gone: bool,
}

/// A topic, or a queue: what it has ever taken.
#[derive(Default)]
struct Log {
    /// Of a topic: payloads and what filters see of them, sequence 1 first.
    published: Vec<(Bytes, Shown)>,
    /// Of a queue: payloads that were taken out, in order.
    consumed: Vec<Bytes>,
    /// Payloads that were sent to it.
    sent: Vec<Bytes>,
}

pub struct World {
    shards: BTreeMap<u64, Shard>,
    logs: BTreeMap<u64, Log>,
    bindings: BTreeMap<u64, Bound>,
    random: Rng,
    last_uid: u64,
    number: u64,
    version: u64,
    /// Transfers that may come again.
    old: Vec<Transfer>,
}

fn shard_of(place: u64) -> u64 {
    if matches!(place, TOPIC_B | QUEUE_B) { 2 } else { 1 }
}

fn is_topic(place: u64) -> bool {
    matches!(place, TOPIC_A | TOPIC_A2 | TOPIC_B)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::new(seed);
        let shard = |number| {
            let kind = MachineKind::Shard(number);
            (number, Shard { driver: Driver::new(kind), rows: Rows::default(), kind })
        };
        let narrow = random.chance(60);
        let logs = PLACES.iter().map(|place| (*place, Log::default())).collect();
        let mut world = Self {
            shards: [1, 2].into_iter().map(shard).collect(),
            logs,
            bindings: BTreeMap::new(),
            random,
            last_uid: 10,
            number: 0,
            version: 1,
            old: Vec::new(),
        };
        for place in PLACES {
            let kind = if is_topic(place) { QueueKind::Topic } else { QueueKind::Queue };
            let retain_bytes = if is_topic(place) { 1 << 30 } else { 0 };
            let length_max = if narrow && !is_topic(place) { 3 } else { 0 };
            let settings = QueueSettings { retain_bytes, length_max, ..QueueSettings::default() };
            let put = PutQueue { uid: place, version: 1, kind: kind.into(), settings, ..PutQueue::default() };
            assert_eq!(world.apply(place, CommandKind::PutQueue(put)), Reply::Done);
        }
        world
    }

    fn shard(&mut self, place: u64) -> &mut Shard {
        let number = self.bindings.get(&place).map_or(shard_of(place), |bound| shard_of(bound.topic));
        self.shards.get_mut(&number).expect("there are two")
    }

    pub fn apply(&mut self, place: u64, kind: CommandKind) -> Reply {
        let reply = self.shard(place).driver.one(kind);
        invariants::check(&self.shard(place).driver.machine).expect("every entry leaves a sound machine");
        reply
    }

    pub fn info(&self, place: u64) -> QueueInfo {
        let number = self.bindings.get(&place).map_or(shard_of(place), |bound| shard_of(bound.topic));
        self.shards[&number].driver.machine.queue_info(place).expect("it is there")
    }

    pub fn step(&mut self) {
        match self.random.below(100) {
            0..25 => {
                let topic = *self.random.pick(&[TOPIC_A, TOPIC_A, TOPIC_A2, TOPIC_B]);
                self.publish(topic);
            }
            25..30 => self.send(),
            30..38 => self.bind_some(),
            38..40 => self.unbind_some(),
            40..43 => self.change(),
            43..60 => self.consume(),
            60..85 => self.carry(),
            85..88 => self.repeat(),
            88..91 => drop(self.replay()),
            91..93 => self.wait(),
            _ => self.reload(),
        }
        self.check_so_far();
    }

    pub fn publish(&mut self, topic: u64) {
        let count = 1 + self.random.below(4);
        let mut shown = Vec::new();
        let mut messages: Vec<NewMessage> = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let (seen, mut new) = message(&mut self.random, self.number, true);
            // Each payload is its own, whatever the random message was.
            let seen = Shown { body: self.number.to_string().into(), ..seen };
            new.payload = prost::Message::encode_to_vec(&seen).into();
            shown.push(seen);
            messages.push(new);
        }
        let send = Send { uid: topic, messages: messages.clone(), ..Send::default() };
        let Reply::Sent(sent) = self.apply(topic, CommandKind::Send(send)) else { panic!("not sent") };
        assert_eq!(u64::from(sent.count), count);
        let payloads = messages.into_iter().map(|new| new.payload);
        self.sync();
        for payload in payloads {
            let log = self.logs.get_mut(&topic).expect("a place");
            assert!(log.published.iter().any(|(stored, _)| *stored == payload), "a topic has what it took");
            log.sent.push(payload);
        }
    }

    fn send(&mut self) {
        let queue = *self.random.pick(&[QUEUE_A, QUEUE_B]);
        self.number += 1;
        let payload = Bytes::from(format!("direct {}", self.number));
        let messages = vec![NewMessage { payload: payload.clone(), ..NewMessage::default() }];
        let reply = self.apply(queue, CommandKind::Send(Send { uid: queue, messages, ..Send::default() }));
        if matches!(reply, Reply::Sent(_)) {
            self.logs.get_mut(&queue).expect("a place").sent.push(payload);
        }
    }

    /// Reads what the topics have taken since it was read last, and says which bindings are to carry it. Topics that feed come first.
    fn sync(&mut self) {
        for topic in [TOPIC_A, TOPIC_A2, TOPIC_B] {
            let known = self.logs[&topic].published.len() as u64;
            let at = LookAt { from: known + 1, group: None, count_max: usize::MAX, bytes_max: u64::MAX };
            let page = self.shard(topic).driver.machine.look(topic, &at).expect("it is there");
            for seen in page.messages {
                let payload = self.read(topic, seen.sequence, &seen.payload);
                let shown = <Shown as prost::Message>::decode(payload.clone()).expect("it was encoded");
                for bound in self.bindings.values_mut().filter(|bound| bound.topic == topic && !bound.gone) {
                    if takes(&bound.pattern, &bound.filter, &shown) {
                        bound.expected.push(seen.sequence);
                    }
                }
                let published = &mut self.logs.get_mut(&topic).expect("a place").published;
                assert_eq!(
                    published.len() as u64 + 1,
                    seen.sequence,
                    "a topic that retains all has no holes"
                );
                published.push((payload, shown));
            }
        }
    }

    fn read(&mut self, place: u64, sequence: u64, payload: &Payload) -> Bytes {
        if let Payload::Resident(payload) = payload {
            return payload.clone();
        }
        let shard = self.shard(place);
        let key = shard.driver.machine.page_key_of(place, sequence).expect("a durable page has it");
        let page = Machine::payload_in_page(&shard.rows.rows[&key], sequence);
        page.expect("a page").expect("it is in the page")
    }

    fn bind_some(&mut self) {
        if self.bindings.values().filter(|bound| !bound.gone).count() >= 6 {
            return;
        }
        let (topic, target) = *self.random.pick(&WAYS);
        let (pattern, filter) = *self.random.pick(&CONDITIONS);
        let starts = self.random.chance(30);
        self.bind_at(topic, target, pattern, filter, starts);
    }

    pub fn bind(&mut self, topic: u64, target: u64, pattern: &str, filter: &str) -> u64 {
        self.bind_at(topic, target, pattern, filter, false)
    }

    /// As the catalog's leader does: the target first.
    fn bind_at(&mut self, topic: u64, target: u64, pattern: &str, filter: &str, earliest: bool) -> u64 {
        self.last_uid += 1;
        let uid = self.last_uid;
        assert_eq!(self.open(target, uid), Reply::Done);
        let start = earliest.then_some(Place { kind: Some(PlaceKind::Earliest(true)) });
        let put = put(uid, 1, topic, target, pattern, filter, start);
        assert_eq!(self.apply(topic, put), Reply::Done);
        let past = self.logs[&topic].published.iter().zip(1..);
        let past = past.filter(|((_, shown), _)| earliest && takes(pattern, filter, shown));
        let expected = past.map(|(_, sequence)| sequence).collect();
        let (pattern, filter) = (pattern.to_owned(), filter.to_owned());
        let bound = Bound { topic, target, pattern, filter, expected, through: 0, gone: false };
        self.bindings.insert(uid, bound);
        uid
    }

    pub fn open(&mut self, target: u64, binding: u64) -> Reply {
        self.apply(target, CommandKind::OpenInbox(Inbox { uid: target, binding }))
    }

    fn some_binding(&mut self) -> Option<u64> {
        let live: Vec<u64> =
            self.bindings.iter().filter(|(_, bound)| !bound.gone).map(|(uid, _)| *uid).collect();
        (!live.is_empty()).then(|| *self.random.pick(&live))
    }

    fn unbind_some(&mut self) {
        if let Some(binding) = self.some_binding() {
            self.unbind(binding);
        }
    }

    /// As the catalog's leader does: the binding first.
    pub fn unbind(&mut self, binding: u64) {
        self.note_passed(binding);
        let target = self.bindings[&binding].target;
        assert_eq!(self.apply(binding, CommandKind::DropQueue(DropQueue { uid: binding })), Reply::Done);
        let close = CommandKind::CloseInbox(Inbox { uid: target, binding });
        assert_eq!(self.apply(target, close), Reply::Done);
        let bound = self.bindings.get_mut(&binding).expect("it is there");
        bound.gone = true;
        let through = bound.through;
        bound.expected.retain(|sequence| *sequence <= through);
    }

    fn change(&mut self) {
        let Some(uid) = self.some_binding() else { return };
        // What its past matches is asked with the conditions that it has then.
        if self.info(uid).unseen_count > 0 {
            return;
        }
        let (pattern, filter) = *self.random.pick(&CONDITIONS);
        self.version += 1;
        let (topic, target) = (self.bindings[&uid].topic, self.bindings[&uid].target);
        let reply = self.apply(uid, put(uid, self.version, topic, target, pattern, filter, None));
        assert_eq!(reply, Reply::Done);
        let bound = self.bindings.get_mut(&uid).expect("it is there");
        (bound.pattern, bound.filter) = (pattern.to_owned(), filter.to_owned());
    }

    fn consume(&mut self) {
        let queue = *self.random.pick(&[QUEUE_A, QUEUE_A2, QUEUE_B]);
        let count = 1 + self.random.below(4) as u32;
        self.take(queue, count);
    }

    fn take(&mut self, queue: u64, messages_max: u32) -> usize {
        self.number += 1;
        let (consumer, request) = (id(1), id(1_000 + self.number));
        let (bytes_max, lease_ms) = (0, 0);
        let receive =
            Receive { uid: queue, consumer, request, messages_max, bytes_max, lease_ms, last: false };
        let reply = self.apply(queue, CommandKind::Receive(receive));
        let Reply::Received { deliveries, .. } = reply else { panic!("{reply:?}") };
        for delivery in &deliveries {
            let payload = self.read(queue, delivery.sequence, &delivery.payload);
            self.logs.get_mut(&queue).expect("a place").consumed.push(payload);
            let tokens = vec![TokenRange { first: delivery.token, last: delivery.token }];
            let item = SettleItem { action: SettleAction::Ack.into(), tokens, ..SettleItem::default() };
            self.apply(queue, CommandKind::Settle(Settle { uid: queue, consumer, items: vec![item] }));
        }
        deliveries.len()
    }

    /// The next messages of a binding, as the leader of its shard reads them.
    pub fn next_transfer(&mut self, binding: u64, count_max: usize) -> Option<Transfer> {
        let page = self.shard(binding).driver.machine.outbox_page(binding, count_max, 200)?;
        assert_eq!((page.target, page.topic), {
            let bound = &self.bindings[&binding];
            (bound.target, bound.topic)
        });
        let mut messages = Vec::new();
        for next in page.messages {
            let payload = self.read(page.topic, next.sequence, &next.payload);
            messages.push(TransferMessage { sequence: next.sequence, payload, group: next.group });
        }
        (!messages.is_empty()).then_some(Transfer { uid: page.target, binding, messages })
    }

    /// As a leader does; its answers may be lost.
    fn carry(&mut self) {
        let number = 1 + self.random.below(2);
        let after = self.random.below(self.last_uid);
        let ready = self.shards[&number].driver.machine.outboxes(after, 8, |_| true);
        let Some(binding) = ready.first().copied() else { return };
        let count_max = 1 + self.random.below(4) as usize;
        let Some(transfer) = self.next_transfer(binding, count_max) else { panic!("nothing waits there") };
        let is_lost = self.random.chance(30);
        self.old.push(transfer.clone());
        self.deliver(transfer, is_lost);
    }

    fn deliver(&mut self, transfer: Transfer, is_lost: bool) {
        let (target, binding) = (transfer.uid, transfer.binding);
        let reply = self.apply(target, CommandKind::Transfer(transfer));
        let gone = self.bindings[&binding].gone;
        if let Reply::Transferred { through } = reply {
            assert!(!gone, "a binding that is gone was heard");
            let bound = self.bindings.get_mut(&binding).expect("it is there");
            bound.through = bound.through.max(through);
            if !is_lost {
                let told = Transferred { uid: binding, through };
                assert_eq!(self.apply(binding, CommandKind::Transferred(told)), Reply::Done);
            }
        }
        self.sync();
    }

    /// One of the transfers of the past comes again.
    fn repeat(&mut self) {
        if !self.old.is_empty() {
            let transfer = self.random.pick(&self.old).clone();
            self.deliver(transfer, true);
        }
    }

    fn replay(&mut self) -> bool {
        for number in [1, 2] {
            let Some(task) = self.shards[&number].driver.machine.next_replay(0) else { continue };
            let end = task.end.min(task.from + 1 + self.random.below(20));
            let mut chunks: BTreeMap<u64, u64> = BTreeMap::new();
            for at in task.from..end {
                let (_, shown) = &self.logs[&task.source.topic].published[at as usize - 1];
                if takes(&task.source.pattern, &task.source.filter, shown) {
                    *chunks.entry(at / 64).or_default() |= 1 << (at % 64);
                }
            }
            let matches = chunks.into_iter().map(|(chunk, bits)| ChunkMatches { chunk, bits }).collect();
            let replay = Replay { uid: task.uid, version: task.version, from: task.from, end, matches };
            assert_eq!(self.apply(task.uid, CommandKind::Replay(replay)), Reply::Done);
            return true;
        }
        false
    }

    fn wait(&mut self) {
        for number in [1, 2] {
            let shard = self.shards.get_mut(&number).expect("there are two");
            shard.driver.now_ms += 10_000;
            shard.driver.one(CommandKind::Tick(Tick {}));
        }
    }

    /// Checkpoint, and go on with what was loaded from it.
    fn reload(&mut self) {
        let number = 1 + self.random.below(2);
        let (sweep, spill) = (self.random.chance(50), self.random.chance(50));
        let shard = self.shards.get_mut(&number).expect("there are two");
        shard.rows.checkpoint(&mut shard.driver.machine, sweep);
        if spill {
            for place in PLACES {
                shard.driver.machine.spill(place, u64::MAX - 1);
            }
        }
        let loaded = shard.rows.load(shard.kind).expect("what was written is read");
        assert_eq!(loaded.digest(), shard.driver.machine.digest());
        let outboxes = |machine: &Machine| machine.outboxes(0, usize::MAX, |_| true);
        assert_eq!(outboxes(&loaded), outboxes(&shard.driver.machine));
        if !spill {
            shard.driver.machine = loaded;
        }
    }

    /// What the bindings are known to have passed on.
    fn note_passed(&mut self, binding: u64) {
        let passed = self.info(binding).acked_total as usize;
        let bound = self.bindings.get_mut(&binding).expect("it is there");
        if passed > 0 {
            bound.through = bound.through.max(bound.expected[passed - 1]);
        }
    }

    /// What a place has taken, in order.
    fn taken(&mut self, place: u64) -> Vec<Bytes> {
        if is_topic(place) {
            return self.logs[&place].published.iter().map(|(payload, _)| payload.clone()).collect();
        }
        let at = LookAt { from: 0, group: None, count_max: usize::MAX, bytes_max: u64::MAX };
        let page = self.shard(place).driver.machine.look(place, &at).expect("it is there");
        let mut taken = self.logs[&place].consumed.clone();
        for seen in page.messages {
            taken.push(self.read(place, seen.sequence, &seen.payload));
        }
        taken
    }

    fn check_so_far(&mut self) {
        self.sync();
        let live: Vec<u64> =
            self.bindings.iter().filter(|(_, bound)| !bound.gone).map(|(uid, _)| *uid).collect();
        live.into_iter().for_each(|binding| self.note_passed(binding));
        self.check_places();
    }

    /// Each place has what was sent to it and what bindings brought it, once; what each binding brought is in order.
    fn check_places(&mut self) {
        for place in PLACES {
            let taken = self.taken(place);
            let mut wanted = self.logs[&place].sent.clone();
            for (uid, bound) in &self.bindings {
                if bound.target != place {
                    continue;
                }
                let log = &self.logs[&bound.topic].published;
                let brought = bound.expected.iter().take_while(|sequence| **sequence <= bound.through);
                let brought: Vec<Bytes> = brought.map(|at| log[*at as usize - 1].0.clone()).collect();
                let mut all = taken.iter();
                let in_order = brought.iter().all(|payload| all.any(|other| other == payload));
                assert!(in_order, "binding {uid} to {place} is out of order");
                wanted.extend(brought);
            }
            let mut taken = taken;
            taken.sort();
            wanted.sort();
            assert_eq!(taken, wanted, "what {place} has taken");
        }
    }

    /// All answers arrive, all queues are drained.
    pub fn heal(&mut self) {
        while self.replay() {}
        for _ in 0..10_000 {
            let mut quiet = true;
            for queue in [QUEUE_A, QUEUE_A2, QUEUE_B] {
                quiet &= self.take(queue, 1_000) == 0;
            }
            for number in [1, 2] {
                for binding in self.shards[&number].driver.machine.outboxes(0, 64, |_| true) {
                    let transfer = self.next_transfer(binding, 7).expect("something waits");
                    self.deliver(transfer, false);
                    quiet = false;
                }
            }
            if quiet {
                self.check_so_far();
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// All that was to be carried has arrived. Says how much that was.
    pub fn check_complete(&mut self) -> u64 {
        let mut carried = 0;
        for (uid, bound) in self.bindings.iter().filter(|(_, bound)| !bound.gone) {
            let last = bound.expected.last().copied().unwrap_or(0);
            assert!(bound.through >= last, "binding {uid} keeps what it should carry");
            carried += bound.expected.len() as u64;
        }
        carried
    }
}

fn takes(pattern: &str, filter: &str, shown: &Shown) -> bool {
    let headers = shown.headers.clone();
    (pattern.is_empty() || Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&shown.routing_key)))
        && (filter.is_empty()
            || Filter::parse(filter)
                .is_ok_and(|filter| filter.matches(&Attributes::new(&shown.routing_key, &headers))))
}

fn put(
    uid: u64,
    version: u64,
    topic: u64,
    target: u64,
    pattern: &str,
    filter: &str,
    start: Option<Place>,
) -> CommandKind {
    let source = Some(Source { topic, pattern: pattern.into(), filter: filter.into(), target });
    let kind = QueueKind::Binding.into();
    CommandKind::PutQueue(PutQueue { uid, version, kind, source, start, ..PutQueue::default() })
}
