//! How a write can fail, and what that says about the log.

use std::time::Duration;

use phalanx_state_machine::ids::{GroupId, NodeId};
use tonic::Status;

use crate::status;

/// A command was not carried out, or nobody knows whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was written: go to the leader. `leader` is a hint and may be stale.
    #[error("group {group} is led elsewhere; nothing was written")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// Who may lead it.
        leader: Option<NodeId>,
    },
    /// Nothing was written: too much waits already.
    #[error("group {group} has too much waiting; nothing was written")]
    Overloaded {
        /// The group.
        group: GroupId,
        /// Come back after this.
        retry_after: Duration,
    },
    /// Nothing was written: the command was still waiting at its deadline.
    #[error("group {group} did not get to the command before its deadline; nothing was written")]
    NotInTime {
        /// The group.
        group: GroupId,
    },
    /// Nothing was written: the command is larger than one entry may be.
    #[error("a command of {bytes} bytes is more than one entry takes ({bytes_max}); nothing was written")]
    TooLarge {
        /// The group.
        group: GroupId,
        /// Size of the entry it made.
        bytes: usize,
        /// Largest size.
        bytes_max: usize,
    },
    /// The command was handed to the log, and no answer came: it may still commit. Repeat it with the same ids only.
    #[error("the outcome of a write to group {group} is unknown")]
    OutcomeUnknown {
        /// The group.
        group: GroupId,
    },
    /// Nothing was written: the node is stopping.
    #[error("group {group} is stopping on this node; nothing was written")]
    Stopped {
        /// The group.
        group: GroupId,
    },
}

impl WriteError {
    /// Nothing was written, and another attempt at the leader may succeed.
    #[must_use]
    pub fn led_elsewhere(&self) -> bool {
        match self {
            WriteError::NotLeader { .. } => true,
            WriteError::Overloaded { .. }
            | WriteError::NotInTime { .. }
            | WriteError::TooLarge { .. }
            | WriteError::OutcomeUnknown { .. }
            | WriteError::Stopped { .. } => false,
        }
    }
}

impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        let text = error.to_string();
        match error {
            WriteError::NotLeader { group, leader } => status::not_leader(group, leader),
            WriteError::Overloaded { retry_after, .. } => status::overloaded(text, retry_after),
            WriteError::NotInTime { .. } => status::overloaded(text, status::RETRY_OVERLOAD),
            WriteError::TooLarge { .. } => status::new(status::Reason::Invalid, text),
            WriteError::OutcomeUnknown { .. } => status::outcome_unknown(text),
            WriteError::Stopped { .. } => status::unavailable(text),
        }
    }
}
