//! The rows of a queue that changed since the last checkpoint.
//!
//! Only what is dirty is touched. A message that was settled before its first checkpoint never becomes a row; a page row is
//! written once and deleted when its last message is settled; what happens in between goes to the page's state row.

use bytes::Bytes;
use phalanx_canary::Canary;

use super::Queue;
use super::answers::Answers;
use super::consumers::{Consumer, Phase};
use super::groups::Groups;
use super::leases::Lease;
use super::matches::Matches;
use super::messages::{Messages, PageMeta, Slot, State};
use super::producers::{self, Producer};
use super::remembered::{self, Memory, Remembered};
use super::seq_map::{CHUNK, Chunk, bits};
use crate::ids::{Id128, QueueUid, Sequence};
use crate::limits::PAGE_BYTES_MAX;
use crate::machine::{Changes, RowChange};
use crate::rows::{
    AnswersRow, ConsumerRow, LeaseItem, LeaseRow, MarkRow, MatchRow, MemoryItem, MemoryRow, PageMessage,
    PageRow, ProducerRow, QueueRow, ResultsRow, StateMessage, StateRow, Table, key, number_key,
};

/// Bytes that a message's encoding adds to its payload and key, at most.
const MESSAGE_OVERHEAD_BYTES: usize = 40;

/// Rows of one queue under way. Deletions come before writes of the same key.
struct Rows<'a> {
    uid: QueueUid,
    changes: &'a mut Changes,
}

impl Rows<'_> {
    fn put(&mut self, key: Bytes, row: &impl prost::Message) {
        self.changes.rows.push(RowChange { key, value: Some(Bytes::from(row.encode_to_vec())) });
    }

    fn delete(&mut self, key: Bytes) {
        self.changes.rows.push(RowChange { key, value: None });
    }
}

impl Queue {
    /// Appends the changed rows. A key may come twice: the last one counts.
    pub(crate) fn take_changes(&mut self, changes: &mut Changes) {
        if !self.dirty {
            return;
        }
        if self.written_floor < self.floor && self.written {
            for table in [Table::Pages, Table::States] {
                let start = number_key(self.uid, table, 0);
                changes.garbage.push((start, number_key(self.uid, table, self.floor)));
            }
        }
        self.written_floor = self.floor;
        self.dirty = false;
        self.written = true;
        let mut rows = Rows { uid: self.uid, changes };
        rows.put(key(self.uid, Table::Queue, &[]), &self.row());
        self.take_consumers(&mut rows);
        take_messages(&mut self.messages, &self.groups, &mut rows);
        self.take_leases(&mut rows);
        self.take_producers(&mut rows);
        if !Canary::DedupNotInSnapshot.is_planted() {
            take_memory(&mut self.dedup, Table::Dedup, &mut rows);
        }
        take_memory(&mut self.sends, Table::Sends, &mut rows);
        take_memory(&mut self.receives, Table::Receives, &mut rows);
        if let Some(matches) = self.feed_mut().and_then(|feed| feed.matches.as_mut()) {
            take_matches(matches, &mut rows);
        }
    }

    /// The rows last taken are durable: their payloads may be spilled.
    pub(crate) fn checkpoint_done(&mut self) {
        for number in std::mem::take(&mut self.messages.taken_chunks) {
            if let Some(chunk) = self.messages.slots.chunk_mut(number) {
                chunk.meta.durable = chunk.meta.written;
            }
        }
    }

    /// About how many rows and bytes the next `take_changes` appends.
    pub(crate) fn dirty_estimate(&self) -> (usize, u64) {
        if !self.dirty {
            return (0, 0);
        }
        let logs = self.dedup.dirty_runs() + self.sends.dirty_runs() + self.receives.dirty_runs();
        let rows = 1
            + self.messages.dirty_chunks.len() * 2
            + self.messages.removed_pages.len()
            + self.leases.dirty_chunks.len()
            + self.leases.removed_rows.len()
            + self.consumers.dirty.len() * 2
            + self.consumers.removed.len()
            + self.producers.dirty.len() * 2
            + self.producers.removed.len()
            + self.feed().and_then(|feed| feed.matches.as_ref()).map_or(0, |matches| matches.dirty.len())
            + logs;
        (rows, self.messages.unwritten + rows as u64 * 128)
    }

