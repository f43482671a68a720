//! `jepsen soak` and `smoke`: many runs, each in a process and namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::list::obstacle;
use super::run::{fresh_seed, results_dir};
use super::sum::{Sum, figure};
use super::{CHILD, Place, SoakArgs, say};
use crate::check::Verdict;
use crate::edn::Edn;
use crate::nemesis::Fault;
use crate::workload;

/// Each strikes as often as it is named.
const SMOKE: &str = "kill,kill,kill-majority,halves,one-way,isolated-leader,ring,pause,pause";
/// A run of the smoke level ends when every fault has had its turn: long before this, s.
const SMOKE_SECONDS_MAX: u64 = 120;
/// What a soak has more of than a turn each.
const SOAK_MORE: [&str; 8] =
    ["kill", "kill", "kill", "kill", "kill-majority", "halves", "isolated-leader", "isolated-leader"];
/// What a run of the smoke level must have seen.
const SMOKE_LEAST: [(&str, u64); 3] = [("kill", 3), ("partition", 3), ("pause", 2)];

/// One run of several.
pub(super) struct Part {
    /// What clients do.
    pub workload: String,
    /// What strikes.
    pub nemesis: String,
    /// 3 or 5.
    pub nodes: u64,
    /// Seconds.
    pub time: u64,
    /// Decides faults and clients.
    pub seed: u64,
    /// Ends earlier.
    pub rounds: Option<u64>,
    /// Its results.
    pub dir: PathBuf,
}

impl Part {
    /// Runs it; its verdict, and its results as far as there are any.
    pub fn run(&self, place: &Place) -> Result<(Verdict, Edn), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.env(CHILD, "1").args(["run", "--workload", &self.workload, "--nemesis", &self.nemesis]);
        for (name, number) in [("--nodes", self.nodes), ("--time", self.time), ("--seed", self.seed)] {
            command.arg(name).arg(number.to_string());
        }
        if let Some(rounds) = self.rounds {
            command.arg("--rounds").arg(rounds.to_string());
        }
        command.arg("--binary").arg(&place.binary).arg("--out").arg(&self.dir);
        if place.proxies {
            command.arg("--proxies");
        }
        if let Some(canary) = &place.canary {
            command.args(["--canary", canary]);
        }
        let status = command.status().map_err(|error| error.to_string())?;
        let verdict = match status.code() {
            Some(0) => Verdict::Valid,
            Some(1) => Verdict::Invalid,
            _ => Verdict::Unknown,
        };
        let results = std::fs::read_to_string(self.dir.join("results.edn")).unwrap_or_default();
        Ok((verdict, Edn::parse(&results).unwrap_or(Edn::Nil)))
    }
}

/// What every change must pass.
pub fn smoke(place: &Place) -> Result<Verdict, String> {
    let dir = place.out.clone().unwrap_or_else(|| results_dir("smoke"));
    let first = fresh_seed();
    let mut worst = Verdict::Valid;
    for (number, workload) in ["queue", "groups", "fifo"].into_iter().enumerate() {
        let part = Part {
            workload: workload.to_owned(),
            nemesis: SMOKE.to_owned(),
            nodes: 3,
            time: SMOKE_SECONDS_MAX,
            seed: first + number as u64,
            rounds: Some(1),
            dir: dir.join(workload),
        };
        let (mut verdict, results) = part.run(place)?;
        for (kind, least) in SMOKE_LEAST {
            let seen = figure(&results, "coverage", kind);
            if seen < least {
                say(&format!("{workload}: {seen} of {kind}, {least} are needed\n"));
                verdict = verdict.max(Verdict::Unknown);
            }
        }
        worst = worst.max(verdict);
    }
    Ok(worst)
}

fn of_soak(args: &SoakArgs, dir: &Path) -> Result<impl Iterator<Item = Part> + use<>, String> {
    let workloads: Vec<String> = match args.workload.is_empty() {
        true => workload::ALL.iter().map(|(name, _)| (*name).to_owned()).collect(),
        false => args.workload.clone(),
    };
    let possible = Fault::ALL.iter().filter(|row| obstacle(row.2).is_none());
    let possible: Vec<&str> = possible.map(|row| row.1).chain(SOAK_MORE).collect();
    if args.nemesis.is_empty() {
        for (_, name, needs) in Fault::ALL {
            if let Some(why) = obstacle(needs) {
                eprintln!("jepsen: without {name}: {why}");
            }
        }
    }
    let nemesis = if args.nemesis.is_empty() { possible.join(",") } else { args.nemesis.join(",") };
    let (first, time, dir) = (args.seed.unwrap_or_else(fresh_seed), args.time, dir.to_owned());
    Ok((0..).map(move |number| {
        let workload = workloads[number as usize % workloads.len()].clone();
        let seed = first + number;
        Part {
            nemesis: nemesis.clone(),
            nodes: if number % 2 == 0 { 3 } else { 5 },
            time,
            seed,
            rounds: None,
            dir: dir.join(format!("{number:03}-{workload}-{seed}")),
            workload,
        }
    }))
}

/// Runs until the time is over.
pub fn soak(args: &SoakArgs) -> Result<Verdict, String> {
    let dir = args.place.out.clone().unwrap_or_else(|| results_dir("soak"));
    let begin = Instant::now();
    let mut sum = Sum::default();
    for part in of_soak(args, &dir)? {
        if begin.elapsed() >= Duration::from_secs(args.minutes * 60) {
            break;
        }
        let (verdict, results) = part.run(&args.place)?;
        sum.add(&part.dir, verdict, results);
        // After each, so that an end before the time leaves what there is.
        sum.write(&dir)?;
        if verdict == Verdict::Valid {
            // Nobody needs the data of what went well.
            forget_data(&part);
        }
    }
    say(&sum.figures());
    let mut verdict = sum.verdict();
    if args.nemesis.is_empty() {
        for missing in sum.missing(args.minutes) {
            say(&format!("{missing}\n"));
            verdict = verdict.max(Verdict::Unknown);
        }
    }
    say(&format!("{verdict:?}: {}\n", dir.join("soak.svg").display()));
    Ok(verdict)
}

fn forget_data(part: &Part) {
    for node in 1..=part.nodes {
        // Not there when it was on a disk of our own.
        let _ = std::fs::remove_dir_all(part.dir.join(format!("node-{node}/data")));
    }
}
