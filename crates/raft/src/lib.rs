//! Raft groups: log, machine, snapshots and transport on openraft, which no other crate names.
//!
//! This crate moves batches into a replicated log and applies them to a machine; it does not know what they mean, who sends them, or
//! what becomes of effects. It starts no thread, blocks no task, reads no wall clock and opens no socket by itself: see `context`.
#![deny(missing_docs)]

mod assemble;
mod blocking;
mod checkpoint;
mod codec;
mod context;
#[cfg(test)]
mod cuts;
mod error;
mod failover;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod groups;
mod leadership;
mod log_store;
mod machine_store;
mod maintenance;
mod members;
mod memory;
mod proposal;
mod recover;
mod snapshot;
#[cfg(test)]
mod suite;
mod transport;
mod types;
mod upkeep;

pub use codec::ENTRY_BYTES_MAX;
pub use context::{Dialer, EffectSink, Executor, FatalError, GroupSpec, NodeContext, Purpose, RaftOptions};
pub use error::{ChangeError, OpenError, ProposeError};
pub use group::{Group, GroupStatus, PayloadError};
pub use groups::Groups;
pub use leadership::Leadership;
pub use memory::PayloadMemory;
pub use proposal::ProposalHandle;
pub use transport::server::PeerService;
pub use types::PeerNode;
