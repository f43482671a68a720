//! `jepsen canaries`: bugs planted on purpose in an extra build must be caught, those that real processes can show.
//!
//! Cargo puts a wrapper in front of the compiler for the workspace's own crates only: this program, when [`WRAPS`] is set. So dependencies
//! know nothing of it, and nothing of the normal build is replaced.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use phalanx_canary::Canary;

use super::list::obstacle;
use super::many::Part;
use super::run::results_dir;
use super::{Place, interrupt, say};
use crate::check::Verdict;
use crate::edn::Edn;
use crate::nemesis::Fault;

/// Set in the environment of a process that stands in for the compiler.
const WRAPS: &str = "PHALANX_JEPSEN_WRAPS_RUSTC";
/// What the compiler is told beside its arguments.
const CFG: [&str; 2] = ["--cfg", "phalanx_test"];
/// The server that the build makes.
const BINARY: &str = "phalanx-canaries";
/// Runs of each canary at most.
const SEEDS_MAX: u64 = 8;
/// Each, s.
const SECONDS: u64 = 45;

/// Where a canary shows itself: workload and faults.
fn hunt(canary: Canary) -> (&'static str, &'static str) {
    match canary {
        Canary::AckBeforeFsync => ("queue", "power-cut-all,power-cut-majority"),
        Canary::DedupNotInSnapshot => ("dedup", "kill-all,restart,kill"),
        Canary::LeaseByWallClock => ("pauses", "skew,strobe"),
        Canary::GroupOrderOnNack => ("groups", "kill"),
        Canary::RottenAsTorn => ("queue", "flip,flip,kill"),
        Canary::TokenReused => ("queue", "kill-all,restart,kill-majority"),
        Canary::EffectsTrusted => ("queue", "kill,isolated-leader,pause,restart"),
        Canary::FanOutSkips => ("fan-out", "kill"),
        Canary::StaleReads => ("reads", "isolated-leader,halves,pause"),
        Canary::UidConfusion => ("lives", "kill"),
        Canary::InboxForgets => ("fan-out", "kill,isolated-leader,pause"),
    }
}

/// As a wrapper: becomes the compiler that the arguments name. Returns only when there is none, or when this is no wrapper.
pub fn stand_in_for_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut words = std::env::args_os().skip(1);
    let Some(compiler) = words.next() else {
        eprintln!("jepsen: {WRAPS} is set, and no compiler is named");
        return Some(ExitCode::FAILURE);
    };
    let error = Command::new(&compiler).args(words).args(CFG).exec();
    eprintln!("jepsen: {}: {error}", compiler.display());
    Some(ExitCode::FAILURE)
}

/// Makes the build beside this program, with the same profile; its path.
fn build() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let place = program.parent().ok_or("this program is in no directory")?;
    let target = place.parent().ok_or("this program is in no target directory")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--package", env!("CARGO_PKG_NAME")]);
    command.args(["--bin", BINARY, "--features", "canaries"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    command.arg("--target-dir").arg(target);
    command.env("RUSTC_WORKSPACE_WRAPPER", &program).env(WRAPS, "1");
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(place.join(BINARY)) } else { Err(format!("the build with canaries: {status}")) }
}

/// Checkers that found something wrong.
fn caught_by(results: &Edn) -> String {
    let Edn::Map(rows) = results else { return String::new() };
    let wrong = rows.iter().filter(|(_, finding)| finding.get("valid?") == Some(&Edn::Bool(false)));
    wrong.filter_map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Builds, and hunts each canary until it is caught.
pub fn canaries(only: &[String], place: &Place) -> Result<Verdict, String> {
    let place = Place { binary: build()?, ..place.clone() };
    let dir = place.out.clone().unwrap_or_else(|| results_dir("canaries"));
    let mut worst = Verdict::Valid;
    interrupt::listen()?;
    for canary in Canary::ALL {
        let name = canary.name();
        if !only.is_empty() && !only.iter().any(|word| word == name) {
            continue;
        }
        let (workload, nemesis) = hunt(canary);
        let faults = nemesis.split(',').map(Fault::parse).collect::<Result<Vec<_>, _>>()?.concat();
        if let Some(why) = faults.iter().find_map(|fault| obstacle(fault.needs(), &place)) {
            say(&format!("{name}: cannot be hunted here: {why}\n"));
            worst = worst.max(Verdict::Unknown);
            continue;
        }
        if !is_caught(name, workload, nemesis, &dir, &place)? {
            say(&format!("{name}: NOT CAUGHT in {SEEDS_MAX} runs\n"));
            worst = Verdict::Invalid;
        }
    }
    Ok(worst)
}

fn is_caught(name: &str, workload: &str, nemesis: &str, dir: &Path, place: &Place) -> Result<bool, String> {
    for seed in 1..=SEEDS_MAX {
        if interrupt::is_wanted() {
            return Err("interrupted".to_owned());
        }
        let part = Part {
            workload: workload.to_owned(),
            nemesis: nemesis.to_owned(),
            nodes: 3,
            time: SECONDS,
            seed,
            rounds: None,
            dir: dir.join(format!("{name}-{seed}")),
        };
        let (verdict, results) = part.run(&Place { canary: Some(name.to_owned()), ..place.clone() })?;
        if verdict == Verdict::Invalid {
            say(&format!("{name}: caught by {} with seed {seed}\n", caught_by(&results)));
            return Ok(true);
        }
    }
    Ok(false)
}
