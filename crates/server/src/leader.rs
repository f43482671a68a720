//! What a leader does unasked: open its term once it knows the time, and tick.
//!
//! One task for each hosted group. Invariant: `TermStart` is the first batch of a term, before anything that a client asked for; the
//! batcher is open only while its term is this replica's.

use std::sync::Arc;
use std::time::Duration;

use phalanx_raft::{Leadership, ProposeError};
use phalanx_state_machine::command::{Batch, CheckDigest, Command, CommandKind, TermStart, Tick};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::shard::Shard;

/// Shortest time between two ticks of a group, so that many deadlines close together cost one entry.
pub const TICK_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Longest sleep before the due time is looked at again: machine time may be slewed meanwhile.
pub const TICK_SLEEP_MAX: Duration = Duration::from_secs(5);
/// A leader that has had no quorum for this long ends its consumers' streams, so that they look elsewhere; when
/// the quorum comes back after that, it hands its term to another.
const QUORUM_PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a refused `TermStart`.
const TERM_RETRY: Duration = Duration::from_millis(20);
/// Time between two comparisons of the replicas' digests, while entries are applied.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the time of `shard` and follows its leadership until `stop`.
pub async fn drive(shard: Arc<Shard>, dispatcher: Arc<Dispatcher>, stop: CancellationToken) {
    let time = stop.run_until_cancelled(shard.timekeeper.follow());
    tokio::join!(time, follow(&shard, &dispatcher, &stop));
}

async fn follow(shard: &Shard, dispatcher: &Dispatcher, stop: &CancellationToken) {
    let mut leadership = shard.group.leadership();
    let mut opened = 0;
    loop {
        let now = leadership.borrow_and_update().clone();
        let changed = if now.is_leader && now.term == opened {
            stop.run_until_cancelled(give_away(shard)).await
        } else if now.is_leader {
            let led = lead(shard, dispatcher, &now, &mut leadership, &mut opened);
            stop.run_until_cancelled(led).await
        } else {
            stop.run_until_cancelled(async { leadership.changed().await.is_ok() }).await
        };
        match changed {
            Some(true) => {}
            Some(false) | None => return,
        }
    }
}

/// Leads one term; returns when the leadership changed, `false` when the group has stopped.
async fn lead(
    shard: &Shard,
    dispatcher: &Dispatcher,
    now: &Leadership,
    leadership: &mut watch::Receiver<Leadership>,
    opened: &mut u64,
) -> bool {
    tokio::select! {
        alive = term_over(now, leadership) => return alive,
        () = shard.timekeeper.ready_to_lead() => {}
    }
    shard.clock.begin_term();
    dispatcher.lead(shard.id(), now.term);
    if let Err(end) = open_term(shard, now.term, leadership).await {
        dispatcher.unlead(shard.id());
        shard.clock.end_term();
        return end == TermEnd::Changed;
    }
    tracing::info!(group_id = shard.id(), term = now.term, "leads");
    *opened = now.term;
    shard.batcher.open(now.term);
    let alive = tokio::select! {
        alive = term_over(now, leadership) => alive,
        () = tick(shard) => true,
        () = check_digests(shard) => true,
    };
    shard.batcher.close();
    dispatcher.unlead(shard.id());
    shard.clock.end_term();
    tracing::info!(group_id = shard.id(), term = now.term, "leads no more");
    alive
}

/// A term that was ended here for want of a quorum is not led on: its consumers were sent away and are attached in the machine still. The
/// next term detaches them.
async fn give_away(shard: &Shard) -> bool {
    let status = shard.group.status();
    for replica in status.voters.into_keys().filter(|replica| *replica != status.replica) {
        match shard.group.transfer_leader(replica).await {
            Ok(()) => return true,
            Err(error) => {
                tracing::debug!(group_id = shard.id(), %error, "an ended term was not given away yet")
            }
        }
    }
    tokio::time::sleep(TERM_RETRY).await;
    true
}

/// Waits until this replica has lost its term, or its quorum for longer than [`QUORUM_PATIENCE`]; `false` when the group has stopped.
async fn term_over(now: &Leadership, leadership: &mut watch::Receiver<Leadership>) -> bool {
    let ours = |next: &Leadership| next.term == now.term && next.leader == now.leader;
    loop {
        if leadership.wait_for(|next| !next.is_leader || !ours(next)).await.is_err() {
            return false;
        }
        // In its own term a leader without a quorum is still the only one who could answer: a hiccup must not end every stream.
        let back = leadership.wait_for(|next| next.is_leader || !ours(next));
        match tokio::time::timeout(QUORUM_PATIENCE, back).await {
            Ok(Ok(next)) if next.is_leader && ours(&next) => {}
            Ok(Ok(_)) | Err(_) => return true,
            Ok(Err(_)) => return false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TermEnd {
    Changed,
    Stopped,
}

/// Queues `TermStart`. Its reply is not awaited: the log keeps the order of what is queued after it.
async fn open_term(
    shard: &Shard,
    term: u64,
    leadership: &mut watch::Receiver<Leadership>,
) -> Result<(), TermEnd> {
    loop {
        let start = TermStart { term, leader: shard.group.replica() };
        let batch = Batch {
            version: Batch::VERSION,
            now_ms: shard.clock.now_ms(),
            commands: vec![Command::from(CommandKind::TermStart(start))],
        };
        match shard.group.propose(batch, term).await {
            Ok(_handle) => return Ok(()),
            Err(ProposeError::Overloaded { .. }) => tokio::time::sleep(TERM_RETRY).await,
            Err(error) => tracing::debug!(group_id = shard.id(), term, %error, "term not opened"),
        }
        let next = leadership.borrow().clone();
        if !(next.is_leader && next.term == term) {
            return Err(TermEnd::Changed);
        }
        if leadership.has_changed().is_err() {
            return Err(TermEnd::Stopped);
        }
        tokio::time::sleep(TERM_RETRY).await;
    }
}

/// Has every replica compare its state with this one's, now and then, unless nothing but that has happened. Whoever differs says so. Never
/// returns.
async fn check_digests(shard: &Shard) {
    let mut checked = 0;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let (index, digest) = shard.group.read(|machine| (machine.applied_index(), machine.digest()));
        if index <= checked {
            continue;
        }
        // A refusal is made up for by the next round; of the answer only the replicas' own alarms count.
        match shard
            .batcher
            .submit(Command::from(CommandKind::CheckDigest(CheckDigest { index, digest })))
            .await
        {
            Ok(_) => checked = *shard.applied.borrow(),
            Err(error) => tracing::debug!(group_id = shard.id(), %error, "digests were not compared"),
        }
    }
}

/// Ticks when something is due. Never returns: it ends with the term.
async fn tick(shard: &Shard) {
    let mut due = shard.due.clone();
    loop {
        let next = *due.borrow_and_update();
        let wait = match next {
            None => TICK_SLEEP_MAX,
            Some(next_ms) => {
                Duration::from_millis(next_ms.saturating_sub(shard.clock.now_ms())).min(TICK_SLEEP_MAX)
            }
        };
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = due.changed() => if changed.is_err() { return std::future::pending().await; },
            }
            continue;
        }
        if next.is_some() {
            // The reply says nothing; a refusal (overload, a new leader) is met again in the next round.
            if let Err(error) = shard.batcher.submit(Command::from(CommandKind::Tick(Tick {}))).await {
                tracing::debug!(group_id = shard.id(), %error, "tick refused");
            }
        }
        tokio::time::sleep(TICK_INTERVAL_MIN).await;
    }
}
