//! Runs of several, each in a process and namespaces of its own; `jepsen smoke`.

use std::path::PathBuf;
use std::process::Command;

use super::run::{fresh_seed, results_dir};
use super::{CHILD, Place, interrupt, say};
use crate::check::Verdict;
use crate::edn::Edn;

/// Each strikes as often as it is named.
const SMOKE: &str = "kill,kill,kill-majority,halves,one-way,isolated-leader,ring,pause,pause";
/// A run of the smoke level ends when every fault has had its turn: long before this, s.
const SMOKE_SECONDS_MAX: u64 = 120;
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

/// A figure of a checker.
pub(super) fn figure(results: &Edn, checker: &str, name: &str) -> u64 {
    results.get(checker).and_then(|finding| finding.get(name)).and_then(Edn::as_u64).unwrap_or_default()
}

/// What every change must pass.
pub fn smoke(place: &Place) -> Result<Verdict, String> {
    let dir = place.out.clone().unwrap_or_else(|| results_dir("smoke"));
    let first = fresh_seed();
    let mut worst = Verdict::Valid;
    interrupt::listen()?;
    for (number, workload) in ["queue", "groups", "fifo"].into_iter().enumerate() {
        if interrupt::is_wanted() {
            return Ok(worst.max(Verdict::Unknown));
        }
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
