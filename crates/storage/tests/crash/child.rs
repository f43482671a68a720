//! The process that opens an image: what it finds there, and what happens when it works on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use phalanx_storage::Error;
use phalanx_storage::checkpoint::{Engine, ReplicaCheckpoint};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::case::{self, Case, Expectations, Then};
use crate::image::{Disk, Survives};
use crate::syscalls::{self, FileId};
use crate::workload::{LATER_REPLICAS, Model, Plan, Session};

/// Commits after a recovery.
const LATER_STEPS: usize = 8;
/// Cuts while the engine opens, and of all that follows.
const CUTS_AGAIN: [usize; 2] = [2, 1];

/// Checks the case in `dir` and never returns: closing an engine is not what is tested.
pub fn run(dir: &Path) -> ! {
    syscalls::skip_syncs();
    let report = match check(dir) {
        Ok(report) | Err(report) => report,
    };
    fs::write(dir.join("report"), report).unwrap();
    std::process::exit(0);
}

/// `Ok` if what was acknowledged is there, all of it, and nothing else.
fn check(dir: &Path) -> Result<String, String> {
    let case = Case::read(dir);
    let image = dir.join("image");
    match case.then {
        Then::Nothing => verify(&case, &open(&case, &image)?).map(|()| "ok".to_owned()),
        Then::WorkOn => work_on(&case, &image),
        Then::CutAgain(seed) => cut_again(&case, dir, seed),
    }
}

fn open(case: &Case, image: &Path) -> Result<Arc<dyn Engine>, String> {
    case.kind.open(image).map_err(|error| refused("engine", &error))
}

/// What a refusal is: damage that was noticed, and by whom, or something else.
fn refused(by: &str, error: &Error) -> String {
    match error {
        Error::Corrupt { why, .. } if why.contains("was durable") => {
            format!("detected by the batch number: {error}")
        }
        Error::Corrupt { why, .. } if why.contains("its manifest") => {
            format!("detected by the manifest: {error}")
        }
        Error::Corrupt { .. } => format!("detected by the {by}: {error}"),
        other => format!("refused by the {by}: {other:?}"),
    }
}

fn verify(case: &Case, engine: &Arc<dyn Engine>) -> Result<(), String> {
    for plan in &case.plans {
        verify_plan(plan, engine)?;
    }
    Ok(())
}

fn verify_plan(plan: &Expectations, engine: &Arc<dyn Engine>) -> Result<(), String> {
    let models = models(plan);
    for (replica, expected) in &plan.expected {
        let checkpoint = ReplicaCheckpoint::open(Arc::clone(engine), *replica, expected.batch);
        let checkpoint = checkpoint.map_err(|error| refused("row checks", &error))?;
        let Some(manifest) = checkpoint.manifest() else {
            if expected.acked == 0 {
                continue;
            }
            return Err(format!("SILENT: replica {replica} has no checkpoint, expected {expected:?}"));
        };
        let found = manifest.fields.index;
        let Some(model) = models.get(&(*replica, found)) else {
            return Err(format!("SILENT: replica {replica} is at {found}, expected {expected:?}"));
        };
        if manifest.fields != model.fields(*replica) {
            return Err(format!("SILENT: replica {replica} has another manifest: {manifest:?}"));
        }
        let rows = all(&checkpoint).map_err(|error| refused("row checks", &error))?;
        if let Err(what) = model.compare(*replica, &rows) {
            return Err(format!("SILENT: replica {replica} at {found}: {what}"));
        }
    }
    Ok(())
}

/// What each replica may be, by its number and the index of the commit.
fn models(plan: &Expectations) -> BTreeMap<(u64, u64), Model> {
    let mut steps = Plan::new(plan.seed, plan.replicas, false);
    let mut models = BTreeMap::new();
    while plan.expected.iter().any(|(replica, expected)| steps.model(*replica).index < expected.begun) {
        let step = steps.next();
        let expected = plan.expected[&step.replica];
        if step.index == expected.acked || step.index == expected.begun {
            models.insert((step.replica, step.index), steps.model(step.replica).clone());
        }
    }
    models
}

