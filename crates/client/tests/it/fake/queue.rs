//! One queue of the fake cluster: the contract in its simplest form, for one consumer as far as groups go, and without limits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use phalanx_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::refusal;

pub const LEASE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Queue {
    /// All messages are one group.
    pub strict: bool,
    /// Consumers are not told of leases that end.
    pub mute: bool,
    pub messages: BTreeMap<u64, Stored>,
    pub ready: BTreeSet<u64>,
    /// Until when returned messages wait.
    pub delayed: BTreeMap<u64, Instant>,
    pub leases: BTreeMap<u64, Lease>,
    pub consumers: BTreeMap<Bytes, Consumer>,
    pub settled: HashMap<u64, i32>,
    pub producers: HashMap<Bytes, Producer>,
    pub requests: HashMap<Bytes, v1::SendResponse>,
    pub receives: HashMap<Bytes, Vec<u64>>,
    /// Bodies in the order in which they were appended; never shrinks.
    pub log: Vec<Bytes>,
    /// Settles in the order in which they came.
    pub settles: Vec<v1::SettleItem>,
    /// Attaches in the order in which they came.
    pub attaches: Vec<v1::ConsumerAttach>,
    /// Batches in the order in which they came, repeated ones too: (producer, number, messages).
    pub batches: Vec<(Bytes, u64, usize)>,
    next_sequence: u64,
    next_token: u64,
}

pub struct Stored {
    message: v1::Message,
    attempts: u32,
    returned: v1::ReturnReason,
}

pub struct Lease {
    pub sequence: u64,
    pub consumer: Bytes,
    pub deadline: Instant,
    pub lease: Duration,
}

#[derive(Default)]
pub struct Producer {
    last: u64,
    results: BTreeMap<u64, v1::SendResponse>,
}

pub struct Consumer {
    pub incarnation: u64,
    pub window: u32,
    pub lease: Duration,
    pub to: mpsc::UnboundedSender<Result<v1::ConsumeResponse, Status>>,
}

impl Queue {
    pub fn append(&mut self, messages: Vec<v1::Message>) -> v1::SendResponse {
        let first = self.next_sequence + 1;
        let count = messages.len() as u32;
        for message in messages {
            self.next_sequence += 1;
            self.log.push(message.body.clone());
            let stored = Stored { message, attempts: 0, returned: v1::ReturnReason::Unspecified };
            self.messages.insert(self.next_sequence, stored);
            self.ready.insert(self.next_sequence);
        }
        v1::SendResponse { first_sequence: first, count, ..v1::SendResponse::default() }
    }

