//! The clocks of a simulated machine: its wall clock may be wrong, and survives restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use phalanx_server::clock::Clock;

use crate::determinism;

/// How far a machine's wall clock is off, ms. Clones are of the same clock.
#[derive(Clone, Debug, Default)]
pub struct WallError {
    ms: Arc<AtomicI64>,
    /// The monotonic clock follows the wall clock, as no monotonic clock may.
    moves_all: Arc<AtomicBool>,
}

impl WallError {
    /// Sets the clock: `ms` from the true time.
    pub fn set(&self, ms: i64) {
        self.ms.store(ms, Relaxed);
    }

    /// Makes the monotonic clock follow the wall clock.
    pub fn move_all(&self) {
        self.moves_all.store(true, Relaxed);
    }
}

/// Clocks of one process on such a machine.
pub struct SimClock {
    start_ns: u64,
    wall: WallError,
}

impl SimClock {
    /// For a process that starts now.
    pub fn new(wall: WallError) -> Self {
        Self { start_ns: determinism::now_ns(), wall }
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        let passed = Duration::from_nanos(determinism::now_ns() - self.start_ns);
        if !self.wall.moves_all.load(Relaxed) {
            return passed;
        }
        let error_ms = self.wall.ms.load(Relaxed);
        Duration::from_millis((passed.as_millis() as u64).saturating_add_signed(error_ms))
    }

    fn wall_ms(&self) -> u64 {
        determinism::wall_ms().saturating_add_signed(self.wall.ms.load(Relaxed))
    }
}
