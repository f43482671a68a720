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
/// Looks between two lines that say that the log is full.
const LOOKS_PER_LINE: u32 = 10;
/// Rows deleted in one step.
const STEP_ROWS: usize = 5_000;

/// Runs until `stop`, or until the store has failed for good, which is reported.
pub(crate) async fn run(context: Arc<NodeContext>, stop: CancellationToken) {
    let mut full_looks = 0;
    loop {
        full_looks = if context.wal.is_full() { full_looks + 1 } else { 0 };
        if full_looks % LOOKS_PER_LINE == 2 {
            say_what_fills_the_log(&context);
        }
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

/// Sends are refused meanwhile: whoever looks should find why.
fn say_what_fills_the_log(context: &NodeContext) {
    let Some(pressure) = context.wal.pressure() else {
        return tracing::warn!("the log takes no entries: its disk is full");
    };
    tracing::warn!(
        used_bytes = pressure.used_bytes,
        budget_bytes = pressure.budget_bytes,
        groups_and_indexes = ?pressure.pinned_by,
        "the log takes no entries: its disk is full, or it has twice its budget and the named groups have not let go of its oldest \
         segment, each for want of checkpoints up to the named entry"
    );
}
