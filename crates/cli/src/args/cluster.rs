//! `phalanx cluster ...`, `check`, `top`, `context ...`.

use clap::{Args, Subcommand, ValueEnum};

use super::parse::duration_ms;

/// `phalanx cluster ...`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Nodes, groups, leaders.
    Status,
}

/// `phalanx check ...`: for monitoring. Exit status 0 ok, 1 warning, 2 critical, 3 unknown.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to check; the cluster unless given.
    #[command(subcommand)]
    pub what: Option<CheckCommand>,
}

/// What is checked.
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Nodes reachable, every group led, replicas sound and level.
    Cluster {
        /// Warn when a replica is more entries than this behind its leader.
        #[arg(long, value_name = "ENTRIES", default_value_t = 100_000)]
        lag_warning: u64,
    },
    /// Depth, age and consumers of a queue.
    Queue(CheckQueueArgs),
}

/// Arguments of `check queue`.
#[derive(Debug, Args)]
pub struct CheckQueueArgs {
    /// The queue.
    pub name: String,
    /// Warn when more messages than this wait.
    #[arg(long, value_name = "N")]
    pub ready_warning: Option<u64>,
    /// Critical when more messages than this wait.
    #[arg(long, value_name = "N")]
    pub ready_critical: Option<u64>,
    /// Warn when the oldest message is older than this, such as 5m.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub age_warning: Option<u64>,
    /// Critical when the oldest message is older than this.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub age_critical: Option<u64>,
    /// Critical when fewer consumers than this are attached.
    #[arg(long, value_name = "N")]
    pub consumers_min: Option<u64>,
}

/// By what `top` orders queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopOrder {
    /// Messages in and out a second.
    Rate,
    /// Messages waiting.
    Ready,
    /// Age of the oldest message.
    Age,
    /// By name.
    Name,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Time between two looks.
    #[arg(long, short = 'i', default_value = "2s", value_name = "DURATION", value_parser = duration_ms)]
    pub interval: u64,
    /// Which queues come first.
    #[arg(long, value_enum, default_value_t = TopOrder::Rate)]
    pub sort: TopOrder,
    /// Print one screen as text (with --output json: one document) and exit.
    #[arg(long)]
    pub once: bool,
}

/// `phalanx context ...`
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Remember a cluster under a name: its --servers, and --namespace and --timeout if given.
    Add {
        /// The name.
        name: String,
    },
    /// Make a context the one that commands use when nothing else is said.
    Use {
        /// The name.
        name: String,
    },
    /// Use none: back to the cluster of `phalanx dev`.
    Clear,
    /// List the contexts, and where they are kept.
    List,
    /// Forget a context.
    Remove {
        /// The name.
        name: String,
    },
}
