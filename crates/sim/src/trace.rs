//! The trace hash: what happened, with its simulated time, in order.
//!
//! Hashed are the events of every crate at the chosen level, every piece that a socket delivered, and the simulation's own lines. Two runs
//! of one seed are the same run if and only if their hashes are equal. A trace file, for people, also gets the finest events; it never
//! changes the hash.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

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

impl Trace {
    fn hash(&mut self, text: &str) {
        self.hash.write(text.as_bytes());
        self.hash.write_u8(b'\n');
        self.events += 1;
    }

    fn print(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            // A trace file is a help for people; the hash is the result.
            let _ = writeln!(file, "{text}");
        }
    }
}

/// Adds a line of the simulation's own.
pub fn record(text: &str) {
    TRACE.with(|trace| {
        let mut trace = trace.borrow_mut();
        trace.hash(text);
        trace.print(&format!("{} sim {text}", determinism::now_ns() / 1_000));
    });
}

/// Adds what a socket delivered: cheaper than a line, and just as telling.
pub fn received(bytes: &[u8]) {
    TRACE.with(|trace| {
        let mut trace = trace.borrow_mut();
        trace.hash.write_u64(determinism::now_ns());
        trace.hash.write(bytes);
        trace.events += 1;
    });
}

/// Hash and number of events so far.
pub fn result() -> (u64, u64) {
    TRACE.with(|trace| {
        let trace = trace.borrow();
        (trace.hash.finish(), trace.events)
    })
}

/// Makes this thread's events count, up to `level`, until the guard is dropped.
pub fn subscribe(level: Level) -> DefaultGuard {
    let has_file = TRACE.with(|trace| trace.borrow().file.is_some());
    let finest = if has_file { Level::TRACE } else { level };
    // Spans name the hosts in a trace file; without one they are not even made.
    let shown = filter_fn(move |of| *of.level() <= finest && (has_file || of.is_event()));
    let layer = TraceLayer { level }.with_filter(shown.with_max_level_hint(finest));
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
}

/// The layer that records every event.
struct TraceLayer {
    /// The finest that is hashed.
    level: Level,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>> Layer<S> for TraceLayer {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut line = Line(format!("{} {}", determinism::now_ns() / 1_000, event.metadata().target()));
        event.record(&mut line);
        TRACE.with(|trace| {
            let mut trace = trace.borrow_mut();
            if *event.metadata().level() <= self.level {
                trace.hash(&line.0);
            }
            if trace.file.is_some() {
                // The outermost span names the host.
                let host = context.event_span(event).and_then(|span| {
                    span.scope().from_root().next()?.extensions().get::<Host>().map(|host| host.0.clone())
                });
                trace.print(&format!("{} [{}]", line.0, host.unwrap_or_default()));
            }
        });
    }

    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::Id,
        context: Context<'_, S>,
    ) {
        if attributes.metadata().name() == "node"
            && let Some(span) = context.span(id)
        {
            let mut line = Line(String::new());
            attributes.record(&mut line);
            span.extensions_mut().insert(Host(line.0.trim().to_owned()));
        }
    }
}

/// Kept with the span of a simulated host.
struct Host(String);