    pub fn send(
        &mut self,
        producer: &Bytes,
        number: u64,
        messages: Vec<v1::Message>,
    ) -> Result<v1::SendResponse, &'static str> {
        self.batches.push((producer.clone(), number, messages.len()));
        let known = self.producers.contains_key(producer);
        if !known && number != 1 {
            return Err("PRODUCER_FORGOTTEN");
        }
        let state = self.producers.entry(producer.clone()).or_default();
        if number <= state.last {
            let remembered = state.results.get(&number).cloned().ok_or("DUPLICATE")?;
            return Ok(v1::SendResponse { repeated: true, ..remembered });
        }
        if number != state.last + 1 {
            return Err("SEQUENCE_GAP");
        }
        let response = self.append(messages);
        let state = self.producers.entry(producer.clone()).or_default();
        state.last = number;
        state.results.insert(number, response.clone());
        Ok(response)
    }

    /// A number that is used up by a refusal.
    pub fn skip(&mut self, producer: &Bytes, number: u64) {
        self.producers.entry(producer.clone()).or_default().last = number;
    }

    fn lease(&mut self, sequence: u64, consumer: Bytes, lease: Duration) -> u64 {
        self.ready.remove(&sequence);
        self.next_token += 1;
        let deadline = Instant::now() + lease;
        self.leases.insert(self.next_token, Lease { sequence, consumer, deadline, lease });
        let stored = self.messages.get_mut(&sequence).expect("a ready message exists");
        stored.attempts += 1;
        self.next_token
    }

    fn delivery(&self, token: u64) -> v1::Delivery {
        let lease = &self.leases[&token];
        let stored = &self.messages[&lease.sequence];
        v1::Delivery {
            token,
            sequence: lease.sequence,
            attempt: stored.attempts,
            redelivery: stored.returned.into(),
            message: Some(stored.message.clone()),
            lease_left_ms: lease.deadline.saturating_duration_since(Instant::now()).as_millis() as u64,
            ..v1::Delivery::default()
        }
    }

    pub fn attach(
        &mut self,
        attach: v1::ConsumerAttach,
        to: mpsc::UnboundedSender<Result<v1::ConsumeResponse, Status>>,
    ) {
        let id = attach.consumer_id.clone();
        if self.consumers.get(&id).is_some_and(|present| present.incarnation >= attach.incarnation) {
            let _gone = to.send(Err(refusal("CONSUMER_REPLACED", None)));
            return;
        }
        let held = |token: u64| attach.held.iter().any(|range| (range.first..=range.last).contains(&token));
        let named = attach.held.iter().flat_map(|range| range.first..=range.last);
        let lost =
            named.filter(|token| self.leases.get(token).is_none_or(|lease| lease.consumer != id)).collect();
        let again: Vec<u64> = self
            .leases
            .iter()
            .filter(|(token, lease)| lease.consumer == id && !held(**token))
            .map(|(t, _)| *t)
            .collect();
        let lease = if attach.lease_ms == 0 { LEASE } else { Duration::from_millis(attach.lease_ms) };
        let attached = v1::ConsumerAttached { lost, lease_ms: lease.as_millis() as u64, strict: self.strict };
        let deliveries = again.into_iter().map(|token| self.delivery(token)).collect();
        let first =
            v1::ConsumeResponse { attached: Some(attached), deliveries, ..v1::ConsumeResponse::default() };
        let _gone = to.send(Ok(first));
        let window = attach.window.map_or(256, |window| window.messages);
        let consumer = Consumer { incarnation: attach.incarnation, window, lease, to };
        if let Some(old) = self.consumers.insert(id, consumer) {
            let _gone = old.to.send(Err(refusal("CONSUMER_REPLACED", None)));
        }
        self.attaches.push(attach);
    }

    pub fn in_hand(&self, consumer: &Bytes) -> usize {
        self.leases.values().filter(|lease| lease.consumer == *consumer).count()
    }

    /// Gives out what is ready.
    pub fn dispatch(&mut self) {
        let ids: Vec<Bytes> = self.consumers.keys().cloned().collect();
        for id in ids {
            let mut deliveries = Vec::new();
            while let Some(sequence) = self.ready.iter().copied().find(|sequence| !self.is_blocked(*sequence))
            {
                let consumer = &self.consumers[&id];
                if self.in_hand(&id) >= consumer.window as usize {
                    break;
                }
                let lease = consumer.lease;
                let token = self.lease(sequence, id.clone(), lease);
                deliveries.push(self.delivery(token));
            }
            if !deliveries.is_empty() {
                let response = v1::ConsumeResponse { deliveries, ..v1::ConsumeResponse::default() };
                let _gone = self.consumers[&id].to.send(Ok(response));
            }
        }
    }

    pub fn receive(&mut self, request: &v1::ReceiveRequest) -> Vec<v1::Delivery> {
        let tokens = match self.receives.get(&request.request_id) {
            Some(tokens) => tokens.clone(),
            None => {
                let lease =
                    if request.lease_ms == 0 { LEASE } else { Duration::from_millis(request.lease_ms) };
                let sequences: Vec<u64> =
                    self.ready.iter().copied().take(request.max_messages as usize).collect();
                let tokens: Vec<u64> = sequences
                    .into_iter()
                    .map(|s| self.lease(s, request.consumer_id.clone(), lease))
                    .collect();
                if !tokens.is_empty() {
                    self.receives.insert(request.request_id.clone(), tokens.clone());
                }
                tokens
            }
        };
        tokens.into_iter().filter(|t| self.leases.contains_key(t)).map(|t| self.delivery(t)).collect()
    }

    pub fn settle(&mut self, consumer: &Bytes, items: Vec<v1::SettleItem>) -> Vec<v1::SettleOutcome> {
        let mut outcomes: Vec<v1::SettleOutcome> = Vec::new();
        for item in items {
            let tokens: Vec<u64> = item.tokens.iter().flat_map(|range| range.first..=range.last).collect();
            for token in tokens {
                let result = self.settle_one(consumer, token, &item);
                let at = v1::TokenRange { first: token, last: token };
                match outcomes.last_mut() {
                    Some(last)
                        if last.result == result
                            && last.tokens.is_some_and(|range| range.last + 1 == token) =>
                    {
                        last.tokens.as_mut().expect("just looked at").last = token;
                    }
                    _ => outcomes.push(v1::SettleOutcome { tokens: Some(at), result, deadline_ms: 0 }),
                }
            }
            self.settles.push(item);
        }
        outcomes
    }

    fn settle_one(&mut self, consumer: &Bytes, token: u64, item: &v1::SettleItem) -> i32 {
        if let Some(result) = self.settled.get(&token) {
            return *result;
        }
        if self.leases.get(&token).is_none_or(|lease| lease.consumer != *consumer) {
            return v1::SettleResult::LeaseOver.into();
        }
        let result = match item.action() {
            v1::SettleAction::Extend => {
                let lease = self.leases.get_mut(&token).expect("just looked at");
                let span =
                    if item.lease_ms == 0 { lease.lease } else { Duration::from_millis(item.lease_ms) };
                lease.deadline = Instant::now() + span;
                return v1::SettleResult::Extended.into();
            }
            v1::SettleAction::Nack => {
                let sequence = self.leases[&token].sequence;
                self.give_back(token, v1::ReturnReason::Nacked);
                if item.delay_ms > 0 {
                    self.ready.remove(&sequence);
                    self.delayed.insert(sequence, Instant::now() + Duration::from_millis(item.delay_ms));
                }
                v1::SettleResult::Nacked
            }
            v1::SettleAction::Reject => v1::SettleResult::Rejected,
            _ => v1::SettleResult::Acked,
        };
        if let Some(lease) = self.leases.remove(&token) {
            self.messages.remove(&lease.sequence);
        }
        self.settled.insert(token, result.into());
        result.into()
    }

    /// Whether two messages are of one group.
    fn are_grouped(&self, one: u64, other: u64) -> bool {
        let group = |sequence: u64| &self.messages[&sequence].message.group;
        self.strict || (!group(one).is_empty() && group(one) == group(other))
    }

    /// Whether a delayed message holds this one up.
    fn is_blocked(&self, sequence: u64) -> bool {
        self.delayed.keys().any(|delayed| *delayed < sequence && self.are_grouped(*delayed, sequence))
    }

    /// Ends a lease, and those of later messages of its group.
    pub fn give_back(&mut self, token: u64, reason: v1::ReturnReason) {
        let Some(sequence) = self.leases.get(&token).map(|lease| lease.sequence) else { return };
        let behind: Vec<u64> = (self.leases.iter())
            .filter(|(_, lease)| lease.sequence > sequence && self.are_grouped(lease.sequence, sequence))
            .map(|(token, _)| *token)
            .collect();
        self.end(token, reason);
        behind.into_iter().for_each(|token| self.end(token, v1::ReturnReason::GroupReturned));
    }

    fn end(&mut self, token: u64, reason: v1::ReturnReason) {
        let Some(lease) = self.leases.remove(&token) else { return };
        let stored = self.messages.get_mut(&lease.sequence).expect("a leased message exists");
        stored.returned = reason;
        if matches!(reason, v1::ReturnReason::GroupReturned | v1::ReturnReason::ConsumerClosed) {
            stored.attempts -= 1;
        }
        self.ready.insert(lease.sequence);
        if reason != v1::ReturnReason::Nacked
            && !self.mute
            && let Some(consumer) = self.consumers.get(&lease.consumer)
        {
            let ended = vec![v1::LeaseEnded { token, reason: reason.into() }];
            let _gone = consumer.to.send(Ok(v1::ConsumeResponse { ended, ..v1::ConsumeResponse::default() }));
        }
    }

    pub fn expire(&mut self) {
        let now = Instant::now();
        let over: VecDeque<u64> =
            self.leases.iter().filter(|(_, l)| l.deadline <= now).map(|(t, _)| *t).collect();
        for token in over {
            self.give_back(token, v1::ReturnReason::Expired);
        }
        let due: Vec<u64> =
            self.delayed.iter().filter(|(_, until)| **until <= now).map(|(s, _)| *s).collect();
        for sequence in due {
            self.delayed.remove(&sequence);
            self.ready.insert(sequence);
        }
    }

    pub fn detach(&mut self, consumer: &Bytes, incarnation: u64, clean: bool) {
        if self.consumers.get(consumer).is_none_or(|present| present.incarnation != incarnation) {
            return;
        }
        self.consumers.remove(consumer);
        if clean {
            let tokens: Vec<u64> =
                self.leases.iter().filter(|(_, l)| l.consumer == *consumer).map(|(t, _)| *t).collect();
            tokens.into_iter().for_each(|token| self.give_back(token, v1::ReturnReason::ConsumerClosed));
        }
    }
}