    fn row(&self) -> QueueRow {
        QueueRow {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            version: self.version,
            settings: self.given.clone(),
            next_sequence: self.next_sequence,
            next_token: self.next_token,
            floor: self.floor,
            next_consumer: self.consumers.next_number,
            dedup_first: self.dedup.first,
            sends_first: self.sends.first,
            receives_first: self.receives.first,
            sent_total: self.totals.sent,
            acked_total: self.totals.acked,
            rejected_total: self.totals.rejected,
            delivered_total: self.totals.delivered,
            redelivered_total: self.totals.redelivered,
            kind: self.kind() as i32,
            source: self.feed().map(|feed| feed.source.clone()),
            matched: self.feed().is_some_and(|feed| feed.matches.is_some()),
            trim: self.topic().map_or(0, |topic| topic.trim),
            starved: self.feed().is_some_and(|feed| feed.starved),
            retained: self.topic().map_or(0, |topic| topic.retained.from),
            kept: self.topic().map_or(0, |topic| topic.kept),
            replay_at: self.replaying().map_or(0, |(_, replaying)| replaying.at),
            replay_end: self.replaying().map_or(0, |(_, replaying)| replaying.end),
            marks: self.mark_rows(),
            used_ms: self.used_ms,
            expired: self.expired,
            inboxes: self.inbox_rows(),
        }
    }

    fn mark_rows(&self) -> Vec<MarkRow> {
        self.marks().into_iter().map(|(name, sequence)| MarkRow { name, sequence }).collect()
    }

    fn take_consumers(&mut self, rows: &mut Rows<'_>) {
        for (number, segments) in std::mem::take(&mut self.consumers.removed) {
            rows.delete(number_key(rows.uid, Table::Consumers, number));
            for segment in segments {
                rows.delete(answers_key(rows.uid, number, segment));
            }
        }
        for number in std::mem::take(&mut self.consumers.dirty) {
            let Some(consumer) = self.consumers.by_number.get_mut(&number) else { continue };
            consumer.dirty = false;
            consumer.written = true;
            rows.put(number_key(rows.uid, Table::Consumers, number), &consumer_row(consumer));
            take_answers(&mut consumer.answers, number, rows);
        }
    }

    fn take_leases(&mut self, rows: &mut Rows<'_>) {
        for number in std::mem::take(&mut self.leases.removed_rows) {
            rows.delete(number_key(rows.uid, Table::Leases, number));
        }
        for number in std::mem::take(&mut self.leases.dirty_chunks) {
            let Some(chunk) = self.leases.by_token.chunk_mut(number) else { continue };
            chunk.meta.queued = false;
            chunk.meta.written = true;
            let leases =
                bits(chunk.live()).filter_map(|at| chunk.at(at).map(|lease| lease_item(at, lease))).collect();
            rows.put(number_key(rows.uid, Table::Leases, number), &LeaseRow { leases });
        }
    }

    fn take_producers(&mut self, rows: &mut Rows<'_>) {
        for (id, runs) in std::mem::take(&mut self.producers.removed) {
            rows.delete(key(rows.uid, Table::Producers, &[&id.to_bytes()]));
            for run in runs {
                rows.delete(results_key(rows.uid, id, run));
            }
        }
        for id in std::mem::take(&mut self.producers.dirty) {
            if let Some(producer) = self.producers.by_id.get_mut(&id).filter(|producer| producer.queued) {
                take_producer(id, producer, rows);
            }
        }
    }
}

fn answers_key(uid: QueueUid, number: u64, segment: u64) -> Bytes {
    key(uid, Table::Answers, &[&number.to_be_bytes(), &segment.to_be_bytes()])
}

fn results_key(uid: QueueUid, id: Id128, run: u64) -> Bytes {
    key(uid, Table::Results, &[&id.to_bytes(), &run.to_be_bytes()])
}

fn consumer_row(consumer: &Consumer) -> ConsumerRow {
    let (phase, until_ms) = match consumer.phase {
        Phase::Attached => (1, 0),
        Phase::Detached(until_ms) => (2, until_ms),
        Phase::Unary(until_ms) => (3, until_ms),
    };
    ConsumerRow {
        id: consumer.id,
        name: consumer.name.clone(),
        incarnation: consumer.incarnation,
        phase,
        until_ms,
        window_messages: consumer.window_messages,
        window_bytes: consumer.window_bytes,
        lease_ms: consumer.lease_ms,
        last_token: consumer.last_token,
        answers_first: consumer.answers.first_segment,
    }
}

