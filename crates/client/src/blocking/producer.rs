//! A producer whose calls wait.

use super::Engine;
use crate::error::Error;
use crate::message::{Message, Sent};

/// As [`crate::Producer`].
#[derive(Clone)]
pub struct Producer {
    engine: Engine,
    producer: crate::Producer,
}

impl Producer {
    pub(super) fn new(engine: Engine, producer: crate::Producer) -> Self {
        Self { engine, producer }
    }

    /// Sends a message and waits until it is on disk on a majority.
    ///
    /// # Errors
    /// As [`crate::Confirmation`].
    pub fn send(&self, message: impl Into<Message>) -> Result<Sent, Error> {
        self.engine.wait(self.producer.send(message))
    }

    /// Takes a message as soon as the window has room; what it gives waits for the confirmation, and may be dropped.
    ///
    /// # Errors
    /// As [`crate::Producer::enqueue`].
    pub fn enqueue(&self, message: impl Into<Message>) -> Result<Confirmation, Error> {
        let confirmation = self.engine.wait(self.producer.enqueue(message))?;
        Ok(Confirmation { engine: self.engine.clone(), confirmation })
    }

    /// Sends a batch, all of it or nothing, and waits for it.
    ///
    /// # Errors
    /// As [`crate::Producer::enqueue_batch`] and [`crate::BatchConfirmation`].
    pub fn send_batch<I>(&self, messages: I) -> Result<Vec<Sent>, Error>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.engine.wait(async { self.producer.enqueue_batch(messages).await?.await })
    }

    /// Waits until all that was enqueued before is resolved.
    ///
    /// # Errors
    /// As [`crate::Producer::flush`].
    pub fn flush(&self) -> Result<(), Error> {
        self.engine.wait(self.producer.flush())
    }

    /// Flushes, and closes this producer and all its clones.
    ///
    /// # Errors
    /// As [`crate::Producer::flush`].
    pub fn close(self) -> Result<(), Error> {
        self.engine.wait(self.producer.close())
    }
}

/// As [`crate::Confirmation`].
pub struct Confirmation {
    engine: Engine,
    confirmation: crate::Confirmation,
}

impl Confirmation {
    /// Waits for it.
    ///
    /// # Errors
    /// As [`crate::Confirmation`].
    pub fn wait(self) -> Result<Sent, Error> {
        self.engine.wait(self.confirmation)
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("blocking::Producer").field(&self.producer).finish()
    }
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("blocking::Confirmation").field(&self.confirmation).finish()
    }
}
