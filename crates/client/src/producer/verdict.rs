//! What the server's answers and a stream's end mean for the batches in flight.
//!
//! Invariant: a message is only reported as not appended if the server said so of its number, or if it never left under
//! a number that might have been taken. In all other cases its outcome is unknown.

use phalanx_proto::v1;

use super::state::{Batch, State};
use crate::error::Error;
use crate::id::Id;
use crate::message::sent_of;
use crate::status::{Class, Failure};

/// Streams in a row that may end with a gap and no confirmation before the server is taken to have forgotten us.
const GAPS_MAX: u32 = 2;

/// How a stream ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) failure: Failure,
    /// The server refused the first batch in flight with this, rather than the stream.
    pub(super) refused_front: bool,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self { failure, refused_front: false }
    }
}

impl State {
    /// Books one confirmation. `Err`: the stream is over, because of it.
    pub(super) fn confirm(&mut self, confirmation: v1::Confirmation, address: &str) -> Result<(), End> {
        let protocol = |what| Err(Failure::protocol(address, what).into());
        let Some(front) = self.in_flight.front() else { return Ok(()) };
        if confirmation.number < front.number {
            return Ok(());
        }
        if confirmation.number > front.number || self.written == 0 {
            return protocol("a confirmation out of order");
        }
        match confirmation.result {
            None => return protocol("a confirmation without a result"),
            Some(v1::confirmation::Result::Sent(response)) => {
                let (mut batch, count) = self.take_front();
                let mut sent = sent_of(&response, count);
                for slot in &mut batch.slots {
                    slot.keep(&mut sent, &mut self.ledger);
                }
            }
            Some(v1::confirmation::Result::Failure(failure)) => {
                let verdict = Failure::from_stream(&failure);
                if !failure.consumed {
                    return Err(End { failure: verdict, refused_front: true });
                }
                self.fail_front(verdict.error);
            }
        }
        self.gaps = 0;
        Ok(())
    }

    /// The first batch in flight was not appended, for certain.
    fn fail_front(&mut self, error: Error) {
        let (mut batch, count) = self.take_front();
        let error = self.shared_fate(error, batch.slots.len(), count);
        self.fail(&mut batch, &error);
    }

    /// An error of a batch that several callers share is nobody's in particular. One bad message shall not spoil the
    /// company of others twice: from here on each goes alone.
    fn shared_fate(&mut self, error: Error, callers: usize, messages: usize) -> Error {
        match error {
            Error::Invalid { message } if callers > 1 => {
                self.coalesce = 1;
                Error::BatchRefused { message: format!("one of {messages} messages: {message}") }
            }
            error => error,
        }
    }

    fn take_front(&mut self) -> (Batch, usize) {
        let batch = self.in_flight.pop_front().expect("the caller looked at it");
        self.written = self.written.saturating_sub(1);
        self.release(&batch);
        let count = batch.messages.len();
        (batch, count)
    }

    fn fail(&mut self, batch: &mut Batch, error: &Error) {
        for slot in &mut batch.slots {
            slot.fail(error, &mut self.ledger, &self.unheard);
        }
    }

    /// The stream is over, or did not come about. Prepares for the next one.
    pub(super) fn stream_ended(&mut self, end: &End, fresh: impl FnOnce() -> Id) {
        let written = std::mem::take(&mut self.written);
        // A frame that was refused as such carried the one batch that was unconfirmed, if there was only one.
        let refused_frame = written == 1 && matches!(end.failure.error, Error::Invalid { .. });
        let refused_front = end.refused_front || refused_frame;
        // What the server refused is the first that it did not confirm, and what follows it would have left a gap:
        // nothing is open. Unless the first was given up in front of the log, and an earlier stream had brought it in:
        // then there was no gap. Otherwise anything written may have been taken.
        let front_is_in = self.in_flight.front().is_some_and(|front| front.maybe);
        let gapless = end.failure.class == Class::Again && front_is_in;
        if !refused_front || gapless || end.failure.class == Class::Maybe {
            self.in_flight.iter_mut().take(written).for_each(|batch| batch.maybe = true);
        }
        if end.failure.class != Class::Refused {
            return;
        }
        match &end.failure.error {
            // A batch got lost between two nodes: the next stream repeats it all. If that does not help, it is not that.
            Error::SequenceGap { .. } if self.gaps < GAPS_MAX => self.gaps += 1,
            error @ (Error::SequenceGap { .. } | Error::ProducerForgotten { .. }) => {
                self.start_over(error, fresh())
            }
            error if !refused_front || error.ends_producer() => self.abandon(error, fresh()),
            error => self.refuse_front(error.clone(), fresh),
        }
    }

