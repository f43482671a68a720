//! Proposals: into the log in order, in one term only, within a budget; and what became of them.
//!
//! Invariant: an error says `OutcomeUnknown` unless it is certain that nothing was written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use phalanx_state_machine::ids::GroupId;
use phalanx_state_machine::reply::Reply;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ProposeError;
use crate::types::Types;

/// Advice to callers that were refused for too much in flight.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(20);
/// One unit of the byte budget.
const BUDGET_UNIT: usize = 1024;

/// What is in flight, in entries and in bytes.
pub(crate) struct Budget {
    entries: Arc<Semaphore>,
    kilobytes: Arc<Semaphore>,
    kilobytes_max: usize,
}

/// Room taken by one proposal.
pub(crate) struct Permit {
    _entry: OwnedSemaphorePermit,
    _kilobytes: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let kilobytes_max = bytes_max.div_ceil(BUDGET_UNIT).max(1);
        Self {
            entries: Arc::new(Semaphore::new(entries_max)),
            kilobytes: Arc::new(Semaphore::new(kilobytes_max)),
            kilobytes_max,
        }
    }

    /// Room for one proposal, if there is some. One that is larger than the whole budget goes alone.
    pub(crate) fn take(&self, bytes: usize) -> Option<Permit> {
        let units = bytes.div_ceil(BUDGET_UNIT).clamp(1, self.kilobytes_max);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let entry = Arc::clone(&self.entries).try_acquire_owned().ok()?;
        let kilobytes = Arc::clone(&self.kilobytes).try_acquire_many_owned(units).ok()?;
        Some(Permit { _entry: entry, _kilobytes: kilobytes })
    }
}

/// A proposal that was handed to Raft. Await it for the replies; dropping it does not take the proposal back.
#[must_use = "the outcome of the proposal"]
pub struct ProposalHandle {
    outcome: Pin<Box<dyn Future<Output = Result<Vec<Reply>, ProposeError>> + Send>>,
}

impl ProposalHandle {
    pub(crate) fn new(
        group: GroupId,
        permit: Permit,
        limit: Duration,
        result: impl Future<Output = Option<ClientWriteResult<Types>>> + Send + 'static,
        node_of: impl Fn(&ForwardToLeader<Types>) -> Option<u64> + Send + 'static,
    ) -> Self {
        let outcome = async move {
            let result = tokio::time::timeout(limit, result).await;
            drop(permit);
            match result {
                Ok(Some(Ok(written))) => Ok(written.data.0),
                // Refused before anything was appended.
                Ok(Some(Err(ClientWriteError::ForwardToLeader(forward)))) => {
                    Err(ProposeError::NotLeader { group, leader: node_of(&forward) })
                }
                // Appended, then given up by this replica; or no answer: the entry may still commit elsewhere.
                Ok(Some(Err(
                    ClientWriteError::LogEntryDiscarded(_)
                    | ClientWriteError::ChangeMembershipError(_)
                    | ClientWriteError::PreconditionFailed(_),
                )))
                | Ok(None)
                | Err(_) => Err(ProposeError::OutcomeUnknown { group }),
            }
        };
        Self { outcome: Box::pin(outcome) }
    }
}

impl Future for ProposalHandle {
    type Output = Result<Vec<Reply>, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.as_mut().poll(cx)
    }
}
