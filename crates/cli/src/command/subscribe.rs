//! `phalanx subscribe`: what is published to a topic, while the command runs.

use phalanx_client::SubscriptionSettings;

use crate::args::{Common, ConsumeArgs, SubscribeArgs};
use crate::command::{connect, consume};
use crate::output::{self, Outcome};

/// Messages in hand.
const WINDOW: u32 = 256;

/// Makes a subscription that lives as long as its consumer, and prints what comes.
pub async fn run(args: SubscribeArgs, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    let settings = SubscriptionSettings {
        pattern: args.pattern,
        filter: args.filter,
        latest_only: args.latest_only,
        ..SubscriptionSettings::default()
    };
    let made = admin.create_ephemeral_subscription(&args.topic, settings, args.from).await?;
    let consume = ConsumeArgs {
        queue: made.queue.clone(),
        count: args.count,
        follow: true,
        exec: None,
        window: WINDOW,
        name: "phalanx subscribe".to_owned(),
        nack_delay: 0,
        json: args.json,
        headers: args.headers,
    };
    let outcome = consume::run(consume, common).await;
    // If this fails the subscription expires by itself.
    if let Err(error) = admin.delete_subscription(&made.topic, &made.name).await {
        output::note(&format!("phalanx: the subscription expires later: {error}"));
    }
    outcome
}
