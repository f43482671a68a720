//! What a leader does for the bindings of its shard: carries what waits in them to what they feed.
//!
//! A binding is carried by one task at a time, page by page: the target takes a page, then the binding is told. Whatever is lost on the way
//! is done again, by this leader or the next one: the target knows what it has. A target that is full, gone or out of reach holds up only the
//! bindings that feed it: few are carried to one shard at a time, and one that could not be carried begins again with one message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_state_machine::command::{Command, CommandKind, Transfer, TransferMessage, Transferred};
use phalanx_state_machine::ids::{GroupId, QueueUid, Sequence};
use phalanx_state_machine::machine::OutboxPage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
/// Of these to the same shard: one that does not answer must not take all places.
const BINDINGS_AT_ONCE_TO_ONE: usize = 4;
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
/// Pause of a binding whose target is gone: somebody has to delete it.
const PAUSE_GONE: Duration = Duration::from_secs(30);
/// Pause of a binding that found all places to its target's shard taken.
const PAUSE_CROWDED: Duration = Duration::from_millis(50);
/// With more pauses than this, those of bindings that have nothing to carry any more are looked for and forgotten.
const PAUSES_KEPT: usize = 1_024;

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
    let gates = Arc::new(Gates::default());
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
            let (state, shard, gates) = (Arc::clone(state), Arc::clone(shard), Arc::clone(&gates));
            // What could not take everything is asked whether it takes one.
            let page = if pauses.contains_key(&uid) { 1 } else { PAGE_MESSAGES };
            carrying.spawn(async move { (uid, carry(&state, &shard, &gates, uid, page).await) });
        }
        let next = pauses.values().map(|pause| pause.until).filter(|until| *until > now).min();
        tokio::select! {
            changed = outgoing.changed() => if changed.is_err() { return },
            Some(done) = carrying.join_next() => {
                let Ok((uid, turn)) = done else { continue };
                busy.remove(&uid);
                match turn.outcome {
                    Ok(()) => drop(pauses.remove(&uid)),
                    Err(stop) => pause(&mut pauses, shard.id(), uid, turn.taken > 0, &stop),
                }
                if pauses.len() > PAUSES_KEPT {
                    shard.group.read(|machine| pauses.retain(|uid, _| machine.is_outgoing(*uid)));
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

fn pause(
    pauses: &mut BTreeMap<QueueUid, Pause>,
    group_id: GroupId,
    uid: QueueUid,
    has_moved: bool,
    stop: &Stop,
) {
    let before = pauses.get(&uid).map_or(Duration::ZERO, |pause| pause.length);
    let length = match stop {
        Stop::Crowded => PAUSE_CROWDED,
        Stop::Failed(error) if status::is(error, Reason::QueueGone) => PAUSE_GONE,
        Stop::Failed(_) if has_moved => PAUSE_MIN,
        Stop::Failed(_) => (before * 2).clamp(PAUSE_MIN, PAUSE_MAX),
    };
    pauses.insert(uid, Pause { until: Instant::now() + length, length });
    if length == PAUSE_GONE && before != PAUSE_GONE {
        let message = "a binding feeds a queue that was deleted: what waits in it goes nowhere";
        tracing::warn!(group_id, uid, message);
    } else if let (Stop::Failed(error), true) = (stop, before.is_zero()) {
        tracing::debug!(group_id, uid, message = error.message(), "a binding waits");
    }
}

/// Why a binding was not carried on.
enum Stop {
    /// All places to its target's shard are taken.
    Crowded,
    Failed(Status),
}

impl From<Status> for Stop {
    fn from(error: Status) -> Self {
        Self::Failed(error)
    }
}

/// How many bindings are carried to each shard.
#[derive(Default)]
struct Gates(Mutex<BTreeMap<GroupId, Arc<Semaphore>>>);

impl Gates {
    /// A place among those that are carried there.
    ///
    /// # Errors
    /// When all are taken.
    fn enter(&self, group: GroupId) -> Result<OwnedSemaphorePermit, Stop> {
        let mut gates = self.0.lock();
        let gate = gates.entry(group).or_insert_with(|| Arc::new(Semaphore::new(BINDINGS_AT_ONCE_TO_ONE)));
        Arc::clone(gate).try_acquire_owned().map_err(|_| Stop::Crowded)
    }
}

/// What a binding's turn came to.
struct Turn {
    /// Messages that were carried.
    taken: usize,
    outcome: Result<(), Stop>,
}

/// Carries what waits in one binding, as much as one turn may. The first page has at most `page` messages, the next twice as many as the target
/// took of the one before.
async fn carry(state: &NodeState, shard: &Shard, gates: &Gates, binding: QueueUid, mut page: usize) -> Turn {
    let mut taken = 0;
    for _ in 0..PAGES_PER_TURN {
        match carry_page(state, shard, gates, binding, page).await {
            Ok(0) => return Turn { taken, outcome: Ok(()) },
            Ok(count) => {
                taken += count;
                page = (2 * count).min(PAGE_MESSAGES);
            }
            Err(stop) => return Turn { taken, outcome: Err(stop) },
        }
    }
    Turn { taken, outcome: Ok(()) }
}

/// How many were carried; 0: nothing waits.
async fn carry_page(
    state: &NodeState,
    shard: &Shard,
    gates: &Gates,
    binding: QueueUid,
    count_max: usize,
) -> Result<usize, Stop> {
    let page = shard.group.read(|machine| machine.outbox_page(binding, count_max, PAGE_BYTES));
    let Some(page) = page.filter(|page| !page.messages.is_empty()) else { return Ok(0) };
    let group = target_group(state, page.target)?;
    let _place = gates.enter(group)?;
    let transfer = read(shard, page).await?;
    let sequences: Vec<Sequence> = transfer.messages.iter().map(|message| message.sequence).collect();
    let command = Command::from(CommandKind::Transfer(transfer));
    let through = carry_out(state, group, command, PAGE_DEADLINE).await?;
    // On one shard the machine has told the binding.
    if group != shard.id() {
        let told = CommandKind::Transferred(Transferred { uid: binding, through });
        answer(&shard.batcher.submit(Command::from(told)).await.map_err(Status::from)?)?;
    }
    // One at least: a target that has had all of them says so.
    Ok(sequences.partition_point(|sequence| *sequence <= through).max(1))
}

/// The shard of what a binding feeds.
fn target_group(state: &NodeState, target: QueueUid) -> Result<GroupId, Status> {
    state.catalog().group.read(|machine| {
        let catalog = machine.catalog_state();
        match catalog.and_then(|catalog| catalog.queue(target)) {
            Some(entry) => Ok(entry.group),
            None if catalog.is_some_and(|catalog| catalog.is_gone(target)) => {
                Err(status::new(Reason::QueueGone, "the queue that it feeds was deleted"))
            }
            None => Err(status::unavailable("this node has not heard of the queue that it feeds")),
        }
    })
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
