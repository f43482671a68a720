//! Settles on their way: waiting to be written, and written but not answered.
//!
//! Invariants: settles are written in the order in which they were asked for, and answered in that order. What was
//! written to a stream that broke is written again, before anything else: settling twice is answered the same way twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use phalanx_proto::v1;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::Span;

use super::delivery::ReturnReason;
use super::lease::Lease;
use crate::error::Error;
use crate::limits;
use crate::metrics::{Meter, SettleKind};
use crate::trace;

/// Streams on which a settle may stay unanswered before it is given up.
const WRITES_MAX: u32 = 10;
/// Tokens of one answer that are looked at: no consumer holds more.
const OUTCOME_TOKENS_MAX: usize = limits::CONSUMER_WINDOW_MESSAGES_MAX as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Ack,
    Nack { delay_ms: u64 },
    Reject,
    Extend { lease_ms: u64 },
}

impl Action {
    fn kind(self) -> SettleKind {
        match self {
            Self::Ack => SettleKind::Ack,
            Self::Nack { .. } => SettleKind::Nack,
            Self::Reject => SettleKind::Reject,
            Self::Extend { .. } => SettleKind::Extend,
        }
    }

    pub(crate) fn nack(delay: Duration) -> Self {
        Self::Nack { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }
    }
}

type Promise = oneshot::Sender<Result<(), Error>>;

struct Op {
    lease: Arc<Lease>,
    action: Action,
    since: Instant,
    /// If somebody waits for the answer.
    span: Span,
    deadline: Instant,
    promises: Vec<Promise>,
    written_at: Instant,
    writes: u32,
}

/// What an answer says about a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is settled, or its lease is over: nothing more will come of it.
    Over { token: u64, lost: bool },
    /// The lease lasts this long from when the extension was written; 0: as long as it was given for.
    Extended { token: u64, written_at: Instant, lease_ms: u64 },
}

pub(crate) struct Desk {
    state: Mutex<State>,
    pub(crate) work: Notify,
    settle_deadline: Duration,
    meter: Meter,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Op>,
    /// By token: a later extension replaces an earlier one that is not written yet.
    extends: BTreeMap<u64, Op>,
    written: VecDeque<Op>,
    closed: Option<Error>,
    ledger: Ledger,
}

/// What is to be told to the application's metrics once no lock is held.
#[derive(Default)]
struct Ledger {
    on: bool,
    entries: Vec<Entry>,
}

struct Entry {
    kind: SettleKind,
    result: Result<(), Error>,
    latency: Duration,
}

impl Desk {
    pub(crate) fn new(settle_deadline: Duration, meter: Meter) -> Self {
        let ledger = Ledger { on: meter.is_on(), ..Ledger::default() };
        let state = Mutex::new(State { ledger, ..State::default() });
        Self { state, work: Notify::new(), settle_deadline, meter }
    }

    /// Gives the state free, and then tells what came to its end.
    fn done(&self, mut state: MutexGuard<'_, State>) {
        let entries = std::mem::take(&mut state.ledger.entries);
        drop(state);
        for Entry { kind, result, latency } in entries {
            self.meter.tell(|metrics, queue| metrics.settled(queue, kind, result.as_ref().copied(), latency));
        }
    }

    /// Asks for a final settle.
    pub(crate) fn settle(&self, lease: &Arc<Lease>, action: Action) -> oneshot::Receiver<Result<(), Error>> {
        let (sender, receiver) = oneshot::channel();
        let op = self.op(lease, action, Some(sender));
        let mut state = self.state.lock();
        match state.closed.clone() {
            Some(error) => op.resolve(Err(error), &mut state.ledger),
            None => state.pending.push_back(op),
        }
        self.done(state);
        self.work.notify_one();
        receiver
    }

