//! The write-ahead log.

mod basics;
mod rig;
