//! `phalanx server`, `dev`, `demo`, `bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many messages.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub messages: u64,
    /// Keep the nodes' data and logs in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Keep data here over restarts; without it, a temporary directory that goes with the cluster.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Client port of the first node; the others follow.
    #[arg(long, default_value_t = 7420, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub port: u16,
}

/// Arguments of `server`.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Configuration file (TOML). `PHALANX_` environment variables override it.
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and exit.
    #[arg(long)]
    pub check: bool,
    /// Accept plaintext on addresses other than loopback.
    #[arg(long)]
    pub insecure: bool,
    /// Stop when standard input closes: for programs that start nodes and must not leave them behind.
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
    /// Log as JSON lines. What is logged is set by `PHALANX_LOG`, such as `info` or `phalanx_raft=debug`.
    #[arg(long)]
    pub log_json: bool,
}

/// What `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One producer, one send in flight: latency.
    W1,
    /// Four producers with windows of 256, four consumers with windows of 256, one ack a message: throughput.
    W2,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which workloads; both unless given.
    #[arg(value_enum)]
    pub workloads: Vec<Workload>,
    /// Measure each for this many seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Body bytes.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    pub size: u32,
    /// Start three nodes as child processes for the run, instead of using a running cluster.
    #[arg(long)]
    pub spawn: bool,
    /// Producers of W2.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub producers: u32,
    /// Consumers of W2; 0: messages stay.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub consumers: u32,
    /// Sends in flight of each producer of W2, and deliveries in hand of each consumer.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub window: u32,
}
