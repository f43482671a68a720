//! `sweep`: many seeds, each in a process of its own, side by side.
//!
//! The seeds that once showed a bug come first. A seed that ends without a report has failed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::processes::run_all;
use super::run::{replay, tell};
use super::{EXIT_UNKNOWN, Options, print};
use crate::invariant::Violation;
use crate::report::{Report, Verdict};
use crate::run::Order;
use crate::world::Betrayal;

/// Seeds that once showed a bug, a line each: the number, and what it was after a `#`.
const REGRESS: &str = include_str!("../../seeds/regress.txt");
/// Violations that are told in full.
const TOLD_MAX: usize = 20;

/// What a sweep came to.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    regress_seeds: u64,
    sound: u64,
    unknown: Vec<u64>,
    broken: Vec<u64>,
    simulated_hours: f64,
    wall_s: f64,
    faults: BTreeMap<String, u64>,
    sends_confirmed: u64,
    sends_confirmed_in_fault: u64,
    deliveries: u64,
    settles_answered: u64,
    unknown_operations: u64,
    slowest_rest_ms: u64,
    twice: u64,
    violations: Vec<Report>,
    #[serde(skip)]
    planted: Option<Betrayal>,
}

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let seeds = options.number("--seeds")?.ok_or("sweep needs --seeds N")?;
    let from = options.number("--from")?.unwrap_or(1);
    let jobs = options.jobs()?;
    let twice = options.number("--check-determinism")?.unwrap_or(0).min(seeds);
    let planted = options.planted()?;
    let json = options.flag("--json");
    options.end()?;
    let known = regress()?;
    let mut list = known.clone();
    list.extend(from..from + seeds);
    let begin = Instant::now();
    let mut reports = run_all(&orders(&list, planted), jobs)?;
    reports.sort_by_key(|report| report.seed);
    let again: Vec<u64> = (from..from + twice).collect();
    let second = run_all(&orders(&again, planted), jobs)?;
    for other in second {
        let first = reports.iter_mut().find(|report| report.seed == other.seed).expect("it was in the list");
        if first.trace != other.trace {
            let evidence = format!("trace {} and then {}", first.trace, other.trace);
            first.violations.push(Violation { invariant: "same-seed-same-trace".to_owned(), evidence });
        }
    }
    let mut summary = summarize(&reports);
    (summary.regress_seeds, summary.twice, summary.planted) = (known.len() as u64, twice, planted);
    summary.wall_s = begin.elapsed().as_secs_f64();
    if json {
        print(&serde_json::to_string(&summary).map_err(|error| error.to_string())?);
    } else {
        print(&table(&summary));
    }
    Ok(if !summary.broken.is_empty() {
        ExitCode::FAILURE
    } else if summary.sound == 0 {
        ExitCode::from(EXIT_UNKNOWN)
    } else {
        ExitCode::SUCCESS
    })
}

fn regress() -> Result<Vec<u64>, String> {
    let numbers = REGRESS.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let parse = |text: &str| text.parse().map_err(|_| format!("seeds/regress.txt: {text:?} is not a seed"));
    numbers.filter(|text| !text.is_empty()).map(parse).collect()
}

fn orders(seeds: &[u64], planted: Option<Betrayal>) -> Vec<Order> {
    seeds.iter().map(|seed| Order { seed: *seed, nodes: None, fail_point: None, planted }).collect()
}

impl Summary {
    /// What ran a seed.
    fn order(&self, seed: u64) -> Order {
        Order { seed, nodes: None, fail_point: None, planted: self.planted }
    }
}

fn summarize(reports: &[Report]) -> Summary {
    let mut summary = Summary { seeds: reports.len() as u64, ..Summary::default() };
    for report in reports {
        match report.verdict() {
            Verdict::Sound => summary.sound += 1,
            Verdict::Unknown => summary.unknown.push(report.seed),
            Verdict::Broken => {
                summary.broken.push(report.seed);
                summary.violations.push(report.clone());
            }
        }
        for (kind, count) in &report.faults {
            *summary.faults.entry(kind.clone()).or_default() += count;
        }
        summary.simulated_hours += report.simulated_ms as f64 / 3_600_000.0;
        summary.sends_confirmed += report.sends_confirmed;
        summary.sends_confirmed_in_fault += report.sends_confirmed_in_fault;
        summary.deliveries += report.deliveries;
        summary.settles_answered += report.settles_answered;
        summary.unknown_operations += report.unknown_operations;
        summary.slowest_rest_ms = summary.slowest_rest_ms.max(report.drained_after_ms);
    }
    summary
}

fn table(summary: &Summary) -> String {
    let mut lines: Vec<String> = summary
        .violations
        .iter()
        .take(TOLD_MAX)
        .map(|report| tell(report, &summary.order(report.seed)))
        .collect();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<34}{value}"));
    let regress = summary.regress_seeds;
    row("seeds run", format!("{} ({regress} of seeds/regress.txt first)", summary.seeds));
    row("run twice with the same trace", summary.twice.to_string());
    row("simulated hours", format!("{:.2} in {:.0} s", summary.simulated_hours, summary.wall_s));
    for (kind, count) in &summary.faults {
        row(&format!("  {kind}"), count.to_string());
    }
    let in_fault = summary.sends_confirmed_in_fault;
    row("sends confirmed", format!("{} ({in_fault} while a fault was in force)", summary.sends_confirmed));
    row("deliveries", summary.deliveries.to_string());
    row("settles answered", summary.settles_answered.to_string());
    row("operations of unknown outcome", summary.unknown_operations.to_string());
    row("slowest rest after healing", format!("{} ms", summary.slowest_rest_ms));
    row("sound", summary.sound.to_string());
    row("unknown (nothing shown)", format!("{} {:?}", summary.unknown.len(), summary.unknown));
    row("violations", format!("{} {:?}", summary.broken.len(), summary.broken));
    for seed in &summary.broken {
        lines.push(format!("replay: {}", replay(&summary.order(*seed))));
    }
    lines.join("\n")
}