fn lease_item(at: u64, lease: &Lease) -> LeaseItem {
    LeaseItem {
        offset: at as u32,
        sequence: lease.sequence,
        deadline_ms: lease.deadline_ms,
        consumer: lease.consumer,
        lease_ms: lease.lease_ms,
    }
}

fn take_answers(answers: &mut Answers, number: u64, rows: &mut Rows<'_>) {
    for segment in answers.rows.start..answers.first_segment.min(answers.rows.end) {
        rows.delete(answers_key(rows.uid, number, segment));
    }
    let end = answers.first_segment + answers.segments.len() as u64;
    for (segment, words) in (answers.first_segment..).zip(&answers.segments) {
        if segment < answers.clean_below {
            continue;
        }
        let mut before = 0;
        let deltas = words.iter().map(|word| word - std::mem::replace(&mut before, *word)).collect();
        rows.put(answers_key(rows.uid, number, segment), &AnswersRow { words: deltas });
    }
    answers.rows = answers.first_segment..end;
    answers.clean_below = end;
}

fn take_producer(id: Id128, producer: &mut Producer, rows: &mut Rows<'_>) {
    producer.queued = false;
    producer.written = true;
    let first_result = producer.first_result();
    let head = ProducerRow { last: producer.last, first_result, active_ms: producer.active_ms };
    rows.put(key(rows.uid, Table::Producers, &[&id.to_bytes()]), &head);
    let first_run = first_result / producers::RUN;
    let end_run = producer.last / producers::RUN + 1;
    for run in producer.rows.start..first_run.min(producer.rows.end) {
        rows.delete(results_key(rows.uid, id, run));
    }
    for run in first_run.max(producer.clean_below / producers::RUN)..end_run {
        let first = (run * producers::RUN).max(first_result);
        let last = (run * producers::RUN + producers::RUN - 1).min(producer.last);
        let places = (first - first_result) as usize..(last + 1 - first_result) as usize;
        let results = producer.results.range(places).map(producers::Outcome::row).collect();
        rows.put(results_key(rows.uid, id, run), &ResultsRow { first, results });
    }
    producer.rows = first_run..end_run;
    producer.clean_below = producer.last + 1;
}

fn take_memory<V: Memory>(memory: &mut Remembered<V>, table: Table, rows: &mut Rows<'_>) {
    let (first_run, end_run) = (memory.first / remembered::RUN, memory.next().div_ceil(remembered::RUN));
    for run in memory.rows.start..first_run.min(memory.rows.end) {
        rows.delete(number_key(rows.uid, table, run));
    }
    if memory.clean_below < memory.next() {
        for run in first_run.max(memory.clean_below / remembered::RUN)..end_run {
            let first = (run * remembered::RUN).max(memory.first);
            let end = (run * remembered::RUN + remembered::RUN).min(memory.next());
            let places = (first - memory.first) as usize..(end - memory.first) as usize;
            let item = |item: &remembered::Item<V>| MemoryItem {
                id: item.id,
                expires_ms: item.expires_ms,
                value: item.value.to_row(),
            };
            let items = memory.log.range(places).map(item).collect();
            rows.put(number_key(rows.uid, table, run), &MemoryRow { first, items });
        }
    }
    memory.rows = first_run..end_run.max(first_run);
    memory.clean_below = memory.next();
}

fn take_matches(matches: &mut Matches, rows: &mut Rows<'_>) {
    for chunk in std::mem::take(&mut matches.dirty) {
        let key = number_key(rows.uid, Table::Matches, chunk);
        match matches.by_chunk.get(&chunk) {
            Some(bits) => rows.put(key, &MatchRow { bits: *bits }),
            None => rows.delete(key),
        }
    }
}

fn take_messages(messages: &mut Messages, groups: &Groups, rows: &mut Rows<'_>) {
    for (first, has_state) in std::mem::take(&mut messages.removed_pages) {
        rows.delete(number_key(rows.uid, Table::Pages, first));
        if has_state {
            rows.delete(number_key(rows.uid, Table::States, first));
        }
    }
    for number in std::mem::take(&mut messages.dirty_chunks) {
        let Some(chunk) = messages.slots.chunk_mut(number) else { continue };
        if !std::mem::take(&mut chunk.meta.queued) {
            continue;
        }
        let written = write_pages(number, chunk, groups, rows);
        messages.unwritten -= written;
        write_states(number, chunk, rows);
        chunk.meta.dirty = 0;
        messages.taken_chunks.push(number);
    }
}

