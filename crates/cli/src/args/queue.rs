//! `phalanx queue ...`, `apply`, `export`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::parse::{bytes, duration_ms};

/// Settings that `queue create` and `queue update` take.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// Lease of a delivery, such as 30s or 5m [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub lease: Option<u64>,
    /// The whole queue is one ordering group.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// Most messages the queue holds [default: 10000000].
    #[arg(long, value_name = "N")]
    pub length_max: Option<u64>,
    /// Most payload bytes the queue holds, such as 512MiB [default: 8GiB].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub bytes_max: Option<u64>,
    /// How long a deduplication id suppresses repeats [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub dedup_window: Option<u64>,
    /// How long the leases of a lost consumer wait for it [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub resume: Option<u64>,
    /// Largest body of one message, such as 4MiB, at most 16MiB [default: 1MiB].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub body_bytes_max: Option<u64>,
    /// Delete it after so long without a consumer and a receive, such as 10m; 0 for never [default: never].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub expires: Option<u64>,
    /// Refuse other consumers while one is there.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub exclusive: Option<bool>,
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
    /// Look at messages where they are: nothing is taken, counted or moved.
    Peek(PeekArgs),
    /// List ordering groups with their backlog, age and holder.
    Groups(GroupsArgs),
    /// List the consumers of a queue.
    Consumers {
        /// Its name.
        name: String,
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

/// Arguments of `queue peek`.
#[derive(Debug, Args)]
pub struct PeekArgs {
    /// The queue.
    pub name: String,
    /// At most this many.
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub count: u64,
    /// Start at this sequence; without it, at the oldest message.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
    /// Only messages with this ordering key.
    #[arg(long, short = 'g', value_name = "KEY", default_value = "", hide_default_value = true)]
    pub group: String,
    /// Show headers and the rest of what describes a message.
    #[arg(long)]
    pub headers: bool,
}

/// By what groups are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupOrder {
    /// Most messages first.
    Backlog,
    /// Oldest first.
    Age,
    /// By key.
    Key,
}

/// Arguments of `queue groups`.
#[derive(Debug, Args)]
pub struct GroupsArgs {
    /// The queue.
    pub name: String,
    /// Show at most this many.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Which come first.
    #[arg(long, value_enum, default_value_t = GroupOrder::Backlog)]
    pub sort: GroupOrder,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file (TOML, or JSON if it begins with a brace); `-` for standard input.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: PathBuf,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what the namespace has and the file does not name, with its messages.
    #[arg(long)]
    pub prune: bool,
    /// Do not ask before deleting.
    #[arg(long, short = 'y')]
    pub yes: bool,
}
