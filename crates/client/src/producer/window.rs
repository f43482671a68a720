//! What a producer holds: messages waiting to be sent, and batches not yet confirmed; and how callers get in and out.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::Span;

use super::NotEnqueued;
use super::confirmation::{self, Answer, BatchConfirmation, Confirmation, Promise, Unheard};
use super::ledger::Entry;
use super::state::State;
use super::waiting::{Item, Load, Slot};
use crate::error::Error;
use crate::id::Id;
use crate::limits;
use crate::message::Message;
use crate::metrics::Meter;
use crate::trace::{self, TraceSource};

/// Bounds of one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) coalesce: usize,
    pub(super) coalesce_bytes: usize,
    pub(super) linger: Duration,
    pub(super) send_deadline: Duration,
    /// Every message must match a subscription.
    pub(super) mandatory: bool,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            messages: limits::PRODUCER_WINDOW_MESSAGES,
            bytes: limits::PRODUCER_WINDOW_BYTES,
            coalesce: limits::COALESCE_MESSAGES,
            coalesce_bytes: limits::COALESCE_BYTES,
            linger: Duration::ZERO,
            send_deadline: limits::SEND_DEADLINE,
            mandatory: false,
        }
    }
}

/// One call of a caller's.
#[derive(Clone)]
struct Call {
    since: Instant,
    span: Span,
}
pub(super) struct Window {
    pub(super) limits: WindowLimits,
    pub(super) meter: Meter,
    trace_source: Option<TraceSource>,
    /// Callers of `enqueue`, first come first served.
    line: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// The state's own, shared with the confirmations.
    unheard: Unheard,
    /// Something left the window.
    room: Notify,
    /// Something entered it, or no more will.
    pub(super) work: Notify,
    /// Something was resolved.
    progress: Notify,
}

