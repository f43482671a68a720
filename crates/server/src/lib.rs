//! The node: listeners, bootstrap, batching, dispatch, routing to leaders.
//!
//! This crate does not know openraft, file formats of the log, or how a queue works: it hands commands to `phalanx-raft` and effects to
//! consumers' streams. It reads clocks, draws randomness, opens files and sockets only through `seams`, so that the simulation
//! runs the same node.
#![deny(missing_docs)]

pub mod authorize;
pub mod caller;
pub mod clock;
pub mod config;
pub mod convert;
pub mod identity;
pub mod status;
