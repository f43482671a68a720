//! The write-ahead log.

mod basics;
mod crash;
mod faults;
mod golden;
mod recycled;
mod rot;
mod threads;

mod driver;
mod layout;
mod model;
mod rig;
