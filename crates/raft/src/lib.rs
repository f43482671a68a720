//! Raft groups on openraft: log, machine, transport, snapshots
