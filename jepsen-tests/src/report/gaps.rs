//! How long sends were not confirmed, over all trials.

use std::fmt::Write as _;

use super::escaped;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 30.0;

/// The share of trials that took no longer, as a line. `sorted` and `bound_ms` in ms.
pub fn gaps(title: &str, sorted: &[u64], bound_ms: u64) -> String {
    let most = sorted.last().copied().unwrap_or_default().max(bound_ms) as f64 * 1.05;
    let x = |ms: f64| LEFT + (WIDTH - LEFT - 20.0) * ms / most;
    let y = |share: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}</text>\n",
        escaped(title)
    );
    for tenth in 0..=10 {
        let ms = most * f64::from(tenth) / 10.0;
        let (left, bottom) = (x(ms), HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<line x1=\"{left:.1}\" x2=\"{left:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#eee\"/>\
             <text x=\"{left:.1}\" y=\"{}\" text-anchor=\"middle\">{ms:.0} ms</text>",
            bottom + 15.0
        );
    }
    for (share, label) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/><text x=\"10\" y=\"{y:.1}\">{label}</text>",
            WIDTH - 20.0,
            y = y(share)
        );
    }
    let bound = x(bound_ms as f64);
    let _ = writeln!(
        svg,
        "<line x1=\"{bound:.1}\" x2=\"{bound:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#d02020\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{bound:.1}\" y=\"{}\" fill=\"#d02020\" text-anchor=\"end\">99 % must be below</text>",
        HEIGHT - BOTTOM,
        TOP + 10.0
    );
    let mut points = format!("{:.1},{:.1}", x(0.0), y(0.0));
    for (place, ms) in sorted.iter().enumerate() {
        let (left, count) = (x(*ms as f64), sorted.len() as f64);
        let _ = write!(
            points,
            " {left:.1},{:.1} {left:.1},{:.1}",
            y(place as f64 / count),
            y((place + 1) as f64 / count)
        );
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#2060c0\" stroke-width=\"2\"/>\n</svg>"
    );
    svg
}
