//! Clusters of real `phalanx server` processes on this machine: for `phalanx dev`, `phalanx demo` and the tests that need real
//! processes, real disks and real kills.
//!
//! It ends only processes it started. Each child keeps a pipe to its parent as standard input and stops when that closes, so
//! that no node outlives the program that started it, however that one ends. It does not know what queues are.
#![deny(missing_docs)]

mod cluster;
mod node;
mod ports;
mod ready;

pub use cluster::{LocalCluster, Options};
pub use node::Node;
pub use ports::{NodePorts, Ports};

use std::path::PathBuf;

/// What can go wrong with a local cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of a node cannot be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start {binary}: {source}")]
    Spawn {
        /// Of the server.
        binary: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No free ports, or one that was asked for is taken.
    #[error("port {port} on 127.0.0.1: {source}; is another cluster running? Choose other ports")]
    Port {
        /// The port; 0 when any would have done.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The node's process ended by itself.
    #[error("node {node} ended ({status}); its log is {log}, and ends with: {last_line}")]
    Exited {
        /// Which.
        node: u64,
        /// How.
        status: String,
        /// Where to look.
        log: PathBuf,
        /// What it said last.
        last_line: String,
    },
    /// The node was not ready in time.
    #[error("node {node} is not ready after {seconds} s: {state}; its log is {log}")]
    NotReady {
        /// Which.
        node: u64,
        /// How long was waited.
        seconds: u64,
        /// What it answered last.
        state: String,
        /// Where to look.
        log: PathBuf,
    },
}
