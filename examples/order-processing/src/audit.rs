//! The audit: reads every invoice and holds the books against the promise.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use phalanx_client::Client;
use phalanx_example_stage::Failure;
use tokio::sync::watch;

use crate::INVOICES;

/// Without a new invoice for this long, the missing ones are counted as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last invoice: time for one too many to show.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What the books say.
#[derive(Default)]
pub struct Report {
    invoices: BTreeMap<u64, u64>,
    out_of_order: u64,
}

/// Reads invoices until every order has one, and a little longer.
pub async fn run(client: Client, orders: u64, progress: watch::Sender<u64>) -> Result<Report, Failure> {
    let mut consumer = client.consumer(INVOICES).name("audit").open().await?;
    let mut report = Report::default();
    let mut newest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    loop {
        let patience = if report.invoices.len() as u64 == orders { AFTERMATH } else { PATIENCE };
        let Ok(Some(invoice)) = tokio::time::timeout(patience, consumer.next()).await else { break };
        let invoice = invoice?;
        // Invoices are read at least once; a redelivered one was counted before unless its acknowledgement says otherwise.
        let number: u64 = std::str::from_utf8(invoice.body())?.parse()?;
        let customer = invoice.message().group.to_vec();
        if invoice.ack().await.is_err() {
            continue;
        }
        *report.invoices.entry(number).or_default() += 1;
        let before = newest.insert(customer, number);
        report.out_of_order += u64::from(before.is_some_and(|before| before >= number));
        progress.send_replace(report.invoices.len() as u64);
    }
    consumer.close().await?;
    Ok(report)
}

impl Report {
    /// Whether every order has one invoice, in order per customer.
    pub fn verdict(&self, orders: u64) -> Result<(), Failure> {
        let once = self.invoices.values().filter(|count| **count == 1).count() as u64;
        if once == orders && self.invoices.len() as u64 == orders && self.out_of_order == 0 {
            println!("every order was processed exactly once, in order per customer");
            return Ok(());
        }
        Err("the books do not balance".into())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let twice = self.invoices.values().filter(|count| **count > 1).count();
        let orders = self.invoices.len();
        write!(f, "{orders} orders invoiced, {twice} of them twice, {} out of order", self.out_of_order)
    }
}