    /// The first batch in flight was refused before its number was used up.
    fn refuse_front(&mut self, error: Error, fresh: impl FnOnce() -> Id) {
        match self.in_flight.front() {
            None => {}
            // An earlier stream may have brought it in after all: the number cannot be used for another batch.
            Some(front) if front.maybe => self.start_over(&error, fresh()),
            Some(front) => {
                self.next_number = front.number;
                self.fail_front(error);
                self.renumber();
            }
        }
    }

    fn renumber(&mut self) {
        for batch in &mut self.in_flight {
            batch.number = self.next_number;
            self.next_number += 1;
        }
    }

    /// The server no longer knows this producer. What may have been taken is unknown for ever; the rest goes out under
    /// a new identity.
    fn start_over(&mut self, error: &Error, id: Id) {
        while let Some(mut batch) = self.in_flight.pop_front_if(|batch| batch.maybe) {
            self.release(&batch);
            self.fail(&mut batch, &error.clone().into_unknown());
        }
        self.producer_id = id;
        self.next_number = 1;
        self.renumber();
    }

    /// Nothing that is here now can be sent.
    fn abandon(&mut self, error: &Error, id: Id) {
        while let Some(mut batch) = self.in_flight.pop_front() {
            self.release(&batch);
            let verdict = if batch.maybe { error.clone().into_unknown() } else { error.clone() };
            self.fail(&mut batch, &verdict);
        }
        while let Some(item) = self.waiting.pop() {
            self.drop_item(item, error);
        }
        self.producer_id = id;
        self.next_number = 1;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::window::{Window, WindowLimits};
    use super::*;
    use crate::message::Message;
    use crate::metrics::Meter;
    use crate::router::QueueKey;

    fn refusal(reason: &str) -> End {
        let failure = v1::Failure { reason: reason.to_owned(), ..v1::Failure::default() };
        End { failure: Failure::from_stream(&failure), refused_front: true }
    }

    #[tokio::test]
    async fn what_follows_a_batch_that_an_earlier_stream_may_have_brought_in_may_have_been_taken_too() {
        let limits = WindowLimits { coalesce: 1, ..WindowLimits::default() };
        let queue = QueueKey { namespace: "default".into(), name: "q".into() };
        let window = Window::new(limits, Id::from_u128(1), Meter::new(queue, None), None);
        let fresh = || Id::from_u128(2);
        let first = window.enqueue(Message::new("a")).await.unwrap();
        assert_eq!(window.lock().next_frame().len(), 1);
        window.lock().stream_ended(&Failure::ended("node").into(), fresh);
        let second = window.enqueue(Message::new("b")).await.unwrap();
        assert_eq!(window.lock().next_frame().len(), 2);
        // The second stream's first batch was given up in front of the log. The server has it from the first stream, so
        // there was no gap before the second.
        window.lock().stream_ended(&refusal("OVERLOADED"), fresh);
        assert_eq!(window.lock().next_frame().len(), 2);
        window.lock().stream_ended(&refusal("INVALID_ARGUMENT"), fresh);
        for outcome in [first.now_or_never(), second.now_or_never()] {
            assert!(matches!(outcome, Some(Err(Error::OutcomeUnknown { .. }))), "{outcome:?}");
        }
        assert!(!window.lock().has_work(), "nothing is sent under another identity");
    }
}
