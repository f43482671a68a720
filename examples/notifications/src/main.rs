//! Fan-in: several services notify users through one queue, and what goes to one user keeps its order.
//!
//! Providers (e-mail, SMS, push) fail now and then: the message is returned with a delay, the user's later ones wait behind it, and those of
//! other users go on. An address that cannot exist is rejected. In the middle the leader is killed. Priorities are still to come.
#![allow(clippy::print_stdout)] // an example speaks to its reader

mod provider;

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures::future::try_join_all;
use phalanx_client::{Client, Delivery, Message, Nack, QueueSettings};
use phalanx_example_stage::{Failure, Stage, Where};

use crate::provider::{Provider, Refusal};

const QUEUE: &str = "notifications";
/// Who notifies.
const SERVICES: [&str; 4] = ["shop", "bank", "calendar", "security"];
/// Ways to reach a user.
const CHANNELS: [&str; 3] = ["email", "sms", "push"];
/// Notifications that one sender works on at the same time.
const AT_A_TIME: usize = 32;
/// A provider that failed is asked again after this time.
const BACK_OFF: Duration = Duration::from_millis(100);
/// All notifications are out by then, or something is lost.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(
    about = "Notify users through one queue, in order per user, while providers fail and the leader is killed"
)]
struct Cli {
    #[command(flatten)]
    place: Where,
    /// Notifications of each service.
    #[arg(long, default_value_t = 1_000)]
    each: u64,
    /// How many users.
    #[arg(long, default_value_t = 50)]
    users: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    let mut stage = Stage::set(&cli.place).await?;
    let client = Client::connect(stage.addresses()).await?;
    client.admin().create_queue(QUEUE, QueueSettings::default()).await?;
    let expected = cli.each * SERVICES.len() as u64;
    let provider = Arc::new(Provider::new(expected));

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let senders = (0..2).map(|number| {
        let (client, provider, mut stopped) = (client.clone(), provider.clone(), stopped.clone());
        tokio::spawn(async move {
            let consumer = client.consumer(QUEUE).name(format!("sender-{number}")).open().await?;
            let until = async move { stopped.wait_for(|stop| *stop).await.map(drop) };
            let notify = |delivery: Arc<Delivery>| notify(delivery, provider.clone());
            consumer.for_each_concurrent(AT_A_TIME, until, notify).await
        })
    });
    let senders: Vec<_> = senders.collect();
    let services = SERVICES.iter().zip(0..).map(|(name, place)| {
        let first = place * cli.each;
        tokio::spawn(service(client.clone(), name, first..first + cli.each, cli.users))
    });
    let services: Vec<_> = services.collect();

    provider.until(expected / 2, PATIENCE).await?;
    stage.kill_leader(&client, QUEUE).await?;
    for service in services {
        service.await??;
    }
    provider.until(expected, PATIENCE).await?;
    stop.send_replace(true);
    for sender in try_join_all(senders).await? {
        sender?;
    }
    stage.strike().await?;
    provider.verdict()
}

/// One service: its notifications are numbered, and each user gets them in that order.
async fn service(
    client: Client,
    name: &'static str,
    numbers: std::ops::Range<u64>,
    users: u64,
) -> Result<(), phalanx_client::Error> {
    let producer = client.producer(QUEUE).open().await?;
    for number in numbers {
        let user = number % users;
        let message = Message::new(number.to_string())
            .group(format!("{name}/user-{user}"))
            .header("channel", CHANNELS[(number % 3) as usize]);
        // Waits only while the window is full. That all were confirmed is what `close` says.
        producer.enqueue(message).await?;
    }
    producer.close().await
}

/// Hands one notification to its provider.
async fn notify(delivery: Arc<Delivery>, provider: Arc<Provider>) -> Result<(), Nack> {
    let number: u64 =
        std::str::from_utf8(delivery.body()).map_err(Nack::reject)?.parse().map_err(Nack::reject)?;
    let message = delivery.message();
    let channel = message.headers.get("channel").ok_or_else(|| Nack::reject("it names no channel"))?;
    match provider.send(channel, &message.group, number, delivery.attempt()).await {
        Ok(()) => Ok(()),
        Err(Refusal::Busy) => Err(Nack::after(BACK_OFF).because("the provider is busy")),
        Err(Refusal::NoSuchAddress) => Err(Nack::reject("no such address")),
    }
}
