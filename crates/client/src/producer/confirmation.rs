//! What a send resolves to.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::message::Sent;

/// Resolves when the message is on disk on a majority, or when it is known that it will not be, or at the deadline.
///
/// [`Error::OutcomeUnknown`]: it may have been appended, or may still be. Everything else: it was not.
#[derive(Debug)]
pub struct Confirmation(pub(super) oneshot::Receiver<Result<Sent, Error>>);

/// As [`Confirmation`], for a batch: one [`Sent`] for each message.
#[derive(Debug)]
pub struct BatchConfirmation(pub(super) oneshot::Receiver<Result<Vec<Sent>, Error>>);

impl Future for Confirmation {
    type Output = Result<Sent, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or_else(|_| Err(dropped())))
    }
}

impl Future for BatchConfirmation {
    type Output = Result<Vec<Sent>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or_else(|_| Err(dropped())))
    }
}

pub(super) fn dropped() -> Error {
    Error::OutcomeUnknown { message: String::from("the producer was dropped before the confirmation came") }
}

/// Where the answer goes.
pub(super) enum Promise {
    One(oneshot::Sender<Result<Sent, Error>>),
    Many(oneshot::Sender<Result<Vec<Sent>, Error>>),
    /// Given before, at the deadline.
    Kept,
}

impl Promise {
    /// Whether it is still owed.
    pub(super) fn is_owed(&self) -> bool {
        !matches!(self, Self::Kept)
    }

    /// Gives the answer. A receiver that was dropped does not want it. The sequence, if it is about one message.
    pub(super) fn keep(&mut self, sent: &mut dyn Iterator<Item = Sent>, count: usize) -> Option<u64> {
        match std::mem::replace(self, Self::Kept) {
            Self::One(sender) => {
                let one = sent.next().expect("the answer to a batch covers all its messages");
                let _unwanted = sender.send(Ok(one));
                Some(one.sequence)
            }
            Self::Many(sender) => {
                let _unwanted = sender.send(Ok(sent.take(count).collect()));
                None
            }
            Self::Kept => {
                let _skipped = sent.take(count).count();
                None
            }
        }
    }

    /// Gives an error.
    pub(super) fn fail(&mut self, error: Error) {
        match std::mem::replace(self, Self::Kept) {
            Self::One(sender) => {
                let _unwanted = sender.send(Err(error));
            }
            Self::Many(sender) => {
                let _unwanted = sender.send(Err(error));
            }
            Self::Kept => {}
        }
    }
}
