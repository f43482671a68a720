//! What can go wrong below Raft, and what the caller may do about it.
//!
//! Invariant: an error for which [`Error::is_fatal`] is true means that this process no longer knows what is on
//! disk. Nothing may be acknowledged after it; the process stops and recovers from what the disk really holds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every error of this crate. Cheap to clone, because one failed sync answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation of the operating system failed. Nothing is known to be lost; the operator looks at the disk.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried, as a verb: "open", "write", ...
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// No space. Nothing of this call was kept; retry once space is there. What was accepted before is not lost.
    #[error("no space left for {}", path.display())]
    DiskFull {
        /// The file or directory that could not grow.
        path: PathBuf,
    },
    /// A sync failed: the kernel may have dropped what it could not write. The process must stop, never retry.
    #[error("a sync failed, so what is on disk is unknown ({why}); this process must stop")]
    SyncFailed {
        /// The failed operation and the operating system's answer.
        why: String,
    },
    /// Another process holds the directory.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Stored bytes of this group are damaged. Nothing was deleted; refill the replica from its peers.
    #[error("group {group} is quarantined: {why}")]
    Quarantined {
        /// The group whose call was refused.
        group: u64,
        /// What is damaged, and where.
        why: String,
    },
    /// Stored bytes are damaged. Nothing was deleted; refill from a peer.
    #[error("{what} is damaged: {why}")]
    Corrupt {
        /// Which file, row or record.
        what: String,
        /// The check that failed.
        why: String,
    },
    /// The checkpoint engine refused or failed.
    #[error("checkpoint engine: {operation}: {why}")]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// The engine's answer.
        why: String,
    },
    /// An entry that the log does not hold (purged, truncated, or never written).
    #[error("group {group} holds no entry {index}")]
    NotFound {
        /// The group that was read.
        group: u64,
        /// The first index that is not there.
        index: u64,
    },
    /// Entries must follow the last one without a gap. Nothing was written: a defect of the caller.
    #[error("group {group} expects entry {expected}, not {got}")]
    OutOfOrder {
        /// The group that was appended to.
        group: u64,
        /// The index that comes next.
        expected: u64,
        /// The index that was offered.
        got: u64,
    },
    /// One entry or vote is larger than the log can store. Nothing was written.
    #[error("{bytes} bytes are more than the log takes in one record ({bytes_max})")]
    TooLarge {
        /// The size offered.
        bytes: u64,
        /// The largest size.
        bytes_max: u64,
    },
    /// Too much waits for its sync. Nothing was written; retry after the committer has caught up.
    #[error("{pending_bytes} bytes wait to be synced, the limit is {bytes_max}")]
    Overloaded {
        /// What waits now.
        pending_bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// More groups than the heads of segments have room for. Nothing was written.
    #[error("the log hosts {groups_max} groups at most; raise the segment size")]
    TooManyGroups {
        /// The limit.
        groups_max: u64,
    },
    /// A snapshot of this replica is being read already. Nothing was changed; retry when that one has ended.
    #[error("a snapshot of replica {replica} is being read already")]
    StreamBusy {
        /// The replica.
        replica: u64,
    },
    /// A snapshot cannot be read to its end any more. The checkpoint is sound; begin a new one.
    #[error("the snapshot of replica {replica} has ended early: {why}")]
    StreamEnded {
        /// The replica.
        replica: u64,
        /// What overtook it.
        why: String,
    },
    /// An option is out of its range.
    #[error("option {option}: {why}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// The rule it breaks.
        why: String,
    },
}

impl Error {
    /// True when the process must stop: it no longer knows what is on disk.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::SyncFailed { .. } => true,
            Self::Io { .. }
            | Self::DiskFull { .. }
            | Self::Locked { .. }
            | Self::Quarantined { .. }
            | Self::Corrupt { .. }
            | Self::Engine { .. }
            | Self::NotFound { .. }
            | Self::OutOfOrder { .. }
            | Self::TooLarge { .. }
            | Self::Overloaded { .. }
            | Self::TooManyGroups { .. }
            | Self::StreamBusy { .. }
            | Self::StreamEnded { .. }
            | Self::InvalidOption { .. } => false,
        }
    }

    /// True when the same call may succeed later and this call changed nothing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::DiskFull { .. }
            | Self::Overloaded { .. }
            | Self::Locked { .. }
            | Self::StreamBusy { .. } => true,
            Self::Io { .. }
            | Self::SyncFailed { .. }
            | Self::Quarantined { .. }
            | Self::Corrupt { .. }
            | Self::Engine { .. }
            | Self::NotFound { .. }
            | Self::OutOfOrder { .. }
            | Self::TooLarge { .. }
            | Self::TooManyGroups { .. }
            | Self::StreamEnded { .. }
            | Self::InvalidOption { .. } => false,
        }
    }

    /// Wraps an answer of the operating system; a full disk gets its own variant.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_path_buf() }
            }
            _ => Self::Io { operation, path: path.to_path_buf(), source: Arc::new(source) },
        }
    }
}
