//! Promises of a queue, one scenario each.

mod scenario;

mod checkpoint;
mod consumers;
mod disuse;
mod groups;
mod leases;
mod limits;
mod looking;
mod sending;
mod settling;
mod waking;
