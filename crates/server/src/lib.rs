//! The node: listeners, bootstrap, batching, dispatch, routing to leaders.
//!
//! This crate does not know openraft, file formats of the log, or how a queue works: it hands commands to `phalanx-raft` and effects to
//! consumers' streams. It reads clocks, draws randomness, opens files and sockets only through [`seams`], so that the simulation
//! runs the same node.
#![deny(missing_docs)]

pub mod config;
pub mod node;
pub mod seams;
mod shutdown;
pub mod state;

pub mod api;
pub mod authorize;
pub mod caller;
pub mod convert;
pub mod forward;
pub mod router;
pub mod status;

pub mod batcher;
pub mod dispatch;

pub mod carry_out;
pub mod catalog_driver;
pub mod catalog_read;
pub mod chores;
pub mod clock;
pub mod hosting;
pub mod leader;
pub mod outbox;
pub mod shard;
pub mod sink;
pub mod timekeeper;
pub mod wall_watch;

pub mod admin_http;
pub mod bootstrap;
pub mod desk;
pub mod drive;
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod node_service;
pub mod peers;
pub mod reseat;
pub mod serve;

pub use node::{Addresses, Node, RunningNode, StartError};
