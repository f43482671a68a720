//! The clocks of a simulated machine: its wall clock may be wrong, and survives restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use phalanx_server::clock::Clock;

use crate::determinism;

/// How far a machine's wall clock is off, ms. Clones are of the same clock.
#[derive(Clone, Debug, Default)]
pub struct WallError(Arc<AtomicI64>);

impl WallError {
    /// Sets the clock: `ms` from the true time.
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Relaxed);
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
        Duration::from_nanos(determinism::now_ns() - self.start_ns)
    }

    fn wall_ms(&self) -> u64 {
        determinism::wall_ms().saturating_add_signed(self.wall.0.load(Relaxed))
    }
}
