//! What a producer holds: messages waiting to be sent, and batches not yet confirmed.
//!
//! Invariants: messages leave `waiting` in the order in which they came, and `in_flight` in the order of its numbers,
//! which are consecutive; `used_*` covers both. A message that has a number is sent until it is answered, whatever its
//! caller was told at the deadline.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use phalanx_proto::v1;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::Span;

use super::NotEnqueued;
use super::confirmation::{self, Answer, BatchConfirmation, Confirmation, Promise, Unheard};
use super::ledger::{Entry, Ledger};
use super::waiting::{Item, Load, Slot, Waiting};
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
        }
    }
}

/// One call of a caller's.
#[derive(Clone)]
struct Call {
    since: Instant,
    span: Span,
}

/// Messages under one number.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) messages: Vec<v1::Message>,
    pub(super) bytes: usize,
    pub(super) slots: Vec<Slot>,
    /// It was written to a stream that ended without an answer to it.
    pub(super) maybe: bool,
}

pub(super) struct Window {
    pub(super) limits: WindowLimits,
    pub(super) meter: Meter,
    trace_source: Option<TraceSource>,
    /// Callers of `enqueue`, first come first served.
    line: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Shared with the confirmations.
    unheard: Unheard,
    /// Something left the window.
    room: Notify,
    /// Something entered it, or no more will.
    pub(super) work: Notify,
    /// Something was resolved.
    progress: Notify,
}

pub(super) struct State {
    pub(super) producer_id: Id,
    pub(super) next_number: u64,
    pub(super) waiting: Waiting,
    pub(super) in_flight: VecDeque<Batch>,
    /// Batches of `in_flight` that are written to the present stream.
    pub(super) written: usize,
    pub(super) coalesce: usize,
    coalesce_bytes: usize,
    /// Items before this ordinal wait for no company.
    flush_to: u64,
    /// Somebody found no room: more company cannot come before something leaves.
    pressed: bool,
    /// Streams in a row that ended with a gap in the numbers.
    pub(super) gaps: u32,
    pub(super) used_messages: usize,
    pub(super) used_bytes: usize,
    next_ordinal: u64,
    pub(super) unheard: Unheard,
    closed: bool,
    pub(super) ledger: Ledger,
}

