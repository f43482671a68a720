//! The batcher's task: cuts entries, hands them to the log in order, passes the replies on.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use phalanx_state_machine::command::Batch;
use phalanx_state_machine::reply::Reply;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::queue::{Answer, Cut, InFlight};
use super::{Shared, State, WriteError};
use crate::clock::MachineClock;

/// An entry that came back.
struct Landed {
    answers: Vec<oneshot::Sender<Answer>>,
    bytes: usize,
    outcome: Result<Vec<Reply>, WriteError>,
}

/// Runs until `stop`. What is in flight then is answered `OutcomeUnknown` by its submitters' tickets, what waits `Stopped`.
pub(super) async fn run(shared: Arc<Shared>, clock: Arc<MachineClock>, stop: CancellationToken) {
    let mut flight = InFlight::default();
    let mut flying: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(landed) = flying.next(), if !flying.is_empty() => {
                flight.entries -= 1;
                flight.bytes -= landed.bytes;
                land(&shared, landed);
            }
            () = shared.wake.notified() => {}
        }
        while let Some((term, cut)) = next(&shared, flight) {
            let (bytes, now_ms) = (cut.bytes, clock.now_ms());
            let batch = Batch { version: Batch::VERSION, now_ms, commands: cut.commands };
            let proposed = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                proposed = shared.log.propose(batch, term) => proposed,
            };
            match proposed {
                Ok(proposal) => {
                    flight.entries += 1;
                    flight.bytes += bytes;
                    let answers = cut.answers;
                    flying.push(Box::pin(async move { Landed { answers, bytes, outcome: proposal.await } }));
                }
                Err(error) => land(&shared, Landed { answers: cut.answers, bytes, outcome: Err(error) }),
            }
        }
    }
    shared.close(State::Stopped);
}

fn next(shared: &Shared, flight: InFlight) -> Option<(u64, Cut)> {
    let mut inbox = shared.inbox.lock();
    let State::Open { term } = inbox.state else { return None };
    inbox.lanes.cut(flight).map(|cut| (term, cut))
}

/// Tells each submitter its part. Nobody may be waiting any more; there is nothing to tell then.
fn land(shared: &Shared, landed: Landed) {
    match landed.outcome {
        Ok(replies) if replies.len() == landed.answers.len() => {
            for (answer, reply) in landed.answers.into_iter().zip(replies) {
                let _ = answer.send(Ok(reply));
            }
        }
        Ok(replies) => {
            tracing::error!(
                group_id = shared.group(),
                commands = landed.answers.len(),
                replies = replies.len(),
                "an entry came back with another number of replies than it had commands"
            );
            fail(landed.answers, &WriteError::OutcomeUnknown { group: shared.group() });
        }
        Err(error) => fail(landed.answers, &error),
    }
}

fn fail(answers: Vec<oneshot::Sender<Answer>>, error: &WriteError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}
