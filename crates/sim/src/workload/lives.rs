//! A queue that is deleted and created again, life after life, by the only client that uses it: under the same name, as the same consumer,
//! with the same producer and the same deduplication ids, and with tokens of earlier lives.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use phalanx_proto::v1;

use super::once::{Failed, Once};
use super::{Actor, DEDUP_WINDOW, RESUME, Stage, number_of};
use crate::history::{Action, End, Living, Stored, What};

/// Leases here: much shorter than a run, so that what nobody settles comes again.
const LEASE: Duration = Duration::from_millis(1_200);
/// Deduplication ids, few enough for every life to use those of the one before.
const DEDUP_IDS: u64 = 2;
/// Tokens of earlier lives that are kept for settling.
const OLD_TOKENS_MAX: usize = 8;
/// Most messages of one receive.
const RECEIVE_MAX: u32 = 4;

struct Lives {
    actor: Actor,
    once: Once,
    holder: u64,
    /// The producer, and the number of its next batch in this life.
    producer: (u64, u64),
    /// Tokens of this life, and of earlier ones.
    tokens: Vec<u64>,
    old: Vec<u64>,
    /// A call has found no queue.
    is_gone: bool,
}

pub(super) async fn run(actor: Actor) {
    let once = Once::new(&actor);
    let (holder, producer) = (actor.board.identity(), (actor.board.identity(), 1));
    let mut lives =
        Lives { actor, once, holder, producer, tokens: Vec::new(), old: Vec::new(), is_gone: false };
    while lives.works() {
        lives.live().await;
    }
    lives.actor.board.sending.fetch_sub(1, Relaxed);
    // Whatever the last life holds, and what came late to a life that nobody knows of.
    while lives.actor.board.stage() != Stage::Over {
        lives.receive().await;
        lives.actor.pause(20..100).await;
    }
}

impl Lives {
    fn works(&self) -> bool {
        self.actor.board.stage() == Stage::Work
    }

    fn tell(&self, event: Living) {
        self.actor.recorder.add(What::Life { name: self.actor.queue.number, event });
    }

    async fn live(&mut self) {
        self.create().await;
        // Before the first message of this life, and after it.
        self.settle_old().await;
        let rounds = self.actor.random.within(1..4);
        for _ in 0..rounds {
            if !self.works() || self.is_gone {
                break;
            }
            self.send().await;
            self.receive().await;
            self.settle_old().await;
            self.actor.pause(10..120).await;
        }
        if self.works() {
            self.delete().await;
        }
    }

    /// Makes the queue, unless the work is over before that.
    async fn create(&mut self) {
        let millis = |duration: Duration| duration.as_millis() as u64;
        while self.works() {
            let settings = v1::QueueSettings {
                lease_ms: millis(LEASE),
                dedup_window_ms: millis(DEDUP_WINDOW),
                resume_ms: millis(RESUME),
                ..Default::default()
            };
            match self.once.create(&mut self.actor, settings).await {
                Ok(uid) => {
                    self.tell(Living::Created { uid });
                    self.is_gone = false;
                    return;
                }
                Err(Failed::Unknown(_)) => self.tell(Living::Unclear),
                Err(Failed::Gone | Failed::Refused) => {}
            }
            self.actor.pause(20..100).await;
        }
    }

    /// Ends this life, unless the work is over before that.
    async fn delete(&mut self) {
        while self.works() {
            match self.once.delete(&mut self.actor).await {
                Ok(()) | Err(Failed::Gone) => {
                    self.tell(Living::Deleted);
                    self.old.append(&mut self.tokens);
                    let over = self.old.len().saturating_sub(OLD_TOKENS_MAX);
                    self.old.drain(..over);
                    self.producer.1 = 1;
                    return;
                }
                Err(Failed::Unknown(_)) => self.tell(Living::Unclear),
                Err(Failed::Refused) => {}
            }
            self.actor.pause(20..100).await;
        }
    }

    async fn send(&mut self) {
        let count = self.actor.random.within(1..4);
        let mut messages = Vec::new();
        let mut batches = Vec::new();
        for _ in 0..count {
            let number = self.actor.board.message();
            let dedup = self.actor.random.chance(30).then(|| self.actor.random.within(0..DEDUP_IDS));
            let deduplication_id = dedup.map(|id| format!("dedup-{id}")).unwrap_or_default();
            let body = bytes::Bytes::copy_from_slice(&number.to_be_bytes());
            batches.push(v1::Message { body, deduplication_id, ..Default::default() });
            messages.push((number, dedup));
        }
        let (producer, first) = self.producer;
        let (stored, end) = self.once.send(&mut self.actor, producer, first, batches).await;
        self.producer = match end {
            Ok(()) => (producer, first + count),
            // What it has sent is unknown, and so is its next number.
            Err(_) => (self.actor.board.identity(), 1),
        };
        let why = match &end {
            Err(Failed::Unknown(why)) => why.clone(),
            _ => "not confirmed".to_owned(),
        };
        self.note(&end);
        let mut stored = stored.into_iter();
        for (message, dedup) in messages {
            let end: End<Stored> = stored.next().map_or_else(|| End::Unknown(why.clone()), End::Known);
            self.tell(Living::Sent { producer, message, dedup, end });
        }
    }

    async fn receive(&mut self) {
        let answer = self.once.receive(&mut self.actor, self.holder, RECEIVE_MAX).await;
        self.note(&answer);
        let deliveries = answer.unwrap_or_default();
        for delivery in &deliveries {
            let (token, sequence) = (delivery.token, delivery.sequence);
            let message = number_of(&delivery.message.as_ref().map(|it| it.body.clone()).unwrap_or_default());
            self.tell(Living::Delivered { token, sequence, message });
            self.tokens.push(token);
        }
        for delivery in deliveries {
            let dice = if self.works() { self.actor.random.within(0..100) } else { 0 };
            match dice {
                0..35 => self.settle(delivery.token, Action::Ack).await,
                35..65 => self.settle(delivery.token, Action::Nack { delay_ms: 0 }).await,
                65..75 => self.settle(delivery.token, Action::Extend).await,
                // The next life may find it leased.
                _ => {}
            }
        }
    }

    async fn settle_old(&mut self) {
        if !self.old.is_empty() && self.works() && self.actor.random.chance(60) {
            let token = *self.actor.random.pick(&self.old);
            let action =
                *self.actor.random.pick(&[Action::Ack, Action::Nack { delay_ms: 0 }, Action::Extend]);
            self.settle(token, action).await;
        }
    }

    async fn settle(&mut self, token: u64, action: Action) {
        let answer = self.once.settle(&mut self.actor, self.holder, token, action).await;
        self.note(&answer);
        let end = match answer {
            Ok(end) => end,
            Err(Failed::Gone | Failed::Refused) => End::Refused("nothing was done".to_owned()),
            Err(Failed::Unknown(why)) => End::Unknown(why),
        };
        self.tell(Living::Settled { token, action, end });
    }

    fn note<T>(&mut self, answer: &Result<T, Failed>) {
        self.is_gone |= matches!(answer, Err(Failed::Gone));
    }
}
