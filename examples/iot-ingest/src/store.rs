//! Where readings end up: a slow store that knows what it has.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use phalanx_example_stage::Failure;
use tokio::sync::watch;

/// What storing one reading takes.
const WORK: Duration = Duration::from_millis(4);

/// Readings by device.
#[derive(Default)]
pub struct Store {
    state: Mutex<State>,
    stored: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The next reading of each device: all before it are stored.
    next: BTreeMap<Vec<u8>, u64>,
    stored: u64,
    again: u64,
    gaps: u64,
}

impl Store {
    /// Stores a reading. One that is there already, delivered again because its acknowledgement was lost, changes nothing.
    pub async fn put(&self, device: &[u8], reading: u64) {
        tokio::time::sleep(WORK).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.next.entry(device.to_vec()).or_default();
        let expected = *next;
        *next = expected.max(reading + 1);
        match reading.cmp(&expected) {
            std::cmp::Ordering::Less => state.again += 1,
            std::cmp::Ordering::Equal => state.stored += 1,
            std::cmp::Ordering::Greater => state.gaps += 1,
        }
        self.stored.send_replace(state.stored);
    }

    /// Waits until so many readings are stored.
    pub async fn until(&self, stored: u64, patience: Duration) -> Result<(), Failure> {
        let mut seen = self.stored.subscribe();
        match tokio::time::timeout(patience, seen.wait_for(|count| *count >= stored)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("only {} of {stored} readings came", *self.stored.borrow()).into()),
        }
    }

    /// Whether every reading is there, in order, and devices were held back rather than drowned.
    pub fn verdict(&self, expected: u64, held_back: u64) -> Result<(), Failure> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        println!(
            "{} readings of {} devices stored, {} delivered again, {} out of order, {held_back} bursts held back",
            state.stored,
            state.next.len(),
            state.again,
            state.gaps
        );
        if state.stored != expected || state.gaps > 0 || held_back == 0 {
            return Err("readings are missing or out of order, or nothing was held back".into());
        }
        println!("every reading is there, in order for each device");
        Ok(())
    }
}
