//! The catalog's leader at work: founds the catalog, and carries out in the shards what its rows ask for.
//!
//! A row that is being created or deleted, or whose settings changed, is pending until its shard has confirmed. Every step is
//! idempotent (uid and version), so a new leader simply goes through all pending rows again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_raft::Leadership;
use phalanx_state_machine::catalog::{QueueEntry, QueueState};
use phalanx_state_machine::command::{
    Bootstrap, Command, CommandKind, ConfirmQueue, DropQueue, GroupRow, Inbox, NodeRow, PutQueue, ReplicaRow,
};
use phalanx_state_machine::ids::{GroupId, QueueUid};
use phalanx_state_machine::limits;
use phalanx_state_machine::reply::{Rejection, Reply};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::carry_out::{answer, carry_out};
use crate::identity::Plan;
use crate::state::NodeState;
use crate::status;

/// Rows that are being carried out at the same time.
const ROWS_AT_ONCE: usize = 16;
/// Pause before a row that could not be carried out is tried again.
const ROW_RETRY: Duration = Duration::from_millis(100);
/// Time a shard's leader has for one row.
const ROW_DEADLINE: Duration = Duration::from_secs(5);
/// Pause before the first entry of the catalog is tried again.
const BOOTSTRAP_RETRY: Duration = Duration::from_millis(100);

/// Works whenever this node leads the catalog, until the node stops.
pub async fn drive(state: Arc<NodeState>) {
    let mut leadership = state.catalog().group.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        let work = async {
            if now.is_leader {
                lead(&state).await;
            } else {
                std::future::pending().await
            }
        };
        let changed = |next: &Leadership| next.is_leader != now.is_leader || next.term != now.term;
        tokio::select! {
            () = work => {}
            gone = leadership.wait_for(changed) => if gone.is_err() { return },
            () = state.stop.cancelled() => return,
        }
    }
}

