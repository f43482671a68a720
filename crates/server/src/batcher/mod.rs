//! Batching: one entry of the log for everything that was waiting when the last one left.
//!
//! One batcher for each group that this node may lead. While entries are being written, commands gather; when the log has room, the
//! next entry is cut from them, without any delay of its own: an idle log gets a command at once. Small commands go before
//! sends, and commands of one submitter's stream keep their order.
//!
//! Invariants: nothing is proposed outside the term that [`Batcher::open`] named. What was not handed to the log when the term ends is
//! answered `NotLeader`; what was, by the log, or [`WriteError::OutcomeUnknown`]. Every submission is answered or given up by its
//! deadline. Memory is bounded by [`limits`]; what is over them is refused at once, and settles, deletes and ticks have a reserve.

pub mod limits;

mod admission;
mod error;
mod log;
mod queue;
mod run;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_state_machine::command::Command;
use phalanx_state_machine::ids::GroupId;
use phalanx_state_machine::reply::Reply;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::MachineClock;
use crate::status;
use admission::{Admission, Class, Room};
use queue::{Answer, Fate, Item, Lanes};

pub use error::WriteError;
pub use log::{Log, Proposal};

/// See the module.
pub struct Batcher {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn Log>,
    admission: Admission,
    inbox: Mutex<Inbox>,
    wake: Notify,
}

struct Inbox {
    state: State,
    lanes: Lanes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { term: u64 },
    Stopped,
}

impl Batcher {
    /// A closed batcher in front of `log`, with its task; `stop` ends both.
    #[must_use]
    pub fn spawn(log: Arc<dyn Log>, clock: Arc<MachineClock>, stop: CancellationToken) -> Arc<Self> {
        let shared = Arc::new(Shared {
            log,
            admission: Admission::new(),
            inbox: Mutex::new(Inbox { state: State::Closed, lanes: Lanes::default() }),
            wake: Notify::new(),
        });
        tokio::spawn(run::run(Arc::clone(&shared), clock, stop));
        Arc::new(Self { shared })
    }

    /// This replica leads `term`, and the term's first entry has been queued: commands may follow.
    pub fn open(&self, term: u64) {
        let mut inbox = self.shared.inbox.lock();
        if inbox.state != State::Stopped {
            inbox.state = State::Open { term };
        }
    }

    /// This replica leads no more: what waits is answered `NotLeader`.
    pub fn close(&self) {
        self.shared.close(State::Closed);
    }

    /// Bytes of the commands that wait now.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.shared.inbox.lock().lanes.bytes()
    }

    /// Submits a command and waits for its reply, at most [`limits::COMMAND_DEADLINE`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn submit(&self, command: Command) -> Result<Reply, WriteError> {
        self.submit_within(command, limits::COMMAND_DEADLINE).await
    }

    /// Submits a command and waits for its reply, at most `timeout`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn submit_within(&self, command: Command, timeout: Duration) -> Result<Reply, WriteError> {
        self.enqueue(command, Instant::now() + timeout)?.await
    }

    /// Queues a command, or refuses it at once when too much waits. The commands of one caller keep the order of the calls when they
    /// are all sends, or none is.
    ///
    /// # Errors
    /// `NotLeader`, `Overloaded`, `Stopped`: nothing was written.
    pub fn enqueue(&self, command: Command, deadline: Instant) -> Result<Ticket, WriteError> {
        self.shared.check_open()?;
        let reservation = self.try_reserve(&command).ok_or_else(|| self.shared.overloaded())?;
        self.shared.push(command, reservation, deadline)
    }

    /// A place for `command`, if there is one now.
    #[must_use]
    pub fn try_reserve(&self, command: &Command) -> Option<Reservation> {
        let (class, bytes) = (Class::of(command), admission::cost(command));
        let room = self.shared.admission.try_enter(class, bytes)?;
        Some(Reservation { class, bytes, room })
    }

    /// As [`Batcher::try_reserve`], for streams: waits for a place until `deadline`, in the order of asking. A stream reads no further
    /// meanwhile, so that its peer is slowed down rather than refused.
    ///
    /// # Errors
    /// `Overloaded`.
    pub fn reserve(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reservation, WriteError>> + Send + use<> {
        let (class, bytes) = (Class::of(command), admission::cost(command));
        let shared = Arc::clone(&self.shared);
        async move {
            let room = tokio::time::timeout_at(deadline, shared.admission.enter(class, bytes)).await;
            let room = room.map_err(|_| shared.overloaded())?;
            Ok(Reservation { class, bytes, room })
        }
    }

    /// As [`Batcher::enqueue`], with the place that was reserved for this command.
    ///
    /// # Errors
    /// `NotLeader`, `Stopped`: nothing was written.
    pub fn enqueue_reserved(
        &self,
        reservation: Reservation,
        command: Command,
        deadline: Instant,
    ) -> Result<Ticket, WriteError> {
        self.shared.push(command, reservation, deadline)
    }
}

