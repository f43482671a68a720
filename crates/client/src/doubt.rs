//! Whether a leader that is silent leads still.
//!
//! A node that falls silent refuses nothing and breaks no connection. The others elect another leader in less time than one would want to wait for
//! an answer that is only slow, so after a short silence they are asked. Their word for a leader of a later term ends the wait; nothing else does.

use std::future::Future;
use std::pin::Pin;

use crate::limits;
use crate::router::{QueueKey, Router, Target};
use crate::stall::Stall;

/// Watches over what one node owes for one queue.
pub(crate) struct Doubt<'a> {
    router: &'a Router,
    queue: &'a QueueKey,
    target: &'a Target,
    /// The node was asked as the queue's leader; one that forwards is not doubted.
    leads: bool,
    silence: Stall,
    /// A question that is under way.
    asking: Option<Pin<Box<dyn Future<Output = bool> + Send + 'a>>>,
}

impl<'a> Doubt<'a> {
    pub(crate) fn new(router: &'a Router, queue: &'a QueueKey, target: &'a Target) -> Self {
        let (leads, silence) = (router.leads(queue, target), Stall::new(limits::DOUBT_AFTER));
        Self { router, queue, target, leads, silence, asking: None }
    }

    /// Says whether an answer is owed now.
    pub(crate) fn watch(&mut self, owed: bool) {
        self.silence.watch(owed);
    }

    /// An answer came.
    pub(crate) fn progress(&mut self) {
        self.silence.progress();
    }

    /// Resolves when another node is known to lead. To be called while an answer is owed; may be dropped and called again.
    pub(crate) async fn confirmed(&mut self) {
        if !self.leads {
            return std::future::pending().await;
        }
        loop {
            if self.asking.is_none() {
                self.silence.elapsed().await;
            }
            let (router, queue, target) = (self.router, self.queue, self.target);
            let asking = self.asking.get_or_insert_with(|| Box::pin(router.has_moved(queue, target)));
            let has_moved = asking.await;
            self.asking = None;
            if has_moved {
                return;
            }
            self.silence.progress();
            self.silence.watch(true);
        }
    }
}
