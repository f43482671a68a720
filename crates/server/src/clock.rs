//! Clocks: the injected one of the node, and the machine time of a group that is made from it.
//!
//! Machine time = time of the last entry + monotonic time since, slewed toward the wall clock by at most 5 %. Invariant: what
//! [`MachineClock::now_ms`] answers while this replica leads never goes back, and never runs faster than 105 % of the monotonic
//! clock. A follower keeps it by the entries it applies. A replica that has just started does not know how long it was away, so it
//! is not *in step*: [`crate::timekeeper`] asks the others before such a replica leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use phalanx_canary::Canary;
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

/// Tokio's time, which a test may pause and advance, from the wall clock at the start on.
#[derive(Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    start_wall_ms: u64,
}

impl Default for TokioClock {
    fn default() -> Self {
        Self { start: tokio::time::Instant::now(), start_wall_ms: SystemClock::default().wall_ms() }
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        self.start_wall_ms.saturating_add(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The wall clock pulls machine time by at most one part in this many: 5 %.
const SLEW_DIVISOR: u64 = 20;
/// A follower believes the promptest entry of this time and of as much before it: one that comes late (a resent one, the end of a
/// partition) must not set the clock back, and a leader that is slewed back must be followed.
const WINDOW: Duration = Duration::from_secs(5);

/// Machine time of one group, as this node would stamp it on an entry.
pub struct MachineClock {
    clock: Arc<dyn Clock>,
    /// The wall clock is wrong: see [`crate::wall_watch`].
    disbelieved: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// It is known how machine time went on while this process was not there.
    in_step: bool,
    mode: Mode,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Following(Window),
    Leading(Running),
}

/// Machine time minus monotonic time, µs, of the promptest entries.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    newest: i64,
    before: i64,
}

/// Machine time that runs by itself.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// Machine time at `at`, µs: slewing by 5 % of a millisecond must add up.
    value_us: u64,
    at: Duration,
}

fn offset_us(time_us: u64, mono: Duration) -> i64 {
    let time_us = i64::try_from(time_us).unwrap_or(i64::MAX);
    time_us.saturating_sub(mono.as_micros() as i64)
}

impl Window {
    fn at(time_us: u64, mono: Duration) -> Self {
        let offset = offset_us(time_us, mono);
        Self { began: mono, newest: offset, before: offset }
    }

    fn observe(&mut self, time_us: u64, mono: Duration) {
        let offset = offset_us(time_us, mono);
        if mono.saturating_sub(self.began) >= WINDOW {
            *self = Self { began: mono, newest: offset, before: self.newest };
        } else {
            self.newest = self.newest.max(offset);
        }
    }

    fn time_us(&self, mono: Duration) -> u64 {
        let offset = self.newest.max(self.before);
        offset.saturating_add(mono.as_micros() as i64).max(0) as u64
    }
}

impl Running {
    /// The time at `mono`, pulled toward `wall_us` if there is a wall clock to believe.
    fn advanced(self, mono: Duration, wall_us: Option<u64>) -> Self {
        let elapsed_us = mono.saturating_sub(self.at).as_micros() as u64;
        // What is too short to be slewed waits for the next look, or many looks would lose much.
        let elapsed_us = elapsed_us - elapsed_us % SLEW_DIVISOR;
        let straight_us = self.value_us.saturating_add(elapsed_us);
        let slew_max_us = elapsed_us / SLEW_DIVISOR;
        let slowest_us = straight_us.saturating_sub(slew_max_us);
        let fastest_us = straight_us.saturating_add(slew_max_us);
        let value_us = wall_us.map_or(straight_us, |wall_us| wall_us.clamp(slowest_us, fastest_us));
        Self { value_us, at: self.at + Duration::from_micros(elapsed_us) }
    }
}

impl MachineClock {
    /// A clock that has seen no entry.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let window = Window::at(0, clock.monotonic());
        let state = Mutex::new(State { in_step: false, mode: Mode::Following(window) });
        Self { clock, disbelieved: AtomicBool::new(false), state }
    }

