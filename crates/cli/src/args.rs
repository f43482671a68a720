//! The command line, as clap sees it: every command, option and help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Addresses of a `phalanx dev` cluster: what every command talks to unless told otherwise.
pub const DEFAULT_SERVERS: &str = "http://127.0.0.1:7420,http://127.0.0.1:7421,http://127.0.0.1:7422";

/// A replicated message queue: nothing acknowledged is ever lost, order is exact.
#[derive(Debug, Parser)]
#[command(name = "phalanx", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command that talks to a cluster.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every command that talks to a cluster.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Addresses of nodes, comma-separated; any of them will do.
    #[arg(long, short = 's', global = true, env = "PHALANX_SERVERS", default_value = DEFAULT_SERVERS, value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Namespace of the queue.
    #[arg(long, short = 'N', global = true, env = "PHALANX_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// How to print results.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Give up on one request after this many seconds.
    #[arg(long, global = true, default_value_t = 15, value_name = "SECONDS")]
    pub timeout: u64,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON document, or one a line for streams of messages.
    Json,
    /// `receive` and `consume` only: each body followed by a newline, nothing else.
    Raw,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show that it works: three nodes, 100,000 messages, the leader killed midway.
    Demo(DemoArgs),
    /// Run a three-node cluster on this machine until Ctrl-C.
    Dev(DevArgs),
    /// Run one node.
    Server(ServerArgs),
    /// Create, list, inspect, change and delete queues.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Send messages.
    Send(SendArgs),
    /// Lease messages once, print them, and acknowledge them.
    Receive(ReceiveArgs),
    /// Consume messages as they come.
    Consume(ConsumeArgs),
    /// Look at the cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Measure a cluster.
    Bench(BenchArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

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

/// Settings that `queue create` and `queue update` take.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// Lease of a delivery, such as 30s or 5m [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ms)]
    pub lease: Option<u64>,
    /// The whole queue is one ordering group.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// Most messages the queue holds [default: 10000000].
    #[arg(long, value_name = "N")]
    pub length_max: Option<u64>,
    /// Most payload bytes the queue holds [default: 8 GiB].
    #[arg(long, value_name = "BYTES")]
    pub bytes_max: Option<u64>,
    /// How long a deduplication id suppresses repeats [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ms)]
    pub dedup_window: Option<u64>,
    /// How long the leases of a lost consumer wait for it [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ms)]
    pub resume: Option<u64>,
    /// Largest body of one message, bytes [default: 1048576].
    #[arg(long, value_name = "BYTES")]
    pub body_bytes_max: Option<u64>,
}

/// `phalanx queue ...`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Create a queue; done already if one with the same settings exists.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List the queues of the namespace.
    List,
    /// Show settings, depth and consumers; exact.
    Info {
        /// Its name.
        name: String,
    },
    /// Change some settings.
    Update {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Delete a queue and its messages.
    Delete {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Remove all messages of a queue, those in consumers' hands included.
    Purge {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The queue.
    pub queue: String,
    /// The body; without it and without --file, standard input.
    pub body: Option<String>,
    /// Send the contents of a file as one message.
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "body")]
    pub file: Option<PathBuf>,
    /// Send each line of standard input (or of --file) as a message of its own.
    #[arg(long, conflicts_with = "body")]
    pub lines: bool,
    /// Ordering key: messages with the same key are settled in order.
    #[arg(long, short = 'g', value_name = "KEY")]
    pub group: Option<String>,
    /// Header as NAME=VALUE; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = parse_header)]
    pub header: Vec<(String, String)>,
    /// Content type.
    #[arg(long, value_name = "TYPE", default_value = "")]
    pub content_type: String,
    /// Suppresses repeats inside the queue's deduplication window.
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    pub dedup_id: Option<String>,
}

/// Arguments of `receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// The queue.
    pub queue: String,
    /// At most this many messages.
    #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub count: u32,
    /// Wait this long for the first one, at most 20s.
    #[arg(long, short = 'w', default_value = "0s", value_name = "DURATION", value_parser = parse_duration_ms)]
    pub wait: u64,
    /// Print without acknowledging: the messages come back when the lease ends.
    #[arg(long)]
    pub no_ack: bool,
    /// Lease, such as 30s; the queue's unless given.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ms)]
    pub lease: Option<u64>,
}

/// Arguments of `consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The queue.
    pub queue: String,
    /// Exit 0 after this many messages, each acknowledged.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Wait for more when the queue is empty; without it (and without --count) stop there.
    #[arg(long)]
    pub follow: bool,
    /// Run this command by `sh -c` for each message, its body on standard input: exit 0 acknowledges, anything else returns it.
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Most messages in hand.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
    /// Name shown in `queue info`.
    #[arg(long, default_value = "phalanx-cli")]
    pub name: String,
    /// With --exec: how long a returned message waits before it is offered again.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration_ms)]
    pub nack_delay: u64,
}

/// `phalanx cluster ...`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Nodes, groups, leaders.
    Status,
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

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Reads `250ms`, `30s`, `5m`, `12h`, `7d` as milliseconds; a bare number is seconds.
fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("unknown unit {unit:?}: use ms, s, m, h or d")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number such as 30s".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_read_their_units() {
        assert_eq!(parse_duration_ms("250ms"), Ok(250));
        assert_eq!(parse_duration_ms("30s"), Ok(30_000));
        assert_eq!(parse_duration_ms("30"), Ok(30_000));
        assert_eq!(parse_duration_ms("12h"), Ok(43_200_000));
        assert!(parse_duration_ms("5 parsecs").is_err());
        assert!(parse_duration_ms("").is_err());
        assert!(parse_duration_ms("99999999999999999999d").is_err());
    }

    #[test]
    fn headers_need_a_name() {
        assert_eq!(parse_header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_header("=b").is_err());
        assert!(parse_header("a").is_err());
    }
}
