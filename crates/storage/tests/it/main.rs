//! The promises of the storage crate, each test named after one.

#![allow(clippy::unwrap_used)] // A test that meets an error has failed.

mod checkpoint;
mod disk;
mod wal;
