//! Clients that write down what they do and see.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use phalanx_client::{
    Client, Consumer, Delivery, Error, Id, Message, Metrics, QueueName, Receiver, ReturnReason,
};

use crate::history::{F, Facts, Kind, Recorder};

/// A call may take this long, with all its repetitions: some clients give up in the middle of a fault, some wait until it is over.
const CALL_DEADLINES_MS: [u64; 4] = [1_200, 2_000, 3_500, 7_000];

/// A node that owes an answer for this long is left for another.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// For [`connect`]: a client that waits longest.
pub const PATIENT: u64 = 3 * 64;

/// Counts the attempts that a client has given up: each may still arrive.
#[derive(Clone, Default)]
pub struct Repeats(Arc<AtomicU64>);

impl Repeats {
    fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metrics for Repeats {
    fn retried(&self, _: Option<QueueName<'_>>, _: &Error) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Connects, beginning with one of the addresses. With `stays`, goes to no other.
///
/// # Errors
/// When an address is none.
pub fn connect(addresses: &[String], first: u64, stays: bool) -> Result<Client, Error> {
    connect_counting(addresses, first, stays, Repeats::default())
}

/// As [`connect`], with a count of its repetitions.
///
/// # Errors
/// When an address is none.
pub fn connect_counting(
    addresses: &[String],
    first: u64,
    stays: bool,
    repeats: Repeats,
) -> Result<Client, Error> {
    let mut addresses = addresses.to_vec();
    let places = addresses.len().max(1);
    addresses.rotate_left(first as usize % places);
    if stays {
        addresses.truncate(1);
    }
    // Apart from the choice of the first node.
    let patience = CALL_DEADLINES_MS[(first / 64) as usize % CALL_DEADLINES_MS.len()];
    let builder = Client::builder().addresses(addresses).request_deadline(Duration::from_millis(patience));
    builder.go_to_leader(!stays).stall_timeout(STALL_TIMEOUT).metrics(Arc::new(repeats)).build()
}

/// Whether the client does not know what became of it. What it does know is what a checker holds it to.
pub(super) fn is_unknown(error: &Error) -> bool {
    use Error as E;
    matches!(
        error,
        E::OutcomeUnknown { .. } | E::ProducerForgotten { .. } | E::Duplicate { .. } | E::Other { .. }
    )
}

/// One client: a name for what it holds, and where it writes.
#[derive(Clone)]
pub struct Scribe {
    /// The history.
    pub recorder: Recorder,
    /// The queue, or topic.
    pub queue: String,
    /// Who holds what is received.
    pub holder: u64,
    /// Of the client that makes the calls.
    pub repeats: Repeats,
}

/// The number of a message, from its body.
pub fn value_of(delivery: &Delivery) -> Option<u64> {
    std::str::from_utf8(delivery.body()).ok()?.parse().ok()
}

fn reason(reason: Option<ReturnReason>) -> Option<String> {
    let text = match reason? {
        ReturnReason::Nacked => "nacked",
        ReturnReason::Expired => "expired",
        ReturnReason::ConsumerLost => "consumer-lost",
        ReturnReason::GroupReturned => "group-returned",
        ReturnReason::ConsumerClosed => "consumer-closed",
        _ => "other",
    };
    Some(text.to_owned())
}

impl Scribe {
    pub(super) fn facts(&self) -> Facts {
        Facts { queue: Some(self.queue.clone()), ..Facts::default() }
    }

    /// A call, with whether an attempt at it was given up. For clients that make one call at a time.
    pub(super) async fn attempt<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> (Result<T, Error>, Option<u64>) {
        let before = self.repeats.count();
        let result = call.await;
        (result, (self.repeats.count() > before).then_some(1))
    }

    /// Sends a message by one call, under a request id of the caller's if there is one.
    pub async fn send(
        &self,
        client: &Client,
        message: Message,
        value: u64,
        facts: Facts,
        id: Option<Id>,
    ) -> Kind {
        let facts = facts.over(&self.facts());
        let open = self.recorder.begin(F::Enqueue, Some(value), facts.clone());
        let id = id.unwrap_or_else(|| client.random_id());
        let (result, late) = self.attempt(client.send_with_id(&self.queue, [message], id)).await;
        self.sent(open, Facts { late, ..facts }, result.map(|sent| sent[0]))
    }

    /// What became of a send that has begun.
    fn sent(
        &self,
        open: crate::history::Open,
        facts: Facts,
        result: Result<phalanx_client::Sent, Error>,
    ) -> Kind {
        match result {
            Ok(sent) => {
                let duplicate = sent.duplicate.then_some(1);
                let facts = Facts { sequence: Some(sent.sequence), duplicate, ..facts };
                self.recorder.end(open, Kind::Ok, None, facts);
                Kind::Ok
            }
            Err(error) => {
                let unknown = is_unknown(&error);
                self.recorder.end_error(open, unknown, error);
                if unknown { Kind::Info } else { Kind::Fail }
            }
        }
    }

    /// Gives a message to a pipelined producer. The future it gives ends with the confirmation.
    ///
    /// # Errors
    /// When the producer took it not: nothing was sent.
    pub async fn enqueue(
        &self,
        producer: &phalanx_client::Producer,
        message: Message,
        value: u64,
        facts: Facts,
    ) -> Result<impl Future<Output = Kind> + Send + use<>, Error> {
        let facts = facts.over(&self.facts());
        let open = self.recorder.begin(F::Enqueue, Some(value), facts.clone());
        match producer.enqueue(message).await {
            Ok(confirmation) => {
                let scribe = self.clone();
                Ok(async move { scribe.sent(open, facts, confirmation.await) })
            }
            Err(error) => {
                let unknown = is_unknown(&error);
                self.recorder.end_error(open, unknown, &error);
                Err(error)
            }
        }
    }

    /// Leases one message by a call; `Ok(None)`: there was none.
    ///
    /// # Errors
    /// When no answer came, or the call was refused.
    pub async fn receive(&self, receiver: &Receiver, wait: Duration) -> Result<Option<Delivery>, Error> {
        let asked = Facts { holder: Some(self.holder), ..self.facts() };
        let asked_ns = self.recorder.now_ns();
        let open = self.recorder.begin(F::Dequeue, None, asked.clone());
        match receiver.receive(1, wait).await {
            Ok(mut deliveries) => {
                let delivery = deliveries.pop();
                let value = delivery.as_ref().and_then(value_of);
                let facts = match &delivery {
                    Some(delivery) => Facts { asked_ns: Some(asked_ns), ..self.delivered(delivery) },
                    None => asked,
                };
                self.recorder.end(open, Kind::Ok, value, facts);
                Ok(delivery)
            }
            Err(error) => {
                self.recorder.end_error(open, is_unknown(&error), &error);
                Err(error)
            }
        }
    }

    /// Takes what a stream brings; `None`: it ended.
    pub async fn next(&self, consumer: &mut Consumer) -> Option<Delivery> {
        let delivery = consumer.next().await?.ok()?;
        // It came some time ago: an operation of no length, without a time at which it was asked for.
        let asked = Facts { holder: Some(self.holder), ..self.facts() };
        let open = self.recorder.begin(F::Dequeue, None, asked);
        self.recorder.end(open, Kind::Ok, value_of(&delivery), self.delivered(&delivery));
        Some(delivery)
    }

    fn delivered(&self, delivery: &Delivery) -> Facts {
        let group = std::str::from_utf8(&delivery.message().group).ok().and_then(|group| group.parse().ok());
        Facts {
            sequence: Some(delivery.sequence()),
            token: Some(delivery.token()),
            attempt: Some(u64::from(delivery.attempt())),
            again: delivery.redelivery().map(|_| 1),
            left_ms: Some(delivery.lease_left().as_millis() as u64),
            group,
            holder: Some(self.holder),
            note: reason(delivery.redelivery()),
            ..self.facts()
        }
    }

    /// Acknowledges.
    pub async fn ack(&self, delivery: Delivery) -> Kind {
        self.settle(F::Ack, delivery, Duration::ZERO).await
    }

    /// Gives back.
    pub async fn nack(&self, delivery: Delivery, delay: Duration) -> Kind {
        self.settle(F::Nack, delivery, delay).await
    }

    async fn settle(&self, f: F, delivery: Delivery, delay: Duration) -> Kind {
        let facts = Facts { token: Some(delivery.token()), holder: Some(self.holder), ..self.facts() };
        let open = self.recorder.begin(f, value_of(&delivery), facts.clone());
        let settlement = if f == F::Ack { delivery.ack() } else { delivery.nack(delay) };
        match settlement.await {
            Ok(()) => {
                self.recorder.end(open, Kind::Ok, None, facts);
                Kind::Ok
            }
            Err(error) => {
                let unknown = is_unknown(&error);
                self.recorder.end_error(open, unknown, error);
                if unknown { Kind::Info } else { Kind::Fail }
            }
        }
    }
}
