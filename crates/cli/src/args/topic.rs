//! `phalanx topic ...`, `phalanx subscription ...`.

use clap::{Args, Subcommand};

use phalanx_client::Place;

use super::parse::{bytes, duration_ms, place};

/// Settings that `topic create` and `topic update` take.
#[derive(Clone, Debug, Default, Args)]
pub struct TopicArgs {
    /// Most messages kept for subscriptions that have not settled them, beyond retained ones [default: 10000000].
    #[arg(long, value_name = "N")]
    pub length_max: Option<u64>,
    /// Most payload bytes of these, such as 512MiB [default: 8GiB].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub bytes_max: Option<u64>,
    /// How long a deduplication id suppresses repeats [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub dedup_window: Option<u64>,
    /// Largest body of one message, such as 4MiB, at most 16MiB [default: 1MiB].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub body_bytes_max: Option<u64>,
    /// Keep the newest messages for so long, whoever has settled them, such as 7d; 0 for no limit by time [default: keep none].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub retain: Option<u64>,
    /// Keep the newest messages up to so many bytes [default: 8GiB with --retain, otherwise none].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub retain_bytes: Option<u64>,
    /// Keep the newest message of each ordering key; one without a body deletes its key. Fixed when the topic is made.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub compact: Option<bool>,
}

/// Settings that `subscription create` and `subscription update` take.
#[derive(Clone, Debug, Default, Args)]
pub struct SubscriptionArgs {
    /// Take only routing keys like this: words between dots, * for one, # for any number; '' for any key.
    #[arg(long, short = 'p', value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Take only messages with headers like this, such as "region = 'eu' and amount >= 10.5"; '' for any message.
    #[arg(long, short = 'f', value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Lease of a delivery, such as 30s or 5m [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub lease: Option<u64>,
    /// The whole subscription is one ordering group.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// How long the leases of a lost consumer wait for it [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub resume: Option<u64>,
    /// Only the newest message of each ordering key waits. Fixed when the subscription is made.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub latest_only: Option<bool>,
    /// Delete it after so long without a consumer and a receive, such as 10m; 0 for never [default: never].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    pub expires: Option<u64>,
    /// Refuse other consumers while one is there.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub exclusive: Option<bool>,
}

/// What a place may be, for help.
pub(super) const PLACE_HELP: &str =
    "earliest, latest, a sequence, how long ago (such as 15m), unix:SECONDS, or mark:NAME";

/// Arguments of `topic read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The topic.
    pub name: String,
    /// First sequence; 0 for the first that is kept.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub from: u64,
    /// Most messages.
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Go on with what is published from now on.
    #[arg(long, short = 'F')]
    pub follow: bool,
    /// Print a JSON object for each message.
    #[arg(long)]
    pub json: bool,
    /// Print headers and attributes as well.
    #[arg(long)]
    pub headers: bool,
}

/// `phalanx topic ...`
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic; done already if one with the same settings exists.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: TopicArgs,
    },
    /// List the topics of the namespace.
    List,
    /// Show settings, subscriptions and what is stored for them; exact.
    Info {
        /// Its name.
        name: String,
    },
    /// Change some settings.
    Update {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: TopicArgs,
    },
    /// Read a topic's log without settling anything.
    Read(ReadArgs),
    /// Delete a topic with all its subscriptions.
    Delete {
        /// Its name.
        name: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// `phalanx subscription ...`
#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// Create a subscription: it gets what is published from now on. As a queue it is called TOPIC/NAME.
    Create {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        /// Begin there instead, or with the first message behind it that is kept.
        #[arg(long, value_name = "PLACE", value_parser = place, help = format!("Begin there instead: {PLACE_HELP}"))]
        from: Option<Place>,
        #[command(flatten)]
        settings: SubscriptionArgs,
    },
    /// Move a subscription to another place of its topic's log; what it has is given up.
    Seek {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        /// Where to.
        #[arg(value_parser = place, help = format!("Where to: {PLACE_HELP}"))]
        place: Place,
    },
    /// Name the place where a subscription stands, to seek back to.
    Mark {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        /// Name of the place; a mark of that name is moved.
        mark: String,
        /// Forget the mark instead.
        #[arg(long)]
        remove: bool,
    },
    /// List the subscriptions of a topic.
    List {
        /// The topic.
        topic: String,
    },
    /// Change some settings; pattern and filter hold for what is published from now on.
    Update {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        #[command(flatten)]
        settings: SubscriptionArgs,
    },
    /// Delete a subscription with all that waits for it.
    Delete {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}
