//! The machine of one Raft group: the catalog, or a shard of queues.
//!
//! `apply` first does what time has brought, then the commands in order, then counts every queue it touched anew.
//! Invariant: between entries, `due`, `sum`, `resident` and the dirt counters say what the queues say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use phalanx_canary::Canary;

use crate::catalog::Catalog;
use crate::command::{Batch, CheckDigest, CommandKind, PutQueue, QueueKind, Receive, Seek, TermStart};
use crate::digest;
use crate::ids::{GroupId, QueueUid, TimestampMs};
use crate::limits;
use crate::queue::{Queue, Trash, Turn};
use crate::reply::{Applied, Effect, Rejection, Reply};

mod checkpoint;
mod flow;
mod interface;
mod publish;
mod reading;

pub use interface::{
    Changes, Conditions, ConsumerInfo, Entry, GroupInfo, GroupPage, Holder, LoadError, LookAt, MachineKind,
    MessagePage, OutboxMessage, OutboxPage, QueueInfo, ReplayTask, RowChange, Seen, Standing,
};

/// The replicated state of one Raft group.
#[derive(Debug)]
pub struct Machine {
    kind: MachineKind,
    now_ms: TimestampMs,
    /// Highest leader term seen.
    term: u64,
    applied_index: u64,
    catalog: Catalog,
    /// Queues and subscriptions.
    queues: BTreeMap<QueueUid, Queue>,
    topics: BTreeMap<QueueUid, Queue>,
    /// Queues that were dropped here: a late command must not bring them back.
    tombstones: BTreeSet<QueueUid>,
    /// When time alone does something, by queue.
    due: BTreeSet<(TimestampMs, QueueUid)>,
    /// Subscriptions that wait for a [`Replay`](crate::command::Replay).
    replaying: BTreeSet<QueueUid>,
    /// Queues and subscriptions that have expired.
    expired: BTreeSet<QueueUid>,
    /// Bindings with messages that wait to go on.
    outboxes: BTreeSet<QueueUid>,
    /// How often something came into `outboxes`: not part of the state.
    outgoing_count: u64,
    /// Queues that this entry changed.
    touched: Vec<QueueUid>,
    /// Queues that changed since the last checkpoint.
    dirty: BTreeSet<QueueUid>,
    dirty_rows: usize,
    dirty_bytes: u64,
    /// Queues whose rows were taken and are not yet known to be durable.
    unconfirmed: Vec<QueueUid>,
    /// Rows and garbage that no queue can report any more.
    pending: Changes,
    resident: u64,
    /// Sum of the digests of all queues and tombstones.
    sum: u64,
    /// Memory that is freed bit by bit.
    trash: VecDeque<Trash>,
    /// Digests after recent entries: not part of the state.
    recent: VecDeque<(u64, u64)>,
    /// `applied_index` at the last checkpoint.
    taken_index: u64,
}

impl Machine {
    /// An empty catalog.
    #[must_use]
    pub fn catalog() -> Self {
        Self::new(MachineKind::Catalog)
    }

    /// An empty shard.
    #[must_use]
    pub fn shard(group: GroupId) -> Self {
        Self::new(MachineKind::Shard(group))
    }

