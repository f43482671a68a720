//! A queue under test: steps at a time, by named consumers. After each step all invariants hold, and the machine
//! that the checkpoint's rows describe is the same one.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{
    Attach, Batch, CommandKind, Detach, NewMessage, PutQueue, QueueSettings, Receive, Send, SetWindow,
    Settle, SettleAction, SettleItem, TermStart, Tick, TokenRange,
};
use crate::ids::{Id128, Token};
use crate::invariants;
use crate::machine::{Entry, Machine, QueueInfo};
use crate::reply::{Applied, Delivery, Effect, Payload, Rejection, Reply, ReturnReason, Sent, SettleResult};

pub(super) const UID: u64 = 7;

pub(super) struct Scenario {
    pub(super) machine: Machine,
    rows: BTreeMap<Bytes, Bytes>,
    index: u64,
    settings: QueueSettings,
    requests: u64,
    /// The last effects.
    pub(super) effects: Vec<Effect>,
}

/// The identity behind a name.
pub(super) fn id(name: &str) -> Id128 {
    Id128 { hi: 1, lo: crate::digest::bytes(name.as_bytes()) }
}

pub(super) fn message(body: &str) -> NewMessage {
    NewMessage { payload: Bytes::from(body.to_owned()), group: Bytes::new(), dedup: None }
}

/// `group:body`, or a body.
pub(super) fn grouped(text: &str) -> NewMessage {
    let (group, body) = text.split_once(':').unwrap_or(("", text));
    NewMessage { group: Bytes::from(group.to_owned()), ..message(body) }
}

fn body(delivery: &Delivery) -> String {
    match &delivery.payload {
        Payload::Resident(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Spilled(_) => "(spilled)".into(),
    }
}

impl Scenario {
    pub(super) fn new() -> Self {
        Self::with(QueueSettings::default())
    }

    pub(super) fn with(settings: QueueSettings) -> Self {
        let mut scenario = Self {
            machine: Machine::shard(3),
            rows: BTreeMap::new(),
            index: 0,
            settings,
            requests: 0,
            effects: Vec::new(),
        };
        scenario.put();
        scenario
    }

    pub(super) fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.settings.lease_ms = lease_ms;
        self.put();
        self
    }

    pub(super) fn strict() -> Self {
        Self::with(QueueSettings { strict: true, ..QueueSettings::default() })
    }

    fn put(&mut self) {
        let put = PutQueue {
            uid: UID,
            version: self.index + 1,
            namespace: "default".into(),
            name: "orders".into(),
            settings: self.settings.clone(),
            first_token: 0,
            ..PutQueue::default()
        };
        self.at(0).apply(CommandKind::PutQueue(put));
    }

    pub(super) fn at(&mut self, now_ms: u64) -> Step<'_> {
        Step { scenario: self, now_ms }
    }

    pub(super) fn info(&self) -> QueueInfo {
        self.machine.queue_info(UID).unwrap()
    }

    /// Takes a checkpoint, so that the next steps run on a machine with durable rows.
    pub(super) fn checkpoint(&mut self) -> usize {
        let changes = self.machine.take_changes();
        let count = changes.rows.len();
        for row in changes.rows {
            match row.value {
                Some(value) => self.rows.insert(row.key, value),
                None => self.rows.remove(&row.key),
            };
        }
        for (start, end) in changes.garbage {
            let dead: Vec<Bytes> = self.rows.range(start..end).map(|(key, _)| key.clone()).collect();
            dead.iter().for_each(|key| assert!(self.rows.remove(key).is_some()));
        }
        self.machine.checkpoint_done();
        count
    }

    pub(super) fn rows(&self) -> Vec<(Bytes, Bytes)> {
        self.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// A checkpoint, and the machine that it describes from now on.
    pub(super) fn restart(&mut self) {
        self.checkpoint();
        let loaded = Machine::load(self.machine.kind(), self.rows().into_iter()).unwrap();
        invariants::check(&loaded).unwrap();
        assert_eq!(loaded.digest(), self.machine.digest(), "a restart changes nothing");
        assert_eq!(loaded.queue_info(UID), self.machine.queue_info(UID));
        assert_eq!(loaded.next_due_ms(), self.machine.next_due_ms());
        self.machine = loaded;
    }
}

