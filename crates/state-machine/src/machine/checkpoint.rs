//! The machine to and from the rows of a checkpoint, and payloads that only the checkpoint holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::{Changes, LoadError, Machine, MachineKind, RowChange, queue_mut, tombstone_hash};
use crate::catalog::Catalog;
use crate::ids::{QueueUid, Sequence};
use crate::limits::TOMBSTONES_MAX;
use crate::queue::QueueLoader;
use crate::rows::{self, MachineRow, PageRow, Table};

impl Machine {
    /// The rows that changed since the last call. They must become durable as one batch, or the process must stop:
    /// the machine forgets that they were dirty.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.pending);
        for uid in std::mem::take(&mut self.dirty) {
            if let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, uid) {
                queue.take_changes(&mut changes);
                self.unconfirmed.push(uid);
            }
            self.count(uid);
        }
        if self.kind == MachineKind::Catalog {
            self.catalog.take_changes(&mut changes.rows);
        }
        if self.applied_index != self.taken_index || !changes.rows.is_empty() {
            self.taken_index = self.applied_index;
            let value = Some(Bytes::from(self.row().encode_to_vec()));
            changes.rows.push(RowChange { key: rows::machine_key(), value });
        }
        // A key that is deleted and written anew comes twice, in this order.
        let rows: BTreeMap<Bytes, Option<Bytes>> =
            changes.rows.into_iter().map(|row| (row.key, row.value)).collect();
        changes.rows = rows.into_iter().map(|(key, value)| RowChange { key, value }).collect();
        changes
    }

    /// The changes last taken are durable; what they hold may be spilled from now on.
    pub fn checkpoint_done(&mut self) {
        for uid in std::mem::take(&mut self.unconfirmed) {
            if let Some(queue) = queue_mut(&mut self.queues, &mut self.topics, uid) {
                queue.checkpoint_done();
            }
        }
    }

    /// About how many rows and bytes [`Self::take_changes`] would return.
    #[must_use]
    pub fn dirty_estimate(&self) -> (usize, u64) {
        let (rows, bytes) = self.catalog_state().map_or((0, 0), Catalog::dirty_estimate);
        let pending = self.pending.rows.len();
        (rows + self.dirty_rows + pending, bytes + self.dirty_bytes + pending as u64 * 32)
    }

    /// Drops resident payloads up to `through` that a durable checkpoint holds. Returns the bytes freed.
    pub fn spill(&mut self, uid: QueueUid, through: Sequence) -> u64 {
        let freed =
            queue_mut(&mut self.queues, &mut self.topics, uid).map_or(0, |queue| queue.spill(through));
        self.count(uid);
        freed
    }

    /// Key of the row that holds the payload of a live message; `None` if no durable checkpoint has it. That of a subscription's message is
    /// its topic's.
    #[must_use]
    pub fn page_key_of(&self, uid: QueueUid, sequence: Sequence) -> Option<Bytes> {
        let queue = self.queue(uid)?;
        self.topic_of(queue).unwrap_or(queue).page_key_of(sequence)
    }

    /// Reads one payload from the row that [`Self::page_key_of`] named; `None` if the page does not hold it.
    ///
    /// # Errors
    /// If the row is not a page.
    pub fn payload_in_page(row: &Bytes, sequence: Sequence) -> Result<Option<Bytes>, LoadError> {
        let page = PageRow::decode(row.clone()).map_err(|cause| LoadError(format!("page row: {cause}")))?;
        let holds = |offset: u32| page.first.checked_add(offset.into()) == Some(sequence);
        Ok(page.messages.iter().find(|message| holds(message.offset)).map(|message| message.payload.clone()))
    }

    fn row(&self) -> MachineRow {
        let group = match self.kind {
            MachineKind::Catalog => 0,
            MachineKind::Shard(group) => group,
        };
        MachineRow {
            format: rows::FORMAT,
            group,
            now_ms: self.now_ms,
            term: self.term,
            applied_index: self.applied_index,
        }
    }

    /// Builds the machine that the rows of a checkpoint describe. Rows must come in key order; the first is the
    /// machine's own. Garbage rows are passed over and reported by the next [`Self::take_changes`].
    ///
    /// # Errors
    /// If any row is unknown, damaged or contradicts another. The caller compares [`Self::digest`] with its manifest:
    /// a missing row of some kinds shows only there.
    pub fn load(kind: MachineKind, rows: impl Iterator<Item = (Bytes, Bytes)>) -> Result<Self, LoadError> {
        Self::load_within(kind, rows, u64::MAX)
    }

    /// As [`Self::load`], but keeps at most `resident_bytes_max` of payloads in memory; the others are spilled.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_within(
        kind: MachineKind,
        rows: impl Iterator<Item = (Bytes, Bytes)>,
        resident_bytes_max: u64,
    ) -> Result<Self, LoadError> {
        let mut loader = Loader {
            machine: Self::new(kind),
            queue: None,
            garbage: None,
            before: None,
            resident_left: resident_bytes_max,
        };
        for (key, value) in rows {
            loader.row(&key, &value)?;
        }
        loader.finish()
    }

    /// See [`crate::invariants::check`].
    pub(crate) fn check(&self) -> Result<(), String> {
        self.catalog.check()?;
        let mut sum = self.tombstones.iter().fold(0_u64, |sum, uid| sum.wrapping_add(tombstone_hash(*uid)));
        let mut resident = 0;
        self.check_topics()?;
        for (uid, queue) in self.queues.iter().chain(&self.topics) {
            let named = |cause: String| format!("queue {uid}: {cause}");
            queue.check().map_err(named)?;
            queue.check_assigned().map_err(named)?;
            let due = queue.registered_due_ms;
            if queue.touched
                || due != queue.due_ms()
                || due.is_some_and(|due| !self.due.contains(&(due, *uid)))
            {
                return Err(format!("queue {uid} was not counted after a change"));
            }
            sum = sum.wrapping_add(queue.counted_digest);
            resident += queue.resident_bytes();
        }
        let all = self.queues.values().chain(self.topics.values());
        if self.due.len() != all.filter(|queue| queue.registered_due_ms.is_some()).count() {
            return Err("a due time of no queue".into());
        }
        if resident != self.resident {
            return Err(format!("{resident} bytes are resident, counted {}", self.resident));
        }
        if sum == self.sum { Ok(()) } else { Err("sum of queues is wrong".into()) }
    }

    /// What topics know of their subscriptions is what these say.
    fn check_topics(&self) -> Result<(), String> {
        let mut holds: BTreeMap<QueueUid, BTreeMap<Sequence, u32>> = BTreeMap::new();
        let mut members: BTreeMap<QueueUid, BTreeMap<QueueUid, bool>> = BTreeMap::new();
        for (uid, queue) in &self.queues {
            let Some(topic) = queue.topic_uid() else { continue };
            let Some(topic_queue) = self.topics.get(&topic) else {
                return Err(format!("subscription {uid} has no topic"));
            };
            queue.check_feed(topic_queue).map_err(|cause| format!("subscription {uid}: {cause}"))?;
            members.entry(topic).or_default().insert(*uid, queue.cursor().is_some());
            for sequence in queue.held() {
                *holds.entry(topic).or_default().entry(sequence).or_default() += 1;
            }
        }
        for (uid, topic) in &self.topics {
            let (holds, members) =
                (holds.remove(uid).unwrap_or_default(), members.remove(uid).unwrap_or_default());
            topic.check_topic(&holds, &members).map_err(|cause| format!("topic {uid}: {cause}"))?;
        }
        Ok(())
    }
}

