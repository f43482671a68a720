//! Orders, each processed exactly once and in order per customer, although workers and the leader die.
//!
//! What makes it so:
//! - an order carries its customer as *group*: one worker at a time has a customer's orders, the next only after the one before;
//! - a worker writes the invoice *before* it acknowledges the order, with the order's number as *deduplication id*: a worker that dies in
//!   between leaves an order that comes again, and an invoice that does not;
//! - the shop's producer is idempotent: whatever it repeats when the leader dies is one order.
#![allow(clippy::print_stdout)] // an example speaks to its reader

mod audit;
mod worker;

use std::time::Duration;

use clap::{Parser, Subcommand};
use futures::StreamExt as _;
use phalanx_client::{Client, Message, QueueSettings};
use phalanx_example_stage::{Failure, Stage, Where};
use tokio::sync::watch;

use crate::worker::Workers;

/// Where orders wait.
pub const ORDERS: &str = "orders";
/// Where invoices go.
pub const INVOICES: &str = "invoices";
/// A worker that is lost has its orders taken away after this time.
const RESUME: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(
    about = "Process orders exactly once, in order per customer, while workers and the leader are killed"
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    place: Where,
    /// How many orders.
    #[arg(long, default_value_t = 3_000)]
    orders: u64,
    /// How many customers they come from.
    #[arg(long, default_value_t = 40)]
    customers: u64,
    /// How many worker processes.
    #[arg(long, default_value_t = 4)]
    workers: usize,
}

#[derive(Subcommand)]
enum Role {
    /// Be one worker until killed: what this program starts several of.
    Worker {
        /// Addresses of nodes.
        #[arg(long, value_delimiter = ',')]
        servers: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Worker { servers }) => worker::run(&servers).await,
        None => shop(cli).await,
    }
}

async fn shop(cli: Cli) -> Result<(), Failure> {
    let mut stage = Stage::set(&cli.place).await?;
    let client = Client::connect(stage.addresses()).await?;
    let settings = QueueSettings { resume: Some(RESUME), ..QueueSettings::default() };
    client.admin().create_queue(ORDERS, settings).await?;
    client.admin().create_queue(INVOICES, QueueSettings::default()).await?;

    let (progress, invoiced) = watch::channel(0);
    let audit = tokio::spawn(audit::run(client.clone(), cli.orders, progress));
    let workers = Workers::start(cli.workers, stage.addresses())?;
    let killer = tokio::spawn(workers.kill_now_and_then(invoiced.clone(), cli.orders));
    let sending = tokio::spawn(place_orders(client.clone(), cli.orders, cli.customers));

    let mut halfway = invoiced;
    // The audit is still there to tell of progress: an error would mean that it has ended early, and says why below.
    if halfway.wait_for(|done| *done >= cli.orders / 2).await.is_ok() {
        stage.kill_leader(&client, ORDERS).await?;
    }
    sending.await??;
    let report = audit.await??;
    let killed = killer.await??;
    println!("{} orders placed, {killed} workers killed", cli.orders);
    println!("{report}");
    stage.strike().await?;
    report.verdict(cli.orders)
}

/// Places all orders, many at a time. Each resolves when it is on disk on a majority of nodes.
async fn place_orders(client: Client, orders: u64, customers: u64) -> Result<(), Failure> {
    let producer = client.producer(ORDERS).open().await?;
    let messages = (0..orders).map(|number| {
        let customer = number % customers;
        Message::new(number.to_string()).group(format!("customer-{customer}"))
    });
    let mut confirmed = producer.send_all(futures::stream::iter(messages));
    while let Some(sent) = confirmed.next().await {
        sent?;
    }
    producer.close().await?;
    Ok(())
}
