//! Health over HTTP: `/healthz` (is this process alive?) and `/readyz` (may it get traffic?).
//!
//! `/healthz` never depends on peers: restarting a node helps only against what is wrong inside it. `/readyz` stays good while a
//! shard has no leader: other nodes could not serve it either.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::drive::DriveHandle;
use crate::seams::{Accepted, Bound};

/// The event loop and the log must have moved within this time.
pub const STALL_MAX: Duration = Duration::from_secs(5);
/// How often the event loop shows that it moves.
const BEAT: Duration = Duration::from_millis(500);

/// What the checks look at.
pub struct Health {
    clock: Arc<dyn Clock>,
    moved: Mutex<Moved>,
    ready: AtomicBool,
    failed: Mutex<Option<String>>,
}

struct Moved {
    event_loop: Duration,
    log: Duration,
    log_pulse: u64,
}

impl Health {
    /// Alive, not ready.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let now = clock.monotonic();
        Arc::new(Self {
            clock,
            moved: Mutex::new(Moved { event_loop: now, log: now, log_pulse: 0 }),
            ready: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    /// Whether traffic may come.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether traffic may come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The node stops because of this.
    pub fn fail(&self, why: String) {
        self.failed.lock().get_or_insert(why);
        self.set_ready(false);
    }

    /// Shows that the event loop moves, and looks whether the log does. Ends with the node.
    pub async fn beat(&self, log: Arc<dyn DriveHandle>) {
        loop {
            let now = self.clock.monotonic();
            {
                let mut moved = self.moved.lock();
                moved.event_loop = now;
                let pulse = log.pulse();
                if pulse != moved.log_pulse {
                    (moved.log_pulse, moved.log) = (pulse, now);
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Why the process is not alive any more, if so.
    #[must_use]
    pub fn ailment(&self) -> Option<String> {
        if let Some(why) = self.failed.lock().clone() {
            return Some(why);
        }
        let now = self.clock.monotonic();
        let moved = self.moved.lock();
        for (what, at) in [("event loop", moved.event_loop), ("log", moved.log)] {
            let stalled = now.saturating_sub(at);
            if stalled > STALL_MAX {
                return Some(format!("the {what} has not moved for {} ms", stalled.as_millis()));
            }
        }
        None
    }
}

/// Serves the checks until `stop`.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(bound: Bound, health: Arc<Health>, stop: CancellationToken) -> io::Result<()> {
    let ready = Arc::clone(&health);
    let healthz = move || {
        let ailment = health.ailment();
        async move {
            match ailment {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let readyz = move || {
        let is_ready = ready.is_ready();
        async move {
            if is_ready {
                (StatusCode::OK, "ready\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            }
        }
    };
    let app = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    let listener = Incoming { address: bound.address, incoming: bound.incoming };
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

struct Incoming {
    address: String,
    incoming: BoxStream<'static, io::Result<Accepted>>,
}

impl axum::serve::Listener for Incoming {
    type Io = Accepted;
    type Addr = String;

    async fn accept(&mut self) -> (Accepted, String) {
        loop {
            match self.incoming.next().await {
                Some(Ok(socket)) => return (socket, self.address.clone()),
                Some(Err(error)) => tracing::debug!(%error, "accept failed"),
                None => return std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}