    /// Asks for an extension. `wanted`: somebody waits for the answer.
    pub(crate) fn extend(
        &self,
        lease: &Arc<Lease>,
        lease_ms: u64,
        wanted: bool,
    ) -> Option<oneshot::Receiver<Result<(), Error>>> {
        let (sender, receiver) = wanted.then(oneshot::channel).unzip();
        let mut op = self.op(lease, Action::Extend { lease_ms }, sender);
        let mut state = self.state.lock();
        if let Some(error) = state.closed.clone() {
            op.resolve(Err(error), &mut state.ledger);
        } else {
            if let Some(earlier) = state.extends.remove(&lease.token) {
                op.promises.extend(earlier.promises.into_iter().filter(|promise| !promise.is_closed()));
            }
            state.extends.insert(lease.token, op);
        }
        self.done(state);
        self.work.notify_one();
        receiver
    }

    fn op(&self, lease: &Arc<Lease>, action: Action, promise: Option<Promise>) -> Op {
        let now = Instant::now();
        let span = match &promise {
            Some(_) => trace::settle_span(&self.meter.queue, action.kind(), lease.token),
            None => Span::none(),
        };
        Op {
            lease: lease.clone(),
            action,
            since: now,
            span,
            deadline: now + self.settle_deadline,
            promises: promise.into_iter().collect(),
            written_at: now,
            writes: 0,
        }
    }

    /// Settles that are not answered.
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.pending.len() + state.extends.len() + state.written.len()
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        let state = self.state.lock();
        !state.pending.is_empty() || !state.extends.is_empty()
    }

    pub(crate) fn is_owed(&self) -> bool {
        !self.state.lock().written.is_empty()
    }

    /// The next frame: as much as waits, neighbours as ranges.
    pub(crate) fn next_frame(&self) -> Vec<v1::SettleItem> {
        let now = Instant::now();
        let mut items: Vec<v1::SettleItem> = Vec::new();
        let mut last = None;
        let mut state = self.state.lock();
        for _ in 0..limits::SETTLES_PER_FRAME {
            // What was written before comes first; an extension is more urgent than a settle.
            let mut op = state.pending.pop_front_if(|op| op.writes > 0);
            if op.is_none() {
                op = state.extends.pop_first().map(|(_, op)| op);
            }
            let Some(op) = op.or_else(|| state.pending.pop_front()) else { break };
            write(&mut items, &mut last, op, now, &mut state.written);
        }
        items
    }

    /// The stream broke: what it did not answer is written again. Answers of those given up.
    pub(crate) fn rewind(&self) -> Vec<Answer> {
        let mut state = self.state.lock();
        let mut answers = Vec::new();
        while let Some(op) = state.written.pop_back() {
            if op.writes < WRITES_MAX {
                state.pending.push_front(op);
            } else {
                answers.push(Answer::Over { token: op.lease.token, lost: true });
                let message = String::from("the server passed the settle over");
                op.resolve(Err(Error::OutcomeUnknown { message }), &mut state.ledger);
            }
        }
        self.done(state);
        answers
    }

    /// What is written may have been carried out before the answer that comes next.
    pub(crate) fn note_repetition(&self) {
        for op in &mut self.state.lock().written {
            op.writes = op.writes.max(2);
        }
    }

    /// Books an answer: for each of its tokens, that of the first settle that names it. The server answers in order and
    /// passes over what it does not know, so settles before that one are over too.
    pub(crate) fn answer(&self, outcome: &v1::SettleOutcome) -> Vec<Answer> {
        let Some(tokens) = outcome.tokens else { return Vec::new() };
        let mut state = self.state.lock();
        let mut answers = Vec::new();
        for token in (tokens.first..=tokens.last).take(OUTCOME_TOKENS_MAX) {
            let Some(at) = state.written.iter().position(|op| op.lease.token == token) else { continue };
            let State { written, ledger, .. } = &mut *state;
            answers.extend(written.drain(..at).map(|op| op.passed_over(ledger)));
            let op = written.pop_front().expect("it was just found there");
            answers.push(op.answered(outcome.result(), ledger));
        }
        self.done(state);
        answers
    }

    /// The server ended the lease: no settle of it was or will be carried out.
    pub(crate) fn lease_ended(&self, token: u64) {
        let mut state = self.state.lock();
        let State { pending, extends, written, ledger, .. } = &mut *state;
        for ops in [written, pending] {
            while let Some(at) = ops.iter().position(|op| op.lease.token == token) {
                if let Some(op) = ops.remove(at) {
                    op.passed_over(ledger);
                }
            }
        }
        if let Some(op) = extends.remove(&token) {
            op.passed_over(ledger);
        }
        self.done(state);
    }

    /// The server has answered all that was written: what is left, it did not know.
    pub(crate) fn all_answered(&self) -> Vec<Answer> {
        let mut state = self.state.lock();
        let State { written, ledger, .. } = &mut *state;
        let answers = written.drain(..).map(|op| op.passed_over(ledger)).collect();
        self.done(state);
        answers
    }

    /// Reports overdue settles as unknown; they are repeated all the same.
    pub(crate) fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        let State { pending, extends, written, .. } = &mut *state;
        for op in written.iter_mut().chain(pending).chain(extends.values_mut()) {
            if op.deadline <= now {
                for promise in op.promises.drain(..) {
                    let message = String::from("no answer to the settle before the deadline");
                    let _unwanted = promise.send(Err(Error::OutcomeUnknown { message }));
                }
            }
        }
    }

    /// Nothing can be settled any more. What may have been carried out is unknown.
    pub(crate) fn close(&self, error: &Error) {
        let mut state = self.state.lock();
        state.closed.get_or_insert_with(|| error.clone());
        for op in std::mem::take(&mut state.written) {
            op.resolve(Err(error.clone().into_unknown()), &mut state.ledger);
        }
        let extends = std::mem::take(&mut state.extends).into_values();
        for op in std::mem::take(&mut state.pending).into_iter().chain(extends) {
            let verdict = if op.writes > 0 { error.clone().into_unknown() } else { error.clone() };
            op.resolve(Err(verdict), &mut state.ledger);
        }
        self.done(state);
    }
}

