//! Administration whose calls wait.

use super::Engine;
use crate::admin::{ClusterStatus, OrderingGroup, Peek, PeekPage, Queue, QueueInfo, QueueSettings, Topology};
use crate::error::Error;

/// As [`crate::Admin`].
#[derive(Clone)]
pub struct Admin {
    engine: Engine,
    admin: crate::Admin,
}

/// The same calls, waiting.
macro_rules! waiting {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        #[doc = concat!("As [`crate::Admin::", stringify!($name), "`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
            self.engine.wait(self.admin.$name($($argument),*))
        }
    )*};
}

impl Admin {
    pub(super) fn new(engine: Engine, admin: crate::Admin) -> Self {
        Self { engine, admin }
    }

    waiting! {
        create_queue(name: &str, settings: QueueSettings) -> Queue;
        update_queue(name: &str, settings: QueueSettings, if_version: Option<u64>) -> Queue;
        delete_queue(name: &str) -> ();
        purge_queue(name: &str) -> u64;
        queue_info(name: &str) -> QueueInfo;
        list_queues() -> Vec<Queue>;
        peek(queue: &str, peek: Peek) -> PeekPage;
        groups(queue: &str, most: usize) -> Vec<OrderingGroup>;
        status() -> ClusterStatus;
        topology(queue: &str) -> Topology;
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("blocking::Admin").field(&self.admin).finish()
    }
}
