//! How long an answer has been owed.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Measures without arming a timer for every question.
pub(crate) struct Stall {
    limit: Duration,
    since: Option<Instant>,
    /// Never later than the time it stands for.
    timer: Pin<Box<Sleep>>,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: Box::pin(tokio::time::sleep(limit)) }
    }

    /// Says whether an answer is owed now.
    pub(crate) fn watch(&mut self, owed: bool) {
        if !owed {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// An answer came; if another is owed, its time begins now.
    pub(crate) fn progress(&mut self) {
        self.since = None;
    }

    /// Resolves when an answer has been owed for the limit. May be dropped and called again.
    pub(crate) async fn elapsed(&mut self) {
        loop {
            let deadline = self.since.unwrap_or_else(Instant::now) + self.limit;
            if deadline <= Instant::now() {
                return;
            }
            self.timer.as_mut().await;
            self.timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_puts_the_end_off() {
        let start = Instant::now();
        let mut stall = Stall::new(Duration::from_secs(3));
        tokio::time::sleep(Duration::from_secs(10)).await;
        stall.watch(true);
        assert!(tokio::time::timeout(Duration::from_secs(2), stall.elapsed()).await.is_err());
        stall.progress();
        stall.watch(true);
        stall.elapsed().await;
        assert_eq!(start.elapsed().as_secs(), 15);
    }
}
