//! How long fail-overs took.

use std::fmt::Write as _;
use std::time::Duration;

use super::begun_svg;
use crate::run::{Blow, Trial};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;

/// Trials by how long they took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// In order, ms.
    sorted_ms: Vec<u64>,
    /// In which nothing was confirmed.
    never: usize,
}

impl Distribution {
    /// Of these trials.
    pub fn of(trials: &[Trial]) -> Self {
        let took = trials.iter().filter_map(|trial| trial.took);
        let mut sorted_ms: Vec<u64> = took.map(|took| took.as_millis() as u64).collect();
        sorted_ms.sort_unstable();
        Self { never: trials.len() - sorted_ms.len(), sorted_ms }
    }

    /// So many of a hundred took no longer, ms (nearest rank). `None`: one of these never ended, or there are none.
    pub fn percentile(&self, percent: usize) -> Option<u64> {
        let trials = self.sorted_ms.len() + self.never;
        let rank = (trials * percent).div_ceil(100).max(1);
        self.sorted_ms.get(rank - 1).copied()
    }

    /// Whether 99 of 100 were within it.
    pub fn holds(&self, bound: Duration) -> bool {
        self.percentile(99).is_some_and(|ms| u128::from(ms) <= bound.as_millis())
    }
}

/// Shares of the trials that took no longer, with each trial as a point, and the bound.
pub fn failover(blow: Blow, distribution: &Distribution) -> String {
    let bound_ms = blow.bound().as_millis() as u64;
    let last_ms = distribution.sorted_ms.last().copied().unwrap_or(0).max(bound_ms) * 11 / 10;
    let count = distribution.sorted_ms.len() + distribution.never;
    let x = |ms: u64| LEFT + (WIDTH - LEFT - 20.0) * ms as f64 / last_ms as f64;
    let y = |share: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
    let mut svg = begun_svg(WIDTH, HEIGHT);
    let at = |percent| distribution.percentile(percent).map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\">{}: {count} trials, p50 {}, p90 {}, p99 {}, bound {bound_ms} ms</text>",
        blow.name(),
        at(50),
        at(90),
        at(99)
    );
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.0}H{1}\" stroke=\"#ddd\"/><text x=\"10\" y=\"{0:.0}\">{2} %</text>",
            y(share),
            WIDTH - 20.0,
            quarter * 25
        );
    }
    for tenth in 0..=10 {
        let ms = last_ms * tenth / 10;
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"{}\">{ms} ms</text>", x(ms) - 10.0, HEIGHT - 15.0);
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {TOP}V{}\" stroke=\"#c05020\" stroke-dasharray=\"4\"/>",
        x(bound_ms),
        HEIGHT - BOTTOM
    );
    let mut path = format!("M{LEFT} {:.1}", y(0.0));
    for (number, ms) in distribution.sorted_ms.iter().enumerate() {
        let share = (number + 1) as f64 / count as f64;
        let _ = write!(path, "H{:.1}V{:.1}", x(*ms), y(share));
        let _ =
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"#2060c0\"/>", x(*ms), y(share));
    }
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"#2060c0\"/>\n</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(took: &[Option<u64>]) -> Distribution {
        let trial = |ms: &Option<u64>| Trial { node: 1, took: ms.map(Duration::from_millis) };
        Distribution::of(&took.iter().map(trial).collect::<Vec<_>>())
    }

    #[test]
    fn a_percentile_is_a_trial_that_was_made() {
        let hundred: Vec<Option<u64>> = (1..=100).rev().map(Some).collect();
        let distribution = told(&hundred);
        let at = |percent| distribution.percentile(percent);
        assert_eq!([at(0), at(50), at(99), at(100)], [Some(1), Some(50), Some(99), Some(100)]);
        assert_eq!(told(&[Some(5)]).percentile(99), Some(5));
        assert_eq!(told(&[]).percentile(50), None);
    }

    #[test]
    fn a_trial_that_never_ended_is_the_longest_of_all() {
        let distribution = told(&[Some(1), None, Some(2)]);
        assert_eq!(distribution.percentile(50), Some(2));
        assert_eq!(distribution.percentile(99), None);
        assert!(!distribution.holds(Blow::Isolate.bound()));
        assert!(!told(&[]).holds(Blow::Isolate.bound()));
        assert!(told(&[Some(2_000)]).holds(Blow::Isolate.bound()));
        assert!(!told(&[Some(501)]).holds(Blow::Kill.bound()));
    }
}
