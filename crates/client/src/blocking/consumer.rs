//! Consumers whose calls wait.

use std::ops::Deref;
use std::time::Duration;

use super::Engine;
use crate::error::Error;

/// As [`crate::Consumer`]: an endless iterator of deliveries, which ends when the consumer is refused for good.
///
/// Leases of what it holds are extended by its thread, however long the loop's body takes, up to `max_processing`.
pub struct Consumer {
    engine: Engine,
    consumer: crate::Consumer,
}

impl Consumer {
    pub(super) fn new(engine: Engine, consumer: crate::Consumer) -> Self {
        Self { engine, consumer }
    }

    /// The next delivery if one comes within `wait`. `None`: none came, or there will be no more.
    pub fn next_within(&mut self, wait: Duration) -> Option<Result<Delivery, Error>> {
        let next = self.engine.wait(async { tokio::time::timeout(wait, self.consumer.next()).await });
        Some(next.ok()??.map(|delivery| Delivery { engine: self.engine.clone(), delivery }))
    }

    /// Says goodbye: what is in hand and not settled goes back at once.
    ///
    /// # Errors
    /// As [`crate::Consumer::close`].
    pub fn close(self) -> Result<(), Error> {
        self.engine.wait(self.consumer.close())
    }
}

impl Iterator for Consumer {
    type Item = Result<Delivery, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.engine.wait(self.consumer.next())?;
        Some(next.map(|delivery| Delivery { engine: self.engine.clone(), delivery }))
    }
}

/// As [`crate::Delivery`], which it can be read as; settling waits for the answer.
pub struct Delivery {
    engine: Engine,
    delivery: crate::Delivery,
}

impl Delivery {
    /// Done: the message is removed.
    ///
    /// # Errors
    /// As [`crate::Settlement`].
    pub fn ack(self) -> Result<(), Error> {
        self.engine.wait(self.delivery.ack())
    }

    /// Not done: the message goes back, to be offered again after `delay`.
    ///
    /// # Errors
    /// As [`crate::Settlement`].
    pub fn nack(self, delay: Duration) -> Result<(), Error> {
        self.engine.wait(self.delivery.nack(delay))
    }

    /// Never to be done: the message is dropped, or dead-lettered where the queue names a target.
    ///
    /// # Errors
    /// As [`crate::Settlement`].
    pub fn reject(self) -> Result<(), Error> {
        self.engine.wait(self.delivery.reject())
    }

    /// Still at it: the lease lasts `lease` from now; `None`: as long as it was given for.
    ///
    /// # Errors
    /// As [`crate::Settlement`].
    pub fn extend(&self, lease: Option<Duration>) -> Result<(), Error> {
        self.engine.wait(self.delivery.extend(lease))
    }
}

impl Deref for Delivery {
    type Target = crate::Delivery;

    fn deref(&self) -> &crate::Delivery {
        &self.delivery
    }
}

/// As [`crate::Receiver`].
pub struct Receiver {
    engine: Engine,
    receiver: crate::Receiver,
}

impl Receiver {
    pub(super) fn new(engine: Engine, receiver: crate::Receiver) -> Self {
        Self { engine, receiver }
    }

    /// With a lease of its own instead of the queue's.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { receiver: self.receiver.lease(lease), ..self }
    }

    /// Leases up to `messages` (1 to 1,024) messages, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// As [`crate::Receiver::receive`].
    pub fn receive(&self, messages: u32, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let deliveries = self.engine.wait(self.receiver.receive(messages, wait))?;
        let own = |delivery| Delivery { engine: self.engine.clone(), delivery };
        Ok(deliveries.into_iter().map(own).collect())
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("blocking::Consumer").field(&self.consumer).finish()
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.delivery.fmt(f)
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("blocking::Receiver").field("id", &self.receiver.id()).finish_non_exhaustive()
    }
}
