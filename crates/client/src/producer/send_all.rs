//! A stream of messages in, a stream of confirmations out.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use super::confirmation::Confirmation;
use super::{NotEnqueued, Producer};
use crate::error::Error;
use crate::message::{Message, Sent};

/// What became of each message of a stream, in the order of the stream: see [`Producer::send_all`].
///
/// Dropping it takes no more messages from the stream; those it had taken are sent all the same, as long as a clone of the
/// producer lives.
#[must_use = "streams do nothing unless polled"]
pub struct SendAll<S> {
    producer: Producer,
    /// `None`: no more is taken from it.
    input: Option<Pin<Box<S>>>,
    /// A message that found no room.
    entering: Option<BoxFuture<'static, Result<Confirmation, Error>>>,
    owed: VecDeque<Owed>,
    owed_max: usize,
}

enum Owed {
    Confirmation(Confirmation),
    Error(Error),
}

impl<S> SendAll<S>
where
    S: Stream,
    S::Item: Into<Message>,
{
    pub(super) fn new(producer: Producer, messages: S) -> Self {
        let owed_max = producer.inner.window.limits.messages;
        Self { producer, input: Some(Box::pin(messages)), entering: None, owed: VecDeque::new(), owed_max }
    }

    /// Takes messages until there is no room, or none is there.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        while self.owed.len() < self.owed_max {
            if let Some(entering) = &mut self.entering {
                let Poll::Ready(entered) = entering.as_mut().poll(cx) else { return };
                self.entering = None;
                self.owe(entered);
                continue;
            }
            let Some(input) = &mut self.input else { return };
            match input.as_mut().poll_next(cx) {
                Poll::Ready(Some(message)) => self.send(message.into()),
                Poll::Ready(None) => self.input = None,
                Poll::Pending => return,
            }
        }
    }

    fn send(&mut self, message: Message) {
        match self.producer.try_enqueue(message).map_err(|refused| *refused) {
            Ok(confirmation) => self.owe(Ok(confirmation)),
            Err(NotEnqueued { error: Some(error), .. }) => self.owe(Err(error)),
            Err(NotEnqueued { message, error: None }) => {
                let producer = self.producer.clone();
                self.entering = Some(Box::pin(async move { producer.enqueue(message).await }));
            }
        }
    }

    fn owe(&mut self, entered: Result<Confirmation, Error>) {
        let owed = match entered {
            Ok(confirmation) => Owed::Confirmation(confirmation),
            Err(error) => {
                self.give_up_after(&error);
                Owed::Error(error)
            }
        };
        self.owed.push_back(owed);
    }

    /// Takes no more messages after an error that each of them would get too.
    fn give_up_after(&mut self, error: &Error) {
        if error.ends_producer() {
            self.input = None;
        }
    }
}

impl<S> Stream for SendAll<S>
where
    S: Stream,
    S::Item: Into<Message>,
{
    type Item = Result<Sent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.take_in(cx);
        let over = self.input.is_none() && self.entering.is_none();
        let result = match self.owed.front_mut() {
            Some(Owed::Confirmation(confirmation)) => match Pin::new(confirmation).poll(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => return Poll::Pending,
            },
            Some(Owed::Error(error)) => Err(error.clone()),
            None if over => return Poll::Ready(None),
            None => return Poll::Pending,
        };
        self.owed.pop_front();
        if let Err(error) = &result {
            self.give_up_after(error);
        }
        Poll::Ready(Some(result))
    }
}

impl<S> fmt::Debug for SendAll<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAll").field("owed", &self.owed.len()).finish_non_exhaustive()
    }
}
