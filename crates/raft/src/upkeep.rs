//! What the checkpoint store as a whole needs: the rows of destroyed replicas go, and a file that is many times its live rows is
//! rewritten, both in bounded steps beside the work of the groups.

use std::sync::Arc;
use std::time::Duration;

use phalanx_storage::checkpoint::maintain;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::context::{FatalError, NodeContext};

/// Pause after there was nothing to do.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two steps: checkpoints and snapshots use the same store.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Pause after a step that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(30);
/// Rows deleted in one step.
const STEP_ROWS: usize = 5_000;

/// Runs until `stop`, or until the store has failed for good, which is reported.
pub(crate) async fn run(context: Arc<NodeContext>, stop: CancellationToken) {
    loop {
        let engine = Arc::clone(&context.engine);
        let pause = match blocking::run(&context.executor, move || maintain(&*engine, STEP_ROWS)).await {
            Ok(Ok(true)) => STEP_PAUSE,
            Ok(Ok(false)) => IDLE_PAUSE,
            Ok(Err(error)) if error.is_fatal() => {
                return (context.on_fatal)(FatalError {
                    group: None,
                    why: format!("checkpoint store: {error}"),
                });
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the checkpoint store was not tidied up; it is tried again");
                FAILED_PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "the checkpoint store was not tidied up; it is tried again");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