pub(super) struct Step<'a> {
    scenario: &'a mut Scenario,
    now_ms: u64,
}

impl Step<'_> {
    pub(super) fn apply(self, kind: CommandKind) -> Reply {
        self.apply_all(vec![kind]).replies.remove(0)
    }

    pub(super) fn apply_all(self, kinds: Vec<CommandKind>) -> Applied {
        let scenario = self.scenario;
        scenario.index += 1;
        let commands = kinds.into_iter().map(Into::into).collect();
        let batch = Batch { version: Batch::VERSION, now_ms: self.now_ms, commands };
        let mut applied = scenario.machine.apply(Entry { index: scenario.index, term: 1, batch });
        invariants::check(&scenario.machine).unwrap();
        scenario.effects = std::mem::take(&mut applied.effects);
        applied
    }

    pub(super) fn tick(self) {
        self.apply(CommandKind::Tick(Tick {}));
    }

    pub(super) fn term(self, term: u64) {
        self.apply(CommandKind::TermStart(TermStart { term, leader: 1 }));
    }

    /// One batch of `group:body` or `body`.
    pub(super) fn send(self, texts: &[&str]) -> Sent {
        let messages = texts.iter().map(|text| grouped(text)).collect();
        self.send_as(Send { messages, ..Send::default() })
    }

    pub(super) fn send_as(self, send: Send) -> Sent {
        match self.try_send(send) {
            Ok(sent) => sent,
            Err(rejection) => panic!("send was rejected: {rejection}"),
        }
    }

    pub(super) fn try_send(self, send: Send) -> Result<Sent, Rejection> {
        match self.apply(CommandKind::Send(Send { uid: UID, ..send })) {
            Reply::Sent(sent) => Ok(sent),
            Reply::Rejected(rejection) => Err(rejection),
            other => panic!("a send was answered {other:?}"),
        }
    }

    pub(super) fn receive(self, who: &str, messages_max: u32) -> Received {
        self.scenario.requests += 1;
        let request = Id128 { hi: 2, lo: self.scenario.requests };
        self.receive_as(who, messages_max, request)
    }

    pub(super) fn receive_as(self, who: &str, messages_max: u32, request: Id128) -> Received {
        let receive = Receive { uid: UID, consumer: id(who), request, messages_max, ..Receive::default() };
        match self.apply(CommandKind::Receive(receive)) {
            Reply::Received { deliveries, .. } => Received(deliveries),
            other => panic!("a receive was answered {other:?}"),
        }
    }

    /// Attaches with a window of messages. Returns what came.
    pub(super) fn attach(self, who: &str, incarnation: u64, window: u32) -> Received {
        self.attach_as(Attach {
            consumer: id(who),
            incarnation,
            window_messages: window,
            window_bytes: 1 << 20,
            ..Attach::default()
        })
        .1
    }

    /// Tokens that are lost, and what came.
    pub(super) fn attach_as(self, attach: Attach) -> (Vec<Token>, Received) {
        let Step { scenario, now_ms } = self;
        let who = attach.consumer;
        let reply = scenario.at(now_ms).apply(CommandKind::Attach(Attach { uid: UID, ..attach }));
        match reply {
            Reply::Attached { lost } => (lost, scenario.delivered_to(who)),
            other => panic!("an attach was answered {other:?}"),
        }
    }

    pub(super) fn detach(self, who: &str, incarnation: u64, clean: bool) {
        let detach = Detach { uid: UID, consumer: id(who), incarnation, clean };
        assert_eq!(self.apply(CommandKind::Detach(detach)), Reply::Done);
    }

    pub(super) fn window(self, who: &str, incarnation: u64, window_messages: u32) -> Reply {
        self.apply(CommandKind::SetWindow(SetWindow {
            uid: UID,
            consumer: id(who),
            incarnation,
            window_messages,
            window_bytes: 1 << 20,
        }))
    }

    pub(super) fn ack(self, who: &str, tokens: &[Token]) -> Vec<SettleResult> {
        self.settle(who, SettleAction::Ack, tokens)
    }

    pub(super) fn nack(self, who: &str, tokens: &[Token], delay_ms: u64) -> Vec<SettleResult> {
        let item = SettleItem { action: SettleAction::Nack.into(), delay_ms, ..singles(tokens) };
        self.settle_item(who, item)
    }

    pub(super) fn settle(self, who: &str, action: SettleAction, tokens: &[Token]) -> Vec<SettleResult> {
        self.settle_item(who, SettleItem { action: action.into(), ..singles(tokens) })
    }

    pub(super) fn settle_item(self, who: &str, item: SettleItem) -> Vec<SettleResult> {
        self.settle_outcomes(who, item).into_iter().map(|(_, result)| result).collect()
    }

    pub(super) fn settle_outcomes(self, who: &str, item: SettleItem) -> Vec<(Token, SettleResult)> {
        let settle = Settle { uid: UID, consumer: id(who), items: vec![item] };
        match self.apply(CommandKind::Settle(settle)) {
            Reply::Settled { outcomes } => {
                outcomes.into_iter().map(|outcome| (outcome.token, outcome.result)).collect()
            }
            other => panic!("a settle was answered {other:?}"),
        }
    }
}

