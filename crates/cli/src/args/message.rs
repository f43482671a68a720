//! `phalanx send`, `receive`, `consume`.

use std::path::PathBuf;

use clap::Args;

use phalanx_client::Place;

use super::parse::{duration_ms, header, place};

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The queue or topic.
    pub queue: String,
    /// The body; without it and without --file, standard input.
    pub body: Option<String>,
    /// Send the contents of a file as one message.
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "body")]
    pub file: Option<PathBuf>,
    /// Send each line of standard input (or of --file) as a message of its own.
    #[arg(long, conflicts_with = "body")]
    pub lines: bool,
    /// Send each line of standard input (or of --file) as a message described by a JSON object with the fields that `consume --json`
    /// prints: body or body_base64, group, headers, content_type, deduplication_id, correlation_id, reply_to, traceparent,
    /// routing_key.
    #[arg(long, conflicts_with_all = ["body", "lines"])]
    pub json: bool,
    /// Ordering key: messages with the same key are settled in order.
    #[arg(long, short = 'g', value_name = "KEY")]
    pub group: Option<String>,
    /// Routing key, for a topic: words between dots, which patterns of subscriptions look at.
    #[arg(long, short = 'k', value_name = "KEY", default_value = "", hide_default_value = true)]
    pub routing_key: String,
    /// To a topic: refuse a message that matches no subscription.
    #[arg(long)]
    pub mandatory: bool,
    /// Header as NAME=VALUE; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// Content type.
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    pub content_type: String,
    /// Suppresses repeats inside the queue's deduplication window.
    #[arg(long, value_name = "ID", conflicts_with_all = ["lines", "json"])]
    pub dedup_id: Option<String>,
    /// Names the conversation; for applications.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub correlation_id: String,
    /// Where an answer is expected; for applications.
    #[arg(long, value_name = "QUEUE", default_value = "", hide_default_value = true)]
    pub reply_to: String,
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
    #[arg(long, short = 'w', default_value = "0s", value_name = "DURATION", value_parser = duration_ms)]
    pub wait: u64,
    /// Print without acknowledging: the messages come back when the lease ends.
    #[arg(long)]
    pub no_ack: bool,
    /// Lease, such as 30s; the queue's unless given.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub lease: Option<u64>,
    /// Print JSON lines: the same as --output json.
    #[arg(long)]
    pub json: bool,
    /// Print headers and the rest of what describes a message, too.
    #[arg(long, conflicts_with = "json")]
    pub headers: bool,
}

/// Arguments of `subscribe`.
#[derive(Debug, Args)]
pub struct SubscribeArgs {
    /// The topic.
    pub topic: String,
    /// Take only routing keys like this: words between dots, * for one, # for any number.
    #[arg(long, short = 'p', value_name = "PATTERN", default_value = "", hide_default_value = true)]
    pub pattern: String,
    /// Take only messages with headers like this, such as "region = 'eu' and amount >= 10.5".
    #[arg(long, short = 'f', value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Begin there instead of with what is published from now on: earliest, a sequence, how long ago (such as 15m) or unix:SECONDS.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    pub from: Option<Place>,
    /// Of each ordering key print only the newest message that has not been printed.
    #[arg(long)]
    pub latest_only: bool,
    /// Exit 0 after this many messages.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Print JSON lines: the same as --output json.
    #[arg(long)]
    pub json: bool,
    /// Print headers and the rest of what describes a message, too.
    #[arg(long, conflicts_with = "json")]
    pub headers: bool,
}

/// Arguments of `request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The queue of requests.
    pub queue: String,
    /// The body; without it, standard input.
    pub body: Option<String>,
    /// Wait this long for the reply.
    #[arg(long, short = 'w', default_value = "30s", value_name = "DURATION", value_parser = duration_ms)]
    pub wait: u64,
    /// Ordering key: requests with the same key are worked on in order.
    #[arg(long, short = 'g', value_name = "KEY")]
    pub group: Option<String>,
    /// Header as NAME=VALUE; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
}

/// Arguments of `reply`.
#[derive(Debug, Args)]
pub struct ReplyArgs {
    /// The queue of requests.
    pub queue: String,
    /// Run this command by `sh -c` for each request, its body on standard input: what it prints is the reply. If it does not exit with 0, the
    /// request is returned, for this process or another one.
    #[arg(long, value_name = "CMD")]
    pub exec: String,
    /// Most commands at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,
    /// Exit 0 after this many replies.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
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
    /// Run this command by `sh -c` for each message, one at a time, its body on standard input: exit 0 acknowledges, anything else returns
    /// it. It finds PHALANX_SEQUENCE, PHALANX_TOKEN, PHALANX_ATTEMPT and PHALANX_GROUP in its environment.
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// Most messages in hand; with --exec always 1.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
    /// Name shown in `queue info`.
    #[arg(long, default_value = "phalanx-cli")]
    pub name: String,
    /// With --exec: how long a returned message waits before it is offered again.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration_ms)]
    pub nack_delay: u64,
    /// Print JSON lines: the same as --output json.
    #[arg(long)]
    pub json: bool,
    /// Print headers and the rest of what describes a message, too.
    #[arg(long, conflicts_with = "json")]
    pub headers: bool,
}