fn all(checkpoint: &ReplicaCheckpoint) -> Result<BTreeMap<Bytes, Bytes>, Error> {
    let (mut rows, mut after) = (BTreeMap::new(), None::<Bytes>);
    loop {
        let step = checkpoint.rows(after.as_deref(), 1 << 20)?;
        let Some((last, _)) = step.last() else { return Ok(rows) };
        after = Some(last.clone());
        rows.extend(step);
    }
}

/// A store that was recovered takes commits, and has them after it was closed and opened.
fn work_on(case: &Case, image: &Path) -> Result<String, String> {
    let engine = open(case, image)?;
    verify(case, &engine)?;
    let failed = |error: Error| format!("after the recovery: {error:?}");
    let seed = case.plans[0].seed + 1;
    let mut later = Expectations::new(seed, LATER_REPLICAS);
    // The marks tell what was acknowledged.
    syscalls::start(Path::new("/nowhere"), &[]);
    let mut session = Session::begin(Arc::clone(&engine), seed, LATER_REPLICAS).map_err(failed)?;
    for _ in 0..LATER_STEPS {
        session.step().map_err(failed)?;
    }
    syscalls::stop().iter().for_each(|event| later.happen(event));
    drop((session, engine));
    let mut case = case.clone();
    case.plans.push(later);
    verify(&case, &open(&case, image)?).map_err(|what| format!("opened again: {what}"))?;
    Ok("ok".to_owned())
}

/// Everything below a directory.
fn list(dir: &Path, below: &Path, files: &mut Vec<PathBuf>, dirs: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            dirs.push(path.clone());
            list(dir, &path, files, dirs);
        } else {
            files.push(path);
        }
    }
}

/// The recovery, and the first commits after it, are recorded and cut as well.
fn cut_again(case: &Case, dir: &Path, seed: u64) -> Result<String, String> {
    let image = dir.join("image");
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    list(&image, Path::new(""), &mut files, &mut dirs);
    let numbered: Vec<(PathBuf, FileId)> = files.into_iter().zip(0..).collect();
    let contents = numbered.iter().map(|(path, file)| {
        let now = fs::read(image.join(path)).unwrap();
        let durable = fs::read(dir.join("durable").join(path)).unwrap_or_else(|_| now.clone());
        (path.clone(), *file, durable, now)
    });
    let mut disk = Disk::with_files(contents.collect(), dirs);
    let plan_seed = case.plans[0].seed + 1;
    let failed = |error: Error| format!("after the recovery: {error:?}");

    syscalls::start(&image, &numbered);
    let engine = open(case, &image)?;
    let opened = syscalls::count();
    verify(case, &engine)?;
    let mut session = Session::begin(Arc::clone(&engine), plan_seed, LATER_REPLICAS).map_err(failed)?;
    for _ in 0..LATER_STEPS {
        session.step().map_err(failed)?;
    }
    let events = syscalls::stop();

    let mut random = SmallRng::seed_from_u64(seed);
    let mut cuts: Vec<usize> = (0..CUTS_AGAIN[0]).map(|_| random.random_range(0..opened)).collect();
    cuts.extend((0..CUTS_AGAIN[1]).map(|_| random.random_range(opened..events.len())));
    cuts.sort_unstable();
    let mut later = Expectations::new(plan_seed, LATER_REPLICAS);
    for (number, event) in events.iter().enumerate() {
        disk.happen(event);
        later.happen(event);
        for _ in cuts.iter().filter(|cut| **cut == number) {
            let survives = Survives::any(&mut random);
            let mut case = case.clone();
            case.then = Then::Nothing;
            case.plans.push(later.clone());
            let report = case::check(&dir.join("again"), &case, &disk.image(survives, &mut random));
            if !report.starts_with("ok") {
                return Err(format!(
                    "cut again after {number} of {} events, {survives:?}: {report}",
                    events.len()
                ));
            }
        }
    }
    Ok(format!("ok {}", cuts.len()))
}