/// Writes the messages of a chunk that no page has yet. Returns their payload bytes.
fn write_pages(number: u64, chunk: &mut Chunk<Slot, PageMeta>, groups: &Groups, rows: &mut Rows<'_>) -> u64 {
    let mut left = chunk.live() & !chunk.meta.written;
    let mut written = 0;
    while left != 0 {
        let start = u64::from(left.trailing_zeros());
        let mut page = PageRow { first: number * CHUNK + start, ..PageRow::default() };
        let mut bytes = 0;
        for at in bits(left) {
            let slot = chunk.at_mut(at).expect("a live position");
            // What is spilled before it is written is with its topic, and so are its key and time.
            let is_reference = slot.spilled;
            let group = if is_reference { Bytes::new() } else { groups.key(slot.group) };
            let size = slot.payload.len() + group.len() + MESSAGE_OVERHEAD_BYTES;
            if bytes + size > PAGE_BYTES_MAX && !page.messages.is_empty() {
                break;
            }
            bytes += size;
            written += slot.payload.len() as u64;
            // Its own allocation: one that stays long must not pin the batch it came with.
            slot.payload = Bytes::copy_from_slice(&slot.payload);
            page.messages.push(PageMessage {
                offset: (at - start) as u32,
                payload: slot.payload.clone(),
                group,
                enqueued_ms: if is_reference { 0 } else { slot.enqueued_ms },
                deletes: slot.deletes,
            });
            left &= !(1 << at);
            chunk.meta.written |= 1 << at;
        }
        chunk.meta.pages |= 1 << start;
        chunk.meta.dirty |= 1 << start; // so that `write_states` looks at the page
        rows.put(number_key(rows.uid, Table::Pages, page.first), &page);
    }
    written
}

/// The bits of a page: from `start` to where the next one begins.
pub(super) fn page_mask(pages: u64, start: u64) -> u64 {
    let above = u64::MAX << start;
    let next = pages & above & !(1 << start);
    if next == 0 { above } else { above & !(u64::MAX << next.trailing_zeros()) }
}

/// Brings the state rows of a chunk's changed pages up to date, and deletes pages that are empty.
fn write_states(number: u64, chunk: &mut Chunk<Slot, PageMeta>, rows: &mut Rows<'_>) {
    for start in bits(chunk.meta.pages) {
        let mask = page_mask(chunk.meta.pages, start) & chunk.meta.written;
        if chunk.meta.dirty & mask == 0 {
            continue;
        }
        let page = number * CHUNK + start;
        let had_state = chunk.meta.states & (1 << start) != 0;
        if chunk.live() & mask == 0 {
            rows.delete(number_key(rows.uid, Table::Pages, page));
            if had_state {
                rows.delete(number_key(rows.uid, Table::States, page));
            }
            chunk.meta.pages &= !(1 << start);
            chunk.meta.states &= !(1 << start);
            chunk.meta.written &= !mask;
            chunk.meta.durable &= !mask;
            continue;
        }
        let messages: Vec<StateMessage> = bits(chunk.live() & mask)
            .filter_map(|at| {
                let slot = chunk.at(at).filter(|slot| slot.has_history())?;
                Some(StateMessage {
                    offset: (at - start) as u32,
                    attempts: slot.attempts,
                    reason: u32::from(slot.reason),
                    due_ms: (slot.state == State::Delayed).then_some(slot.at),
                })
            })
            .collect();
        let settled = (mask & !chunk.live()) >> start;
        if settled != 0 || !messages.is_empty() {
            rows.put(number_key(rows.uid, Table::States, page), &StateRow { settled, messages });
            chunk.meta.states |= 1 << start;
        } else if had_state {
            rows.delete(number_key(rows.uid, Table::States, page));
            chunk.meta.states &= !(1 << start);
        }
    }
}

impl Messages {
    /// First sequence of the page that holds a live message, if a durable page does.
    pub(super) fn page_of(&self, sequence: Sequence) -> Option<Sequence> {
        let number = sequence / CHUNK;
        let chunk = self.slots.chunk(number)?;
        let at = sequence % CHUNK;
        if chunk.live() & chunk.meta.durable & (1 << at) == 0 {
            return None;
        }
        let before = chunk.meta.pages & (u64::MAX >> (CHUNK - 1 - at));
        (before != 0).then(|| number * CHUNK + u64::from(before.ilog2()))
    }
}