    /// An empty machine.
    #[must_use]
    pub fn new(kind: MachineKind) -> Self {
        let mut machine = Self {
            kind,
            now_ms: 0,
            term: 0,
            applied_index: 0,
            catalog: Catalog::new(),
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            due: BTreeSet::new(),
            replaying: BTreeSet::new(),
            expired: BTreeSet::new(),
            outboxes: BTreeSet::new(),
            outgoing_count: 0,
            touched: Vec::new(),
            dirty: BTreeSet::new(),
            dirty_rows: 0,
            dirty_bytes: 0,
            unconfirmed: Vec::new(),
            pending: Changes::default(),
            resident: 0,
            sum: 0,
            trash: VecDeque::new(),
            recent: VecDeque::new(),
            taken_index: 0,
        };
        machine.note_digest();
        machine
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> MachineKind {
        self.kind
    }

    /// Carries out one committed entry: first what time has brought, then the commands in order. Never panics,
    /// whatever the entry says.
    pub fn apply(&mut self, entry: Entry) -> Applied {
        let mut applied = Applied::default();
        if entry.batch.version > Batch::VERSION {
            let refused = |_| Reply::Rejected(Rejection::Unsupported);
            applied.replies = entry.batch.commands.iter().map(refused).collect();
            self.applied_index = self.applied_index.max(entry.index);
            return applied;
        }
        self.now_ms = self.now_ms.max(entry.batch.now_ms);
        self.sweep(&mut applied.effects);
        applied.replies.reserve_exact(entry.batch.commands.len());
        let (mut sent, trash_before) = (0, self.trash.len());
        for command in &entry.batch.commands {
            let reply = match &command.kind {
                None => Reply::Rejected(Rejection::Unsupported),
                Some(CommandKind::CheckDigest(check)) => self.check_digest(check),
                Some(kind) if self.kind == MachineKind::Catalog => self.catalog.apply(self.now_ms, kind),
                Some(kind) => self.apply_shard(kind, &mut applied.effects),
            };
            sent += if let Reply::Sent(sent) = &reply { sent.count as usize } else { 0 };
            applied.replies.push(reply);
        }
        self.applied_index = self.applied_index.max(entry.index);
        self.finish_entry(&mut applied.effects);
        // The smallest heap takes two steps: one to free it, one to see that it is empty.
        let heaps = self.trash.len() - trash_before;
        self.free_trash(sent / limits::TRASH_SENDS_PER_CHUNK + 2 * heaps);
        applied
    }

    fn apply_shard(&mut self, kind: &CommandKind, effects: &mut Vec<Effect>) -> Reply {
        if !self.expired.is_empty() && kind.queue_uid().is_some_and(|uid| self.expired.contains(&uid)) {
            return gone();
        }
        match kind {
            CommandKind::Tick(_) => Reply::Done,
            CommandKind::TermStart(start) => self.start_term(*start, effects),
            CommandKind::PutQueue(put) => self.put_queue(put),
            CommandKind::DropQueue(drop) => self.drop_queue(drop.uid, effects),
            CommandKind::Purge(purge) => self.purge(purge.uid, effects),
            CommandKind::Send(send) if self.topics.contains_key(&send.uid) => self.publish(send, effects),
            CommandKind::Send(send) => self.on_queue(send.uid, effects, |queue, turn| match queue.kind() {
                QueueKind::Subscription | QueueKind::Binding => {
                    invalid("a subscription takes no messages: publish to its topic")
                }
                QueueKind::Queue | QueueKind::Topic => queue.send(turn, send),
            }),
            CommandKind::Receive(receive) => self.receive(receive, effects),
            CommandKind::Attach(attach) => {
                self.on_consumed(attach.uid, effects, |queue, turn| queue.attach(turn, attach))
            }
            CommandKind::Detach(detach) => {
                self.on_consumed(detach.uid, effects, |queue, turn| queue.detach(turn, detach))
            }
            CommandKind::SetWindow(window) => {
                self.on_consumed(window.uid, effects, |queue, turn| queue.set_window(turn, window))
            }
            CommandKind::Settle(settle) => {
                self.on_consumed(settle.uid, effects, |queue, turn| queue.settle(turn, settle))
            }
            CommandKind::Seek(seek) => self.seek(seek, effects),
            CommandKind::Mark(place) => {
                self.on_consumed(place.uid, effects, |queue, turn| queue.mark(turn, place))
            }
            CommandKind::Replay(replay) => {
                self.on_queue(replay.uid, effects, |queue, turn| queue.replay(turn, replay))
            }
            CommandKind::Transfer(transfer) => self.transfer(transfer, effects),
            CommandKind::Transferred(to) => self.transferred(to.uid, to.through),
            CommandKind::OpenInbox(inbox) => self.open_inbox(*inbox),
            CommandKind::CloseInbox(inbox) => self.close_inbox(*inbox),
            _ => Reply::Rejected(Rejection::Unsupported),
        }
    }

    /// Changes a queue or a subscription: the end of the entry looks at it.
    fn on_queue(
        &mut self,
        uid: QueueUid,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Queue, &mut Turn<'_>) -> Reply,
    ) -> Reply {
        let Some(queue) = self.queues.get_mut(&uid) else { return self.no_queue(uid) };
        mark(&mut self.touched, queue);
        let topic = queue.topic_uid().and_then(|topic| self.topics.get_mut(&topic));
        let mut turn = Turn { now_ms: self.now_ms, effects, topic };
        let reply = change(queue, &mut turn);
        if let Some(topic) = turn.topic {
            mark(&mut self.touched, topic);
            queue.tell_released(topic);
        }
        reply
    }

    /// As [`Self::on_queue`], for what a binding does not have.
    fn on_consumed(
        &mut self,
        uid: QueueUid,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Queue, &mut Turn<'_>) -> Reply,
    ) -> Reply {
        self.on_queue(uid, effects, |queue, turn| match queue.target() {
            Some(_) => invalid("a binding has no consumers: its messages go on to what it feeds"),
            None => change(queue, turn),
        })
    }

    /// Why there is no queue of that uid to receive from.
    fn no_queue(&self, uid: QueueUid) -> Reply {
        if self.topics.contains_key(&uid) {
            return invalid("a topic has no consumers: receive from one of its subscriptions");
        }
        gone()
    }

    fn receive(&mut self, receive: &Receive, effects: &mut Vec<Effect>) -> Reply {
        if self.queues.get(&receive.uid).is_some_and(|queue| queue.is_stale(self.now_ms)) {
            self.on_queue(receive.uid, effects, |queue, turn| {
                queue.use_now(turn.now_ms);
                Reply::Done
            });
        }
        let Some(queue) = self.queues.get_mut(&receive.uid).filter(|queue| queue.target().is_none()) else {
            return self.on_consumed(receive.uid, effects, |_, _| Reply::Done);
        };
        let topic = queue.topic_uid().and_then(|topic| self.topics.get_mut(&topic));
        let turn = Turn { now_ms: self.now_ms, effects, topic };
        if let Some(reply) = queue.receive_without_trace(&turn, receive) {
            return reply;
        }
        self.on_queue(receive.uid, effects, |queue, turn| queue.receive(turn, receive))
    }

    fn purge(&mut self, uid: QueueUid, effects: &mut Vec<Effect>) -> Reply {
        if self.topics.contains_key(&uid) {
            return invalid("a topic has no messages of its own: purge its subscriptions");
        }
        let mut trash = None;
        let reply = self.on_consumed(uid, effects, |queue, turn| {
            let (reply, purged) = queue.purge(turn);
            trash = Some(purged);
            reply
        });
        self.trash.extend(trash);
        reply
    }

    fn seek(&mut self, seek: &Seek, effects: &mut Vec<Effect>) -> Reply {
        let mut trash = None;
        let reply = self.on_consumed(seek.uid, effects, |queue, turn| {
            let (reply, purged) = queue.seek(turn, seek);
            trash = purged;
            reply
        });
        self.trash.extend(trash);
        reply
    }

    /// Carries out what is due by time, as much as one entry may.
    fn sweep(&mut self, effects: &mut Vec<Effect>) {
        let (mut budget, mut forget) = (limits::DUE_PER_ENTRY_MAX, limits::FORGET_PER_ENTRY_MAX);
        let now_ms = self.now_ms;
        let due = self.due.iter().take_while(|(due, _)| *due <= now_ms);
        let due: Vec<QueueUid> = due.map(|(_, uid)| *uid).take(limits::DUE_PER_ENTRY_MAX).collect();
        for uid in due {
            if budget == 0 || forget == 0 {
                break;
            }
            if let Some(topic) = self.topics.get_mut(&uid) {
                mark(&mut self.touched, topic);
                topic.sweep(&mut Turn { now_ms, effects, topic: None }, &mut budget, &mut forget);
            } else {
                let mut has_expired = false;
                self.on_queue(uid, effects, |queue, turn| {
                    queue.sweep(turn, &mut budget, &mut forget);
                    has_expired = queue.has_expired();
                    Reply::Done
                });
                // At once: the commands of this entry find it gone.
                self.expired.extend(has_expired.then_some(uid));
            }
        }
    }

    fn start_term(&mut self, start: TermStart, effects: &mut Vec<Effect>) -> Reply {
        if start.term <= self.term {
            return Reply::Done;
        }
        self.term = start.term;
        let uids: Vec<QueueUid> =
            self.queues.iter().filter(|(_, queue)| queue.has_attached()).map(|(uid, _)| *uid).collect();
        for uid in uids {
            self.on_queue(uid, effects, |queue, turn| {
                queue.detach_all(turn);
                Reply::Done
            });
        }
        Reply::Done
    }

    fn put_queue(&mut self, put: &PutQueue) -> Reply {
        if put.namespace.len() > limits::NAME_BYTES_MAX || put.name.len() > limits::NAME_BYTES_MAX {
            return invalid("a name that is too long");
        }
        if self.tombstones.contains(&put.uid) {
            return gone();
        }
        if self.queue(put.uid).is_some_and(|queue| queue.kind() != kind_of(put)) {
            return invalid("a queue, topic or subscription stays what it is");
        }
        if let Some(source) = &put.source {
            return self.put_subscription(put, source);
        }
        let now_ms = self.now_ms;
        let own = if put.kind() == QueueKind::Topic { &mut self.topics } else { &mut self.queues };
        if let Some(queue) = own.get_mut(&put.uid) {
            mark(&mut self.touched, queue);
            let reply = queue.put(now_ms, put);
            queue.retain(now_ms, 0);
            return reply;
        }
        let queue = own.entry(put.uid).or_insert(Queue::new(put));
        queue.use_now(now_ms);
        mark(&mut self.touched, queue);
        Reply::Done
    }

    fn drop_queue(&mut self, uid: QueueUid, effects: &mut Vec<Effect>) -> Reply {
        if Canary::UidConfusion.is_planted() {
            return Reply::Done;
        }
        for member in self.topics.get(&uid).map(members).unwrap_or_default() {
            self.drop_one(member, effects);
        }
        self.drop_one(uid, effects);
        Reply::Done
    }

    fn drop_one(&mut self, uid: QueueUid, effects: &mut Vec<Effect>) {
        if let Some(queue) = self.take_out(uid) {
            self.sum = self.sum.wrapping_sub(queue.counted_digest);
            self.resident -= queue.counted_resident;
            self.dirty_rows -= queue.counted_estimate.0;
            self.dirty_bytes -= queue.counted_estimate.1;
            self.dirty.remove(&uid);
            if let Some(due_ms) = queue.registered_due_ms {
                self.due.remove(&(due_ms, uid));
            }
            self.replaying.remove(&uid);
            self.expired.remove(&uid);
            self.outboxes.remove(&uid);
            let (trash, written) = queue.into_trash();
            self.trash.push_back(trash);
            if written {
                let key = crate::rows::key(uid, crate::rows::Table::Queue, &[]);
                self.pending.rows.push(RowChange { key, value: None });
                self.pending.garbage.push(crate::rows::queue_range(uid));
            }
            effects.push(Effect::QueueGone { uid });
        }
        self.bury(uid);
    }

    /// The queue, which its topic does not know any more.
    fn take_out(&mut self, uid: QueueUid) -> Option<Queue> {
        let mut queue = self.queues.remove(&uid).or_else(|| self.topics.remove(&uid))?;
        if let Some(topic) = queue.topic_uid().and_then(|topic| self.topics.get_mut(&topic)) {
            mark(&mut self.touched, topic);
            queue.leave_topic(topic);
        }
        Some(queue)
    }

    /// Remembers that a queue was dropped.
    fn bury(&mut self, uid: QueueUid) {
        if !self.tombstones.insert(uid) {
            return;
        }
        self.sum = self.sum.wrapping_add(tombstone_hash(uid));
        let key = crate::rows::tombstone_key(uid);
        self.pending.rows.push(RowChange { key, value: Some(Bytes::from_static(&[1])) });
        if self.tombstones.len() > limits::TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones.pop_first()
        {
            self.sum = self.sum.wrapping_sub(tombstone_hash(oldest));
            self.pending.rows.push(RowChange { key: crate::rows::tombstone_key(oldest), value: None });
        }
    }

    /// Compares with the digest that the leader had after an entry.
    fn check_digest(&self, check: &CheckDigest) -> Reply {
        let known = self.recent.iter().rev().find(|(index, _)| *index == check.index);
        match known {
            Some((_, digest)) => Reply::Digest { agrees: *digest == check.digest },
            None => Reply::Rejected(Rejection::Invalid("no digest of that index is known here".into())),
        }
    }

    /// Brings everything that is kept across queues up to date.
    fn finish_entry(&mut self, effects: &mut Vec<Effect>) {
        for uid in std::mem::take(&mut self.touched) {
            let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, uid) else { continue };
            if queue.has_offer() {
                effects.push(Effect::Ready { uid });
            }
            let called = queue.take_called().into_iter();
            effects.extend(called.map(|consumer| Effect::GroupReady { uid, consumer }));
            self.count(uid);
        }
        self.note_digest();
    }

