//! The log as a batcher sees it: a seam, so that batching is tested without Raft.

use std::sync::Arc;

use futures::future::BoxFuture;
use phalanx_raft::{Group, ProposeError};
use phalanx_state_machine::command::Batch;
use phalanx_state_machine::ids::{GroupId, NodeId};
use phalanx_state_machine::reply::Reply;

use super::WriteError;

/// An entry on its way: its replies, when it is applied.
pub type Proposal = BoxFuture<'static, Result<Vec<Reply>, WriteError>>;

/// Takes entries, in order.
pub trait Log: Send + Sync + 'static {
    /// Which group's.
    fn group(&self) -> GroupId;

    /// The node that leads, as far as is known here.
    fn leader(&self) -> Option<NodeId>;

    /// Queues an entry that may only be written in `term`. Entries keep the order of the calls.
    ///
    /// The error of this call and of the proposal says whether anything was written: only
    /// [`WriteError::OutcomeUnknown`] leaves it open.
    fn propose(&self, batch: Batch, term: u64) -> BoxFuture<'_, Result<Proposal, WriteError>>;
}

impl Log for Group {
    fn group(&self) -> GroupId {
        self.id()
    }

    fn leader(&self) -> Option<NodeId> {
        self.leadership().borrow().leader.map(|(_, node)| node)
    }

    fn propose(&self, batch: Batch, term: u64) -> BoxFuture<'_, Result<Proposal, WriteError>> {
        let group = self.id();
        Box::pin(async move {
            let handle = Group::propose(self, batch, term).await.map_err(|error| of(group, error))?;
            let proposal: Proposal = Box::pin(async move { handle.await.map_err(|error| of(group, error)) });
            Ok(proposal)
        })
    }
}

/// Shared handles are logs too.
impl<L: Log> Log for Arc<L> {
    fn group(&self) -> GroupId {
        (**self).group()
    }

    fn leader(&self) -> Option<NodeId> {
        (**self).leader()
    }

    fn propose(&self, batch: Batch, term: u64) -> BoxFuture<'_, Result<Proposal, WriteError>> {
        (**self).propose(batch, term)
    }
}

/// What Raft says about a write, in the words of a batcher.
fn of(group: GroupId, error: ProposeError) -> WriteError {
    match error {
        ProposeError::NotLeader { leader, .. } => WriteError::NotLeader { group, leader },
        ProposeError::Overloaded { retry_after, .. } => WriteError::Overloaded { group, retry_after },
        ProposeError::TooLarge { bytes, bytes_max } => WriteError::TooLarge { group, bytes, bytes_max },
        ProposeError::Stopped { .. } => WriteError::Stopped { group },
        // A deadline of Raft's own is met by reads only; whatever it were, this is the careful answer.
        ProposeError::OutcomeUnknown { .. } | ProposeError::Deadline { .. } => {
            WriteError::OutcomeUnknown { group }
        }
        ProposeError::Storage { why, .. } => {
            tracing::error!(group_id = group, why, "a write met damaged storage");
            WriteError::OutcomeUnknown { group }
        }
    }
}
