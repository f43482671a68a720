//! How far a run is: a line that is rewritten on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Watch;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a run.
pub struct Progress {
    bar: ProgressBar,
    title: String,
    /// What it counts.
    unit: &'static str,
    latest: Option<Instant>,
}

impl Progress {
    /// Of something that takes so many seconds (`s`), or strikes so often.
    pub fn new(title: &str, unit: &'static str, length: u64) -> Self {
        let bar = ProgressBar::new(length);
        let template = format!("{{prefix}} [{{bar:30}}] {{pos}}/{{len}} {unit}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        Self { bar, title: title.to_owned(), unit, latest: None }
    }

    /// It is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn tell(&mut self, done: Duration, events: usize, confirmed: u64, faults: u64, what: &str) {
        let text = format!("{confirmed} confirmed, {events} events, {faults} faults: {what}");
        self.bar.set_position(if self.unit == "s" { done.as_secs() } else { faults });
        if self.bar.is_hidden() {
            if self.latest.is_none_or(|latest| latest.elapsed() >= LINE_EVERY) {
                eprintln!("{} {:>4} s  {text}", self.title, done.as_secs());
                self.latest = Some(Instant::now());
            }
        } else {
            self.bar.set_message(text);
        }
    }
}