struct Loader {
    machine: Machine,
    queue: Option<(QueueUid, QueueLoader)>,
    /// Queue that has rows and no queue row: dropped, and not yet collected.
    garbage: Option<QueueUid>,
    before: Option<Bytes>,
    resident_left: u64,
}

fn error<T>(text: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError(text.into()))
}

impl Loader {
    fn row(&mut self, key: &Bytes, value: &Bytes) -> Result<(), LoadError> {
        if self.before.as_ref().is_some_and(|before| before >= key) {
            return error("rows are out of order");
        }
        if self.before.replace(key.clone()).is_none() {
            return self.machine_row(key, value);
        }
        match key.first() {
            Some(&rows::TOMBSTONE) => self.tombstone(&key[1..]),
            Some(&rows::QUEUE) => self.queue_row(&key[1..], value),
            Some(&rows::CATALOG) if self.machine.kind == MachineKind::Catalog => {
                self.machine.catalog.load_row(key, value)
            }
            _ => error("a row of an unknown table"),
        }
    }

    fn machine_row(&mut self, key: &Bytes, value: &Bytes) -> Result<(), LoadError> {
        if *key != rows::machine_key() {
            return error("the first row is not the machine's");
        }
        let row =
            MachineRow::decode(value.clone()).map_err(|cause| LoadError(format!("machine row: {cause}")))?;
        if row.format == 0 || row.format > rows::FORMAT {
            return error(format!("format {} is not known here, at most {}", row.format, rows::FORMAT));
        }
        if row.group != self.machine.row().group {
            return error(format!("rows of group {}", row.group));
        }
        self.machine.now_ms = row.now_ms;
        self.machine.term = row.term;
        self.machine.applied_index = row.applied_index;
        self.machine.taken_index = row.applied_index;
        Ok(())
    }

