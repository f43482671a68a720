//! `run`: one seed in this process.

use std::process::ExitCode;

use phalanx_storage::fail_point::FailPoint;

use super::{EXIT_UNKNOWN, Options, canary_build, print};
use crate::report::{Report, Verdict};
use crate::run::Order;
use crate::trace;
use crate::world::{Betrayal, End};

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let seed = options.number("--seed")?.ok_or("run needs --seed N")?;
    let transport = options.transport()?;
    let nodes = options.number("--nodes")?;
    let path = options.value("--trace")?;
    let point = options.value("--fail-point")?;
    let how = options.value("--how")?;
    let planted = options.planted()?;
    let canary = options.value("--canary")?;
    let json = options.flag("--json");
    options.end()?;
    if nodes.is_some_and(|nodes| nodes != 3 && nodes != 5) {
        return Err("--nodes is 3 or 5".to_owned());
    }
    if let Some(path) = path {
        trace::write_to(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
    }
    canary.map_or(Ok(()), canary_build::plant)?;
    let fail_point = fail_point(point, how)?;
    let order = Order { seed, transport, nodes, fail_point, planted };
    let report = crate::run::run(order);
    if json {
        print(&serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print(&tell(&report, &order));
    }
    Ok(match report.verdict() {
        Verdict::Sound => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::FAILURE,
        Verdict::Unknown => ExitCode::from(EXIT_UNKNOWN),
    })
}

/// The one-line command that runs a seed again.
pub(super) fn replay(order: &Order) -> String {
    let mut line = format!(
        "cargo run --release -p phalanx-sim -- run --seed {} --transport {}",
        order.seed,
        order.transport.name()
    );
    if let Some(nodes) = order.nodes {
        line.push_str(&format!(" --nodes {nodes}"));
    }
    if let Some((point, how)) = order.fail_point {
        line.push_str(&format!(" --fail-point {point} --how {}", way(how)));
    }
    if let Some(betrayal) = order.planted {
        line.push_str(&format!(" --planted {}", name_of(betrayal)));
    }
    line
}

/// As `--planted` names it.
pub(super) fn name_of(betrayal: Betrayal) -> &'static str {
    match betrayal {
        Betrayal::LyingDisk => "lying-disk",
        Betrayal::JumpingClock => "jumping-clock",
    }
}

/// As `--how` names it.
pub(super) fn way(how: End) -> &'static str {
    match how {
        End::Kill => "kill",
        End::PowerCut => "power",
    }
}

fn fail_point(point: Option<&str>, how: Option<&str>) -> Result<Option<(FailPoint, End)>, String> {
    let Some(name) = point else { return Ok(None) };
    let all = FailPoint::all();
    let found = all.iter().find(|point| point.to_string() == name);
    let found = found.ok_or_else(|| format!("no fail point {name:?}; there are {}", join(&all)))?;
    let how = match how {
        Some("power") => End::PowerCut,
        Some("kill") | None => End::Kill,
        Some(other) => return Err(format!("--how {other}: kill or power")),
    };
    Ok(Some((*found, how)))
}

fn join(points: &[FailPoint]) -> String {
    points.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A report for people.
pub(super) fn tell(report: &Report, order: &Order) -> String {
    let faults: Vec<String> = report.faults.iter().map(|(kind, count)| format!("{kind} ×{count}")).collect();
    let mut lines = vec![
        format!(
            "seed {}: {} nodes, {} transport, {:.1} simulated s, trace {} over {} events",
            report.seed,
            report.nodes,
            report.transport.name(),
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
        Verdict::Broken => lines.push(format!("  replay: {}", replay(order))),
    }
    lines.join("\n")
}
