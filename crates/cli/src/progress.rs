//! Progress on standard error: a bar for people, nothing for programs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn, a second.
const DRAWS_PER_SECOND: u8 = 8;
/// A spinner moves this often even when nothing else does.
const TICK: Duration = Duration::from_millis(120);

/// A bar up to `total`, or a counter when the total is not known. Hidden when standard error is not a terminal.
pub fn bar(total: Option<u64>, what: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::with_draw_target(Some(total), target),
            "{msg} {bar:32} {human_pos} of {human_len}, {per_sec}, {eta} left",
        ),
        None => {
            (ProgressBar::with_draw_target(None, target), "{spinner} {msg} {human_pos}, {per_sec}, {elapsed}")
        }
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}
