//! The command line, as clap sees it: every command, option and help text.

mod binding;
mod cluster;
mod message;
pub mod parse;
mod queue;
mod run;
mod topic;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use binding::{BindingCommand, ConditionArgs};
pub use cluster::{
    CheckArgs, CheckCommand, CheckQueueArgs, ClusterCommand, ContextCommand, TopArgs, TopOrder,
};
pub use message::{ConsumeArgs, ReceiveArgs, ReplyArgs, RequestArgs, SendArgs, SubscribeArgs};
pub use queue::{ApplyArgs, GroupOrder, GroupsArgs, PeekArgs, QueueCommand, SettingsArgs};
pub use run::{BenchArgs, DemoArgs, DevArgs, ServerArgs, Workload};
pub use topic::{ReadArgs, SubscriptionArgs, SubscriptionCommand, TopicArgs, TopicCommand};

const STATUSES: &str = "Exit status: 0 done, 1 failed, 2 wrong command line, 3 outcome unknown; `check` has those of monitoring plugins.";

/// A replicated message queue: nothing acknowledged is ever lost, order is exact.
#[derive(Debug, Parser)]
#[command(name = "phalanx", version, max_term_width = 100, disable_help_subcommand = true, after_help = STATUSES)]
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
    /// Addresses of nodes, comma-separated; any of them will do. Without it: PHALANX_SERVERS, the context, or the three nodes of
    /// `phalanx dev` on this machine.
    #[arg(long, short = 's', global = true, value_delimiter = ',')]
    pub servers: Option<Vec<String>>,
    /// Use the cluster that `phalanx context add` remembered under this name. Without it: PHALANX_CONTEXT, or the one in use.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the queue. Without it: PHALANX_NAMESPACE, the context's, or `default`.
    #[arg(long, short = 'N', global = true)]
    pub namespace: Option<String>,
    /// How to print results.
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Give up on one request after this many seconds [default: the context's, or 15].
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
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
    /// Create, list, inspect, change and delete queues; look into them.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Create, list, inspect, change and delete topics: each message goes to every subscription that it matches.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Create, list, change and delete subscriptions of topics.
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Create, list, inspect, change and delete bindings: topics that feed queues and other topics.
    #[command(subcommand)]
    Binding(BindingCommand),
    /// Send messages to a queue, or publish them to a topic.
    Send(SendArgs),
    /// Lease messages once, print them, and acknowledge them.
    Receive(ReceiveArgs),
    /// Consume messages as they come.
    Consume(ConsumeArgs),
    /// Print what is published to a topic, by a subscription that lives as long as the command.
    Subscribe(SubscribeArgs),
    /// Send a request to a queue, and print its reply.
    Request(RequestArgs),
    /// Answer the requests of a queue with what a command prints.
    Reply(ReplyArgs),
    /// Make the queues and topics of a namespace what a file says.
    Apply(ApplyArgs),
    /// Print the queues and topics of a namespace as a file for `apply`.
    Export,
    /// Look at the cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Check a cluster or a queue for monitoring: exit status 0 ok, 1 warning, 2 critical, 3 unknown.
    Check(CheckArgs),
    /// Watch rates, leaders, depths and lag.
    Top(TopArgs),
    /// Measure a cluster.
    Bench(BenchArgs),
    /// Remember clusters by name.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a directory.
    Man {
        /// The directory; made if it is not there.
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
