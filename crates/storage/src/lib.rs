//! Bytes on disk: the write-ahead log shared by all Raft groups of a node, and the checkpoint store.
//!
//! This crate knows neither openraft nor queues nor tokio. It offers steps (`Wal::commit_pending`, ...) that
//! production drives from threads and the simulation from tasks; it starts no thread and reads no clock.
#![deny(missing_docs)]

pub mod checkpoint;
pub mod disk;
mod error;
pub mod fail_point;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod keyspace;
pub mod wal;

pub use error::Error;
