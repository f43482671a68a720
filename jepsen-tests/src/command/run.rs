//! `jepsen run` and `replay`.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failover::failover;
use super::list::obstacle;
use super::progress::Progress;
use super::{FailoverArgs, Place, RunArgs, interrupt, say};
use crate::check::Verdict;
use crate::nemesis::Fault;
use crate::net;
use crate::report;
use crate::run::{Settings, run as run_once};
use crate::workload;

/// Ends when somebody wants it all to end.
pub(super) type Interrupted = Pin<Box<dyn Future<Output = ()>>>;

/// Without a seed: something new each time.
pub(super) fn fresh_seed() -> u64 {
    UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs() % 1_000_000)
}

/// Where links can be cut: inside of namespaces if that is possible. Returns when this process is where it is to be.
pub(super) fn settle_in(place: &Place) {
    if !place.proxies && !net::is_inside() {
        let why = net::enter();
        eprintln!("jepsen: no namespaces here ({why}); links are proxies");
    }
}

fn faults(words: &[String], place: &Place) -> Result<Vec<Fault>, String> {
    let mut faults = Vec::new();
    for word in words {
        faults.extend(Fault::parse(word)?);
    }
    for fault in &faults {
        if let Some(why) = obstacle(fault.needs(), place) {
            return Err(format!("nemesis {} cannot be had here: {why}", fault.name()));
        }
    }
    Ok(faults)
}

fn check_workload(name: &str) -> Result<(), String> {
    let is_known = workload::ALL.iter().any(|(known, _)| *known == name);
    if is_known { Ok(()) } else { Err(format!("there is no workload {name:?}; see `jepsen list`")) }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())
}

/// Carries something out, with a bar that shows how far it is, and with word of an interrupt.
pub(super) fn execute<T>(
    settings: &Settings,
    unit: &'static str,
    length: u64,
    act: impl AsyncFnOnce(&mut Progress, Interrupted) -> Result<T, String>,
) -> Result<T, String> {
    if !settings.binary.is_file() {
        return Err(format!(
            "{} is not there: build it, or name it with --binary",
            settings.binary.display()
        ));
    }
    let runtime = runtime()?;
    interrupt::listen()?;
    let title = format!("{} seed {}", settings.workload, settings.seed);
    let mut progress = Progress::new(&title, unit, length);
    let results = runtime.block_on(act(&mut progress, Box::pin(interrupt::wanted())));
    progress.finish();
    // Tasks may wait for answers that do not come.
    runtime.shutdown_timeout(Duration::from_secs(1));
    results
}

/// Settings of a cluster on which no faults of a plan strike.
pub(super) fn settings_of(
    place: &Place,
    workload: &str,
    nodes: u64,
    seed: u64,
    dir: PathBuf,
    words: Vec<String>,
) -> Result<Settings, String> {
    let binary = std::path::absolute(&place.binary).map_err(|error| error.to_string())?;
    Ok(Settings {
        workload: workload.to_owned(),
        faults: Vec::new(),
        nodes,
        time: Duration::ZERO,
        rounds: None,
        seed,
        binary,
        dir,
        canary: place.canary.clone(),
        words,
    })
}

fn settings(args: &RunArgs, seed: u64, dir: PathBuf) -> Result<Settings, String> {
    check_workload(&args.workload)?;
    let words =
        ["run", "--workload", &args.workload, "--nemesis", &args.nemesis.join(",")].map(str::to_owned);
    let mut words = Vec::from(words);
    for (name, number) in [("--nodes", args.nodes), ("--time", args.time), ("--seed", seed)] {
        words.extend([name.to_owned(), number.to_string()]);
    }
    if let Some(rounds) = args.rounds {
        words.extend(["--rounds".to_owned(), rounds.to_string()]);
    }
    Ok(Settings {
        faults: faults(&args.nemesis, &args.place)?,
        time: Duration::from_secs(args.time),
        rounds: args.rounds,
        ..settings_of(&args.place, &args.workload, args.nodes, seed, dir, words)?
    })
}

pub(super) fn results_dir(name: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    PathBuf::from(format!("target/jepsen/{name}-{now}"))
}

/// One run.
pub fn run(args: &RunArgs) -> Result<Verdict, String> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let dir = args.place.out.clone().unwrap_or_else(|| results_dir(&format!("{}-{seed}", args.workload)));
    let settings = settings(args, seed, dir.clone())?;
    settle_in(&args.place);
    let results = execute(&settings, "s", args.time, async |watch, interrupted| {
        run_once(&settings, watch, interrupted).await
    })?;
    say(&report::summary(&results));
    let verdict = results.verdict();
    say(&format!("{verdict:?}: {}; seed {seed}; again: jepsen replay {}\n", dir.display(), dir.display()));
    Ok(verdict)
}

/// The run of a directory again.
pub fn replay(dir: &Path, place: Place) -> Result<Verdict, String> {
    let path = dir.join("command");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let words = std::iter::once("jepsen").chain(text.lines());
    let cli = <super::Cli as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
    match cli.command {
        super::Command::Run(args) => run(&RunArgs { place, ..args }),
        super::Command::Failover(args) => failover(&FailoverArgs { place, ..args }),
        _ => Err(format!("{} is not of a run", path.display())),
    }
}
