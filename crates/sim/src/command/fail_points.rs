//! `failpoints`: a run for every boundary of a persist, ended there by a kill and by a power cut (J9, J16).

use std::process::ExitCode;

use phalanx_storage::fail_point::FailPoint;
use serde::Serialize;

use super::processes::run_all;
use super::run::{replay, tell, way};
use super::{EXIT_UNKNOWN, Options, print};
use crate::report::{Report, Verdict};
use crate::run::Order;
use crate::world::End;

/// Seeds tried until a boundary is reached.
const ATTEMPTS_MAX: u64 = 16;

/// What became of one boundary.
#[derive(Debug, Serialize)]
struct Row {
    point: String,
    how: &'static str,
    seed: u64,
    hits: u64,
    sound: bool,
    replay: String,
}

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let from = options.number("--from")?.unwrap_or(1);
    let transport = options.transport()?;
    let jobs = options.jobs()?;
    let json = options.flag("--json");
    options.end()?;
    let ways = FailPoint::all().into_iter().flat_map(|point| [(point, End::Kill), (point, End::PowerCut)]);
    let mut missing: Vec<Order> = ways
        .zip(from..)
        .map(|(way, seed)| Order { seed, transport, nodes: Some(3), fail_point: Some(way), planted: None })
        .collect();
    let mut done: Vec<(Order, Report)> = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        let reports = run_all(&missing, jobs)?;
        let is_last = attempt + 1 == ATTEMPTS_MAX;
        let mut again = Vec::new();
        for (order, report) in missing.into_iter().zip(reports) {
            if report.fail_point_hits > 0 || report.verdict() == Verdict::Broken || is_last {
                done.push((order, report));
            } else {
                again.push(Order { seed: order.seed + 1_000, ..order });
            }
        }
        missing = again;
    }
    done.sort_by_key(|(order, _)| order.fail_point.map(|(point, how)| (point, how == End::PowerCut)));
    let rows: Vec<Row> = done.iter().filter_map(|(order, report)| row(order, report)).collect();
    if json {
        print(&serde_json::to_string(&rows).map_err(|error| error.to_string())?);
    } else {
        show(&rows, &done);
    }
    Ok(if rows.iter().any(|row| !row.sound) {
        ExitCode::FAILURE
    } else if rows.iter().any(|row| row.hits == 0) {
        ExitCode::from(EXIT_UNKNOWN)
    } else {
        ExitCode::SUCCESS
    })
}

fn row(order: &Order, report: &Report) -> Option<Row> {
    let (point, how) = order.fail_point?;
    Some(Row {
        point: point.to_string(),
        how: way(how),
        seed: order.seed,
        hits: report.fail_point_hits,
        sound: report.verdict() != Verdict::Broken,
        replay: replay(order),
    })
}

fn show(rows: &[Row], done: &[(Order, Report)]) {
    for (order, report) in done.iter().filter(|(_, report)| report.verdict() == Verdict::Broken) {
        print(&tell(report, order));
    }
    print(&format!("{:<22}{:<8}{:>6}{:>6}", "fail point", "how", "seed", "hits"));
    for row in rows {
        let verdict = match (row.sound, row.hits) {
            (false, _) => "VIOLATION",
            (true, 0) => "NEVER REACHED",
            (true, _) => "sound",
        };
        print(&format!("{:<22}{:<8}{:>6}{:>6}  {verdict}", row.point, row.how, row.seed, row.hits));
    }
    let sound = rows.iter().filter(|row| row.sound && row.hits > 0).count();
    print(&format!("{sound} of {} reached and sound", rows.len()));
}
