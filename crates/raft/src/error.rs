//! What can go wrong in a group, and what the caller may do about it.

use std::time::Duration;

use phalanx_state_machine::ids::{GroupId, NodeId, ReplicaId};

/// Why a proposal or a read has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written. `leader` is a hint and may be stale; `None`: ask again a little later.
    #[error("group {group} is led elsewhere")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// The leader's node, as far as known here.
        leader: Option<NodeId>,
    },
    /// The entry may still commit. Retry with the same request id, never with a new one.
    #[error("the outcome of a proposal to group {group} is unknown")]
    OutcomeUnknown {
        /// The group.
        group: GroupId,
    },
    /// Nothing was written: too much is in flight.
    #[error("group {group} has too much in flight")]
    Overloaded {
        /// The group.
        group: GroupId,
        /// When to try again.
        retry_after: Duration,
    },
    /// Nothing was written: one entry is larger than the log takes.
    #[error("a batch of {bytes} bytes is more than one entry takes ({bytes_max})")]
    TooLarge {
        /// Size offered.
        bytes: usize,
        /// Largest size.
        bytes_max: usize,
    },
    /// A read was not confirmed in time. Nothing was to be written; retry.
    #[error("group {group} did not confirm its leadership in time")]
    Deadline {
        /// The group.
        group: GroupId,
    },
    /// Stored data of this replica cannot be read. It is being quarantined or the process stops.
    #[error("storage of group {group}: {why}")]
    Storage {
        /// The group.
        group: GroupId,
        /// What happened.
        why: String,
    },
    /// This replica was shut down. Nothing was written by this call.
    #[error("group {group} is stopped")]
    Stopped {
        /// The group.
        group: GroupId,
    },
}

impl ProposeError {
    /// True when nothing was written, so that the same call may be made again, here or elsewhere, without any id.
    #[must_use]
    pub fn nothing_was_written(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::Deadline { .. }
            | Self::Stopped { .. } => true,
            Self::OutcomeUnknown { .. } | Self::Storage { .. } => false,
        }
    }

    /// True when trying again, elsewhere or later, can help. After [`ProposeError::OutcomeUnknown`]: only with the same id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Overloaded { .. }
            | Self::Deadline { .. }
            | Self::Stopped { .. } => true,
            Self::TooLarge { .. } | Self::Storage { .. } => false,
        }
    }
}

/// Why a replica was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log of this replica is damaged: entries or a vote that it acknowledged may be missing, so it must never vote again under
    /// this replica id. Forget the replica here ([`crate::Groups::discard`]) and let the group's leader put a new replica id in its
    /// place ([`crate::Group::replace_replica`]).
    #[error("the log of replica {replica} of group {group} is damaged ({why}); it needs a new replica id")]
    LogRotten {
        /// The group.
        group: GroupId,
        /// The replica that must not come back.
        replica: ReplicaId,
        /// What is damaged.
        why: String,
    },
    /// The checkpoint is damaged and no peer could refill it yet. Nothing was deleted; open again later.
    #[error("the checkpoint of group {group} is damaged ({why}) and no peer has refilled it: {peers}")]
    NoRefill {
        /// The group.
        group: GroupId,
        /// What is damaged.
        why: String,
        /// What the peers answered.
        peers: String,
    },
    /// The group is open already, with this replica id.
    #[error("group {group} is open already as replica {replica}")]
    AlreadyOpen {
        /// The group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
    },
    /// The log or the checkpoint store failed.
    #[error("storage of group {group}")]
    Storage {
        /// The group.
        group: GroupId,
        /// The failure.
        source: phalanx_storage::Error,
    },
    /// Raft refused its own stored state.
    #[error("start group {group}: {why}")]
    Raft {
        /// The group.
        group: GroupId,
        /// What it said.
        why: String,
    },
}

/// Why a change of members or leader did not happen, or is not known to have happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    /// This replica does not lead. Nothing was changed.
    #[error("group {group} is led elsewhere")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// The leader's node, as far as known here.
        leader: Option<NodeId>,
    },
    /// The request makes no sense now. Nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// It was not finished in time, and may still finish. Ask the status, then repeat.
    #[error("not finished in time: {0}")]
    Timeout(String),
    /// This replica was shut down.
    #[error("group {group} is stopped")]
    Stopped {
        /// The group.
        group: GroupId,
    },
}
