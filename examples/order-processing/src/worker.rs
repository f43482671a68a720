//! The workers: processes of their own, so that they can be killed.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use phalanx_client::{Client, Delivery, Message, Nack, Producer};
use phalanx_example_stage::Failure;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{INVOICES, ORDERS};

/// What an order takes to process.
const WORK: Duration = Duration::from_millis(3);
/// Customers that one worker serves at the same time.
const AT_A_TIME: usize = 8;
/// One worker is killed this often.
const KILL_EVERY: Duration = Duration::from_millis(250);

/// Works on orders until it is killed.
pub async fn run(servers: &[String]) -> Result<(), Failure> {
    let client = Client::connect(servers).await?;
    let invoices = client.producer(INVOICES).open().await?;
    let consumer = client.consumer(ORDERS).name("worker").window(AT_A_TIME as u32).open().await?;
    let process = |order: Arc<Delivery>| process(order, invoices.clone());
    consumer.for_each_concurrent(AT_A_TIME, std::future::pending::<()>(), process).await?;
    Ok(())
}

/// Writes the invoice; the order is acknowledged when this returns `Ok`, and comes again otherwise.
async fn process(order: Arc<Delivery>, invoices: Producer) -> Result<(), Nack> {
    let number = std::str::from_utf8(order.body()).map_err(Nack::reject)?.to_owned();
    tokio::time::sleep(WORK).await;
    let customer = order.message().group.clone();
    invoices.send(Message::new(number.clone()).group(customer).deduplication_id(number)).await?;
    Ok(())
}

/// Worker processes.
pub struct Workers {
    servers: String,
    running: Vec<Child>,
}

impl Workers {
    /// Starts `count` of them.
    pub fn start(count: usize, servers: &[String]) -> Result<Self, Failure> {
        let servers = servers.join(",");
        let running = (0..count).map(|_| spawn(&servers)).collect::<Result<_, Failure>>()?;
        Ok(Self { servers, running })
    }

    /// Kills one after the other and starts another in its place, until all orders are done; answers how many.
    pub async fn kill_now_and_then(
        mut self,
        mut done: watch::Receiver<u64>,
        orders: u64,
    ) -> Result<usize, Failure> {
        let mut killed = 0;
        let mut finished = std::pin::pin!(done.wait_for(|done| *done >= orders));
        loop {
            tokio::select! {
                _ = &mut finished => return Ok(killed),
                () = tokio::time::sleep(KILL_EVERY) => {}
            }
            let place = killed % self.running.len();
            self.running[place].kill().await?;
            self.running[place] = spawn(&self.servers)?;
            killed += 1;
        }
    }
}

fn spawn(servers: &str) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["worker", "--servers", servers]).stdin(Stdio::null());
    Ok(command.kill_on_drop(true).spawn()?)
}
