//! Trials: the leader is struck again and again, each time in a cluster that is well, until sends are confirmed again.

use std::io;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Settings, Watch, rest};
use crate::history::{F, Facts, Kind};
use crate::nemesis::{Fault, Nemesis};
use crate::survey;

/// A cluster is well again, and has a leader, so long after a trial at most.
const WELL_DEADLINE: Duration = Duration::from_secs(60);
/// A trial ends without a confirmation then.
const TRIAL_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks for the confirmation.
const LOOK: Duration = Duration::from_millis(20);
/// The fault stays in force so long after the confirmation: the checker has to find it inside.
const HOLD: Duration = Duration::from_millis(200);

/// How often which fault strikes the leader.
#[derive(Clone, Copy, Debug)]
pub struct Trials {
    /// The fault.
    pub fault: Fault,
    /// How often.
    pub count: u64,
}

/// Lets the fault strike the leader so often, and heals each time.
pub(super) async fn carry_out(
    settings: &Settings,
    trials: Trials,
    nemesis: &mut Nemesis,
    watch: &mut dyn Watch,
) -> io::Result<()> {
    let begin = Instant::now();
    let mut random = SmallRng::seed_from_u64(settings.seed);
    let addresses = nemesis.cluster.addresses();
    for trial in 0..trials.count {
        let what = format!("trial {} of {}", trial + 1, trials.count);
        if !survey::wait_healthy(&nemesis.client, &addresses, WELL_DEADLINE).await {
            let why = format!("{what}: not all replicas are healthy {WELL_DEADLINE:?} after the one before");
            return Err(io::Error::other(why));
        }
        // Anywhere between two heartbeats.
        let calm = Duration::from_millis(random.random_range(800..1_600));
        rest(nemesis, calm, begin, trial, watch, &what).await?;
        let struck_ns = nemesis.strike_leader(trials.fault, &mut random, WELL_DEADLINE).await?;
        let struck = Instant::now();
        while !nemesis.recorder.was_confirmed_since(struck_ns) && struck.elapsed() < TRIAL_MAX {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(HOLD).await;
        nemesis.heal().await?;
    }
    nemesis.recorder.note(F::Healed, Kind::Info, Facts::default());
    Ok(())
}
