//! Jobs that block, run by the node's executor and awaited here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::context::Executor;

/// A job that has no result: it panicked, or its executor is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blocking job failed: {0}")]
pub(crate) struct JobFailed(pub String);

/// Runs `job` on the executor. If the caller stops waiting, the job still runs to its end.
pub(crate) async fn run<T: Send + 'static>(
    executor: &Arc<dyn Executor>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobFailed> {
    let (done, result) = oneshot::channel();
    executor.blocking(Box::new(move || {
        // A panic in a store (sled does that on damage) is an answer, not the end of the executor's thread.
        let outcome = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| JobFailed(panic_message(&*panic)));
        // The waiter may have been cancelled; the job's effects are what matters.
        let _ = done.send(outcome);
    }));
    result.await.unwrap_or_else(|_| Err(JobFailed("the executor dropped it".to_owned())))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
