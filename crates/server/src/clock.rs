//! Clocks: the injected one of the node, and the machine time of a group that is made from it.
//!
//! Machine time = time of the last entry + monotonic time since, slewed toward the wall clock by at most 5 %. Invariant: what
//! [`MachineClock::now_ms`] answers while this replica leads never goes back, and never runs faster than 105 % of the monotonic
//! clock, except for one jump forward when a whole cluster starts. A follower is re-anchored by every entry.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use phalanx_state_machine::ids::TimestampMs;

/// The clocks of a machine.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed point of this process; never goes back.
    fn monotonic(&self) -> Duration;
    /// Wall clock, milliseconds since the Unix epoch; may do anything.
    fn wall_ms(&self) -> u64;
}

/// The real clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// The wall clock pulls machine time by at most one part in this many: 5 %.
const SLEW_DIVISOR: u64 = 20;

/// Machine time of one group, as this node would stamp it on an entry.
pub struct MachineClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Machine time at `at`, microseconds: slewing by 5 % of a millisecond must add up.
    value_us: u64,
    /// Monotonic time that `value_us` belongs to.
    at: Duration,
    /// An entry proposed after this process started has been seen.
    live: bool,
    /// This replica leads: its own running time counts, entries only confirm it.
    leading: bool,
}

impl MachineClock {
    /// A clock that has seen no entry.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let at = clock.monotonic();
        Self { clock, state: Mutex::new(State { value_us: 0, at, live: false, leading: false }) }
    }

    /// An entry with this machine time was applied; `live` unless it is being replayed from what the log held at the start.
    pub fn observe(&self, entry_ms: TimestampMs, live: bool) {
        let mono = self.clock.monotonic();
        let mut state = self.state.lock();
        state.live |= live;
        let entry_us = entry_ms.saturating_mul(1000);
        if !state.leading || entry_us > state.advanced(mono, None).value_us {
            state.value_us = entry_us;
            state.at = mono;
        }
    }

    /// This replica leads a new term. When no live entry has been seen, the whole cluster was down: machine time jumps forward to
    /// the wall clock.
    pub fn begin_term(&self) {
        let mono = self.clock.monotonic();
        let wall_us = self.clock.wall_ms().saturating_mul(1000);
        let mut state = self.state.lock();
        let mut next = state.advanced(mono, None);
        if !state.live {
            next.value_us = next.value_us.max(wall_us);
        }
        next.live = true;
        next.leading = true;
        *state = next;
    }

    /// This replica no longer leads.
    pub fn end_term(&self) {
        self.state.lock().leading = false;
    }

    /// Machine time now, ms.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        let mono = self.clock.monotonic();
        let wall_us = self.clock.wall_ms().saturating_mul(1000);
        let mut state = self.state.lock();
        *state = state.advanced(mono, Some(wall_us));
        state.value_us / 1000
    }
}

impl State {
    /// The state at `mono`, pulled toward `wall_us` if given.
    fn advanced(&self, mono: Duration, wall_us: Option<u64>) -> State {
        let elapsed_us = mono.saturating_sub(self.at).as_micros() as u64;
        let straight_us = self.value_us.saturating_add(elapsed_us);
        let slew_max_us = elapsed_us / SLEW_DIVISOR;
        let value_us = match wall_us {
            None => straight_us,
            Some(wall_us) => wall_us
                .clamp(straight_us.saturating_sub(slew_max_us), straight_us.saturating_add(slew_max_us)),
        };
        State { value_us, at: mono.max(self.at), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct FakeClock(Mutex<(u64, u64)>);

    impl FakeClock {
        fn pass(&self, ms: u64) {
            let mut now = self.0.lock();
            now.0 += ms;
            now.1 += ms;
        }
        fn set_wall(&self, ms: u64) {
            self.0.lock().1 = ms;
        }
    }

    impl Clock for FakeClock {
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.lock().0)
        }
        fn wall_ms(&self) -> u64 {
            self.0.lock().1
        }
    }

    fn at(wall_ms: u64) -> (Arc<FakeClock>, MachineClock) {
        let fake = Arc::new(FakeClock::default());
        fake.set_wall(wall_ms);
        let clock = MachineClock::new(fake.clone());
        (fake, clock)
    }

    #[test]
    fn wall_clock_step_pulls_by_at_most_five_percent() {
        let (fake, clock) = at(1_000_000);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 1_000_000);
        fake.set_wall(9_000_000);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_001_050);
        fake.set_wall(0);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_002_000);
    }

    #[test]
    fn slew_adds_up_over_many_short_reads() {
        let (fake, clock) = at(1_000_000);
        clock.begin_term();
        fake.set_wall(9_000_000);
        for _ in 0..1000 {
            fake.pass(1);
            let _ = clock.now_ms();
        }
        assert_eq!(clock.now_ms(), 1_001_050);
    }

    #[test]
    fn time_goes_on_while_the_group_is_idle() {
        let (fake, clock) = at(5_000);
        clock.observe(5_000, true);
        fake.pass(700);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 5_700);
    }

    #[test]
    fn start_of_the_whole_cluster_jumps_forward_to_the_wall_clock() {
        let (_fake, clock) = at(3_600_000);
        clock.observe(1_000, false);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 3_600_000);
    }

    #[test]
    fn takeover_in_a_running_cluster_does_not_jump() {
        let (_fake, clock) = at(3_600_000);
        clock.observe(1_000, true);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 1_000);
    }

    #[test]
    fn never_behind_an_applied_entry_and_never_back() {
        let (fake, clock) = at(1_000);
        clock.begin_term();
        clock.observe(50_000, true);
        assert!(clock.now_ms() >= 50_000);
        fake.set_wall(0);
        let before = clock.now_ms();
        fake.pass(10);
        assert!(clock.now_ms() >= before);
    }
}