impl Op {
    fn resolve(self, result: Result<(), Error>, ledger: &mut Ledger) {
        for promise in self.promises {
            let _unwanted = promise.send(result.clone());
        }
        if let Err(error) = &result {
            trace::failed(&self.span, error);
        }
        if ledger.on {
            let (kind, latency) = (self.action.kind(), self.since.elapsed());
            ledger.entries.push(Entry { kind, result, latency });
        }
    }

    fn answered(self, result: v1::SettleResult, ledger: &mut Ledger) -> Answer {
        let token = self.lease.token;
        match (self.action, result) {
            (Action::Extend { lease_ms }, v1::SettleResult::Extended) => {
                let answer = Answer::Extended { token, written_at: self.written_at, lease_ms };
                let lease = if lease_ms == 0 { self.lease.given } else { Duration::from_millis(lease_ms) };
                self.lease.set_deadline(self.written_at + lease);
                self.resolve(Ok(()), ledger);
                answer
            }
            (Action::Ack, v1::SettleResult::Acked)
            | (Action::Nack { .. }, v1::SettleResult::Nacked)
            | (Action::Reject, v1::SettleResult::Rejected) => {
                self.resolve(Ok(()), ledger);
                Answer::Over { token, lost: false }
            }
            (Action::Extend { .. }, _) => {
                self.lease.lose(ReturnReason::Expired);
                self.passed_over(ledger)
            }
            // Another settle of the same delivery came first.
            _ => self.passed_over(ledger),
        }
    }

    /// The server knows the lease no more. Of a repetition that says little: the first attempt may have ended the lease, and servers remember
    /// settles only as long as they remember the consumer.
    fn passed_over(self, ledger: &mut Ledger) -> Answer {
        let token = self.lease.token;
        let is_final = !matches!(self.action, Action::Extend { .. });
        let error = if is_final && self.writes > 1 {
            let message =
                format!("the lease of delivery {token} is over; the settle may have been carried out before");
            Error::OutcomeUnknown { message }
        } else {
            Error::LeaseOver { token }
        };
        self.resolve(Err(error), ledger);
        Answer::Over { token, lost: true }
    }
}