    /// Frees a slice of what no one can reach any more, and `more` chunks of it.
    fn free_trash(&mut self, more: usize) {
        let mut budget = limits::TRASH_CHUNKS_PER_ENTRY_MAX + more;
        while let Some(trash) = self.trash.front_mut().filter(|_| budget > 0) {
            if trash.free_some(&mut budget) {
                return;
            }
            self.trash.pop_front();
        }
        if self.trash.is_empty() {
            self.trash.shrink_to_fit();
        }
    }

    /// Keeps the digest after this entry for a later comparison.
    fn note_digest(&mut self) {
        self.recent.push_back((self.applied_index, self.digest()));
        if self.recent.len() > limits::RECENT_DIGESTS_MAX {
            self.recent.pop_front();
        }
    }

    /// Counts a queue anew: digest, due time, memory, dirt.
    fn count(&mut self, uid: QueueUid) {
        let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, uid) else { return };
        queue.touched = false;
        let digest = queue.digest();
        let before = std::mem::replace(&mut queue.counted_digest, digest);
        self.sum = self.sum.wrapping_sub(before).wrapping_add(digest);
        let due_ms = queue.due_ms();
        let before = std::mem::replace(&mut queue.registered_due_ms, due_ms);
        if before != due_ms {
            if let Some(due_ms) = before {
                self.due.remove(&(due_ms, uid));
            }
            self.due.extend(due_ms.map(|due_ms| (due_ms, uid)));
        }
        for (set, is_in) in
            [(&mut self.replaying, queue.replaying().is_some()), (&mut self.expired, queue.has_expired())]
        {
            if is_in {
                set.insert(uid);
            } else {
                set.remove(&uid);
            }
        }
        if !queue.has_outgoing() {
            self.outboxes.remove(&uid);
        } else if self.outboxes.insert(uid) {
            self.outgoing_count += 1;
        }
        let resident = queue.resident_bytes();
        let before = std::mem::replace(&mut queue.counted_resident, resident);
        self.resident = self.resident + resident - before;
        let estimate = queue.dirty_estimate();
        let before = std::mem::replace(&mut queue.counted_estimate, estimate);
        self.dirty_rows = self.dirty_rows + estimate.0 - before.0;
        self.dirty_bytes = self.dirty_bytes + estimate.1 - before.1;
        if queue.dirty {
            self.dirty.insert(uid);
        }
    }
}

