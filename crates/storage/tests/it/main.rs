//! The promises of the storage crate, each test named after one.

mod checkpoint;
mod disk;
mod wal;
