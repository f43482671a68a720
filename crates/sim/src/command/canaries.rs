//! `canaries`: bugs planted on purpose in an extra build, one at a time; each must be found.
//!
//! The seeds are the same ones for every canary, and the same build without a canary must pass all that were needed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use phalanx_canary::Canary;
use serde::Serialize;

use super::processes::one;
use super::{Options, canary_build, print};
use crate::net::Transport;
use crate::report::{Report, Verdict};
use crate::run::Order;

/// Seeds tried for each canary, unless `--seeds` says otherwise.
const SEEDS_MAX: u64 = 200;
/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// What became of one canary.
#[derive(Debug, Serialize)]
struct Row {
    canary: &'static str,
    /// Seeds run, the one that caught it included.
    seeds: u64,
    /// The seed that caught it.
    seed: Option<u64>,
    /// The rules that it broke there.
    caught_by: Vec<String>,
    /// What the first of them saw.
    evidence: String,
    replay: String,
}

/// Seeds, and what runs them.
struct Hunt<'a> {
    program: &'a Path,
    from: u64,
    seeds_max: u64,
    jobs: u64,
    bar: ProgressBar,
}

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let seeds_max = options.number("--seeds")?.unwrap_or(SEEDS_MAX);
    let from = options.number("--from")?.unwrap_or(1);
    let jobs = options.jobs()?;
    let only = options.value("--only")?;
    let json = options.flag("--json");
    options.end()?;
    let canaries = only.map_or(Ok(Canary::ALL.to_vec()), |name| find(name).map(|canary| vec![canary]))?;
    let program = canary_build::build()?;
    let hunt = Hunt { program: &program, from, seeds_max, jobs, bar: bar() };
    let rows = hunt.all(&canaries);
    // A canary that nobody caught is a failure by itself: the clean build need not follow it to the end.
    let needed = rows.iter().filter(|row| row.seed.is_some()).map(|row| row.seeds).max().unwrap_or(0);
    let broken = hunt.clean(needed);
    hunt.bar.finish_and_clear();
    if json {
        print(&serde_json::to_string(&rows).map_err(|error| error.to_string())?);
    } else {
        print(&table(&rows));
    }
    for report in &broken {
        let why: Vec<&str> = report.violations.iter().map(|violation| violation.evidence.as_str()).collect();
        eprintln!("without a canary, seed {} is broken: {}", report.seed, why.join("; "));
    }
    if !json {
        print(&format!("without a canary: {} of {needed} seeds are sound", needed - broken.len() as u64));
    }
    let all_caught = rows.iter().all(|row| row.seed.is_some());
    Ok(if all_caught && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The canary of that name.
pub(super) fn find(name: &str) -> Result<Canary, String> {
    let found = Canary::ALL.into_iter().find(|canary| canary.name() == name);
    found.ok_or_else(|| format!("no canary {name:?}; there are {}", Canary::ALL.map(Canary::name).join(", ")))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos} runs in {elapsed}, {per_sec}; last: {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_EVERY);
    bar
}

impl Hunt<'_> {
    /// Every canary, `jobs` at a time.
    fn all(&self, canaries: &[Canary]) -> Vec<Row> {
        let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        self.side_by_side(|| {
            while let Some(canary) = canaries.get(next.fetch_add(1, Relaxed)) {
                let row = self.one(*canary);
                rows.lock().expect("no thread panics with it").push(row);
            }
        });
        let mut rows = rows.into_inner().expect("no thread panics with it");
        rows.sort_by_key(|row| Canary::ALL.iter().position(|canary| canary.name() == row.canary));
        rows
    }

    fn one(&self, canary: Canary) -> Row {
        let name = canary.name();
        for seed in self.from..self.from + self.seeds_max {
            let report = self.run(seed, Some(name));
            if report.verdict() == Verdict::Broken {
                return Row {
                    canary: name,
                    seeds: seed - self.from + 1,
                    seed: Some(seed),
                    evidence: report.violations[0].evidence.clone(),
                    caught_by: report.violations.into_iter().map(|violation| violation.invariant).collect(),
                    replay: format!("{} run --seed {seed} --canary {name}", self.program.display()),
                };
            }
        }
        Row {
            canary: name,
            seeds: self.seeds_max,
            seed: None,
            caught_by: Vec::new(),
            evidence: String::new(),
            replay: String::new(),
        }
    }

    /// The first `count` seeds without a canary; those that are broken.
    fn clean(&self, count: u64) -> Vec<Report> {
        let (next, broken) = (AtomicU64::new(self.from), Mutex::new(Vec::new()));
        self.side_by_side(|| {
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= self.from + count {
                    return;
                }
                let report = self.run(seed, None);
                if report.verdict() == Verdict::Broken {
                    broken.lock().expect("no thread panics with it").push(report);
                }
            }
        });
        broken.into_inner().expect("no thread panics with it")
    }

    fn run(&self, seed: u64, canary: Option<&str>) -> Report {
        let order = Order { seed, transport: Transport::Tonic, nodes: None, fail_point: None, planted: None };
        let report = match canary {
            Some(name) => one(self.program, &order, &["--canary", name]),
            None => one(self.program, &order, &[]),
        };
        self.bar.set_message(format!("{}, seed {seed}", canary.unwrap_or("no canary")));
        self.bar.inc(1);
        report
    }

    fn side_by_side(&self, work: impl Fn() + Sync) {
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(&work);
            }
        });
    }
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!("{:<24}{:>6}  caught by", "canary", "seeds")];
    for row in rows {
        let by = if row.seed.is_some() { row.caught_by.join(", ") } else { "NOT CAUGHT".to_owned() };
        lines.push(format!("{:<24}{:>6}  {by}", row.canary, row.seeds));
    }
    lines.extend(rows.iter().filter(|row| row.seed.is_some()).map(|row| format!("replay: {}", row.replay)));
    let caught = rows.iter().filter(|row| row.seed.is_some()).count();
    lines.push(format!("{caught} of {} caught", rows.len()));
    lines.join("\n")
}
