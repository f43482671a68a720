//! Random histories: commands that mostly make sense in the state that the model is in, and some that do not.

use bytes::Bytes;
use phalanx_state_machine::command::{
    Attach, CommandKind, Detach, DropQueue, NewMessage, Purge, PutQueue, QueueSettings, Receive, Send,
    SetWindow, Settle, SettleAction, SettleItem, TermStart, Tick, TokenRange,
};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::limits::first_token;

use super::queue::{Message, Queue, Stream};
use super::run::{Checkpoint, Step};
use super::shard::Shard;
use crate::support::{Rng, id};

/// What a history is about.
pub struct Profile {
    queues: u64,
    consumers: u64,
    groups: u64,
    strict: bool,
    settings: QueueSettings,
}

impl Profile {
    pub fn draw(rng: &mut Rng) -> Self {
        let small = |rng: &mut Rng, bound| if rng.chance(25) { 1 + rng.below(bound) } else { 0 };
        let strict = rng.chance(15);
        let settings = QueueSettings {
            lease_ms: 40 + rng.below(60),
            strict,
            length_max: small(rng, 12),
            bytes_max: small(rng, 60),
            dedup_window_ms: 50 + rng.below(200),
            resume_ms: 20 + rng.below(80),
            body_bytes_max: 1,
            ..QueueSettings::default()
        };
        let groups = [0, 1, 2, 3][rng.below(4) as usize];
        Self { queues: 1 + u64::from(rng.chance(15)), consumers: 1 + rng.below(4), groups, strict, settings }
    }

    fn put(&self, uid: u64, version: u64, rng: &mut Rng) -> CommandKind {
        let mut settings = self.settings.clone();
        if version > 1 {
            settings.lease_ms = 30 + rng.below(90);
            settings.resume_ms = 10 + rng.below(90);
            settings.dedup_window_ms = 20 + rng.below(300);
            settings.strict = if rng.chance(50) { self.strict } else { rng.chance(50) };
        }
        let name = format!("queue-{uid}");
        let first_token = first_token(uid);
        CommandKind::PutQueue(PutQueue {
            uid,
            version,
            namespace: "default".into(),
            name,
            settings,
            first_token,
            ..PutQueue::default()
        })
    }

    /// The steps that make the queues. Some histories begin with numbers that are about to cross a border of the
    /// machine's chunks.
    pub fn first_steps(&self, rng: &mut Rng) -> Vec<Step> {
        let puts = (1..=self.queues).map(|uid| self.put(uid, 1, rng)).collect();
        let mut steps = vec![Step::of(1_000, puts)];
        if self.settings.length_max == 0 && self.settings.bytes_max == 0 && rng.chance(6) {
            steps.extend(prelude(rng));
        }
        steps
    }

    /// The next step, given the state so far.
    pub fn step(&self, rng: &mut Rng, shard: &Shard) -> Step {
        let advance_ms = match rng.below(100) {
            0..35 => 0,
            35..85 => rng.below(25),
            85..96 => rng.below(120),
            96..99 => 1_000 + rng.below(2_000),
            _ => [125_000, 7 * 86_400_000, 3_600_000][rng.below(3) as usize],
        };
        let count = if rng.chance(80) { 1 } else { 2 + rng.below(3) };
        let commands = (0..count).map(|_| self.command(rng, shard)).collect();
        let checkpoint = match rng.below(100) {
            0..8 => Checkpoint::Take { sweep: rng.chance(50) },
            8..16 => Checkpoint::Reload { sweep: rng.chance(50) },
            16..20 => Checkpoint::TakeOfMain,
            _ => Checkpoint::None,
        };
        let spill = rng.chance(10).then(|| {
            let uid = 1 + rng.below(self.queues);
            (uid, rng.below(shard.queues.get(&uid).map_or(1, |queue| queue.next_sequence) + 2))
        });
        let check_digest = rng.chance(3).then(|| rng.chance(70));
        Step { advance_ms, commands, check_digest, checkpoint, spill }
    }

