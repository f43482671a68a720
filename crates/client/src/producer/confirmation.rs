//! What a send resolves to.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::message::Sent;

/// Resolves when the message is on disk on a majority, or when it is known that it will not be, or at the deadline.
///
/// [`Error::OutcomeUnknown`]: it may have been appended, or may still be. Everything else: it was not.
#[derive(Debug)]
pub struct Confirmation(pub(super) Answer<Sent>);

/// As [`Confirmation`], for a batch: one [`Sent`] for each message.
#[derive(Debug)]
pub struct BatchConfirmation(pub(super) Answer<Vec<Sent>>);

impl Future for Confirmation {
    type Output = Result<Sent, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

impl Future for BatchConfirmation {
    type Output = Result<Vec<Sent>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// The first error that nobody was told of: for `flush`.
#[derive(Clone, Debug, Default)]
pub(super) struct Unheard(Arc<Mutex<Option<Error>>>);

impl Unheard {
    pub(super) fn note(&self, error: &Error) {
        self.0.lock().get_or_insert_with(|| error.clone());
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }
}

/// The caller's end of a promise. An error that it is dropped with is not lost.
#[derive(Debug)]
pub(super) struct Answer<T> {
    receiver: oneshot::Receiver<Result<T, Error>>,
    unheard: Unheard,
}

impl<T> Answer<T> {
    pub(super) fn new(receiver: oneshot::Receiver<Result<T, Error>>, unheard: Unheard) -> Self {
        Self { receiver, unheard }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        Poll::Ready(ready!(Pin::new(&mut self.receiver).poll(cx)).unwrap_or_else(|_| Err(dropped())))
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // From here on the sender sees that nobody listens; what it said before is still there.
        self.receiver.close();
        if let Ok(Err(error)) = self.receiver.try_recv() {
            self.unheard.note(&error);
        }
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

    /// Gives an error; `false`: nobody listens.
    pub(super) fn fail(&mut self, error: Error) -> bool {
        match std::mem::replace(self, Self::Kept) {
            Self::One(sender) => sender.send(Err(error)).is_ok(),
            Self::Many(sender) => sender.send(Err(error)).is_ok(),
            Self::Kept => true,
        }
    }
}
