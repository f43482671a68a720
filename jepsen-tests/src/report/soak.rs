//! A whole soak in one picture: a strip for each run, with the faults as bands and the confirmed sends of each second as a line.

use std::fmt::Write as _;

use super::escaped;
use crate::history::{Event, F, Index};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 170.0;
const TOP: f64 = 40.0;
/// Height of a strip, and of what lies between two.
const STRIP: (f64, f64) = (34.0, 6.0);
/// Colors of the kinds of faults; what is not among them has the last.
const COLORS: [(&str, &str); 8] = [
    ("kill", "#e08070"),
    ("partition", "#8fb4e8"),
    ("pause", "#c0a0e0"),
    ("power-cut", "#f0b040"),
    ("flip", "#e070b0"),
    ("full", "#a0c070"),
    ("restart", "#70c0b0"),
    ("other", "#d0d0d0"),
];

/// One run of a soak.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Workload, nodes, seed.
    pub title: String,
    /// Confirmed sends of each second.
    pub sends: Vec<u64>,
    /// Faults: begin and end (s), kind, words.
    pub bands: Vec<(f64, f64, String, String)>,
}

/// What a picture needs of a history.
pub fn strip(title: &str, events: &[Event]) -> Strip {
    let index = Index::new(events).unwrap_or_default();
    let mut sends: Vec<u64> = Vec::new();
    for op in index.ops.iter().filter(|op| op.f == F::Enqueue && op.is_ok()) {
        let second = (op.ended_ns / 1_000_000_000) as usize;
        if sends.len() <= second {
            sends.resize(second + 1, 0);
        }
        sends[second] += 1;
    }
    let seconds = |ns: u64| ns as f64 / 1e9;
    let last = events.last().map_or(0.0, |event| seconds(event.time_ns));
    let bands = index.bands().into_iter().map(|(begin, end, fault)| {
        let words = fault.facts.note.clone().unwrap_or_default();
        let kind = words.split_whitespace().next().unwrap_or("").to_owned();
        (seconds(begin), seconds(end).min(last), kind, words)
    });
    Strip { title: title.to_owned(), sends, bands: bands.collect() }
}

/// The picture.
pub fn soak(title: &str, strips: &[Strip]) -> String {
    let pitch = STRIP.0 + STRIP.1;
    let height = TOP + pitch * strips.len() as f64 + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"15\" font-size=\"13\">{}</text>\n",
        escaped(title)
    );
    for (place, (kind, color)) in COLORS.into_iter().enumerate() {
        let left = LEFT + 85.0 * place as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"23\" width=\"10\" height=\"10\" fill=\"{color}\"/><text x=\"{}\" y=\"32\">{kind}</text>",
            left + 14.0
        );
    }
    let most = strips.iter().flat_map(|strip| &strip.sends).copied().max().unwrap_or(1).max(1) as f64;
    let last = strips.iter().map(|strip| strip.sends.len()).max().unwrap_or(1).max(1) as f64;
    let x = |second: f64| LEFT + (WIDTH - LEFT - 10.0) * (second / last).min(1.0);
    for (place, strip) in strips.iter().enumerate() {
        draw(&mut svg, strip, TOP + pitch * place as f64, &x, most);
    }
    for second in (0..=last as u64).step_by(10) {
        let left = x(second as f64);
        let _ = writeln!(svg, "<text x=\"{left:.1}\" y=\"{}\">{second} s</text>", height - 12.0);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, strip: &Strip, top: f64, x: &impl Fn(f64) -> f64, most: f64) {
    let height = STRIP.0;
    let _ = writeln!(svg, "<text x=\"10\" y=\"{:.1}\">{}</text>", top + 20.0, escaped(&strip.title));
    for (begin, end, kind, words) in &strip.bands {
        let known = COLORS.iter().find(|(name, _)| name == kind).or(COLORS.last());
        let color = known.map_or("", |(_, color)| color);
        let (left, width) = (x(*begin), (x(*end) - x(*begin)).max(1.0));
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{color}\" fill-opacity=\"0.6\"><title>{}</title></rect>",
            escaped(words)
        );
    }
    let points: Vec<String> = strip
        .sends
        .iter()
        .enumerate()
        .map(|(second, sends)| {
            let y = top + height - height * *sends as f64 / most;
            format!("{:.1},{y:.1}", x(second as f64 + 0.5))
        })
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#303030\" stroke-width=\"1\"/>",
        points.join(" ")
    );
}
