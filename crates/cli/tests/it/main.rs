//! Promises about the whole: real `phalanx` processes, real disks, real kills.

mod kill;
mod ledger;