impl Scenario {
    /// What the last step delivered to a consumer's stream.
    pub(super) fn delivered_to(&self, who: Id128) -> Received {
        let to = |effect: &Effect| match effect {
            Effect::Deliver { consumer, delivery, .. } if *consumer == who => Some(delivery.clone()),
            _ => None,
        };
        Received(self.effects.iter().filter_map(to).collect())
    }

    pub(super) fn delivered(&self, who: &str) -> Received {
        self.delivered_to(id(who))
    }

    /// The leases that the last step ended, in order.
    pub(super) fn ended(&self) -> Vec<(Token, ReturnReason)> {
        let ended = |effect: &Effect| match effect {
            Effect::LeaseEnded { token, reason, .. } => Some((*token, *reason)),
            _ => None,
        };
        self.effects.iter().filter_map(ended).collect()
    }

    /// Whose waiting receives the last step woke, because only they get something.
    pub(super) fn called(&self) -> Vec<Id128> {
        let called = |effect: &Effect| match effect {
            Effect::GroupReady { consumer, .. } => Some(*consumer),
            _ => None,
        };
        self.effects.iter().filter_map(called).collect()
    }

    /// Whether the last step woke waiting receives.
    pub(super) fn woke(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Ready { .. }))
    }
}

pub(super) struct Received(pub(super) Vec<Delivery>);

impl Received {
    #[track_caller]
    pub(super) fn expect(self, bodies: &[&str]) -> Vec<Token> {
        assert_eq!(self.0.iter().map(body).collect::<Vec<_>>(), bodies);
        self.0.iter().map(|delivery| delivery.token).collect()
    }

    #[track_caller]
    pub(super) fn expect_empty(self) {
        self.expect(&[]);
    }

    /// Attempt and reason of the only delivery.
    #[track_caller]
    pub(super) fn only(self, expected: &str) -> Delivery {
        assert_eq!(self.0.iter().map(body).collect::<Vec<_>>(), [expected]);
        self.0.into_iter().next().unwrap()
    }
}

fn singles(tokens: &[Token]) -> SettleItem {
    let range = |token: &Token| TokenRange { first: *token, last: *token };
    SettleItem { tokens: tokens.iter().map(range).collect(), ..SettleItem::default() }
}
