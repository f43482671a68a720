//! Checkpoints: the rows of each replica's machine, at most a second behind it, in a key-value engine.
//!
//! The engine is never trusted: every row carries a crc over its key and itself, every batch a manifest with the number of rows, their
//! digest and the machine's, and the newest batch number is kept outside, in the log. Anything wrong rejects the checkpoint
//! of that replica ([`crate::Error::Corrupt`]); nothing is ever repaired in place, or deleted because it does not parse.

mod engine;
mod frame;
pub(crate) mod fuzzing;
mod garbage;
mod install;
mod manifest;
mod memory;
mod redb_engine;
mod replica;
mod rows;
mod sled_barrier;
mod sled_engine;
mod space;
mod stores;
mod stream;

pub use engine::Engine;
pub use garbage::collect_destroyed;
pub use install::Install;
pub use manifest::{Manifest, ManifestFields};
pub use memory::MemoryEngine;
pub use redb_engine::open_redb;
pub use replica::ReplicaCheckpoint;
pub use sled_engine::{SledOptions, open_sled, open_sled_with};
pub use space::{SetAside, maintain, open_or_set_aside, set_aside};
pub use stream::RowStream;
