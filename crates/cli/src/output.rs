//! How results and errors reach the terminal: tables for people, JSON for programs, one line for an error.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table, TableComponent};
use serde::Serialize;

use crate::args::Output;

/// Exit status: it failed, and nothing of it was done that the message does not name.
pub const EXIT_FAILED: u8 = 1;
/// Exit status: the command line was wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: the request may or may not have taken effect.
pub const EXIT_UNKNOWN: u8 = 3;

/// Why a command failed: one line for standard error, and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// What happened and what to do.
    pub message: String,
    /// Exit status of the process.
    pub code: u8,
}

impl Failure {
    /// A plain failure.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: EXIT_FAILED }
    }

    /// An exit status whose reason was printed as a result.
    pub fn silent(code: u8) -> Self {
        Self { message: String::new(), code }
    }

    /// A failure of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: EXIT_USAGE }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<phalanx_client::Error> for Failure {
    fn from(error: phalanx_client::Error) -> Self {
        let code = if error.is_outcome_unknown() { EXIT_UNKNOWN } else { EXIT_FAILED };
        Self { message: error.to_string(), code }
    }
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Writes a line to standard output. A reader that has gone away ends the program quietly, as it does for `cat`.
pub fn line(text: &str) {
    raw(text.as_bytes(), true);
}

/// Writes bytes to standard output, then a newline if asked for.
pub fn raw(bytes: &[u8], newline: bool) {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| if newline { out.write_all(b"\n") } else { Ok(()) });
    if let Err(error) = written.and_then(|()| out.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        note(&format!("cannot write to standard output: {error}"));
        std::process::exit(i32::from(EXIT_FAILED));
    }
}

/// Writes a line to standard error: progress and remarks, never results.
pub fn note(text: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints `value` as JSON, or `table` for people.
pub fn show<T: Serialize>(output: Output, value: &T, table: impl FnOnce() -> String) -> Outcome {
    if output == Output::Json {
        line(&serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?);
    } else {
        line(&table());
    }
    Ok(())
}

/// A table with a head.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .remove_style(TableComponent::LeftBorderIntersections)
        .remove_style(TableComponent::RightBorderIntersections)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.to_vec());
    table.add_rows(rows);
    table.to_string()
}

/// Lines of `name  value`, the values under each other.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `2,000 messages`.
pub fn messages(count: u64) -> String {
    format!("{} message{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Milliseconds for people: `950 ms`, `12.3 s`, `4 min 10 s`, `3 h 2 min`, `5 d 1 h`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(duration(950), "950 ms");
        assert_eq!(duration(12_345), "12.3 s");
        assert_eq!(duration(250_000), "4 min 10 s");
        assert_eq!(duration(10_920_000), "3 h 2 min");
        assert_eq!(duration(435_600_000), "5 d 1 h");
    }
}
