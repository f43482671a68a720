//! What a handler says when it did not do its work.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// Why a handler of [`Consumer::for_each_concurrent`](crate::Consumer::for_each_concurrent) did not do its work, and what
/// is to become of the message.
///
/// Every error turns into one that returns the message after 1 s, so that `?` works in handlers:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use phalanx_client::{Delivery, Nack};
///
/// async fn handle(delivery: Arc<Delivery>) -> Result<(), Nack> {
///     let text = std::str::from_utf8(delivery.body()).map_err(Nack::reject)?; // never to be done
///     let count: u32 = text.parse()?; // not done: again after 1 s
///     if count > 100 {
///         return Err(Nack::after(Duration::from_secs(60)).because("too many for now"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Nack {
    /// `None`: reject.
    pub(super) delay: Option<Duration>,
    reason: Option<String>,
}

impl Nack {
    /// The message goes back to its place, to be offered again after `delay`: zero means at once, 12 h is the most.
    pub fn after(delay: Duration) -> Self {
        Self { delay: Some(delay), reason: None }
    }

    /// The message is never to be done: it is dropped, or dead-lettered where the queue names a target.
    pub fn reject(reason: impl fmt::Display) -> Self {
        Self { delay: None, reason: Some(reason.to_string()) }
    }

    /// With what is to be said about it in the log of the client. The server is not told.
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// After which time the message is offered again; `None`: it is rejected.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// What was said about it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl<E: std::error::Error> From<E> for Nack {
    fn from(error: E) -> Self {
        Self::after(limits::NACK_DELAY).because(error)
    }
}