    /// An entry with this machine time was applied.
    pub fn observe(&self, entry_ms: TimestampMs) {
        let mono = self.clock.monotonic();
        let wall_us = self.wall_us();
        let entry_us = entry_ms.saturating_mul(1000);
        match &mut self.state.lock().mode {
            Mode::Following(window) => window.observe(entry_us, mono),
            // Its own entries only confirm a leader's time; those of the term before are applied in its own as well.
            Mode::Leading(running) => {
                let now = running.advanced(mono, wall_us);
                *running = Running { value_us: now.value_us.max(entry_us), ..now };
            }
        }
    }

    /// Whether this replica knows machine time, rather than only the time of the last entry in its log.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.state.lock().in_step
    }

    /// Machine time is at least this now. It ends being out of step, and changes nothing afterwards.
    pub fn adopt(&self, time_ms: TimestampMs) {
        let mono = self.clock.monotonic();
        let mut state = self.state.lock();
        if state.in_step {
            return;
        }
        state.in_step = true;
        if let Mode::Following(window) = &mut state.mode {
            let time_us = time_ms.saturating_mul(1000).max(window.time_us(mono));
            *window = Window::at(time_us, mono);
        }
    }

    /// This replica leads a new term: machine time goes on from here.
    pub fn begin_term(&self) {
        let mono = self.clock.monotonic();
        let mut state = self.state.lock();
        if let Mode::Following(window) = state.mode {
            state.mode = Mode::Leading(Running { value_us: window.time_us(mono), at: mono });
        }
    }

    /// This replica no longer leads.
    pub fn end_term(&self) {
        let (mono, wall_us) = (self.clock.monotonic(), self.wall_us());
        let mut state = self.state.lock();
        if let Mode::Leading(running) = state.mode {
            state.mode = Mode::Following(Window::at(running.advanced(mono, wall_us).value_us, mono));
        }
    }

    /// Machine time now, ms.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        let (mono, wall_us) = (self.clock.monotonic(), self.wall_us());
        if Canary::LeaseByWallClock.is_planted() {
            return self.clock.wall_ms();
        }
        match &mut self.state.lock().mode {
            Mode::Following(window) => window.time_us(mono) / 1000,
            Mode::Leading(running) => {
                *running = running.advanced(mono, wall_us);
                running.value_us / 1000
            }
        }
    }

    /// The node's wall clock, ms since the Unix epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Whether the wall clock is to pull machine time.
    pub fn believe_wall(&self, is_right: bool) {
        self.disbelieved.store(!is_right, Ordering::Relaxed);
    }

    fn wall_us(&self) -> Option<u64> {
        let is_believed = !self.disbelieved.load(Ordering::Relaxed);
        is_believed.then(|| self.clock.wall_ms().saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct FakeClock(Mutex<(Duration, Duration)>);

    impl FakeClock {
        fn pass(&self, ms: u64) {
            self.pass_ns(ms * 1_000_000);
        }
        fn pass_ns(&self, ns: u64) {
            let mut now = self.0.lock();
            now.0 += Duration::from_nanos(ns);
            now.1 += Duration::from_nanos(ns);
        }
        fn set_wall(&self, ms: u64) {
            self.0.lock().1 = Duration::from_millis(ms);
        }
    }

    impl Clock for FakeClock {
        fn monotonic(&self) -> Duration {
            self.0.lock().0
        }
        fn wall_ms(&self) -> u64 {
            self.0.lock().1.as_millis() as u64
        }
    }

    /// A clock that leads since `wall_ms`.
    fn leading(wall_ms: u64) -> (Arc<FakeClock>, MachineClock) {
        let (fake, clock) = following(wall_ms);
        clock.adopt(wall_ms);
        clock.begin_term();
        (fake, clock)
    }

    fn following(wall_ms: u64) -> (Arc<FakeClock>, MachineClock) {
        let fake = Arc::new(FakeClock::default());
        fake.set_wall(wall_ms);
        let clock = MachineClock::new(fake.clone());
        (fake, clock)
    }

    #[test]
    fn wall_clock_step_pulls_by_at_most_five_percent() {
        let (fake, clock) = leading(1_000_000);
        assert_eq!(clock.now_ms(), 1_000_000);
        fake.set_wall(9_000_000);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_001_050);
        fake.set_wall(0);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_002_000);
    }

    #[test]
    fn a_wall_clock_that_is_not_believed_pulls_nothing() {
        let (fake, clock) = leading(1_000_000);
        clock.believe_wall(false);
        fake.set_wall(9_000_000);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_001_000);
        clock.believe_wall(true);
        fake.pass(1000);
        assert_eq!(clock.now_ms(), 1_002_050);
    }

    #[test]
    fn slew_adds_up_over_many_short_reads() {
        let (fake, clock) = leading(1_000_000);
        fake.set_wall(9_000_000);
        for _ in 0..1000 {
            fake.pass(1);
            let _ = clock.now_ms();
        }
        assert_eq!(clock.now_ms(), 1_001_050);
    }

    #[test]
    fn looking_often_costs_no_time() {
        let (fake, clock) = leading(1_000_000);
        for _ in 0..1_000_000 {
            fake.pass_ns(700);
            let _ = clock.now_ms();
        }
        // The wall clock tells whole milliseconds, and pulls by less than one.
        assert!((1_000_699..=1_000_700).contains(&clock.now_ms()), "{}", clock.now_ms());
    }

    #[test]
    fn time_goes_on_while_the_group_is_idle() {
        let (fake, clock) = following(5_000);
        clock.observe(5_000);
        fake.pass(700);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 5_700);
    }

    #[test]
    fn restarted_replica_takes_the_time_that_is_adopted_and_no_other() {
        let (fake, clock) = following(3_600_000);
        clock.observe(1_000);
        assert!(!clock.is_in_step());
        clock.adopt(8_000);
        assert!(clock.is_in_step());
        clock.adopt(90_000);
        fake.pass(10);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 8_010);
    }

    #[test]
    fn adopted_time_is_never_before_an_applied_entry() {
        let (_fake, clock) = following(3_600_000);
        clock.observe(5_000);
        clock.adopt(1_000);
        assert_eq!(clock.now_ms(), 5_000);
    }

    #[test]
    fn takeover_does_not_jump_to_the_wall_clock() {
        let (_fake, clock) = following(3_600_000);
        clock.observe(1_000);
        clock.begin_term();
        assert_eq!(clock.now_ms(), 1_000);
    }

    #[test]
    fn late_entry_does_not_set_a_follower_back() {
        let (fake, clock) = following(0);
        clock.observe(100_000);
        fake.pass(60_000);
        clock.observe(100_500); // after a minute's partition
        clock.observe(159_900);
        assert_eq!(clock.now_ms(), 160_000);
    }

    #[test]
    fn follower_goes_along_with_a_leader_that_is_slewed_back() {
        let (fake, clock) = following(0);
        for second in 0..600 {
            clock.observe(1_000_000 + second * 950);
            fake.pass(1_000);
        }
        let leader = 1_000_000 + 600 * 950;
        let ahead = clock.now_ms() - leader;
        assert!(ahead <= 50 * 2 * WINDOW.as_secs() + 50, "{ahead} ms ahead after ten minutes");
    }

    #[test]
    fn never_behind_an_applied_entry_and_never_back() {
        let (fake, clock) = leading(1_000);
        clock.observe(50_000);
        assert!(clock.now_ms() >= 50_000);
        fake.set_wall(0);
        let before = clock.now_ms();
        fake.pass(10);
        assert!(clock.now_ms() >= before);
    }
}
