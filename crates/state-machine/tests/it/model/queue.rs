//! The naive queue: a list of messages, a list of consumers, and everything else looked up by walking them.
//!
//! Written from the contract, not from the machine; shares no code with it.

use bytes::Bytes;
use phalanx_state_machine::command::{PutQueue, QueueSettings};
use phalanx_state_machine::ids::{Id128, Sequence, Token};
use phalanx_state_machine::reply::{Delivery, Payload, Reply, ReturnReason, SettleResult};

/// `Err` says which promise was broken.
pub type Check<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}
pub(super) use ensure;

#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Ready,
    Delayed { until_ms: u64 },
    Leased(Lease),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lease {
    pub token: Token,
    pub holder: Id128,
    pub deadline_ms: u64,
    /// What it was given for, without extensions.
    pub given_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub sequence: Sequence,
    pub group: Bytes,
    pub payload: Bytes,
    pub enqueued_ms: u64,
    /// Deliveries that count.
    pub attempts: u32,
    pub reason: Option<ReturnReason>,
    pub place: Place,
}

impl Message {
    pub fn lease(&self) -> Option<&Lease> {
        match &self.place {
            Place::Leased(lease) => Some(lease),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stream {
    Attached,
    /// Broken: its leases wait for it until then.
    Broken {
        until_ms: u64,
    },
    /// Closed, given up, or never there: answers are remembered at least until then.
    None {
        until_ms: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub id: Id128,
    pub name: String,
    pub stream: Stream,
    pub incarnation: u64,
    pub window_messages: u32,
    pub window_bytes: u64,
    pub lease_ms: u64,
    /// Its last delivery; `None`: may have been forgotten meanwhile.
    pub last_token: Option<Token>,
    /// What became of its tokens, in order.
    pub answers: Vec<(Token, SettleResult)>,
    /// Answers that the contract does not promise to remember: tokens of purged messages, or after resume ended.
    pub unsure: Vec<(Token, SettleResult)>,
}

#[derive(Clone, Debug)]
pub struct Producer {
    pub id: Id128,
    pub active_ms: u64,
    /// Replies to 1, 2, 3...
    pub results: Vec<Reply>,
}

#[derive(Clone, Debug)]
pub struct Original {
    pub id: Id128,
    pub sequence: Sequence,
    pub until_ms: u64,
}

#[derive(Clone, Debug)]
pub struct SendRequest {
    pub id: Id128,
    pub until_ms: u64,
    pub reply: Reply,
}

#[derive(Clone, Debug)]
pub struct ReceiveRequest {
    pub id: Id128,
    pub consumer: Id128,
    pub until_ms: u64,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub sent: u64,
    pub acked: u64,
    pub delivered: u64,
    pub redelivered: u64,
}

#[derive(Clone, Debug)]
pub struct Queue {
    pub uid: u64,
    pub version: u64,
    pub settings: QueueSettings,
    pub messages: Vec<Message>,
    pub consumers: Vec<Consumer>,
    pub producers: Vec<Producer>,
    pub originals: Vec<Original>,
    pub sends: Vec<SendRequest>,
    pub receives: Vec<ReceiveRequest>,
    pub next_sequence: Sequence,
    pub next_token: Token,
    pub totals: Totals,
}

/// The documented defaults.
fn filled(settings: &QueueSettings) -> QueueSettings {
    let or = |value, default| if value == 0 { default } else { value };
    QueueSettings {
        lease_ms: or(settings.lease_ms, 30_000),
        strict: settings.strict,
        length_max: or(settings.length_max, 10_000_000),
        bytes_max: or(settings.bytes_max, 8 << 30),
        dedup_window_ms: or(settings.dedup_window_ms, 300_000),
        resume_ms: or(settings.resume_ms, 10_000),
        body_bytes_max: or(settings.body_bytes_max, 1 << 20),
        ..QueueSettings::default()
    }
}

impl Queue {
    pub fn new(put: &PutQueue) -> Self {
        Self {
            uid: put.uid,
            version: put.version,
            settings: filled(&put.settings),
            messages: Vec::new(),
            consumers: Vec::new(),
            producers: Vec::new(),
            originals: Vec::new(),
            sends: Vec::new(),
            receives: Vec::new(),
            next_sequence: 1,
            next_token: put.first_token.max(1),
            totals: Totals::default(),
        }
    }

    pub fn put(&mut self, now_ms: u64, put: &PutQueue) {
        if put.version > self.version {
            self.version = put.version;
            let strict = self.settings.strict;
            self.settings = QueueSettings { strict, ..filled(&put.settings) };
            for original in &mut self.originals {
                original.until_ms = original.until_ms.min(now_ms + self.settings.dedup_window_ms);
            }
        }
    }

    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.payload.len() as u64).sum()
    }

    pub fn leased_count(&self) -> u64 {
        self.messages.iter().filter(|message| message.lease().is_some()).count() as u64
    }

    /// Whether two messages must be handed out in order.
    pub fn same_lane(&self, a: &Message, b: &Message) -> bool {
        a.sequence == b.sequence || self.settings.strict || (!a.group.is_empty() && a.group == b.group)
    }

    /// Messages of one lane before this one, in order.
    pub fn before<'a>(&'a self, message: &'a Message) -> impl Iterator<Item = &'a Message> {
        self.messages
            .iter()
            .take_while(|other| other.sequence < message.sequence)
            .filter(|other| self.same_lane(other, message))
    }

    /// Who may get this message now: `None`: nobody; `Some(None)`: anybody; `Some(Some(holder))`: the one that holds
    /// the messages before it.
    pub fn offer(&self, message: &Message) -> Option<Option<Id128>> {
        if message.place != Place::Ready {
            return None;
        }
        if !self.settings.strict && message.group.is_empty() {
            return Some(None); // a group of its own
        }
        let mut holder = None;
        for other in self.before(message) {
            holder = Some(other.lease()?.holder);
        }
        Some(holder)
    }

    /// The first message that anybody may get.
    pub fn first_for_anybody(&self) -> Option<&Message> {
        self.messages.iter().find(|message| self.offer(message) == Some(None))
    }

    /// The first message that only this consumer may get.
    pub fn first_for(&self, consumer: Id128) -> Option<&Message> {
        self.messages.iter().find(|message| self.offer(message) == Some(Some(consumer)))
    }

    pub fn consumer(&self, id: Id128) -> Option<&Consumer> {
        self.consumers.iter().find(|consumer| consumer.id == id)
    }

    /// The consumer, made without a stream if it is new.
    pub fn consumer_mut(&mut self, id: Id128) -> &mut Consumer {
        let place = self.consumers.iter().position(|consumer| consumer.id == id).unwrap_or_else(|| {
            self.consumers.push(Consumer {
                id,
                name: String::new(),
                stream: Stream::None { until_ms: 0 },
                incarnation: 0,
                window_messages: 0,
                window_bytes: 0,
                lease_ms: 0,
                last_token: Some(0),
                answers: Vec::new(),
                unsure: Vec::new(),
            });
            self.consumers.len() - 1
        });
        &mut self.consumers[place]
    }

    /// Messages in a consumer's hand, by token.
    pub fn hand(&self, consumer: Id128) -> Vec<(Token, &Message)> {
        let mut hand: Vec<_> = self
            .messages
            .iter()
            .filter_map(|message| {
                Some((message.lease().filter(|lease| lease.holder == consumer)?.token, message))
            })
            .collect();
        hand.sort_by_key(|(token, _)| *token);
        hand
    }

    pub fn find_token(&self, token: Token) -> Option<(usize, Lease)> {
        self.messages.iter().enumerate().find_map(|(place, message)| {
            Some((place, *message.lease().filter(|lease| lease.token == token)?))
        })
    }

    /// Whether a consumer's window has room for a message of that size; one message is always allowed.
    pub fn has_room(&self, consumer: &Consumer, payload_bytes: u64) -> bool {
        let hand = self.hand(consumer.id);
        let bytes: u64 = hand.iter().map(|(_, message)| message.payload.len() as u64).sum();
        consumer.stream == Stream::Attached
            && (hand.len() as u64) < u64::from(consumer.window_messages)
            && (hand.is_empty() || bytes + payload_bytes <= consumer.window_bytes)
    }

    /// Takes note of a delivery that the machine made, after checking all that it says.
    pub fn deliver(&mut self, now_ms: u64, to: Id128, lease_ms: u64, delivery: &Delivery) -> Check {
        let given_ms = if lease_ms == 0 { self.settings.lease_ms } else { lease_ms };
        let token = self.next_token;
        ensure!(delivery.token == token, "token {} instead of {token}", delivery.token);
        let message = self
            .messages
            .iter_mut()
            .find(|message| message.sequence == delivery.sequence)
            .ok_or_else(|| format!("delivered sequence {} that is not there", delivery.sequence))?;
        message.attempts += 1;
        let lease = Lease { token, holder: to, deadline_ms: now_ms + given_ms, given_ms };
        message.place = Place::Leased(lease);
        same_delivery(message, &lease, delivery)?;
        self.next_token += 1;
        self.totals.delivered += 1;
        self.totals.redelivered += u64::from(message.attempts > 1);
        self.consumer_mut(to).last_token = Some(token);
        Ok(())
    }

    /// A lease ends and its message goes back to its place.
    pub fn give_back(&mut self, token: Token, reason: ReturnReason, answer: SettleResult) -> Check {
        let (place, lease) = self.find_token(token).ok_or_else(|| format!("token {token} is not live"))?;
        let message = &mut self.messages[place];
        message.place = Place::Ready;
        message.reason = Some(reason);
        if matches!(reason, ReturnReason::GroupReturned | ReturnReason::ConsumerClosed) {
            message.attempts -= 1; // not counted
        }
        self.consumer_mut(lease.holder).answers.push((token, answer));
        Ok(())
    }

    /// Live tokens behind a message of its lane that is not leased any more: they must end with it.
    pub fn orphans(&self) -> Vec<Token> {
        self.messages
            .iter()
            .filter(|message| self.before(message).any(|other| other.lease().is_none()))
            .filter_map(|message| Some(message.lease()?.token))
            .collect()
    }

    /// What must hold between entries, whatever the machine chose.
    pub fn check_order(&self) -> Check {
        ensure!(
            self.orphans().is_empty(),
            "leases behind a waiting message of their group: {:?}",
            self.orphans()
        );
        for message in &self.messages {
            let Some(lease) = message.lease() else { continue };
            for other in self.before(message).filter_map(Message::lease) {
                ensure!(
                    other.holder == lease.holder,
                    "one group in two hands: tokens {} {}",
                    other.token,
                    lease.token
                );
                ensure!(other.token < lease.token, "a group was handed out in the wrong order");
            }
        }
        Ok(())
    }

    /// When time alone must change something.
    pub fn due_ms(&self) -> Option<u64> {
        let messages = self.messages.iter().filter_map(|message| match &message.place {
            Place::Ready => None,
            Place::Delayed { until_ms } => Some(*until_ms),
            Place::Leased(lease) => Some(lease.deadline_ms),
        });
        let holders = self.consumers.iter().filter_map(|consumer| match consumer.stream {
            Stream::Broken { until_ms } if !self.hand(consumer.id).is_empty() => Some(until_ms),
            _ => None,
        });
        messages.chain(holders).min()
    }
}

/// Whether a delivery says what is known of the message and its lease.
pub fn same_delivery(message: &Message, lease: &Lease, delivery: &Delivery) -> Check {
    let got = (delivery.token, delivery.sequence, delivery.attempt, delivery.deadline_ms);
    let expected = (lease.token, message.sequence, message.attempts, lease.deadline_ms);
    ensure!(got == expected, "(token, sequence, attempt, deadline) is {got:?} instead of {expected:?}");
    ensure!(delivery.enqueued_ms == message.enqueued_ms, "another enqueue time: {delivery:?}");
    ensure!(
        delivery.redelivery == message.reason,
        "why: {:?}, not {:?}",
        delivery.redelivery,
        message.reason
    );
    ensure!(delivery.group == message.group, "another group: {delivery:?}");
    match &delivery.payload {
        Payload::Resident(payload) => ensure!(*payload == message.payload, "another payload: {delivery:?}"),
        Payload::Spilled(bytes) => {
            ensure!(*bytes as usize == message.payload.len(), "another payload size: {delivery:?}");
        }
    }
    Ok(())
}
