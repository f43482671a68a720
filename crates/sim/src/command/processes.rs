//! Runs, each in a process of its own, side by side.
//!
//! A run that ends without a report has failed.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{name_of, way};
use crate::invariant::Violation;
use crate::report::{Report, Verdict};
use crate::run::Order;

/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Carries out `orders`, `jobs` at a time; the reports in the same order.
pub(super) fn run_all(orders: &[Order], jobs: u64) -> Result<Vec<Report>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let bar = ProgressBar::with_draw_target(Some(orders.len() as u64), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("runs {bar:32} {pos} of {len}, {per_sec}, {eta} left {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_EVERY);
    let (next, broken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Relaxed);
                    let Some(order) = orders.get(place) else { return };
                    let report = one(&program, order, &[]);
                    if report.verdict() == Verdict::Broken {
                        bar.set_message(format!("{} broken", broken.fetch_add(1, Relaxed) + 1));
                    }
                    bar.inc(1);
                    reports.lock().expect("no thread panics with it").push((place, report));
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut reports = reports.into_inner().expect("no thread panics with it");
    reports.sort_by_key(|(place, _)| *place);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

/// Carries out one order, in a process of its own.
pub(super) fn one(program: &Path, order: &Order, more: &[&str]) -> Report {
    let mut command = Command::new(program);
    command.args(["run", "--json", "--seed", &order.seed.to_string()]);
    command.args(["--transport", order.transport.name()]);
    if let Some(nodes) = order.nodes {
        command.args(["--nodes", &nodes.to_string()]);
    }
    if let Some((point, how)) = order.fail_point {
        command.args(["--fail-point", &point.to_string(), "--how", way(how)]);
    }
    if let Some(betrayal) = order.planted {
        command.args(["--planted", name_of(betrayal)]);
    }
    command.args(more);
    let failed = |evidence| {
        let violation = Violation { invariant: "ends-with-a-report".to_owned(), evidence };
        Report {
            seed: order.seed,
            transport: order.transport,
            violations: vec![violation],
            ..Report::default()
        }
    };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return failed(error.to_string()),
    };
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&last).unwrap_or_else(|_| {
        failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    })
}