/// The queue is about to be changed: the end of the entry looks at it.
fn mark(touched: &mut Vec<QueueUid>, queue: &mut Queue) {
    if !queue.touched {
        queue.touched = true;
        queue.dirty = true;
        touched.push(queue.uid);
    }
}

fn queue_mut<'a>(
    queues: &'a mut BTreeMap<QueueUid, Queue>,
    topics: &'a mut BTreeMap<QueueUid, Queue>,
    uid: QueueUid,
) -> Option<&'a mut Queue> {
    queues.get_mut(&uid).or_else(|| topics.get_mut(&uid))
}

/// A subscription is one by its source.
fn kind_of(put: &PutQueue) -> QueueKind {
    match (put.kind(), &put.source) {
        (_, Some(source)) if source.target != 0 => QueueKind::Binding,
        (_, Some(_)) => QueueKind::Subscription,
        (QueueKind::Topic, None) => QueueKind::Topic,
        (QueueKind::Queue | QueueKind::Subscription | QueueKind::Binding, None) => QueueKind::Queue,
    }
}

fn members(topic: &Queue) -> Vec<QueueUid> {
    topic.topic().map(|topic| topic.members().collect()).unwrap_or_default()
}

fn invalid(text: &str) -> Reply {
    Reply::Rejected(Rejection::Invalid(text.into()))
}

fn gone() -> Reply {
    Reply::Rejected(Rejection::QueueGone)
}

fn tombstone_hash(uid: QueueUid) -> u64 {
    digest::words(21, &[uid])
}
