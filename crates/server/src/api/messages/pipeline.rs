//! The commands of one stream: queued in order, answered in order, a bounded number at a time.
//!
//! Invariant: a command is handed to the batcher only after all before it were. After one that was refused, none is.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use phalanx_state_machine::command::Command;
use phalanx_state_machine::reply::Reply;
use tokio::time::Instant;

use super::limits::{STREAM_COMMANDS_MAX, STREAM_ROOM_DEADLINE, STREAM_WRITE_DEADLINE};
use crate::batcher::{Batcher, Reservation, Ticket, WriteError};

/// See the module. `T` says what a command was.
pub struct Pipeline<T> {
    batcher: Arc<Batcher>,
    staged: VecDeque<(T, Command)>,
    room: Option<BoxFuture<'static, Result<Reservation, WriteError>>>,
    flying: VecDeque<(T, Flight)>,
    refused: bool,
}

enum Flight {
    Queued(Ticket),
    Refused(WriteError),
}

impl<T> Pipeline<T> {
    /// An empty one.
    pub fn new(batcher: Arc<Batcher>) -> Self {
        Self { batcher, staged: VecDeque::new(), room: None, flying: VecDeque::new(), refused: false }
    }

    /// Nothing waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.flying.is_empty()
    }

    /// Another frame may be read: everything of the last one was handed on.
    pub fn takes_more(&self) -> bool {
        self.staged.is_empty() && self.flying.len() < STREAM_COMMANDS_MAX
    }

    /// Adds a command. It is handed on at once if there is room, so that the stream's next frame may be read; otherwise by
    /// [`Pipeline::next`].
    pub fn push(&mut self, what: T, command: Command) {
        if self.refused {
            return;
        }
        self.staged.push_back((what, command));
        while self.room.is_none()
            && self.flying.len() < STREAM_COMMANDS_MAX
            && let Some((_, command)) = self.staged.front()
            && let Some(place) = self.batcher.try_reserve(command)
        {
            self.hand_on_next(Ok(place));
        }
    }

    /// The next answer, in the order of the commands; hands on what is staged meanwhile. Waits for ever when there is nothing to answer.
    /// Cancel safe.
    pub async fn next(&mut self) -> (T, Result<Reply, WriteError>) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next answer, if it is there.
    pub fn try_next(&mut self) -> Option<(T, Result<Reply, WriteError>)> {
        let answer = match &mut self.flying.front_mut()?.1 {
            Flight::Queued(ticket) => ticket.try_take()?,
            Flight::Refused(error) => Err(error.clone()),
        };
        self.flying.pop_front().map(|(what, _)| (what, answer))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(T, Result<Reply, WriteError>)> {
        self.hand_on(cx);
        let Some((_, flight)) = self.flying.front_mut() else { return Poll::Pending };
        let answer = match flight {
            Flight::Queued(ticket) => match Pin::new(ticket).poll(cx) {
                Poll::Ready(answer) => answer,
                Poll::Pending => return Poll::Pending,
            },
            Flight::Refused(error) => Err(error.clone()),
        };
        let (what, _) = self.flying.pop_front().expect("the front was just looked at");
        Poll::Ready((what, answer))
    }

    /// Hands staged commands to the batcher, as long as there is room.
    fn hand_on(&mut self, cx: &mut Context<'_>) {
        while self.flying.len() < STREAM_COMMANDS_MAX
            && let Some((_, command)) = self.staged.front()
        {
            let place = match &mut self.room {
                Some(room) => match room.as_mut().poll(cx) {
                    Poll::Ready(place) => place,
                    Poll::Pending => return,
                },
                None => match self.batcher.try_reserve(command) {
                    Some(place) => Ok(place),
                    None => {
                        let by = Instant::now() + STREAM_ROOM_DEADLINE;
                        self.room = Some(Box::pin(self.batcher.reserve(command, by)));
                        continue;
                    }
                },
            };
            self.room = None;
            self.hand_on_next(place);
        }
    }

    /// Hands the first staged command to the batcher, on the place that was reserved for it.
    fn hand_on_next(&mut self, place: Result<Reservation, WriteError>) {
        let (what, command) = self.staged.pop_front().expect("the caller looked at the front");
        let deadline = Instant::now() + STREAM_WRITE_DEADLINE;
        match place.and_then(|place| self.batcher.enqueue_reserved(place, command, deadline)) {
            Ok(ticket) => self.flying.push_back((what, Flight::Queued(ticket))),
            Err(error) => {
                self.flying.push_back((what, Flight::Refused(error)));
                self.staged.clear();
                self.refused = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use phalanx_state_machine::command::{Batch, CommandKind, Tick};
    use phalanx_state_machine::ids::{GroupId, NodeId};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::batcher::{Log, Proposal};
    use crate::clock::{MachineClock, SystemClock};

    /// Takes every entry and never answers.
    struct Silent;

    impl Log for Silent {
        fn group(&self) -> GroupId {
            1
        }

        fn leader(&self) -> Option<NodeId> {
            None
        }

        fn propose(&self, _: Batch, _: u64) -> BoxFuture<'_, Result<Proposal, WriteError>> {
            let never: Proposal = futures::future::pending().boxed();
            futures::future::ready(Ok(never)).boxed()
        }
    }

    #[tokio::test]
    async fn next_frame_may_be_read_while_the_last_one_is_being_written() {
        let clock = Arc::new(MachineClock::new(Arc::new(SystemClock::default())));
        let batcher = Batcher::spawn(Arc::new(Silent), clock, CancellationToken::new());
        batcher.open(1);
        let mut pipeline = Pipeline::new(batcher);
        for number in 0..STREAM_COMMANDS_MAX {
            assert!(pipeline.takes_more(), "after {number} commands");
            pipeline.push(number, Command::from(CommandKind::Tick(Tick {})));
        }
        assert!(!pipeline.takes_more(), "a stream has a bounded number of commands on their way");
    }
}
