//! The machine against a naive model, on random histories.
//!
//! `PHALANX_MODEL_SEQUENCES` sets how many (default 100,000), `PHALANX_MODEL_SEED` the first seed. A failure prints the
//! seed, what was broken, and the shortest history that still shows it.

mod coverage;
mod generate;
mod queue;
mod run;
mod send;
mod settle;
mod shard;
mod shrink;
mod stream;
mod time;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coverage::Coverage;
use generate::Profile;
use run::{Step, World};

use crate::support::{Rng, env_number};

/// Entries of the longest history.
const STEPS_MAX: u64 = 38;

/// A history that broke a promise.
struct Failure {
    seed: u64,
    why: String,
    steps: Vec<Step>,
}

thread_local! {
    /// Panics of this thread are caught and reported as broken promises: no need to print each.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics that [`guarded`] catches out of the output; all others are printed as ever.
fn quiet_when_guarded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.with(Cell::get) {
                before(panic);
            }
        }));
    });
}

/// One step; a panic is a broken promise like any other.
fn guarded(world: &mut World, step: &Step) -> Result<(), String> {
    QUIET.with(|quiet| quiet.set(true));
    let result = catch_unwind(AssertUnwindSafe(|| world.step(step)));
    QUIET.with(|quiet| quiet.set(false));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", text.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))))
    })
}

fn replay(steps: &[Step]) -> Result<(), String> {
    let mut world = World::new();
    steps.iter().try_for_each(|step| guarded(&mut world, step))
}

fn history(seed: u64) -> Result<Coverage, Failure> {
    let mut rng = Rng::new(seed);
    let profile = Profile::draw(&mut rng);
    let mut world = World::new();
    let mut steps = Vec::new();
    let mut coming = VecDeque::from(profile.first_steps(&mut rng));
    let length = coming.len() as u64 + 8 + rng.below(STEPS_MAX - 8);
    while (steps.len() as u64) < length {
        let step = coming.pop_front().unwrap_or_else(|| profile.step(&mut rng, &world.shard));
        steps.push(step);
        if let Err(why) = steps.last().map_or(Ok(()), |step| guarded(&mut world, step)) {
            return Err(Failure { seed, why, steps });
        }
    }
    Ok(world.coverage)
}

fn report(failure: &Failure) -> String {
    let (steps, why) = shrink::shortest(&failure.steps, &failure.why, replay);
    let mut text = format!(
        "seed {} breaks a promise: {why}\n(before shortening: {})\nreplay: PHALANX_MODEL_SEED={} \
         PHALANX_MODEL_SEQUENCES=1 cargo test -p phalanx-state-machine --test it model\n",
        failure.seed, failure.why, failure.seed
    );
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("{number:3}: {step:?}\n"));
    }
    text
}

#[test]
fn machine_and_naive_model_agree_on_random_histories() {
    quiet_when_guarded();
    let count = env_number("PHALANX_MODEL_SEQUENCES", 100_000);
    let first = env_number("PHALANX_MODEL_SEED", 1);
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get() as u64);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let work = || -> Result<Coverage, Failure> {
        let mut coverage = Coverage::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                break;
            }
            let met = history(seed).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            coverage.add(&met);
        }
        Ok(coverage)
    };
    let results: Vec<Result<Coverage, Failure>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("panics are caught inside")).collect()
    });
    let mut coverage = Coverage::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(met) => coverage.add(&met),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(failure) = failures.iter().min_by_key(|failure| failure.seed) {
        panic!("{}", report(failure));
    }
    if count >= coverage::HISTORIES_MIN {
        assert!(coverage.missing().is_empty(), "no history met: {:?}", coverage.missing());
    }
}
