//! The promises of the storage crate, each test named after one.

mod disk;
mod wal;
