//! The lease of one delivery, as its holder and its consumer's task share it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::delivery::ReturnReason;

pub(crate) struct Lease {
    pub(crate) token: u64,
    /// What it was given for: what an extension without a length of its own asks for.
    pub(crate) given: Duration,
    /// By the local clock: the server's is never later, as it counted from before the delivery was written.
    deadline: Mutex<Instant>,
    lost: Mutex<Option<ReturnReason>>,
    changed: Notify,
    /// Nobody holds the delivery any more.
    let_go: AtomicBool,
    /// It is on its way to be settled.
    settling: AtomicBool,
}

impl Lease {
    /// A lease that lasts `given` from now, or a little less.
    pub(crate) fn new(token: u64, deadline: Instant, given: Duration) -> Self {
        Self {
            token,
            given,
            deadline: Mutex::new(deadline),
            lost: Mutex::new(None),
            changed: Notify::new(),
            let_go: AtomicBool::new(false),
            settling: AtomicBool::new(false),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        *self.deadline.lock()
    }

    pub(crate) fn set_deadline(&self, deadline: Instant) {
        *self.deadline.lock() = deadline;
        self.changed.notify_waiters();
    }

    /// The first reason stands.
    pub(crate) fn lose(&self, reason: ReturnReason) {
        self.lost.lock().get_or_insert(reason);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_lost(&self, now: Instant) -> bool {
        self.lost.lock().is_some() || self.deadline() <= now
    }

    /// Whether it was told to be over, rather than found to be by the clock.
    pub(crate) fn has_ended(&self) -> bool {
        self.lost.lock().is_some()
    }

    pub(crate) async fn lost(&self) -> ReturnReason {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(reason) = *self.lost.lock() {
                return reason;
            }
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return ReturnReason::Expired;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    pub(crate) fn let_go(&self) {
        self.let_go.store(true, Ordering::Release);
    }

    pub(crate) fn settle(&self) {
        self.settling.store(true, Ordering::Release);
    }

    pub(crate) fn is_settling(&self) -> bool {
        self.settling.load(Ordering::Acquire)
    }

    /// Whether somebody works on it, or will.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.let_go.load(Ordering::Acquire) && !self.is_settling()
    }
}
