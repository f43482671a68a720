//! The trace hash: every tracing event of every crate, with its simulated time, in order.
//!
//! Two runs of one seed are the same run if and only if their hashes are equal.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use crate::determinism;

#[derive(Default)]
struct Trace {
    hash: std::hash::DefaultHasher,
    events: u64,
    file: Option<BufWriter<std::fs::File>>,
}

thread_local!(static TRACE: RefCell<Trace> = RefCell::default());

/// Also writes each event, a line each, to `path`: to find where two runs part.
///
/// # Errors
/// When the file cannot be created.
pub fn write_to(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::create(path)?;
    TRACE.with(|trace| trace.borrow_mut().file = Some(BufWriter::new(file)));
    Ok(())
}

/// Adds a line of the simulation's own.
pub fn record(text: &str) {
    TRACE.with(|trace| {
        let mut trace = trace.borrow_mut();
        trace.hash.write(text.as_bytes());
        trace.hash.write_u8(b'\n');
        trace.events += 1;
        if let Some(file) = &mut trace.file {
            // A trace file is a help for people; the hash is the result.
            let _ = writeln!(file, "{text}");
        }
    });
}

/// Hash and number of events so far.
pub fn result() -> (u64, u64) {
    TRACE.with(|trace| {
        let trace = trace.borrow();
        (trace.hash.finish(), trace.events)
    })
}

/// The layer that records every event.
pub struct TraceLayer;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: tracing::Subscriber> Layer<S> for TraceLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut line = Line(format!("{} {}", determinism::now_ns() / 1_000, event.metadata().target()));
        event.record(&mut line);
        record(&line.0);
    }
}
