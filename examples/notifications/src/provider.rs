//! The outside world: e-mail, SMS and push, as unreliable as they are, with a record of what reached whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use phalanx_example_stage::Failure;
use tokio::sync::watch;

/// What sending takes.
const WORK: Duration = Duration::from_millis(2);
/// Every so many notifications, the provider is busy at the first attempt.
const BUSY_EVERY: u64 = 25;
/// Every so many notifications, the address cannot exist.
const WRONG_EVERY: u64 = 101;

/// Why something was not sent.
pub enum Refusal {
    /// It may work later.
    Busy,
    /// It never will.
    NoSuchAddress,
}

/// All providers together.
pub struct Provider {
    expected: u64,
    record: Mutex<Record>,
    handled: watch::Sender<u64>,
}

#[derive(Default)]
struct Record {
    /// The number is what providers call an idempotency key: the same one twice is one notification.
    sent: BTreeSet<u64>,
    again: u64,
    busy: u64,
    rejected: BTreeSet<u64>,
    newest: BTreeMap<Vec<u8>, u64>,
    out_of_order: u64,
}

impl Provider {
    /// Nothing sent, and this many notifications to come.
    pub fn new(expected: u64) -> Self {
        Self { expected, record: Mutex::default(), handled: watch::Sender::new(0) }
    }

    /// Sends a notification to whom `address` says.
    pub async fn send(
        &self,
        _channel: &[u8],
        address: &[u8],
        number: u64,
        attempt: u32,
    ) -> Result<(), Refusal> {
        tokio::time::sleep(WORK).await;
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if number.is_multiple_of(BUSY_EVERY) && attempt == 1 {
            record.busy += 1;
            return Err(Refusal::Busy);
        }
        if number.is_multiple_of(WRONG_EVERY) {
            record.rejected.insert(number);
        } else if !record.sent.insert(number) {
            record.again += 1;
            return Ok(());
        } else if record.newest.insert(address.to_vec(), number).is_some_and(|newest| newest > number) {
            record.out_of_order += 1;
        }
        self.handled.send_replace((record.sent.len() + record.rejected.len()) as u64);
        if number.is_multiple_of(WRONG_EVERY) { Err(Refusal::NoSuchAddress) } else { Ok(()) }
    }

    /// Waits until so many notifications are sent or rejected.
    pub async fn until(&self, handled: u64, patience: Duration) -> Result<(), Failure> {
        let mut seen = self.handled.subscribe();
        match tokio::time::timeout(patience, seen.wait_for(|count| *count >= handled)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("only {} of {handled} notifications came", *self.handled.borrow()).into()),
        }
    }

    /// Whether all that could be sent was, in order for each user.
    pub fn verdict(&self) -> Result<(), Failure> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let (sent, rejected) = (record.sent.len() as u64, record.rejected.len() as u64);
        println!(
            "{sent} sent ({} offered twice and known by their number), {rejected} rejected, {} tried again later, {} out of order",
            record.again, record.busy, record.out_of_order
        );
        if sent + rejected != self.expected || record.out_of_order > 0 || record.busy == 0 {
            return Err("notifications are missing or out of order".into());
        }
        println!("every notification reached its user, in order");
        Ok(())
    }
}
