//! What a leader does for its queues beside ticks: says which messages of the past match a subscription that was moved there, and has
//! queues that have expired deleted.
//!
//! Both are in the machine until they are done, so that the next leader goes on with them. Invariant: nothing here decides anything; what a
//! replay says is checked against where the subscription stands, and only that life of a name is deleted which has expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use phalanx_state_machine::command::{ChunkMatches, Command, CommandKind, DeleteQueue, Replay};
use phalanx_state_machine::ids::QueueUid;
use phalanx_state_machine::limits::REPLAY_MESSAGES_MAX;
use phalanx_state_machine::machine::{LookAt, ReplayTask, Seen};
use phalanx_state_machine::reply::{Rejection, Reply};
use tonic::Status;

use crate::api::payloads;
use crate::carry_out::carry_out;
use crate::forward::{self, Loss};
use crate::shard::{CATALOG, Shard};
use crate::state::NodeState;
use crate::status;

/// Messages that are looked at for one replay command.
const REPLAY_PAGE_MESSAGES: usize = 1_024;
/// Payload bytes that are read for one replay command.
const REPLAY_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// Pause after something could not be done.
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait for the catalog's leader.
const DELETE_DEADLINE: Duration = Duration::from_secs(5);

/// Works for one group while this node leads it, until the node stops.
pub async fn drive(state: Arc<NodeState>, shard: Arc<Shard>) {
    let stop = state.stop.clone();
    stop.run_until_cancelled(work(&state, &shard)).await;
}

async fn work(state: &NodeState, shard: &Shard) {
    let (mut chores, mut leadership) = (shard.chores.clone(), shard.group.leadership());
    let mut replayed = 0;
    loop {
        let group_is_there = chores.wait_for(|has| *has).await.is_ok()
            && leadership.wait_for(|now| now.is_leader).await.is_ok();
        if !group_is_there {
            return;
        }
        if let Err(error) = step(state, shard, &mut replayed).await {
            tracing::debug!(group_id = shard.id(), message = error.message(), "a chore waits");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// One replay command and one deletion, if there is something of that kind; `replayed` is the subscription that had the last one.
async fn step(state: &NodeState, shard: &Shard, replayed: &mut QueueUid) -> Result<(), Status> {
    if let Some(task) = shard.group.read(|machine| machine.next_replay(*replayed)) {
        *replayed = task.uid;
        let replay = look(shard, &task).await?;
        match shard.batcher.submit(Command::from(CommandKind::Replay(replay))).await? {
            // It was moved or changed meanwhile: the next step looks again.
            Reply::Done | Reply::Rejected(Rejection::Invalid(_) | Rejection::QueueGone) => {}
            other => return Err(status::internal(format!("a replay was answered {other:?}"))),
        }
    }
    let Some((uid, namespace, name, kind)) = shard.group.read(|machine| machine.next_expired()) else {
        return Ok(());
    };
    tracing::info!(group_id = shard.id(), uid, queue = name, "a queue has expired");
    let delete = DeleteQueue { namespace, name, kind: kind.into(), uid };
    delete_queue(state, delete).await?;
    // The catalog has its shard drop it; until then there is nothing more to do for it.
    let gone = shard.until(|machine| (machine.next_expired().is_none_or(|next| next.0 != uid)).then_some(()));
    tokio::time::timeout(DELETE_DEADLINE, gone).await.map_err(|_| forward::late(Loss::Read))?;
    Ok(())
}

/// Reads a page of the past, and says which of its messages match.
async fn look(shard: &Shard, task: &ReplayTask) -> Result<Replay, Status> {
    let at = LookAt {
        from: task.from,
        group: None,
        count_max: REPLAY_PAGE_MESSAGES,
        bytes_max: REPLAY_PAGE_BYTES,
    };
    let topic = task.source.topic;
    let page = shard.group.read(|machine| machine.log_page(topic, &at));
    let Some((page, _)) = page else {
        return Err(status::unavailable("the topic is gone"));
    };
    let end = page.next.unwrap_or(task.end).min(task.end).min(task.from + REPLAY_MESSAGES_MAX);
    let seen: Vec<Seen> = page.messages.into_iter().filter(|seen| seen.sequence < end).collect();
    let conditions = task.conditions().map_err(status::internal)?;
    let wanted = seen.into_iter().map(|seen| (seen.sequence, seen.payload, seen.sequence)).collect();
    let mut chunks: BTreeMap<u64, u64> = BTreeMap::new();
    for (message, sequence) in payloads(&shard.group, topic, wanted).await? {
        let headers = message.headers.into_iter().collect();
        if conditions.take(&message.routing_key, &headers) {
            *chunks.entry(sequence / 64).or_default() |= 1 << (sequence % 64);
        }
    }
    let matches = chunks.into_iter().map(|(chunk, bits)| ChunkMatches { chunk, bits }).collect();
    Ok(Replay { uid: task.uid, version: task.version, from: task.from, end, matches })
}

/// Has the catalog delete a queue.
async fn delete_queue(state: &NodeState, delete: DeleteQueue) -> Result<(), Status> {
    let command = Command::from(CommandKind::DeleteQueue(delete));
    match carry_out(state, CATALOG, command, DELETE_DEADLINE).await {
        // Somebody was quicker.
        Err(error) if status::is(&error, status::Reason::QueueNotFound) => Ok(()),
        outcome => outcome.map(drop),
    }
}
