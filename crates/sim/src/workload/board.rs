//! What clients and the world outside tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What everyone does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Queues are being made.
    Prepare,
    /// Send, consume, misbehave.
    Work,
    /// Nobody sends any more; consumers take everything.
    Drain,
    /// Done.
    Over,
}

/// What clients and the world outside tell each other. Clones are the same.
#[derive(Clone, Default)]
pub struct Board {
    stage: Arc<AtomicU8>,
    /// The queues are there.
    pub prepared: Arc<AtomicBool>,
    /// Clients that still send, or wait for what came of it.
    pub sending: Arc<AtomicUsize>,
    messages: Arc<AtomicU64>,
    identities: Arc<AtomicU64>,
}

impl Board {
    /// What everyone does now.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Prepare,
            1 => Stage::Work,
            2 => Stage::Drain,
            _ => Stage::Over,
        }
    }

    /// What everyone does from now on.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    /// A number that names nothing else in this run: holders, producers, requests.
    pub(super) fn identity(&self) -> u64 {
        self.identities.fetch_add(1, Relaxed) + 1
    }

    /// The number of a message that nobody has sent before.
    pub(super) fn message(&self) -> u64 {
        self.messages.fetch_add(1, Relaxed) + 1
    }
}
