//! `run`: one seed in this process.

use std::process::ExitCode;

use super::{EXIT_UNKNOWN, Options, print};
use crate::run::{Report, Verdict};
use crate::trace;

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let seed = options.number("--seed")?.ok_or("run needs --seed N")?;
    let nodes = options.number("--nodes")?;
    let path = options.value("--trace")?;
    let json = options.flag("--json");
    options.end()?;
    if nodes.is_some_and(|nodes| nodes != 3 && nodes != 5) {
        return Err("--nodes is 3 or 5".to_owned());
    }
    if let Some(path) = path {
        trace::write_to(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
    }
    let report = crate::run::run(seed, nodes);
    if json {
        print(&serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print(&tell(&report, nodes));
    }
    Ok(match report.verdict() {
        Verdict::Sound => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::FAILURE,
        Verdict::Unknown => ExitCode::from(EXIT_UNKNOWN),
    })
}

/// The one-line command that runs a seed again.
pub(super) fn replay(seed: u64, nodes: Option<u64>) -> String {
    let nodes = nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
    format!("cargo run --release -p phalanx-sim -- run --seed {seed}{nodes}")
}

/// A report for people.
pub(super) fn tell(report: &Report, nodes: Option<u64>) -> String {
    let faults: Vec<String> = report.faults.iter().map(|(kind, count)| format!("{kind} ×{count}")).collect();
    let mut lines = vec![
        format!(
            "seed {}: {} nodes, {:.1} simulated s, trace {} over {} events",
            report.seed,
            report.nodes,
            report.simulated_ms as f64 / 1_000.0,
            report.trace,
            report.trace_events
        ),
        format!("  faults: {}", faults.join(", ")),
        format!(
            "  {} sends confirmed ({} while a fault was in force), {} deliveries, {} settles answered, {} outcomes unknown; at rest {} ms after healing",
            report.sends_confirmed,
            report.sends_confirmed_in_fault,
            report.deliveries,
            report.settles_answered,
            report.unknown_operations,
            report.drained_after_ms
        ),
    ];
    for violation in &report.violations {
        lines.push(format!("  VIOLATION of {}: {}", violation.invariant, violation.evidence));
    }
    match report.verdict() {
        Verdict::Sound => lines.push("  sound".to_owned()),
        Verdict::Unknown => {
            lines.push("  UNKNOWN: nothing was acknowledged while a fault was in force".to_owned())
        }
        Verdict::Broken => lines.push(format!("  replay: {}", replay(report.seed, nodes))),
    }
    lines.join("\n")
}