impl Window {
    pub(super) fn new(
        limits: WindowLimits,
        producer_id: Id,
        meter: Meter,
        trace_source: Option<TraceSource>,
    ) -> Self {
        let state = State::new(&limits, producer_id, meter.is_on());
        Self {
            unheard: state.unheard.clone(),
            limits,
            meter,
            trace_source,
            line: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
            room: Notify::new(),
            work: Notify::new(),
            progress: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) async fn enqueue(&self, mut message: Message) -> Result<Confirmation, Error> {
        let call = self.call(std::slice::from_mut(&mut message));
        let size = message.size();
        let (sender, receiver) = oneshot::channel();
        let entered = match check(&[size]) {
            Ok(()) => {
                let load = Load::One(message.into_wire());
                self.admit(&mut Some(self.item(load, 1, size, Promise::One(sender), &call))).await
            }
            Err(error) => Err(error),
        };
        self.entered(1, &call, &entered);
        entered.map(|()| Confirmation(Answer::new(receiver, self.unheard.clone())))
    }

    pub(super) fn try_enqueue(&self, mut message: Message) -> Result<Confirmation, Box<NotEnqueued>> {
        let given = message.traceparent.is_empty();
        let call = self.call(std::slice::from_mut(&mut message));
        let size = message.size();
        let (sender, receiver) = oneshot::channel();
        let room = check(&[size]).map_err(Some).and_then(|()| {
            // Someone who waits comes first.
            let line = self.line.try_lock().map_err(|_| None)?;
            let mut state = self.lock();
            if state.closed {
                return Err(Some(Error::Closed));
            }
            match state.has_room(&self.limits, 1, size) {
                true => Ok((line, state)),
                false => Err(None),
            }
        });
        match room {
            Ok((_line, mut state)) => {
                let load = Load::One(message.into_wire());
                state.push(self.item(load, 1, size, Promise::One(sender), &call));
                drop(state);
                self.entered(1, &call, &Ok(()));
                Ok(Confirmation(Answer::new(receiver, self.unheard.clone())))
            }
            Err(error) => {
                if let Some(error) = &error {
                    self.entered(1, &call, &Err(error.clone()));
                }
                // What waits for company need not any more.
                self.work.notify_one();
                if given {
                    message.traceparent.clear();
                }
                Err(Box::new(NotEnqueued { message, error }))
            }
        }
    }

    pub(super) async fn enqueue_batch(&self, mut messages: Vec<Message>) -> Result<BatchConfirmation, Error> {
        let call = self.call(&mut messages);
        let sizes: Vec<usize> = messages.iter().map(Message::size).collect();
        let (sender, receiver) = oneshot::channel();
        let count = messages.len();
        let entered = match check(&sizes) {
            Ok(()) => {
                let load = Load::Many(messages.into_iter().map(Message::into_wire).collect());
                let promise = Promise::Many(sender);
                self.admit(&mut Some(self.item(load, count, sizes.iter().sum(), promise, &call))).await
            }
            Err(error) => Err(error),
        };
        self.entered(count, &call, &entered);
        entered.map(|()| BatchConfirmation(Answer::new(receiver, self.unheard.clone())))
    }

    /// A call begins: its span, and the trace context of its messages.
    fn call(&self, messages: &mut [Message]) -> Call {
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        let span = trace::send_span(&self.meter.queue, messages.len(), bytes);
        for message in messages {
            trace::stamp(self.trace_source.as_ref(), &span, message);
        }
        Call { since: Instant::now(), span }
    }

    /// Says whether what a call brought is in the window now.
    fn entered(&self, count: usize, call: &Call, entered: &Result<(), Error>) {
        match entered {
            Ok(()) => {
                self.work.notify_one();
                self.meter.tell(|metrics, queue| metrics.unconfirmed(queue, count as i64));
            }
            Err(error) => {
                trace::failed(&call.span, error);
                self.meter.tell_sent(count, call.since, entered);
            }
        }
    }

    fn item(&self, load: Load, count: usize, bytes: usize, promise: Promise, call: &Call) -> Item {
        let Call { since, span } = call.clone();
        let (deadline, due) = (since + self.limits.send_deadline, since + self.limits.linger);
        Item { load, bytes, due, slot: Slot { count, ordinal: 0, since, span, deadline, promise } }
    }

    /// Puts the item at the end of the window as soon as there is room. Takes it at that moment only, so that a call
    /// that is dropped before leaves nothing behind.
    async fn admit(&self, item: &mut Option<Item>) -> Result<(), Error> {
        let deadline = item.as_ref().map_or_else(Instant::now, |item| item.slot.deadline);
        let admitted = tokio::time::timeout_at(deadline, async {
            let _line = self.line.lock().await;
            loop {
                {
                    let mut state = self.lock();
                    if state.closed {
                        return Err(Error::Closed);
                    }
                    if let Some(next) = item.take_if(|i| state.has_room(&self.limits, i.slot.count, i.bytes))
                    {
                        state.push(next);
                        return Ok(());
                    }
                }
                self.work.notify_one();
                self.room.notified().await;
            }
        })
        .await;
        admitted.unwrap_or_else(|_| Err(not_sent()))
    }

    /// Waits until all that is in the window now is resolved; the first error since the last time.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        let target = {
            let mut state = self.lock();
            state.flush_now()
        };
        self.work.notify_one();
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            {
                let state = self.lock();
                if state.oldest_unresolved().is_none_or(|oldest| oldest >= target) {
                    return self.unheard.take().map_or(Ok(()), Err);
                }
            }
            progress.await;
        }
    }

    fn tell(&self, entries: Vec<Entry>) {
        for entry in entries {
            self.meter.tell(|metrics, queue| match entry {
                Entry::Left(messages) => metrics.unconfirmed(queue, -(messages as i64)),
                Entry::Sent { messages, latency } => metrics.sent(queue, messages, latency),
                Entry::Failed { messages, latency, error } => {
                    metrics.send_failed(queue, messages, &error, latency);
                }
            });
        }
    }

    pub(super) fn refuse_more(&self) {
        self.lock().closed = true;
        self.room.notify_one();
        self.work.notify_one();
    }

    pub(super) fn used(&self) -> usize {
        self.lock().used_messages
    }

    /// Tells those who wait that something left the window or was resolved. The caller holds no lock.
    pub(super) fn moved_on(&self) {
        if self.meter.is_on() {
            let entries = std::mem::take(&mut self.lock().ledger.entries);
            self.tell(entries);
        }
        self.room.notify_one();
        self.progress.notify_waiters();
    }

    /// Resolves what is overdue; answers when to look again.
    pub(super) fn expire(&self) -> Instant {
        let now = Instant::now();
        let mut state = self.lock();
        let resolved = state.expire(now);
        let next = state.next_deadline().unwrap_or(now + self.limits.send_deadline);
        drop(state);
        if resolved {
            self.moved_on();
        }
        next
    }
}

impl Drop for Window {
    /// What is left is told as what it is, unknown: nobody will hear of it.
    fn drop(&mut self) {
        if self.meter.is_on() {
            let state = self.state.get_mut();
            let waiting = state.waiting.drain().map(|item| item.slot);
            let mut slots: Vec<Slot> = state.in_flight.drain(..).flat_map(|batch| batch.slots).collect();
            slots.extend(waiting);
            for slot in &mut slots {
                slot.fail(&confirmation::dropped(), &mut state.ledger, &self.unheard);
            }
            state.ledger.add(Entry::Left(state.used_messages));
            let entries = std::mem::take(&mut state.ledger.entries);
            self.tell(entries);
        }
    }
}

pub(super) fn not_sent() -> Error {
    Error::Unavailable { message: String::from("the deadline passed before the message could be sent") }
}

/// What no queue takes is refused here, before it has a number.
fn check(sizes: &[usize]) -> Result<(), Error> {
    let bytes: usize = sizes.iter().sum();
    if sizes.is_empty() {
        return Err(Error::Invalid { message: String::from("a batch needs at least one message") });
    }
    if sizes.len() > limits::BATCH_MESSAGES_MAX {
        let message =
            format!("a batch has at most {} messages, not {}", limits::BATCH_MESSAGES_MAX, sizes.len());
        return Err(Error::Invalid { message });
    }
    let (what, most) = if sizes.len() == 1 {
        ("message", limits::MESSAGE_BYTES_MAX)
    } else {
        ("batch", limits::BATCH_BYTES_MAX)
    };
    if bytes > most {
        return Err(Error::Invalid { message: format!("a {what} has at most {most} bytes, not {bytes}") });
    }
    Ok(())
}
