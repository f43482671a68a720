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
use crate::net::Transport;
use crate::report::{Report, Verdict};
use crate::run::Order;
use crate::world::Betrayal;

/// Seeds that once showed a bug, a line each: the number, the transport unless it is tonic, and what it was after a `#`.
const REGRESS: &str = include_str!("../../seeds/regress.txt");
/// Violations that are told in full.
const TOLD_MAX: usize = 20;

/// What a sweep came to.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    transport: Transport,
    regress_seeds: u64,
    sound: u64,
    unknown: Vec<u64>,
    broken: Vec<u64>,
    simulated_hours: f64,
    wall_s: f64,
    faults: BTreeMap<String, u64>,
    network: BTreeMap<String, u64>,
    leaders: u64,
    carried: u64,
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
    let transport = options.transport()?;
    let planted = options.planted()?;
    let json = options.flag("--json");
    options.end()?;
    let known = regress(transport)?;
    let mut list = known.clone();
    list.extend(from..from + seeds);
    let begin = Instant::now();
    let mut reports = run_all(&orders(&list, transport, planted), jobs)?;
    reports.sort_by_key(|report| report.seed);
    let again: Vec<u64> = (from..from + twice).collect();
    let second = run_all(&orders(&again, transport, planted), jobs)?;
    for other in second {
        let first = reports.iter_mut().find(|report| report.seed == other.seed).expect("it was in the list");
        if first.trace != other.trace {
            let evidence = format!("trace {} and then {}", first.trace, other.trace);
            first.violations.push(Violation { invariant: "same-seed-same-trace".to_owned(), evidence });
        }
    }
    let mut summary = summarize(&reports);
    (summary.regress_seeds, summary.twice) = (known.len() as u64, twice);
    (summary.transport, summary.planted) = (transport, planted);
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

/// The seeds that once showed a bug with this transport.
fn regress(transport: Transport) -> Result<Vec<u64>, String> {
    let mut seeds = Vec::new();
    for line in REGRESS.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(number) = words.next() else { continue };
        let seed = number.parse().map_err(|_| format!("seeds/regress.txt: {number:?} is not a seed"))?;
        let named = words.next().map_or(Some(Transport::default()), Transport::named);
        let of = named.filter(|_| words.next().is_none());
        if of.ok_or_else(|| format!("seeds/regress.txt: {line:?}"))? == transport {
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

fn orders(seeds: &[u64], transport: Transport, planted: Option<Betrayal>) -> Vec<Order> {
    let order = |seed: &u64| Order { seed: *seed, transport, nodes: None, fail_point: None, planted };
    seeds.iter().map(order).collect()
}

impl Summary {
    /// What ran a seed.
    fn order(&self, seed: u64) -> Order {
        Order { seed, transport: self.transport, nodes: None, fail_point: None, planted: self.planted }
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
        for (what, count) in &report.network {
            *summary.network.entry(what.clone()).or_default() += count;
        }
        summary.leaders += report.leaders;
        summary.simulated_hours += report.simulated_ms as f64 / 3_600_000.0;
        summary.carried += report.carried;
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
    let mut row = |name: &str, value: String| lines.push(format!("{name:<38}{value}"));
    let regress = summary.regress_seeds;
    let transport = summary.transport.name();
    row(
        "seeds run",
        format!("{}, {transport} transport ({regress} of seeds/regress.txt first)", summary.seeds),
    );
    row("run twice with the same trace", summary.twice.to_string());
    row("simulated hours", format!("{:.2} in {:.0} s", summary.simulated_hours, summary.wall_s));
    for (kind, count) in &summary.faults {
        row(&format!("  {kind}"), count.to_string());
    }
    for (what, count) in &summary.network {
        row(&format!("  {what}"), count.to_string());
    }
    row("leaders that came to serve", summary.leaders.to_string());
    let in_fault = summary.sends_confirmed_in_fault;
    row("sends confirmed", format!("{} ({in_fault} while a fault was in force)", summary.sends_confirmed));
    row("deliveries", summary.deliveries.to_string());
    row("deliveries of what bindings carried", summary.carried.to_string());
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
