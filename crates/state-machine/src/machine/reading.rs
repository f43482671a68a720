//! What is asked of a machine. Nothing here changes it.

use std::ops::Bound;

use super::{GroupPage, LookAt, Machine, MachineKind, MessagePage, OutboxPage, QueueInfo, ReplayTask};
use crate::catalog::Catalog;
use crate::command::{QueueKind, QueueSettings, Transfer};
use crate::digest;
use crate::ids::{QueueUid, Sequence, TimestampMs};
use crate::queue::Queue;
use crate::reply::Rejection;

impl Machine {
    /// Machine time: the highest time of all entries, ms.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        self.now_ms
    }

    /// The leader's term that the last [`crate::command::TermStart`] opened; 0 = none.
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
        self.queue(uid).map(|queue| queue.info(self.topic_of(queue)))
    }

    /// Whether there is something for a leader to do: see [`Self::next_replay`] and [`Self::next_expired`].
    #[must_use]
    pub fn has_chores(&self) -> bool {
        !self.replaying.is_empty() || !self.expired.is_empty()
    }

    /// Rises whenever a binding has come to have messages that wait to go on: see [`Self::outboxes`]. Counts from the machine's load.
    #[must_use]
    pub fn outgoing_count(&self) -> u64 {
        self.outgoing_count
    }

    /// What a leader is to look at next: the subscription with the next higher uid than `after` that waits for a
    /// [`Replay`](crate::command::Replay), or the first, so that a long replay does not hold up others.
    #[must_use]
    pub fn next_replay(&self, after: QueueUid) -> Option<ReplayTask> {
        let mut later = self.replaying.range((Bound::Excluded(after), Bound::Unbounded));
        let queue = self.queues.get(later.next().or_else(|| self.replaying.first())?)?;
        let (feed, replaying) = queue.replaying()?;
        Some(ReplayTask {
            uid: queue.uid,
            version: queue.settings().1,
            source: feed.source().clone(),
            from: replaying.at,
            end: replaying.end,
        })
    }

    /// The queue with the lowest uid that has expired and is to be deleted: uid, namespace, name, kind.
    #[must_use]
    pub fn next_expired(&self) -> Option<(QueueUid, String, String, QueueKind)> {
        let queue = self.queues.get(self.expired.first()?)?;
        let (namespace, name) = queue.full_name();
        Some((queue.uid, namespace.to_owned(), name.to_owned(), queue.kind()))
    }

    /// Bindings with messages that wait to go on, of those that are `wanted`: at most so many, from the next higher uid than `after` around.
    #[must_use]
    pub fn outboxes(
        &self,
        after: QueueUid,
        count_max: usize,
        wanted: impl Fn(&QueueUid) -> bool,
    ) -> Vec<QueueUid> {
        let later = self.outboxes.range((Bound::Excluded(after), Bound::Unbounded));
        let all = later.chain(self.outboxes.range(..=after));
        all.filter(|uid| wanted(uid)).take(count_max).copied().collect()
    }

    /// What goes on next over a binding: at most so many messages and payload bytes, but one always. `None` if it is none.
    #[must_use]
    pub fn outbox_page(&self, binding: QueueUid, count_max: usize, bytes_max: u64) -> Option<OutboxPage> {
        let queue = self.queues.get(&binding)?;
        queue.outbox_page(self.topic_of(queue)?, count_max, bytes_max)
    }

    /// A page of a topic's log from a sequence on, and the first sequence that is kept; `None` for an unknown uid and one that is no topic.
    #[must_use]
    pub fn log_page(&self, uid: QueueUid, at: &LookAt<'_>) -> Option<(MessagePage, Sequence)> {
        let topic = self.topics.get(&uid)?;
        let first = topic.first_readable();
        let mut page = topic.look(&LookAt { from: at.from.max(first), ..*at }, None);
        page.messages.retain(|seen| topic.is_readable(seen.sequence));
        Some((page, first))
    }

    /// Whether a binding has something to carry.
    #[must_use]
    pub fn is_outgoing(&self, binding: QueueUid) -> bool {
        self.queue(binding).is_some_and(Queue::has_outgoing)
    }

    /// How many messages of a transfer its target would take now, those that it has had already included. `None`: it is not here, or does not
    /// know the binding, which may be about to change.
    ///
    /// # Errors
    /// `QueueFull` if it would take none.
    #[must_use]
    pub fn transfer_room(&self, transfer: &Transfer) -> Option<Result<usize, Rejection>> {
        self.queue(transfer.uid)?.transfer_room(transfer.binding, &transfer.messages)
    }

    /// Whatever bears that uid.
    pub(super) fn queue(&self, uid: QueueUid) -> Option<&Queue> {
        self.queues.get(&uid).or_else(|| self.topics.get(&uid))
    }

    /// The topic of a subscription.
    pub(super) fn topic_of(&self, queue: &Queue) -> Option<&Queue> {
        self.topics.get(&queue.topic_uid()?)
    }

    /// Messages of a queue where they are; `None` for an unknown uid. Takes at most [`crate::limits::LOOK_STEPS_MAX`] steps.
    #[must_use]
    pub fn look(&self, uid: QueueUid, at: &LookAt<'_>) -> Option<MessagePage> {
        self.queue(uid).map(|queue| queue.look(at, self.topic_of(queue)))
    }

    /// Ordering groups of a queue that have messages, at least `count_max` of them where there are more; `None` for an unknown uid.
    #[must_use]
    pub fn group_page(&self, uid: QueueUid, after: Option<u64>, count_max: usize) -> Option<GroupPage> {
        self.queue(uid).map(|queue| queue.group_page(after, count_max))
    }

    /// All queues of this shard, rising; then all topics.
    pub fn queue_uids(&self) -> impl Iterator<Item = QueueUid> + '_ {
        self.queues.keys().chain(self.topics.keys()).copied()
    }

    /// A queue's settings with all defaults filled in, and their version.
    #[must_use]
    pub fn queue_settings(&self, uid: QueueUid) -> Option<(&QueueSettings, u64)> {
        self.queue(uid).map(Queue::settings)
    }

    /// The catalog's state; `None` on a shard.
    #[must_use]
    pub fn catalog_state(&self) -> Option<&Catalog> {
        matches!(self.kind, MachineKind::Catalog).then_some(&self.catalog)
    }
}
