//! Groups of real replicas over real connections: what they promise when nodes die, fall behind or lose stored bytes.

mod cluster;
mod committer;
mod leadership;
mod quarantine;
mod replication;
mod snapshots;
