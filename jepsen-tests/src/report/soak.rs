//! A whole soak in one picture: latencies and numbers of confirmed sends over the hours, and below them the faults, a row for each kind.

use std::fmt::Write as _;

use super::series::kinds;
use super::{Second, Series, begun_svg, escaped};
use crate::check::Verdict;

const WIDTH: f64 = 1400.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 10.0;
/// Latencies: from 0.1 ms, five decades.
const LATENCY: (f64, f64) = (40.0, 240.0);
const DECADES: f64 = 5.0;
/// Confirmed sends a second.
const RATE: (f64, f64) = (265.0, 385.0);
/// Rows of faults begin here.
const FAULTS: f64 = 405.0;
const ROW: f64 = 16.0;
/// Points of a line at most: the picture is to be small enough to be kept.
const POINTS_MAX: u64 = 700;
/// What latencies are drawn in.
const P50: &str = "#2060c0";
const P99: &str = "#c05020";
const CONFIRMED: &str = "#20805a";
/// Rows of faults, in turn.
const FAULT_COLORS: [&str; 4] = ["#b03030", "#d08020", "#6040a0", "#3070a0"];

/// One run of a soak.
pub struct Stretch {
    /// Of its first event, since the beginning of the soak, s.
    pub begin: u64,
    /// Workload, nemesis, seed.
    pub name: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What happened.
    pub series: Series,
}

struct Scale {
    seconds: u64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds as f64
    }
}

fn latency_y(us: u64) -> f64 {
    let decade = (us.max(1) as f64 / 100.0).log10().clamp(0.0, DECADES);
    LATENCY.1 - (LATENCY.1 - LATENCY.0) * decade / DECADES
}

/// The picture.
pub fn soak(stretches: &[Stretch], seconds: u64) -> String {
    let scale = Scale { seconds: seconds.max(1) };
    let height = FAULTS + ROW * kinds().len() as f64 + 25.0;
    let mut svg = begun_svg(WIDTH, height);
    runs(&mut svg, &scale, stretches, height);
    axes(&mut svg, &scale, height);
    let points = merged(stretches, scale.seconds.div_ceil(POINTS_MAX));
    let most = points.iter().map(|second| second.confirmed).max().unwrap_or(1).max(1);
    let rate_y = |rate: u64| RATE.1 - (RATE.1 - RATE.0) * rate as f64 / most as f64;
    let _ = writeln!(svg, "<text x=\"5\" y=\"{}\">{most}/s</text>", RATE.0 + 10.0);
    line(&mut svg, &scale, &points, P99, |second| latency_y(second.p99_us));
    line(&mut svg, &scale, &points, P50, |second| latency_y(second.p50_us));
    line(&mut svg, &scale, &points, CONFIRMED, |second| rate_y(second.confirmed));
    faults(&mut svg, &scale, stretches);
    svg.push_str("</svg>\n");
    svg
}

/// Stretches are told apart by their background; one in which something was wrong stands out.
fn runs(svg: &mut String, scale: &Scale, stretches: &[Stretch], height: f64) {
    for (number, stretch) in stretches.iter().enumerate() {
        let next = stretches.get(number + 1).map_or(scale.seconds, |next| next.begin);
        let (left, right) = (scale.x(stretch.begin as f64), scale.x(next as f64));
        let color = match stretch.verdict {
            Verdict::Invalid => "#ffb0b0",
            Verdict::Unknown => "#fff0b0",
            Verdict::Valid if number % 2 == 0 => "#f6f6f6",
            Verdict::Valid => "#ffffff",
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.0}\" y=\"25\" width=\"{:.0}\" height=\"{:.0}\" fill=\"{color}\"><title>{}</title></rect>",
            right - left,
            height - 45.0,
            escaped(&stretch.name)
        );
    }
}

