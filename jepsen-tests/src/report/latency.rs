//! Latencies of operations over time, with the bands of faults.

use std::fmt::Write as _;

use super::{begun_svg, escaped};
use crate::history::{Event, F, Index, Kind};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
/// Decades of the vertical axis: from 0.1 ms to 100 s.
const DECADES: f64 = 6.0;
/// Points at most; of more operations every so-manieth is drawn, and all that are slow or did not end well.
const POINTS_MAX: usize = 20_000;
/// What is drawn, and how.
const COLORS: [(&str, &str); 5] = [
    ("enqueue", "#2060c0"),
    ("dequeue", "#20a060"),
    ("settle", "#8040a0"),
    ("refused", "#d02020"),
    ("unknown", "#e0a000"),
];
/// Slower is always drawn, ns.
const SLOW_NS: u64 = 100_000_000;

struct Scale {
    last_ns: u64,
}

impl Scale {
    fn x(&self, ns: u64) -> f64 {
        LEFT + (WIDTH - LEFT - 10.0) * (ns.min(self.last_ns) as f64 / self.last_ns as f64)
    }

    fn y(&self, ns: u64) -> f64 {
        let decade = (ns.max(1) as f64 / 1e5).log10().clamp(0.0, DECADES);
        HEIGHT - 30.0 - (HEIGHT - TOP - 30.0) * decade / DECADES
    }
}

/// The picture.
pub fn latency(events: &[Event]) -> String {
    let index = Index::new(events).unwrap_or_default();
    let scale = Scale { last_ns: events.last().map_or(1, |event| event.time_ns.max(1)) };
    let mut svg = begun_svg(WIDTH, HEIGHT);
    bands(&mut svg, &scale, &index);
    axes(&mut svg, &scale);
    points(&mut svg, &scale, &index);
    svg.push_str("</svg>\n");
    svg
}

fn bands(svg: &mut String, scale: &Scale, index: &Index) {
    for (begin, end, fault) in index.bands() {
        let (left, width) = (scale.x(begin), (scale.x(end) - scale.x(begin)).max(1.0));
        let note = escaped(fault.facts.note.as_deref().unwrap_or(""));
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{}\" fill=\"#f3c0a0\" fill-opacity=\"0.5\"><title>{note}</title></rect>",
            HEIGHT - TOP - 30.0
        );
    }
}

fn axes(svg: &mut String, scale: &Scale) {
    let labels = ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];
    for (decade, label) in labels.into_iter().enumerate() {
        let y = scale.y(100_000 * 10_u64.pow(decade as u32));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/><text x=\"5\" y=\"{y:.1}\">{label}</text>"
        );
    }
    for tenth in 0..=10 {
        let ns = scale.last_ns / 10 * tenth;
        let seconds = ns / 1_000_000_000;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{seconds} s</text>", scale.x(ns), HEIGHT - 10.0);
    }
    for (place, (name, color)) in COLORS.into_iter().enumerate() {
        let left = LEFT + 90.0 * place as f64;
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"20\" fill=\"{color}\">● {name}</text>");
    }
}

fn points(svg: &mut String, scale: &Scale, index: &Index) {
    let every = (index.ops.len() / POINTS_MAX).max(1);
    for (number, op) in index.ops.iter().enumerate() {
        let end = if op.ended_ns == u64::MAX { scale.last_ns } else { op.ended_ns };
        let took = end.saturating_sub(op.began_ns);
        // What a stream brings has no length.
        let is_empty = op.f == F::Dequeue && op.is_ok() && op.facts.asked_ns.is_none();
        if is_empty || (!number.is_multiple_of(every) && took < SLOW_NS && op.is_ok()) {
            continue;
        }
        let (_, color) = COLORS[match (op.kind, op.f) {
            (Kind::Fail, _) => 3,
            (Kind::Info, _) => 4,
            (_, F::Enqueue) => 0,
            (_, F::Dequeue) => 1,
            _ => 2,
        }];
        let (x, y) = (scale.x(op.began_ns), scale.y(took));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"{color}\"/>");
    }
}
