//! The write-ahead log.

mod basics;
mod crash;
mod driver;
mod model;
mod rig;