impl Window {
    pub(super) fn new(
        limits: WindowLimits,
        producer_id: Id,
        meter: Meter,
        trace_source: Option<TraceSource>,
    ) -> Self {
        let unheard = Unheard::default();
        let state = State {
            producer_id,
            next_number: 1,
            waiting: Waiting::default(),
            in_flight: VecDeque::new(),
            written: 0,
            coalesce: limits.coalesce,
            coalesce_bytes: limits.coalesce_bytes,
            flush_to: 0,
            pressed: false,
            gaps: 0,
            used_messages: 0,
            used_bytes: 0,
            next_ordinal: 0,
            unheard: unheard.clone(),
            closed: false,
            ledger: Ledger { on: meter.is_on(), ..Ledger::default() },
        };
        Self {
            limits,
            meter,
            trace_source,
            line: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
            unheard,
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
            state.flush_to = state.next_ordinal;
            state.next_ordinal
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

impl State {
    /// Whether the owner closed it and all is answered.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Whether the window takes this much more. If not, what waits for company waits no longer.
    fn has_room(&mut self, limits: &WindowLimits, count: usize, bytes: usize) -> bool {
        let messages = self.used_messages == 0 || self.used_messages + count <= limits.messages;
        let bytes = self.used_bytes == 0 || self.used_bytes + bytes <= limits.bytes;
        self.pressed = !(messages && bytes);
        messages && bytes
    }

    fn push(&mut self, mut item: Item) {
        item.slot.ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.used_messages += item.slot.count;
        self.used_bytes += item.bytes;
        self.waiting.push(item);
    }

    /// Whether there is something to write to the present stream now.
    pub(super) fn has_unwritten(&self, now: Instant) -> bool {
        match self.in_flight.get(self.written) {
            Some(next) => self.may_follow(next.bytes),
            None if self.in_flight.len() >= limits::BATCHES_IN_FLIGHT_MAX => false,
            None => self.waiting.front().is_some_and(|item| {
                self.may_follow(item.bytes) && self.lingers_until().is_none_or(|due| due <= now)
            }),
        }
    }

    /// Until when the first message waits for company; `None`: it does not, or there is none.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        let first = self.waiting.front()?;
        let full = self.waiting.len() >= self.coalesce
            || self.waiting.bytes() >= self.coalesce_bytes
            || self.waiting.has_loners();
        let hurried = self.pressed || self.closed || first.slot.ordinal < self.flush_to;
        (!full && !hurried).then_some(first.due)
    }

    /// Whether a batch of this size may be written after those that are: large ones travel alone.
    fn may_follow(&self, bytes: usize) -> bool {
        let before = self.written.checked_sub(1).and_then(|last| self.in_flight.get(last));
        before.is_none_or(|before| before.bytes <= limits::SOLO_BYTES && bytes <= limits::SOLO_BYTES)
    }

    /// Whether there is anything to do for a stream at all.
    pub(super) fn has_work(&self) -> bool {
        !self.in_flight.is_empty() || !self.waiting.is_empty()
    }

    /// The next frame: batches of earlier streams first, then all that waits, up to the size of a frame.
    pub(super) fn next_frame(&mut self) -> Vec<v1::ProducerBatch> {
        let now = Instant::now();
        let mut frame = Vec::new();
        let mut bytes = 0;
        while bytes < limits::FRAME_BYTES && self.has_unwritten(now) {
            if self.written == self.in_flight.len() {
                self.number_next();
            }
            let batch = &self.in_flight[self.written];
            bytes += batch.bytes;
            frame.push(v1::ProducerBatch { number: batch.number, messages: batch.messages.clone() });
            self.written += 1;
        }
        frame
    }

    /// Makes a batch of what waits.
    fn number_next(&mut self) {
        let first = self.waiting.pop().expect("the caller saw that there is something");
        let joins = first.may_join();
        let mut batch = Batch {
            number: self.next_number,
            messages: Vec::new(),
            bytes: first.bytes,
            slots: vec![first.slot],
            maybe: false,
        };
        match first.load {
            Load::Many(messages) => batch.messages = messages,
            Load::One(message) => {
                batch.messages.push(message);
                if joins {
                    self.coalesce_into(&mut batch);
                }
            }
        }
        self.next_number += 1;
        self.in_flight.push_back(batch);
    }

    fn coalesce_into(&mut self, batch: &mut Batch) {
        while batch.messages.len() < self.coalesce {
            let joins = |item: &Item| item.may_join() && batch.bytes + item.bytes <= self.coalesce_bytes;
            let Some(item) = self.waiting.pop_if(joins) else { return };
            if let Load::One(message) = item.load {
                batch.messages.push(message);
            }
            batch.bytes += item.bytes;
            batch.slots.push(item.slot);
        }
    }

    /// Takes a batch out of the books.
    pub(super) fn release(&mut self, batch: &Batch) {
        self.used_messages -= batch.messages.len();
        self.used_bytes -= batch.bytes;
        self.ledger.add(Entry::Left(batch.messages.len()));
    }

    /// Takes an item out of the books that never had a number, for this reason.
    pub(super) fn drop_item(&mut self, mut item: Item, error: &Error) {
        self.used_messages -= item.slot.count;
        self.used_bytes -= item.bytes;
        self.ledger.add(Entry::Left(item.slot.count));
        item.slot.fail(error, &mut self.ledger, &self.unheard);
    }

    fn oldest_unresolved(&self) -> Option<u64> {
        let owed = |slot: &&Slot| slot.promise.is_owed();
        let numbered = self.in_flight.iter().flat_map(|batch| &batch.slots).find(owed);
        numbered.or_else(|| self.waiting.front().map(|item| &item.slot)).map(|slot| slot.ordinal)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let owed = |slot: &&Slot| slot.promise.is_owed();
        let numbered = self.in_flight.iter().flat_map(|batch| &batch.slots).find(owed);
        numbered.or_else(|| self.waiting.front().map(|item| &item.slot)).map(|slot| slot.deadline)
    }

    /// Deadlines rise in the order of enqueuing, but for callers that waited for room.
    fn expire(&mut self, now: Instant) -> bool {
        let mut resolved = false;
        let unknown =
            || Error::OutcomeUnknown { message: String::from("no confirmation before the deadline") };
        for slot in self.in_flight.iter_mut().flat_map(|batch| &mut batch.slots) {
            if slot.promise.is_owed() && slot.deadline <= now {
                slot.fail(&unknown(), &mut self.ledger, &self.unheard);
                resolved = true;
            }
        }
        while let Some(item) = self.waiting.pop_if(|item| item.slot.deadline <= now) {
            self.drop_item(item, &not_sent());
            resolved = true;
        }
        resolved
    }
}

fn not_sent() -> Error {
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