    fn command(&self, rng: &mut Rng, shard: &Shard) -> CommandKind {
        let uid = if rng.chance(2) { 9 } else { 1 + rng.below(self.queues) };
        let roll = rng.below(1_000);
        match (roll, shard.queues.get(&uid)) {
            (0..4, _) => CommandKind::DropQueue(DropQueue { uid }),
            (4..14, _) => CommandKind::Purge(Purge { uid }),
            (14..34, queue) => {
                let version = queue.map_or(1, |queue| queue.version);
                self.put(uid, version.saturating_sub(1) + rng.below(3), rng)
            }
            (34..54, _) => {
                let term = shard.term.saturating_sub(1) + rng.below(3);
                CommandKind::TermStart(TermStart { term, leader: 1 })
            }
            (54..114, _) => CommandKind::Tick(Tick {}),
            (114..400, queue) => CommandKind::Send(self.send(rng, uid, queue)),
            (400..540, _) => CommandKind::Receive(Receive {
                uid,
                consumer: self.who(rng),
                request: id(1_000 + rng.below(25)),
                messages_max: 1 + rng.below(4) as u32,
                bytes_max: if rng.chance(30) { 1 + rng.below(20) } else { 0 },
                lease_ms: if rng.chance(30) { 5 + rng.below(60) } else { 0 },
                last: rng.chance(20),
            }),
            (540..640, queue) => CommandKind::Attach(self.attach(rng, uid, queue)),
            (640..690, queue) => {
                let consumer = self.who(rng);
                let incarnation = incarnation(rng, queue, consumer);
                CommandKind::Detach(Detach { uid, consumer, incarnation, clean: rng.chance(40) })
            }
            (690..730, queue) => {
                let consumer = self.who(rng);
                let incarnation = incarnation(rng, queue, consumer);
                let (window_messages, window_bytes) = window(rng);
                CommandKind::SetWindow(SetWindow {
                    uid,
                    consumer,
                    incarnation,
                    window_messages,
                    window_bytes,
                })
            }
            (_, queue) => CommandKind::Settle(self.settle(rng, uid, queue)),
        }
    }

    fn who(&self, rng: &mut Rng) -> Id128 {
        id(1 + rng.below(self.consumers))
    }

    fn send(&self, rng: &mut Rng, uid: u64, queue: Option<&Queue>) -> Send {
        let count = match rng.below(50) {
            0 => 0,
            1..40 => 1 + rng.below(3),
            _ => 3 + rng.below(6),
        };
        let messages = (0..count).map(|_| self.message(rng)).collect();
        let mut send = Send { uid, messages, ..Default::default() };
        match rng.below(10) {
            0..4 => {
                let producer = id(100 + rng.below(3));
                let known = queue.and_then(|queue| queue.producers.iter().find(|known| known.id == producer));
                let done = known.map_or(0, |known| known.results.len() as u64);
                send.producer = Some(producer);
                send.producer_sequence = match rng.below(20) {
                    0..14 => done + 1,
                    14..18 => rng.below(done + 1),
                    _ => done + 1 + rng.below(3),
                };
            }
            4..6 => send.request = Some(id(500 + rng.below(12))),
            _ => {}
        }
        send
    }

    fn message(&self, rng: &mut Rng) -> NewMessage {
        let payload: Vec<u8> = match rng.below(200) {
            0 => vec![9; 128 * 1024 + 2],
            1..20 => Vec::new(),
            _ => (0..1 + rng.below(12)).map(|_| rng.next() as u8).collect(),
        };
        let group = match (self.groups, rng.below(200)) {
            (_, 0) => vec![b'g'; 1_025],
            (0, _) | (_, 1..30) => Vec::new(),
            (groups, _) => format!("group-{}", rng.below(groups)).into_bytes(),
        };
        let dedup = rng.chance(15).then(|| id(800 + rng.below(8)));
        NewMessage { payload: Bytes::from(payload), group: Bytes::from(group), dedup }
    }

    fn attach(&self, rng: &mut Rng, uid: u64, queue: Option<&Queue>) -> Attach {
        let consumer = self.who(rng);
        let known = queue.and_then(|queue| queue.consumer(consumer));
        let newest = known.map_or(0, |known| known.incarnation);
        let (window_messages, window_bytes) = window(rng);
        let mut held: Vec<TokenRange> = Vec::new();
        for (token, _) in queue.map(|queue| queue.hand(consumer)).unwrap_or_default() {
            if rng.chance(60) {
                held.push(TokenRange { first: token, last: token });
            }
        }
        if rng.chance(20) {
            let first = any_token(rng, tokens_of(uid, queue), 2);
            held.push(TokenRange { first, last: first + rng.below(3) });
        }
        Attach {
            uid,
            consumer,
            incarnation: (newest + 2).saturating_sub(if rng.chance(80) { 1 } else { rng.below(4) }),
            name: format!("consumer {}", rng.below(3)),
            window_messages,
            window_bytes,
            lease_ms: if rng.chance(30) { 20 + rng.below(80) } else { 0 },
            held,
        }
    }

