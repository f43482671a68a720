//! What a leader does for the bindings of its shard: carries what waits in them to what they feed.
//!
//! A binding is carried by one task at a time, page by page: the target takes a page, then the binding is told. Whatever is lost on the way
//! is done again, by this leader or the next one: the target knows what it has. A target that is full, gone or out of reach holds up only the
//! bindings that feed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use phalanx_state_machine::command::{Command, CommandKind, Transfer, TransferMessage, Transferred};
use phalanx_state_machine::ids::{GroupId, QueueUid};
use phalanx_state_machine::machine::OutboxPage;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use crate::api::raw_payloads;
use crate::carry_out::{answer, carry_out};
use crate::shard::Shard;
use crate::state::NodeState;
use crate::status::{self, Reason};

/// Bindings of one shard that are carried at the same time.
const BINDINGS_AT_ONCE: usize = 16;
/// Pages before another binding has its turn.
const PAGES_PER_TURN: usize = 16;
/// Messages of one page.
const PAGE_MESSAGES: usize = 1_024;
/// Payload bytes of one page; a larger message goes alone.
const PAGE_BYTES: u64 = 1024 * 1024;
/// Time a target's leader has for one page.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// First pause after a binding could not be carried on.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause; each is twice the one before, unless something was carried meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Works for one group while this node leads it, until the node stops.
pub async fn drive(state: Arc<NodeState>, shard: Arc<Shard>) {
    let stop = state.stop.clone();
    stop.run_until_cancelled(work(&state, &shard)).await;
}

async fn work(state: &Arc<NodeState>, shard: &Arc<Shard>) {
    let mut leadership = shard.group.leadership();
    while leadership.wait_for(|now| now.is_leader).await.is_ok() {
        let term = leadership.borrow().term;
        tokio::select! {
            () = lead(state, shard) => return,
            over = leadership.wait_for(|now| !now.is_leader || now.term != term) => if over.is_err() { return },
        }
    }
}

/// A binding that could not be carried.
#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

/// Returns only when the group has stopped; dropped when the leadership ends, with all that it had begun.
async fn lead(state: &Arc<NodeState>, shard: &Arc<Shard>) {
    let mut outgoing = shard.outgoing.clone();
    let mut carrying: JoinSet<(QueueUid, Turn)> = JoinSet::new();
    let mut busy = BTreeSet::new();
    let mut pauses: BTreeMap<QueueUid, Pause> = BTreeMap::new();
    let mut last = 0;
    loop {
        outgoing.borrow_and_update();
        let now = Instant::now();
        let may_begin =
            |uid: &QueueUid| !busy.contains(uid) && pauses.get(uid).is_none_or(|pause| pause.until <= now);
        let room = BINDINGS_AT_ONCE - carrying.len();
        let begin = shard.group.read(|machine| machine.outboxes(last, room, may_begin));
        for uid in begin {
            last = uid;
            busy.insert(uid);
            let (state, shard) = (Arc::clone(state), Arc::clone(shard));
            carrying.spawn(async move { (uid, carry(&state, &shard, uid).await) });
        }
        let next = pauses.values().map(|pause| pause.until).filter(|until| *until > now).min();
        tokio::select! {
            changed = outgoing.changed() => if changed.is_err() { return },
            Some(done) = carrying.join_next() => {
                let Ok((uid, turn)) = done else { continue };
                busy.remove(&uid);
                if turn.pages > 0 || turn.outcome.is_ok() {
                    pauses.remove(&uid);
                }
                if let Err(error) = turn.outcome {
                    pause(&mut pauses, shard.id(), uid, &error);
                }
            }
            () = until(next) => {}
        }
    }
}

/// Never, if there is nothing to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn pause(pauses: &mut BTreeMap<QueueUid, Pause>, group_id: GroupId, uid: QueueUid, error: &Status) {
    let before = pauses.get(&uid).map_or(Duration::ZERO, |pause| pause.length);
    let length = (before * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    pauses.insert(uid, Pause { until: Instant::now() + length, length });
    if before.is_zero() {
        tracing::debug!(group_id, uid, message = error.message(), "a binding waits");
    }
}

/// What a binding's turn came to.
struct Turn {
    /// Pages of which the target took something.
    pages: usize,
    outcome: Result<(), Status>,
}

/// Carries what waits in one binding, as much as one turn may.
async fn carry(state: &NodeState, shard: &Shard, binding: QueueUid) -> Turn {
    for pages in 0..PAGES_PER_TURN {
        match carry_page(state, shard, binding).await {
            Ok(true) => {}
            Ok(false) => return Turn { pages, outcome: Ok(()) },
            Err(error) => return Turn { pages, outcome: Err(error) },
        }
    }
    Turn { pages: PAGES_PER_TURN, outcome: Ok(()) }
}

/// `false`: nothing waits.
async fn carry_page(state: &NodeState, shard: &Shard, binding: QueueUid) -> Result<bool, Status> {
    let page = shard.group.read(|machine| machine.outbox_page(binding, PAGE_MESSAGES, PAGE_BYTES));
    let Some(page) = page.filter(|page| !page.messages.is_empty()) else { return Ok(false) };
    let group = target_group(state, page.target)?;
    let transfer = read(shard, page).await?;
    let command = Command::from(CommandKind::Transfer(transfer));
    let through = carry_out(state, group, command, PAGE_DEADLINE).await?;
    // On one shard the machine has told the binding.
    if group != shard.id() {
        let told = CommandKind::Transferred(Transferred { uid: binding, through });
        answer(&shard.batcher.submit(Command::from(told)).await?)?;
    }
    Ok(true)
}

/// The shard of what a binding feeds.
fn target_group(state: &NodeState, target: QueueUid) -> Result<GroupId, Status> {
    let group = state.catalog().group.read(|machine| {
        let entry = machine.catalog_state()?.queue(target)?;
        Some(entry.group)
    });
    group.ok_or_else(|| status::new(Reason::QueueGone, "the queue that it feeds was deleted"))
}

/// The page with its payloads, none left out.
async fn read(shard: &Shard, page: OutboxPage) -> Result<Transfer, Status> {
    let (uid, binding) = (page.target, page.binding);
    let wanted = page.messages.into_iter().map(|next| (next.sequence, next.payload, next.group)).collect();
    let mut messages = Vec::new();
    for (sequence, payload, group) in raw_payloads(&shard.group, page.topic, wanted).await? {
        // What is gone has been carried meanwhile, and so has what came before it.
        let payload = payload.ok_or_else(|| status::unavailable("the binding has moved on"))?;
        messages.push(TransferMessage { sequence, payload, group });
    }
    Ok(Transfer { uid, binding, messages })
}