    fn tombstone(&mut self, place: &[u8]) -> Result<(), LoadError> {
        let Ok(uid) = <[u8; 8]>::try_from(place) else { return error("a key of the wrong length") };
        let uid = QueueUid::from_be_bytes(uid);
        self.machine.tombstones.insert(uid);
        self.machine.sum = self.machine.sum.wrapping_add(tombstone_hash(uid));
        if self.machine.tombstones.len() > TOMBSTONES_MAX { error("too many tombstones") } else { Ok(()) }
    }

    fn queue_row(&mut self, key: &[u8], value: &Bytes) -> Result<(), LoadError> {
        if self.machine.kind == MachineKind::Catalog {
            return error("a queue's row in the catalog");
        }
        let Some((uid, rest)) = key.split_at_checked(8) else { return error("a key of the wrong length") };
        let Some((table, place)) = rest.split_first() else { return error("a key of the wrong length") };
        let uid = <[u8; 8]>::try_from(uid).map_or(0, QueueUid::from_be_bytes);
        let Some(table) = Table::of(*table) else { return error("a row of an unknown table") };
        if self.queue.as_ref().is_some_and(|(current, _)| *current != uid) {
            self.finish_queue()?;
        }
        if let Some((_, queue)) = &mut self.queue {
            let topic = queue.topic_uid().and_then(|topic| self.machine.topics.get(&topic));
            return queue.row(table, place, value, &mut self.resident_left, topic);
        }
        if table == Table::Queue {
            if self.machine.tombstones.contains(&uid) {
                return error(format!("queue {uid} was dropped and has a row"));
            }
            self.queue = Some((uid, QueueLoader::new(uid, place, value)?));
        } else if self.garbage.replace(uid) != Some(uid) {
            self.machine.pending.garbage.push(rows::queue_range(uid));
        }
        Ok(())
    }

    fn finish_queue(&mut self) -> Result<(), LoadError> {
        let Some((uid, queue)) = self.queue.take() else { return Ok(()) };
        let named = |LoadError(cause)| LoadError(format!("queue {uid}: {cause}"));
        let (queue, garbage) = queue.finish().map_err(named)?;
        let own = if queue.topic().is_some() { &mut self.machine.topics } else { &mut self.machine.queues };
        own.insert(uid, queue);
        self.machine.pending.garbage.extend(garbage);
        self.join_topic(uid).map_err(|cause| LoadError(format!("queue {uid}: {cause}")))?;
        self.machine.count(uid);
        Ok(())
    }

    /// A subscription that was loaded is known to its topic.
    fn join_topic(&mut self, uid: QueueUid) -> Result<(), String> {
        let Some(queue) = self.machine.queues.get_mut(&uid) else { return Ok(()) };
        let Some(topic) = queue.topic_uid() else { return Ok(()) };
        let topic = self.machine.topics.get_mut(&topic).ok_or("its topic is not there")?;
        queue.rejoin(topic)
    }

    fn finish(mut self) -> Result<Machine, LoadError> {
        self.finish_queue()?;
        if self.before.is_none() {
            return error("no rows: not even the machine's own");
        }
        // Now that all cursors are known: whether something is due follows from them.
        let topics: Vec<QueueUid> = self.machine.topics.keys().copied().collect();
        topics.into_iter().for_each(|uid| self.machine.count(uid));
        if self.machine.kind == MachineKind::Catalog {
            self.machine.catalog.finish_load()?;
        }
        self.machine.recent.clear();
        self.machine.note_digest();
        Ok(self.machine)
    }
}