    fn settle(&self, rng: &mut Rng, uid: u64, queue: Option<&Queue>) -> Settle {
        let live: Vec<(u64, Id128)> = queue
            .map(|queue| {
                queue.messages.iter().filter_map(Message::lease).map(|l| (l.token, l.holder)).collect()
            })
            .unwrap_or_default();
        let tokens = tokens_of(uid, queue);
        let consumer = if live.is_empty() || rng.chance(10) { self.who(rng) } else { rng.pick(&live).1 };
        let own: Vec<u64> =
            live.iter().filter(|(_, holder)| *holder == consumer).map(|(token, _)| *token).collect();
        let items = (0..1 + rng.below(2)).map(|_| settle_item(rng, &own, tokens)).collect();
        Settle { uid, consumer, items }
    }
}

/// About 60 messages sent, received and settled, about 60 sends of one producer, about 250 deduplication ids.
fn prelude(rng: &mut Rng) -> Vec<Step> {
    let count = 50 + rng.below(14);
    let message = |number: u64| NewMessage {
        payload: Bytes::from(vec![number as u8]),
        group: Bytes::new(),
        dedup: number.is_multiple_of(2).then(|| id(2_000 + number)),
    };
    let mut commands: Vec<CommandKind> = Vec::new();
    for number in 0..count {
        let (uid, messages) = (1, vec![message(number)]);
        let (producer, producer_sequence) = (Some(id(100)), number + 1);
        commands.push(CommandKind::Send(Send {
            uid,
            producer,
            producer_sequence,
            messages,
            ..Default::default()
        }));
    }
    let receive = Receive {
        uid: 1,
        consumer: id(1),
        request: id(1_000),
        messages_max: count as u32,
        ..Default::default()
    };
    let item = SettleItem {
        action: SettleAction::Ack.into(),
        tokens: vec![TokenRange { first: 1, last: rng.below(count) }],
        ..Default::default()
    };
    let settle = Settle { uid: 1, consumer: id(1), items: vec![item] };
    let mut steps = vec![
        Step::of(0, commands),
        Step::of(0, vec![CommandKind::Receive(receive), CommandKind::Settle(settle)]),
    ];
    if rng.chance(30) {
        let mut messages: Vec<NewMessage> = (0..250).map(|number| message(2 * number + 100)).collect();
        messages.iter_mut().for_each(|message| message.payload = Bytes::new());
        steps.push(Step::of(0, vec![CommandKind::Send(Send { uid: 1, messages, ..Default::default() })]));
        steps.push(Step::of(0, vec![CommandKind::Purge(Purge { uid: 1 })]));
    }
    steps
}

/// The tokens that a queue has given: the first, and the one after the last.
fn tokens_of(uid: u64, queue: Option<&Queue>) -> (u64, u64) {
    let first = first_token(uid);
    (first, queue.map_or(first, |queue| queue.next_token))
}

/// One of these, the one before them, or one of those after them.
fn any_token(rng: &mut Rng, (first, next): (u64, u64), after: u64) -> u64 {
    first - 1 + rng.below(next - first + 1 + after)
}

fn settle_item(rng: &mut Rng, own: &[u64], tokens: (u64, u64)) -> SettleItem {
    let action = match rng.below(100) {
        0..48 => SettleAction::Ack,
        48..74 => SettleAction::Nack,
        74..82 => SettleAction::Reject,
        82..99 => SettleAction::Extend,
        _ => SettleAction::Unspecified,
    };
    let mut item = SettleItem {
        action: action.into(),
        delay_ms: if rng.chance(50) { rng.below(60) } else { 0 },
        lease_ms: if rng.chance(50) { 1 + rng.below(80) } else { 0 },
        ..Default::default()
    };
    let single = |token| TokenRange { first: token, last: token };
    match rng.below(10) {
        0..5 if !own.is_empty() => item.tokens.push(single(*rng.pick(own))),
        0..7 => item.tokens.push(single(any_token(rng, tokens, 2))),
        7..9 => {
            let first = any_token(rng, tokens, 1);
            item.tokens.push(TokenRange { first, last: (first + rng.below(8)).saturating_sub(rng.below(2)) });
        }
        _ => item.up_to = 1 + any_token(rng, tokens, 1),
    }
    if rng.chance(10) {
        item.tokens.push(single(any_token(rng, tokens, 2)));
    }
    item
}

fn window(rng: &mut Rng) -> (u32, u64) {
    let messages = [0, 1, 1, 2, 3, 5][rng.below(6) as usize];
    let bytes = if rng.chance(40) { rng.below(30) } else { u64::MAX >> 1 };
    (messages, bytes)
}

/// Mostly the attached one.
fn incarnation(rng: &mut Rng, queue: Option<&Queue>, consumer: Id128) -> u64 {
    let known = queue.and_then(|queue| queue.consumer(consumer));
    match known {
        Some(known) if known.stream == Stream::Attached || rng.chance(50) => {
            if rng.chance(85) {
                known.incarnation
            } else {
                known.incarnation + rng.below(2)
            }
        }
        _ => rng.below(3),
    }
}
