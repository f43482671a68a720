//! What is to be told to the application's metrics once no lock is held.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

pub(super) enum Entry {
    /// So many messages left the window.
    Left(usize),
    Sent {
        messages: usize,
        latency: Duration,
    },
    Failed {
        messages: usize,
        latency: Duration,
        error: Error,
    },
}

/// See the module. Emptied after each change of the window, so it is never longer than the window.
#[derive(Default)]
pub(super) struct Ledger {
    /// Whether anybody listens.
    pub(super) on: bool,
    pub(super) entries: Vec<Entry>,
}

impl Ledger {
    pub(super) fn add(&mut self, entry: Entry) {
        if self.on {
            self.entries.push(entry);
        }
    }

    pub(super) fn add_outcome(&mut self, messages: usize, since: Instant, error: Option<&Error>) {
        if self.on {
            let latency = since.elapsed();
            self.entries.push(match error.cloned() {
                None => Entry::Sent { messages, latency },
                Some(error) => Entry::Failed { messages, latency, error },
            });
        }
    }
}
