//! Promises about the whole: real `phalanx` processes, real disks, real kills.

/// The test under full load runs alone: others beside it would be measured too.
static MACHINE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

mod canaries;
mod commands;
mod conformance;
mod kill;
mod ledger;
mod proxy;
mod recovery;
