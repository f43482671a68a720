//! `phalanx binding ...`.

use clap::{Args, Subcommand};

use phalanx_client::Place;

use super::parse::place;
use super::topic::PLACE_HELP;

/// What `binding create` and `binding update` take.
#[derive(Clone, Debug, Default, Args)]
pub struct ConditionArgs {
    /// Carry only routing keys like this: words between dots, * for one, # for any number; '' for any key.
    #[arg(long, short = 'p', value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Carry only messages with headers like this, such as "region = 'eu' and amount >= 10.5"; '' for any message.
    #[arg(long, short = 'f', value_name = "EXPRESSION")]
    pub filter: Option<String>,
}

/// `phalanx binding ...`
#[derive(Debug, Subcommand)]
pub enum BindingCommand {
    /// Create a binding: it carries what is published from now on to a queue or another topic.
    Create {
        /// The topic.
        topic: String,
        /// Its name within the topic, which no subscription has.
        name: String,
        /// The queue or topic that it feeds.
        #[arg(long, value_name = "TARGET")]
        to: String,
        /// Begin there instead.
        #[arg(long, value_name = "PLACE", value_parser = place, help = format!("Begin there instead: {PLACE_HELP}"))]
        from: Option<Place>,
        #[command(flatten)]
        conditions: ConditionArgs,
    },
    /// List the bindings of a topic.
    List {
        /// The topic.
        topic: String,
    },
    /// Show what a binding carries, and what waits in it; exact.
    Info {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
    },
    /// Change pattern or filter, for what is published from now on.
    Update {
        /// The topic.
        topic: String,
        /// Its name within the topic.
        name: String,
        #[command(flatten)]
        conditions: ConditionArgs,
    },
    /// Delete a binding with all that waits in it; what it has carried stays where it is.
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
