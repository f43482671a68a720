//! The machine of one Raft group: the catalog, or a shard of queues.
//!
//! `apply` first does what time has brought, then the commands in order, then counts every queue it touched anew.
//! Invariant: between entries, `due`, `sum`, `resident` and the dirt counters say what the queues say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::catalog::Catalog;
use crate::command::{Batch, CheckDigest, CommandKind, PutQueue, QueueSettings, TermStart};
use crate::digest;
use crate::ids::{GroupId, QueueUid, TimestampMs};
use crate::limits;
use crate::queue::{Queue, Trash, Turn};
use crate::reply::{Applied, Effect, Rejection, Reply};

mod checkpoint;
mod interface;

pub use interface::{
    Changes, ConsumerInfo, Entry, GroupInfo, GroupPage, Holder, LoadError, LookAt, MachineKind, MessagePage,
    QueueInfo, RowChange, Seen, Standing,
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
    queues: BTreeMap<QueueUid, Queue>,
    /// Queues that were dropped here: a late command must not bring them back.
    tombstones: BTreeSet<QueueUid>,
    /// When time alone does something, by queue.
    due: BTreeSet<(TimestampMs, QueueUid)>,
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
            tombstones: BTreeSet::new(),
            due: BTreeSet::new(),
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
        let turn = &mut Turn { now_ms: self.now_ms, effects };
        match kind {
            CommandKind::Tick(_) => Reply::Done,
            CommandKind::TermStart(start) => self.start_term(*start, effects),
            CommandKind::PutQueue(put) => self.put_queue(put),
            CommandKind::DropQueue(drop) => self.drop_queue(drop.uid, effects),
            CommandKind::Purge(purge) => {
                let Some(queue) = self.touch(purge.uid) else { return gone() };
                let (reply, trash) = queue.purge(turn);
                self.trash.push_back(trash);
                reply
            }
            CommandKind::Send(send) => self.touch(send.uid).map_or_else(gone, |queue| queue.send(turn, send)),
            CommandKind::Receive(receive) => {
                let Some(queue) = self.queues.get_mut(&receive.uid) else { return gone() };
                if let Some(reply) = queue.receive_without_trace(turn.now_ms, receive) {
                    return reply;
                }
                self.touch(receive.uid).map_or_else(gone, |queue| queue.receive(turn, receive))
            }
            CommandKind::Attach(attach) => {
                self.touch(attach.uid).map_or_else(gone, |queue| queue.attach(turn, attach))
            }
            CommandKind::Detach(detach) => {
                self.touch(detach.uid).map_or_else(gone, |queue| queue.detach(turn, detach))
            }
            CommandKind::SetWindow(window) => {
                self.touch(window.uid).map_or_else(gone, |queue| queue.set_window(turn, window))
            }
            CommandKind::Settle(settle) => {
                self.touch(settle.uid).map_or_else(gone, |queue| queue.settle(turn, settle))
            }
            _ => Reply::Rejected(Rejection::Unsupported),
        }
    }

    /// The queue, about to be changed: the end of the entry looks at it.
    fn touch(&mut self, uid: QueueUid) -> Option<&mut Queue> {
        let queue = self.queues.get_mut(&uid)?;
        if !queue.touched {
            queue.touched = true;
            queue.dirty = true;
            self.touched.push(uid);
        }
        Some(queue)
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
            let turn = &mut Turn { now_ms, effects: &mut *effects };
            if let Some(queue) = self.touch(uid) {
                queue.sweep(turn, &mut budget, &mut forget);
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
        let now_ms = self.now_ms;
        for uid in uids {
            let turn = &mut Turn { now_ms, effects: &mut *effects };
            if let Some(queue) = self.touch(uid) {
                queue.detach_all(turn);
            }
        }
        Reply::Done
    }

    fn put_queue(&mut self, put: &PutQueue) -> Reply {
        if put.namespace.len() > limits::NAME_BYTES_MAX || put.name.len() > limits::NAME_BYTES_MAX {
            return Reply::Rejected(Rejection::Invalid("a name that is too long".into()));
        }
        if self.tombstones.contains(&put.uid) {
            return gone();
        }
        let now_ms = self.now_ms;
        if let Some(queue) = self.touch(put.uid) {
            return queue.put(now_ms, put);
        }
        self.queues.insert(put.uid, Queue::new(put));
        self.touch(put.uid);
        Reply::Done
    }

    fn drop_queue(&mut self, uid: QueueUid, effects: &mut Vec<Effect>) -> Reply {
        if let Some(queue) = self.queues.remove(&uid) {
            self.sum = self.sum.wrapping_sub(queue.counted_digest);
            self.resident -= queue.counted_resident;
            self.dirty_rows -= queue.counted_estimate.0;
            self.dirty_bytes -= queue.counted_estimate.1;
            self.dirty.remove(&uid);
            if let Some(due_ms) = queue.registered_due_ms {
                self.due.remove(&(due_ms, uid));
            }
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
        Reply::Done
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
            let Some(queue) = self.queues.get_mut(&uid) else { continue };
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
        let Some(queue) = self.queues.get_mut(&uid) else { return };
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

    /// Machine time: the highest time of all entries, ms.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        self.now_ms
    }

    /// The leader's term that the last [`TermStart`] opened; 0 = none.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Log index of the last entry applied; 0 = none.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// When a [`crate::command::Tick`] would do something; may be in the past (then: at once).
    #[must_use]
    pub fn next_due_ms(&self) -> Option<TimestampMs> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Sum of the hashes of everything in the logical state; equal on all replicas at equal applied indexes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let head = digest::words(20, &[self.now_ms, self.term]);
        let catalog = self.catalog_state().map_or(0, Catalog::digest);
        head.wrapping_add(self.sum).wrapping_add(catalog)
    }

    /// Payload bytes in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.resident
    }

    /// Numbers about one queue; `None` for an unknown uid.
    #[must_use]
    pub fn queue_info(&self, uid: QueueUid) -> Option<QueueInfo> {
        self.queues.get(&uid).map(Queue::info)
    }

    /// Messages of a queue where they are; `None` for an unknown uid. Takes at most [`limits::LOOK_STEPS_MAX`] steps.
    #[must_use]
    pub fn look(&self, uid: QueueUid, at: &LookAt<'_>) -> Option<MessagePage> {
        self.queues.get(&uid).map(|queue| queue.look(at))
    }

    /// Ordering groups of a queue that have messages, at least `count_max` of them where there are more; `None` for an unknown uid.
    #[must_use]
    pub fn group_page(&self, uid: QueueUid, after: Option<u64>, count_max: usize) -> Option<GroupPage> {
        self.queues.get(&uid).map(|queue| queue.group_page(after, count_max))
    }

    /// All queues of this shard, rising.
    pub fn queue_uids(&self) -> impl Iterator<Item = QueueUid> + '_ {
        self.queues.keys().copied()
    }

    /// A queue's settings with all defaults filled in, and their version.
    #[must_use]
    pub fn queue_settings(&self, uid: QueueUid) -> Option<(&QueueSettings, u64)> {
        self.queues.get(&uid).map(Queue::settings)
    }

    /// The catalog's state; `None` on a shard.
    #[must_use]
    pub fn catalog_state(&self) -> Option<&Catalog> {
        matches!(self.kind, MachineKind::Catalog).then_some(&self.catalog)
    }
}

fn gone() -> Reply {
    Reply::Rejected(Rejection::QueueGone)
}

fn tombstone_hash(uid: QueueUid) -> u64 {
    digest::words(21, &[uid])
}