/// A place among what waits, for one command. Dropping it frees the place.
pub struct Reservation {
    class: Class,
    bytes: usize,
    room: Room,
}

impl Shared {
    fn group(&self) -> GroupId {
        self.log.group()
    }

    fn check_open(&self) -> Result<(), WriteError> {
        let state = self.inbox.lock().state;
        match state {
            State::Open { .. } => Ok(()),
            State::Closed | State::Stopped => Err(self.refusal(state)),
        }
    }

    fn push(&self, command: Command, place: Reservation, deadline: Instant) -> Result<Ticket, WriteError> {
        let Reservation { class, bytes, room } = place;
        let (answer, receiver) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let item = Item { command, class, bytes, answer, fate: Arc::clone(&fate), _room: room };
        {
            let mut inbox = self.inbox.lock();
            match inbox.state {
                State::Open { .. } => inbox.lanes.push(item),
                state @ (State::Closed | State::Stopped) => {
                    drop(inbox);
                    return Err(self.refusal(state));
                }
            }
        }
        self.wake.notify_one();
        Ok(Ticket { group: self.group(), answer: receiver, fate, deadline, timer: None })
    }

    /// Ends the term, or everything, and answers what waits.
    fn close(&self, state: State) {
        let waiting = {
            let mut inbox = self.inbox.lock();
            if inbox.state != State::Stopped {
                inbox.state = state;
            }
            inbox.lanes.drain()
        };
        let refusal = self.refusal(state);
        for item in waiting {
            // Nobody may be waiting any more; there is nothing to tell then.
            let _ = item.answer.send(Err(refusal.clone()));
        }
    }

    fn refusal(&self, state: State) -> WriteError {
        match state {
            State::Stopped => WriteError::Stopped { group: self.group() },
            State::Closed | State::Open { .. } => {
                WriteError::NotLeader { group: self.group(), leader: self.log.leader() }
            }
        }
    }

    fn overloaded(&self) -> WriteError {
        WriteError::Overloaded { group: self.group(), retry_after: status::RETRY_OVERLOAD }
    }
}

/// A command on its way; resolves by its deadline. Dropping it does not take the command back.
pub struct Ticket {
    group: GroupId,
    answer: oneshot::Receiver<Answer>,
    fate: Arc<Fate>,
    deadline: Instant,
    /// Set when somebody waits: most tickets of a stream are answered before their turn to be waited for.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Ticket {
    /// The answer, if it is there already.
    pub fn try_take(&mut self) -> Option<Answer> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(self.lost())),
        }
    }

    /// The batcher went away without an answer, or the deadline came.
    fn lost(&self) -> WriteError {
        if self.fate.give_up() {
            WriteError::NotInTime { group: self.group }
        } else {
            WriteError::OutcomeUnknown { group: self.group }
        }
    }
}

impl Future for Ticket {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.unwrap_or_else(|_| Err(self.lost())));
        }
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.lost()));
        }
        Poll::Pending
    }
}