/// Returns only when the group has stopped; dropped when the leadership ends, with all that it had begun.
async fn lead(state: &Arc<NodeState>) {
    found(state).await;
    let mut applied = state.catalog().applied.clone();
    let busy = Arc::new(Mutex::new(BTreeSet::new()));
    let room = Arc::new(Semaphore::new(ROWS_AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        applied.borrow_and_update();
        let pending: Vec<QueueEntry> = state.catalog().group.read(|machine| {
            let catalog = machine.catalog_state();
            catalog.map(|catalog| catalog.pending().cloned().collect()).unwrap_or_default()
        });
        for entry in pending {
            if busy.lock().insert(entry.uid) {
                let (state, busy, room) = (Arc::clone(state), Arc::clone(&busy), Arc::clone(&room));
                tasks.spawn(async move {
                    persist(&room, || row(&state, entry.uid)).await;
                    busy.lock().remove(&entry.uid);
                });
            }
        }
        // A row that changed while it was carried out is found again after its confirmation was applied.
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Proposes the plan as the catalog's first entry, unless that was done.
async fn found(state: &NodeState) {
    let catalog = state.catalog();
    let command = Command::from(CommandKind::Bootstrap(bootstrap(&state.identity.plan)));
    loop {
        let founded = catalog
            .group
            .read(|machine| machine.catalog_state().and_then(|catalog| catalog.cluster()).is_some());
        if founded {
            return;
        }
        match catalog.batcher.submit(command.clone()).await {
            Ok(Reply::Rejected(rejection)) => tracing::error!(%rejection, "the catalog refuses its plan"),
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "the catalog's first entry was not written"),
        }
        tokio::time::sleep(BOOTSTRAP_RETRY).await;
    }
}

fn bootstrap(plan: &Plan) -> Bootstrap {
    let nodes = plan.nodes.iter().map(|node| NodeRow {
        node: node.node,
        store: node.store,
        client_address: node.client_address.clone(),
        peer_address: node.peer_address.clone(),
        zone: node.zone.clone(),
    });
    let groups = plan.groups.iter().map(|group| GroupRow {
        group: group.group,
        replicas: group.replicas.iter().map(|&(replica, node)| ReplicaRow { replica, node }).collect(),
    });
    Bootstrap { cluster: plan.cluster, nodes: nodes.collect(), groups: groups.collect() }
}

/// What an attempt at a row came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing is pending for it any more.
    Done,
    /// Look again.
    Next,
    /// It could not be carried out now.
    Waits,
}

/// Works on one row until nothing is pending for it. It has its turn among the others for each attempt: rows of a shard without a
/// leader must not hold up those of other shards.
async fn persist<F: Future<Output = Step>>(room: &Semaphore, mut attempt: impl FnMut() -> F) {
    loop {
        let step = {
            let _turn = room.acquire().await.expect("this semaphore is never closed");
            attempt().await
        };
        match step {
            Step::Done => return,
            Step::Next => {}
            Step::Waits => tokio::time::sleep(ROW_RETRY).await,
        }
    }
}

/// Carries out what is pending for one row, once.
async fn row(state: &NodeState, uid: QueueUid) -> Step {
    let entry = state.catalog().group.read(|machine| {
        let catalog = machine.catalog_state()?;
        catalog.queue(uid).filter(|_| catalog.is_pending(uid)).cloned()
    });
    let Some(entry) = entry else { return Step::Done };
    let Err(error) = carry_out_row(state, &entry).await else { return Step::Next };
    tracing::debug!(
        uid,
        queue = entry.name,
        group_id = entry.group,
        message = error.message(),
        "a queue's change waits"
    );
    Step::Waits
}

async fn carry_out_row(state: &NodeState, entry: &QueueEntry) -> Result<(), Status> {
    let dropped = entry.state == QueueState::Deleting as i32;
    if dropped {
        // The binding first: what it feeds is told when nothing comes from it any more.
        ask(state, entry.group, CommandKind::DropQueue(DropQueue { uid: entry.uid })).await?;
        tell_target(state, entry, CommandKind::CloseInbox).await?;
    } else {
        if entry.confirmed_version == 0 {
            // The target first: it knows the binding before anything comes from it.
            tell_target(state, entry, CommandKind::OpenInbox).await?;
        }
        ask(state, entry.group, put_queue(entry)).await?;
    }
    let confirm = ConfirmQueue { uid: entry.uid, version: entry.version, dropped };
    let reply = state.catalog().batcher.submit(Command::from(CommandKind::ConfirmQueue(confirm))).await?;
    match reply {
        // Another leader confirmed it meanwhile, and the row is gone.
        Reply::Rejected(Rejection::NotFound) => Ok(()),
        reply => answer(&reply).map(drop),
    }
}

fn put_queue(entry: &QueueEntry) -> CommandKind {
    CommandKind::PutQueue(PutQueue {
        uid: entry.uid,
        version: entry.version,
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
        settings: entry.settings.clone(),
        first_token: limits::first_token(entry.uid),
        kind: entry.kind,
        source: entry.source.clone(),
        start: entry.start.clone(),
    })
}

async fn ask(state: &NodeState, group: GroupId, kind: CommandKind) -> Result<(), Status> {
    carry_out(state, group, Command::from(kind), ROW_DEADLINE).await.map(drop)
}

/// Of a binding: what it feeds must know of it. Nothing to do for a target that is gone.
async fn tell_target(
    state: &NodeState,
    entry: &QueueEntry,
    kind: fn(Inbox) -> CommandKind,
) -> Result<(), Status> {
    let uid = entry.source.as_ref().map_or(0, |source| source.target);
    let group = state.catalog().group.read(|machine| {
        let target = machine.catalog_state()?.queue(uid)?;
        Some(target.group)
    });
    let Some(group) = group else { return Ok(()) };
    match ask(state, group, kind(Inbox { uid, binding: entry.uid })).await {
        Err(error) if status::is(&error, status::Reason::QueueGone) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_of_a_shard_that_does_not_answer_do_not_hold_up_the_others() {
        let room = Semaphore::new(2);
        let stuck = || persist(&room, || std::future::ready(Step::Waits));
        let mut steps = [Step::Next, Step::Waits, Step::Done].into_iter();
        let good = persist(&room, || std::future::ready(steps.next().expect("it was done")));
        tokio::select! {
            biased;
            _ = futures::future::join_all((0..20).map(|_| stuck())) => panic!("they never end"),
            done = tokio::time::timeout(100 * ROW_RETRY, good) => done.expect("it has its turns"),
        }
    }
}
