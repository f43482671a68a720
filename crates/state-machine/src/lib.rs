//! The replicated queue machine.
//!
//! Pure: `Machine::apply` takes a committed entry and returns replies and effects; the same entries give the same
//! state, replies and digest on every replica. This crate does not know Raft, disks, networks, clocks, randomness,
//! threads or async. Time is an argument.
#![deny(missing_docs)]

pub mod catalog;
pub mod command;
pub mod digest;
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod invariants;
pub mod limits;
pub mod machine;
mod queue;
pub mod reply;
pub mod rows;