fn axes(svg: &mut String, scale: &Scale, height: f64) {
    for (place, (name, color)) in
        [("p99 of confirmed sends", P99), ("p50", P50), ("confirmed sends a second", CONFIRMED)]
            .into_iter()
            .enumerate()
    {
        let left = LEFT + 170.0 * place as f64;
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"17\" fill=\"{color}\">{name}</text>");
    }
    for (decade, label) in ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"].into_iter().enumerate() {
        let y = latency_y(100 * 10_u64.pow(decade as u32));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.0}H{}\" stroke=\"#ccc\"/><text x=\"5\" y=\"{y:.0}\">{label}</text>",
            WIDTH - RIGHT
        );
    }
    for tenth in 0..=10 {
        let seconds = scale.seconds * tenth / 10;
        let x = scale.x(seconds as f64) - 15.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{:.0}\">{:.0} min</text>",
            height - 8.0,
            seconds as f64 / 60.0
        );
    }
}

/// The seconds of all runs, so many of them put together.
fn merged(stretches: &[Stretch], width: u64) -> Vec<Second> {
    let all = stretches.iter().flat_map(|stretch| {
        let later = |second: &Second| Second { at: second.at + stretch.begin, ..*second };
        stretch.series.seconds.iter().map(later).collect::<Vec<_>>()
    });
    let all: Vec<Second> = all.collect();
    let parts = all.chunk_by(|a, b| a.at / width == b.at / width).map(|part| {
        let most = |figure: fn(&Second) -> u64| part.iter().map(figure).max().unwrap_or_default();
        let mut middle: Vec<u64> = part.iter().map(|second| second.p50_us).collect();
        middle.sort_unstable();
        Second {
            at: part[0].at / width * width,
            confirmed: part.iter().map(|second| second.confirmed).sum::<u64>() / width,
            p50_us: middle[middle.len() / 2],
            p99_us: most(|second| second.p99_us),
        }
    });
    parts.collect()
}

/// A line with a gap wherever nothing was confirmed for long.
fn line(svg: &mut String, scale: &Scale, points: &[Second], color: &str, y: impl Fn(&Second) -> f64) {
    let width = scale.seconds.div_ceil(POINTS_MAX);
    let mut path = String::new();
    let mut last: Option<u64> = None;
    for second in points {
        let follows = last.is_some_and(|last| second.at - last <= 2 * width.max(4));
        let _ = write!(
            path,
            "{}{:.1} {:.1}",
            if follows { 'L' } else { 'M' },
            scale.x(second.at as f64),
            y(second)
        );
        last = Some(second.at);
    }
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\"/>");
}

/// A row for each kind of fault.
fn faults(svg: &mut String, scale: &Scale, stretches: &[Stretch]) {
    for (row, kind) in kinds().into_iter().enumerate() {
        let top = FAULTS + ROW * row as f64;
        let mut path = String::new();
        let mut count = 0;
        for stretch in stretches {
            for (begin, end, _) in stretch.series.bands.iter().filter(|band| band.2 == kind) {
                let x = |ms: u64| scale.x(stretch.begin as f64 + ms as f64 / 1e3);
                let wide = (x(*end) - x(*begin)).max(1.0);
                let _ = write!(path, "M{:.1} {top}h{wide:.1}v12h-{wide:.1}z", x(*begin));
                count += 1;
            }
        }
        let color = FAULT_COLORS[row % FAULT_COLORS.len()];
        let _ = writeln!(
            svg,
            "<text x=\"5\" y=\"{:.0}\">{kind} {count}</text><path d=\"{path}\" fill=\"{color}\"/>",
            top + 11.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept in a repository, it must stay small.
    const BYTES_MAX: usize = 200_000;

    #[test]
    fn a_picture_of_an_hour_is_small() {
        let kinds = kinds();
        let stretch = |number: u64| {
            let seconds = (0..120).map(|at| Second { at, confirmed: 300 + at, p50_us: 900, p99_us: 90_000 });
            let bands = (0..40).map(|n| (n * 2_500, n * 2_500 + 2_000, kinds[n as usize % kinds.len()]));
            let series = Series { seconds: seconds.collect(), bands: bands.collect(), ..Series::default() };
            Stretch { begin: number * 120, name: format!("run {number}"), verdict: Verdict::Valid, series }
        };
        let stretches: Vec<Stretch> = (0..30).map(stretch).collect();
        let svg = soak(&stretches, 3_600);
        assert!(svg.len() < BYTES_MAX, "{} bytes", svg.len());
        assert!(svg.ends_with("</svg>\n"));
    }
}
