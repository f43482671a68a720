//! What a run leaves for people.

mod failover;
mod latency;
mod series;
mod soak;
mod timeline;

pub use failover::{Distribution, failover};
pub use latency::latency;
pub use series::{Second, Series};
pub use soak::{Stretch, soak};
pub use timeline::timeline;

use crate::check::{Results, Verdict};

/// Results as EDN, a checker a line.
pub fn results(results: &Results) -> String {
    let text = results.to_edn().to_string();
    let mut lines = text;
    for finding in &results.findings {
        lines = lines.replacen(&format!(", :{} {{", finding.name), &format!(",\n :{} {{", finding.name), 1);
    }
    lines.push('\n');
    lines
}

/// Results as lines for a terminal.
pub fn summary(results: &Results) -> String {
    let mut text = String::new();
    for finding in &results.findings {
        let mark = match finding.verdict {
            Verdict::Valid => "valid  ",
            Verdict::Invalid => "INVALID",
            Verdict::Unknown => "unknown",
        };
        let counts: Vec<String> =
            finding.counts.iter().map(|(name, number)| format!("{name} {number}")).collect();
        text += &format!("{mark}  {:<18} {}\n", finding.name, counts.join(", "));
        for fault in finding.faults.iter().take(5) {
            text += &format!("           {fault}\n");
        }
        if finding.faults_count > 5 {
            text += &format!("           ... {} in all\n", finding.faults_count);
        }
    }
    text
}

/// A white picture of that size that is not closed yet.
fn begun_svg(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
