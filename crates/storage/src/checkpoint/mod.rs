//! Checkpoints: the rows of each replica's machine, at most a second behind it, in a key-value engine.
//!
//! The engine is never trusted: every row carries a crc over its key and itself, every batch a manifest with the number of rows and
//! the digest of the machine, and the newest batch number is kept outside, in the log. Anything wrong rejects the checkpoint
//! of that replica ([`crate::Error::Corrupt`]); nothing is ever repaired in place, or deleted because it does not parse.

mod engine;
mod frame;
mod install;
mod manifest;
mod memory;
mod redb_engine;
mod replica;
mod sled_barrier;
mod sled_engine;

pub use engine::Engine;
pub use install::Install;
pub use manifest::{Manifest, ManifestFields};
pub use memory::MemoryEngine;
pub use redb_engine::open_redb;
pub use replica::ReplicaCheckpoint;
pub use sled_engine::open_sled;