/// Adds `op` to the frame: to the range before, if it is that one's neighbour.
fn write(
    items: &mut Vec<v1::SettleItem>,
    last: &mut Option<Action>,
    mut op: Op,
    now: Instant,
    written: &mut VecDeque<Op>,
) {
    let token = op.lease.token;
    op.written_at = now;
    op.writes += 1;
    let range = v1::TokenRange { first: token, last: token };
    // A token in a wider range is passed over when the server knows it no more, which is told by the lease's end. Of a
    // repetition there may be no such news: each gets a range and so an answer of its own.
    let repeated = op.writes > 1;
    if let (Some(item), true) = (items.last_mut(), *last == Some(op.action)) {
        match item.tokens.last_mut() {
            Some(before) if !repeated && before.last + 1 == token => before.last = token,
            _ => item.tokens.push(range),
        }
    } else {
        let (action, delay_ms, lease_ms) = match op.action {
            Action::Ack => (v1::SettleAction::Ack, 0, 0),
            Action::Nack { delay_ms } => (v1::SettleAction::Nack, delay_ms, 0),
            Action::Reject => (v1::SettleAction::Reject, 0, 0),
            Action::Extend { lease_ms } => (v1::SettleAction::Extend, 0, lease_ms),
        };
        items.push(v1::SettleItem {
            action: action.into(),
            tokens: vec![range],
            up_to: 0,
            delay_ms,
            lease_ms,
        });
        *last = Some(op.action);
    }
    written.push_back(op);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::QueueKey;

    const TOKEN: u64 = 7;

    fn desk() -> (Desk, Arc<Lease>) {
        let queue = QueueKey { namespace: "default".into(), name: "q".into() };
        let lease = Lease::new(TOKEN, Instant::now(), Duration::from_secs(30));
        (Desk::new(Duration::from_secs(30), Meter::new(queue, None)), Arc::new(lease))
    }

    fn answer_over(desk: &Desk) {
        let tokens = Some(v1::TokenRange { first: TOKEN, last: TOKEN });
        let result = v1::SettleResult::LeaseOver.into();
        desk.answer(&v1::SettleOutcome { tokens, result, ..v1::SettleOutcome::default() });
    }

    #[tokio::test]
    async fn a_lease_that_was_over_is_told_so() {
        let (desk, lease) = desk();
        let settled = desk.settle(&lease, Action::Ack);
        assert_eq!(desk.next_frame().len(), 1);
        answer_over(&desk);
        assert_eq!(settled.await, Ok(Err(Error::LeaseOver { token: TOKEN })));
    }

    #[tokio::test]
    async fn of_a_repetition_it_is_not_known_whether_the_first_attempt_ended_the_lease() {
        let unknown = |settled: Result<Result<(), Error>, _>| {
            assert!(matches!(settled, Ok(Err(Error::OutcomeUnknown { .. }))), "{settled:?}");
        };
        // A stream broke in between.
        let (desk, lease) = desk();
        let settled = desk.settle(&lease, Action::Ack);
        desk.next_frame();
        desk.rewind();
        desk.next_frame();
        answer_over(&desk);
        unknown(settled.await);
        // A call was repeated.
        let (desk, lease) = self::desk();
        let settled = desk.settle(&lease, Action::Reject);
        desk.next_frame();
        desk.note_repetition();
        desk.all_answered();
        unknown(settled.await);
        // An extension leaves nothing behind, whichever attempt was carried out.
        let (desk, lease) = self::desk();
        let extended = desk.extend(&lease, 0, true).expect("somebody waits");
        desk.next_frame();
        desk.note_repetition();
        answer_over(&desk);
        assert_eq!(extended.await, Ok(Err(Error::LeaseOver { token: TOKEN })));
    }
}
