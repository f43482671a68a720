//! What a replica does by itself: checkpoints, purges of its log, spilled payloads, garbage.
//!
//! Invariant: the log is purged at most up to the checkpoint before the newest, so that a damaged newest one still has its log.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use phalanx_state_machine::ids::Sequence;
use phalanx_state_machine::machine::Machine;
use tokio::time::{Instant, MissedTickBehavior};

use crate::group::Group;

/// How often a group looks at what it has to do.
const TICK: Duration = Duration::from_millis(100);

/// Runs until the group stops or its storage failed (which was reported).
pub(crate) async fn run(group: Arc<Group>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_checkpoint = Instant::now();
    loop {
        tokio::select! {
            () = group.stop.cancelled() => {
                group.context.memory.forget(group.id());
                return;
            }
            _ = tick.tick() => {}
        }
        let pressed = pinned_index(&group).is_some();
        if pressed || is_due(&group, last_checkpoint) {
            last_checkpoint = Instant::now();
            if let Err(error) = checkpoint(&group, pressed).await {
                tracing::error!(group_id = group.id(), %error, "checkpoints have ended");
                return;
            }
        }
        spill(&group);
        if let Err(error) = group.store().checkpoint().collect_garbage().await {
            tracing::warn!(group_id = group.id(), %error, "garbage of old checkpoints stays for now");
        }
    }
}

/// The entry up to which this group must be purged to let go of the log's oldest segment, if it holds that segment.
fn pinned_index(group: &Group) -> Option<u64> {
    let pressure = group.context.wal.pressure()?;
    pressure.pinned_by.into_iter().find(|(pinning, _)| *pinning == group.id()).map(|(_, index)| index)
}

fn is_due(group: &Group, last: Instant) -> bool {
    let options = group.options();
    let durable = group.store().checkpoint().durable().map(|fields| fields.index);
    let (applied, (rows, bytes)) =
        group.store().read(|state| (state.applied, state.machine.dirty_estimate()));
    if applied.map(|id| id.index) == durable {
        return false;
    }
    rows >= options.checkpoint_rows
        || bytes >= options.checkpoint_bytes
        || last.elapsed() >= options.checkpoint_interval
}

/// Cuts a checkpoint, tells Raft, and purges the log behind the one before.
pub(crate) async fn checkpoint(group: &Group, force: bool) -> Result<(), phalanx_storage::Error> {
    let store = group.store();
    if store.cut_checkpoint(force).await?.is_some() {
        store.announce_checkpoint();
        // An error means that Raft has stopped; the checkpoint stands all the same.
        if let Err(error) = group.raft().trigger().snapshot().await {
            tracing::debug!(group_id = group.id(), %error, "a stopped group was not told of its checkpoint");
            return Ok(());
        }
    }
    purge(group).await;
    Ok(())
}

async fn purge(group: &Group) {
    let Some(previous) = group.store().checkpoint().previous() else { return };
    let metrics = group.raft().metrics().borrow_watched().clone();
    let last = metrics.last_log_index.unwrap_or(0);
    let purged = metrics.purged.map_or(0, |id| id.index);
    let kept = last.saturating_sub(group.options().log_keep_entries);
    // Under pressure all that is safe goes: whole segments count, so half measures free nothing.
    let safe = if pinned_index(group).is_some() { previous.index } else { previous.index.min(kept) };
    // Whoever reads a snapshot needs what follows it, or it will need another one; but the log's budget is the limit.
    let pressure = group.context.wal.pressure();
    let over = pressure.is_some_and(|pressure| pressure.used_bytes > pressure.budget_bytes);
    let upto = if over { safe } else { safe.min(group.store().checkpoint().reading().unwrap_or(u64::MAX)) };
    if upto <= purged {
        return;
    }
    if let Err(error) = group.raft().trigger().purge_log(upto).await {
        tracing::debug!(group_id = group.id(), %error, "a stopped group keeps its log");
    }
}

/// Drops payloads from memory that the checkpoint holds, while the node has too many.
fn spill(group: &Group) {
    let resident = group.read(Machine::resident_bytes);
    let excess = group.context.memory.excess(group.id(), resident);
    if excess == 0 {
        return;
    }
    let most = resident - excess;
    group.store().with_machine(|machine| {
        let uids: Vec<_> = machine.queue_uids().collect();
        for uid in uids {
            machine.spill(uid, Sequence::MAX);
            if machine.resident_bytes() <= most {
                return;
            }
        }
    });
}
