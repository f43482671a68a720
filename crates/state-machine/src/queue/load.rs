//! A queue from the rows of its checkpoint.
//!
//! Nothing a row says is trusted: it is checked against the rows before it, and no size in it decides an allocation. What is not
//! stored (lanes, indexes, chains) is built again. Rows of messages below the floor are garbage.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use phalanx_canary::Canary;

use super::Queue;
use super::answers::SEGMENT;
use super::consumers::{Consumer, Phase};
use super::feed::Replaying;
use super::groups::NONE;
use super::leases::Lease;
use super::matches::Matches;
use super::messages::{NewReference, NewSlot, Slot, State};
use super::producers::{self, Outcome, Producer};
use super::remembered::{self, Item, Memory, Remembered};
use super::retain::Retained;
use super::seq_map::{CHUNK, bit_of, bits, chunk_of, first_of};
use crate::command::{PutQueue, QueueKind, Source};
use crate::ids::{Id128, QueueUid, Sequence};
use crate::limits::{ANSWERS_MIN, GROUP_KEY_BYTES_MAX, INBOXES_MAX, MARKS_MAX, PRODUCER_RESULTS_MAX};
use crate::machine::LoadError;
use crate::reply::ReturnReason;
use crate::rows::{
    AnswersRow, ConsumerRow, LeaseRow, MatchRow, MemoryRow, PageRow, ProducerRow, QueueRow, ResultsRow,
    StateRow, Table, number_key,
};

/// Counters start low and count things that happened: one that is higher was not counted. So none ever overflows.
const COUNTER_END: u64 = 1 << 60;

/// A queue under way.
pub(crate) struct QueueLoader {
    queue: Queue,
    last_sequence: Sequence,
    producers: BTreeMap<Id128, (Producer, u64)>,
    /// Messages of a subscription that its topic does not have: settled, as state rows will say.
    missing: BTreeSet<Sequence>,
    garbage: bool,
}

fn error<T>(text: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError(text.into()))
}

fn decode<T: prost::Message + Default>(value: &Bytes, what: &str) -> Result<T, LoadError> {
    T::decode(value.clone()).map_err(|cause| LoadError(format!("{what}: {cause}")))
}

fn ensure(condition: bool, text: &str) -> Result<(), LoadError> {
    if condition { Ok(()) } else { error(text) }
}

/// A place that is one number.
fn number(place: &[u8]) -> Result<u64, LoadError> {
    place.try_into().map(u64::from_be_bytes).map_err(|_| LoadError("a key of the wrong length".into()))
}

/// A place that is an identity, and what follows it.
fn identity(place: &[u8]) -> Result<(Id128, &[u8]), LoadError> {
    match place.split_at_checked(16) {
        Some((id, rest)) => {
            let id: [u8; 16] = id.try_into().map_err(|_| LoadError("a key of the wrong length".into()))?;
            Ok((Id128::from_bytes(id), rest))
        }
        None => error("a key of the wrong length"),
    }
}

/// What a topic or a subscription has beside a queue.
fn load_role(queue: &mut Queue, row: &QueueRow, latest_only: bool) -> Result<(), LoadError> {
    if let Some(feed) = queue.feed_mut() {
        // One that had a filter before keeps its bits.
        feed.matches = row.matched.then(Matches::default);
        ensure(row.matched || !latest_only, "a queue that conflates without matches")?;
        feed.starved = row.starved;
        if row.replay_at != 0 {
            let (at, end) = (row.replay_at, row.replay_end);
            ensure(row.matched && at < end && row.next_sequence <= at, "a replay of nothing")?;
            feed.replaying = Some(Replaying { at, end });
        }
        ensure(row.marks.len() <= MARKS_MAX, "too many marks")?;
        feed.marks = row.marks.iter().map(|mark| (mark.name.clone(), mark.sequence)).collect();
    }
    if let Some(topic) = queue.topic_mut() {
        ensure(row.trim >= 1 && row.trim <= row.next_sequence, "a topic is trimmed beyond its end")?;
        let or = |place, otherwise| if place == 0 { otherwise } else { place };
        let (kept, retained) = (or(row.kept, row.trim), or(row.retained, row.next_sequence));
        ensure(
            row.trim <= kept && kept <= retained && retained <= row.next_sequence,
            "a topic retains more than it has",
        )?;
        (topic.trim, topic.kept, topic.retained) = (row.trim, kept, Retained::starting_at(retained));
    }
    Ok(())
}

/// Whether a thing of that kind has that source.
fn fits(kind: QueueKind, source: Option<&Source>) -> bool {
    let target = source.map(|source| source.target);
    match kind {
        QueueKind::Queue | QueueKind::Topic => target.is_none(),
        QueueKind::Subscription => target == Some(0),
        QueueKind::Binding => target.is_some_and(|target| target != 0),
    }
}

impl QueueLoader {
    /// Begins with the queue's own row.
    pub(crate) fn new(uid: QueueUid, place: &[u8], value: &Bytes) -> Result<Self, LoadError> {
        ensure(place.is_empty(), "a queue row with a place")?;
        let row: QueueRow = decode(value, "queue row")?;
        let put = PutQueue {
            uid,
            version: row.version,
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            settings: row.settings.clone(),
            first_token: row.next_token,
            kind: row.kind,
            source: row.source.clone(),
            start: None,
        };
        ensure(QueueKind::try_from(row.kind).is_ok(), "a queue of an unknown kind")?;
        ensure(fits(put.kind(), put.source.as_ref()), "a source that does not fit")?;
        let latest_only = put.settings.latest_only;
        let mut queue = Queue::new(&put);
        (queue.used_ms, queue.expired) = (row.used_ms, row.expired);
        load_role(&mut queue, &row, latest_only)?;
        ensure(queue.feed().is_none() || row.inboxes.is_empty(), "a binding that feeds a subscription")?;
        ensure(row.inboxes.len() <= INBOXES_MAX, "too many bindings feed it")?;
        queue.inboxes = row.inboxes.iter().map(|inbox| (inbox.binding, inbox.through)).collect();
        ensure(queue.inbox_rows() == row.inboxes, "inboxes out of order")?;
        ensure(row.floor >= 1 && row.floor <= row.next_sequence, "floor of a queue is above its end")?;
        ensure(row.next_token >= 1 && row.next_consumer >= 1, "a queue row with a counter of zero")?;
        let counters = [
            row.next_sequence,
            row.next_token,
            row.next_consumer,
            row.dedup_first,
            row.sends_first,
            row.receives_first,
            row.sent_total,
            row.acked_total,
            row.rejected_total,
            row.delivered_total,
            row.redelivered_total,
        ];
        ensure(counters.iter().all(|counter| *counter < COUNTER_END), "a counter beyond all bounds")?;
        (queue.next_sequence, queue.next_token, queue.floor) = (row.next_sequence, row.next_token, row.floor);
        queue.consumers.next_number = row.next_consumer;
        queue.totals = super::Totals {
            sent: row.sent_total,
            acked: row.acked_total,
            rejected: row.rejected_total,
            delivered: row.delivered_total,
            redelivered: row.redelivered_total,
        };
        start_memory(&mut queue.dedup, row.dedup_first);
        start_memory(&mut queue.sends, row.sends_first);
        start_memory(&mut queue.receives, row.receives_first);
        Ok(Self {
            queue,
            last_sequence: 0,
            producers: BTreeMap::new(),
            missing: BTreeSet::new(),
            garbage: false,
        })
    }

    /// Takes a row, in key order. Payloads beyond `resident_left` stay in the checkpoint.
    pub(crate) fn row(
        &mut self,
        table: Table,
        place: &[u8],
        value: &Bytes,
        resident_left: &mut u64,
        topic: Option<&Queue>,
    ) -> Result<(), LoadError> {
        match table {
            Table::Queue => error("a second queue row"),
            Table::Consumers => self.consumer(number(place)?, &decode(value, "consumer row")?),
            Table::Pages if self.queue.feed().is_some() => self.references(number(place)?, value, topic),
            Table::Pages => self.page(number(place)?, value, resident_left),
            Table::States => self.state(number(place)?, value),
            Table::Leases => self.leases(number(place)?, &decode(value, "lease row")?),
            Table::Answers => self.answers(place, &decode(value, "answers row")?),
            Table::Producers => self.producer(place, &decode(value, "producer row")?),
            Table::Results => self.results(place, decode(value, "results row")?),
            Table::Dedup => memory(&mut self.queue.dedup, number(place)?, decode(value, "dedup row")?),
            Table::Sends => memory(&mut self.queue.sends, number(place)?, decode(value, "request row")?),
            Table::Receives => {
                memory(&mut self.queue.receives, number(place)?, decode(value, "request row")?)
            }
            Table::Matches => self.matches(number(place)?, decode(value, "match row")?),
        }
    }

    /// The topic of a subscription.
    pub(crate) fn topic_uid(&self) -> Option<QueueUid> {
        self.queue.topic_uid()
    }

    fn consumer(&mut self, number: u64, row: &ConsumerRow) -> Result<(), LoadError> {
        let consumers = &mut self.queue.consumers;
        ensure(number >= 1 && number < consumers.next_number, "a consumer's number was never given")?;
        ensure(consumers.number_of(row.id).is_none(), "two consumers with one identity")?;
        ensure(row.answers_first < COUNTER_END, "a counter beyond all bounds")?;
        ensure(row.last_token < self.queue.next_token, "a consumer had a token that was never given")?;
        let phase = match row.phase {
            1 => Phase::Attached,
            2 => Phase::Detached(row.until_ms),
            3 => Phase::Unary(row.until_ms),
            _ => return error("a consumer row with an unknown phase"),
        };
        let mut consumer = Consumer::new(row.id, phase);
        consumer.name.clone_from(&row.name);
        consumer.incarnation = row.incarnation;
        consumer.window_messages = row.window_messages;
        consumer.window_bytes = row.window_bytes;
        consumer.lease_ms = row.lease_ms;
        consumer.last_token = row.last_token;
        consumer.written = true;
        consumer.answers.first_segment = row.answers_first;
        consumer.answers.clean_below = row.answers_first;
        consumer.answers.rows = row.answers_first..row.answers_first;
        consumers.put(number, consumer);
        Ok(())
    }

    fn page(&mut self, first: Sequence, value: &Bytes, resident_left: &mut u64) -> Result<(), LoadError> {
        if first < self.queue.floor {
            self.garbage = true;
            return Ok(());
        }
        let page: PageRow = decode(value, "page row")?;
        ensure(page.first == first, "a page under another one's key")?;
        ensure(page.messages.first().is_some_and(|message| message.offset == 0), "a page without its first")?;
        let queue = &mut self.queue;
        for message in &page.messages {
            let at = first % CHUNK + u64::from(message.offset);
            ensure(at < CHUNK, "a page beyond its chunk")?;
            let sequence = first - first % CHUNK + at;
            ensure(sequence > self.last_sequence, "messages of pages are out of order")?;
            ensure(sequence < queue.next_sequence, "a message with a sequence that was never given")?;
            ensure(message.group.len() <= GROUP_KEY_BYTES_MAX, "a group key that is too long")?;
            ensure(u32::try_from(message.payload.len()).is_ok(), "a payload that is too long")?;
            self.last_sequence = sequence;
            let group = queue.groups.enter(&message.group);
            let group_hash = queue.groups.key_hash(group);
            let resident = message.payload.len() as u64 <= *resident_left;
            // Its own allocation: it must not pin the whole row.
            let payload =
                if resident { Bytes::copy_from_slice(&message.payload) } else { message.payload.clone() };
            let (enqueued_ms, deletes) = (message.enqueued_ms, message.deletes);
            let slot = NewSlot { sequence, payload, group, group_hash, enqueued_ms, deletes };
            queue.messages.append(slot, false);
            if resident {
                *resident_left -= message.payload.len() as u64;
            } else {
                let slot = queue.messages.links(sequence);
                (slot.spilled, slot.payload) = (true, Bytes::new());
                queue.messages.resident -= message.payload.len() as u64;
            }
            queue.load_holdable(sequence);
            loaded(queue, sequence);
        }
        loaded_page(queue, first);
        Ok(())
    }

    /// A page of a subscription: all but the sequences is with its topic. A message that was settled after the page was written may be
    /// gone there: the page's state row says so.
    fn references(&mut self, first: Sequence, value: &Bytes, topic: Option<&Queue>) -> Result<(), LoadError> {
        if first < self.queue.floor {
            self.garbage = true;
            return Ok(());
        }
        let Some(topic) = topic else { return error("a subscription without its topic") };
        let page: PageRow = decode(value, "page row")?;
        ensure(page.first == first, "a page under another one's key")?;
        ensure(page.messages.first().is_some_and(|message| message.offset == 0), "a page without its first")?;
        for message in &page.messages {
            let at = first % CHUNK + u64::from(message.offset);
            ensure(at < CHUNK, "a page beyond its chunk")?;
            let sequence = first - first % CHUNK + at;
            ensure(sequence > self.last_sequence, "messages of pages are out of order")?;
            ensure(sequence < self.queue.next_sequence, "a message beyond the cursor")?;
            ensure(message.payload.is_empty() && message.group.is_empty(), "a reference with contents")?;
            self.last_sequence = sequence;
            let new = match topic.messages.get(sequence) {
                Some(slot) => NewReference {
                    sequence,
                    base: slot.base,
                    group: self.queue.groups.enter(&topic.groups.key(slot.group)),
                    enqueued_ms: slot.enqueued_ms,
                    payload_bytes: slot.payload_bytes,
                },
                None => {
                    self.missing.insert(sequence);
                    NewReference { sequence, base: 0, group: NONE, enqueued_ms: 0, payload_bytes: 0 }
                }
            };
            self.queue.messages.append_reference(new, false);
            loaded(&mut self.queue, sequence);
        }
        loaded_page(&mut self.queue, first);
        Ok(())
    }

    fn matches(&mut self, chunk: u64, row: MatchRow) -> Result<(), LoadError> {
        let from = self.queue.next_sequence;
        let matches = self.queue.feed_mut().and_then(|feed| feed.matches.as_mut());
        let Some(matches) = matches else { return error("matches of a queue without a filter") };
        ensure(row.bits != 0 && chunk < COUNTER_END / CHUNK, "matches of nothing")?;
        let first = first_of(chunk) + u64::from(row.bits.trailing_zeros());
        ensure(first >= from, "a match below the cursor")?;
        matches.change(chunk, |_| row.bits);
        Ok(())
    }

    fn state(&mut self, first: Sequence, value: &Bytes) -> Result<(), LoadError> {
        if first < self.queue.floor {
            self.garbage = true;
            return Ok(());
        }
        let row: StateRow = decode(value, "state row")?;
        let messages = &mut self.queue.messages;
        let chunk = messages.slots.chunk_mut(chunk_of(first));
        let Some(chunk) = chunk.filter(|chunk| chunk.meta.pages & bit_of(first) != 0) else {
            return error("a state row without its page");
        };
        chunk.meta.states |= bit_of(first);
        let start = first % CHUNK;
        let mask = super::checkpoint::page_mask(chunk.meta.pages, start) & chunk.meta.written;
        let settled = row.settled << start;
        ensure(
            settled >> start == row.settled && settled & !mask == 0,
            "a settled message is not in the page",
        )?;
        ensure(mask & !settled != 0, "a page with no live message")?;
        for position in bits(settled) {
            let sequence = first - start + position;
            let slot = self.queue.messages.remove(sequence);
            let slot = slot.ok_or_else(|| LoadError("a message is settled twice".into()))?;
            self.queue.groups.leave(slot.group);
            self.queue.forget_hold(sequence);
        }
        let messages = &mut self.queue.messages;
        for message in &row.messages {
            let at = start + u64::from(message.offset);
            ensure(at < CHUNK && mask & (1 << at) != 0, "a state for a message that is not in the page")?;
            let sequence = first - start + at;
            let reason = ReturnReason::try_from(i32::try_from(message.reason).unwrap_or(-1));
            let reason = reason.map_err(|_| LoadError("a message with an unknown reason".into()))?;
            let change = |slot: &mut Slot| {
                slot.attempts = message.attempts;
                slot.reason = reason as u8;
                if let Some(due_ms) = message.due_ms {
                    (slot.state, slot.at) = (State::Delayed, due_ms);
                }
            };
            ensure(messages.change(sequence, change).is_some(), "a state for a settled message")?;
            self.queue.delayed.extend(message.due_ms.map(|due_ms| (due_ms, sequence)));
        }
        Ok(())
    }

    fn leases(&mut self, chunk: u64, row: &LeaseRow) -> Result<(), LoadError> {
        ensure(!row.leases.is_empty(), "a lease row without leases")?;
        let mut before = None;
        for item in &row.leases {
            let queue = &mut self.queue;
            ensure(u64::from(item.offset) < CHUNK && before < Some(item.offset), "leases are out of order")?;
            before = Some(item.offset);
            let token = chunk.checked_mul(CHUNK).map_or(u64::MAX, |first| first + u64::from(item.offset));
            ensure(token >= 1 && token < queue.next_token, "a lease with a token that was never given")?;
            let holder = queue.consumers.get(item.consumer);
            ensure(holder.is_some_and(|holder| token <= holder.last_token), "a lease without its holder")?;
            let mut was = None;
            let slot = queue.messages.change(item.sequence, |slot| {
                was = Some((slot.state, slot.attempts));
                (slot.state, slot.at) = (State::Leased, token);
            });
            let Some(slot) = slot else { return error("a lease without its message") };
            let payload_bytes = slot.payload_bytes;
            ensure(
                matches!(was, Some((State::Ready, attempts)) if attempts > 0),
                "a lease on a message that cannot have one",
            )?;
            let lease = Lease {
                sequence: item.sequence,
                deadline_ms: item.deadline_ms,
                consumer: item.consumer,
                lease_ms: item.lease_ms,
                payload_bytes,
                ..Lease::default()
            };
            queue.add_lease(token, lease);
        }
        Ok(())
    }

    fn answers(&mut self, place: &[u8], row: &AnswersRow) -> Result<(), LoadError> {
        let (consumer, segment) = match place.split_at_checked(8) {
            Some((consumer, segment)) => (number(consumer)?, number(segment)?),
            None => return error("a key of the wrong length"),
        };
        let Some(holder) = self.queue.consumers.touch(consumer) else {
            return error("answers without their consumer");
        };
        let answers = &mut holder.answers;
        let last_full = answers.segments.back().is_none_or(|last| last.len() == SEGMENT);
        ensure(segment == answers.rows.end && last_full, "segments of answers with a gap")?;
        ensure(answers.segments.len() <= ANSWERS_MIN / SEGMENT, "too many answers")?;
        ensure(!row.words.is_empty() && row.words.len() <= SEGMENT, "a segment of answers of a wrong size")?;
        let mut words = Vec::new();
        let mut before: u64 = 0;
        for delta in &row.words {
            let word = before.checked_add(*delta).filter(|_| *delta > 0);
            before = word.ok_or_else(|| LoadError("answers are out of order".into()))?;
            words.push(before);
        }
        answers.segments.push_back(words);
        answers.rows.end = segment.saturating_add(1);
        answers.clean_below = answers.rows.end;
        Ok(())
    }

    fn producer(&mut self, place: &[u8], row: &ProducerRow) -> Result<(), LoadError> {
        let (id, rest) = identity(place)?;
        ensure(rest.is_empty(), "a key of the wrong length")?;
        ensure(row.first_result >= 1 && row.first_result <= row.last, "a producer without results")?;
        ensure(row.last - row.first_result < PRODUCER_RESULTS_MAX, "a producer with too many results")?;
        ensure(row.last < COUNTER_END, "a counter beyond all bounds")?;
        let first_run = row.first_result / producers::RUN;
        let producer = Producer {
            active_ms: row.active_ms,
            clean_below: row.last + 1,
            rows: first_run..row.last / producers::RUN + 1,
            written: true,
            last: row.last,
            ..Producer::default()
        };
        self.producers.insert(id, (producer, row.first_result));
        Ok(())
    }

    fn results(&mut self, place: &[u8], row: ResultsRow) -> Result<(), LoadError> {
        let (id, rest) = identity(place)?;
        let run = number(rest)?;
        let Some((producer, first_result)) = self.producers.get_mut(&id) else {
            return error("results without their producer");
        };
        ensure(row.first / producers::RUN == run && producer.rows.contains(&run), "results of a wrong run")?;
        let count = row.results.len() as u64;
        ensure(row.first % producers::RUN + count <= producers::RUN, "too many results in one run")?;
        for (sequence, result) in (row.first..).zip(row.results) {
            if sequence < *first_result {
                continue; // it was forgotten after this row was written
            }
            let expected = *first_result + producer.results.len() as u64;
            ensure(sequence == expected && sequence <= producer.last, "results with a gap")?;
            producer.results.push_back(Outcome::of_row(result));
        }
        Ok(())
    }

    /// The queue, and the key ranges that hold garbage.
    pub(crate) fn finish(mut self) -> Result<(Queue, Vec<(Bytes, Bytes)>), LoadError> {
        for (id, (producer, first_result)) in std::mem::take(&mut self.producers) {
            let count = producer.results.len() as u64;
            ensure(first_result + count == producer.last + 1, "a producer with missing results")?;
            self.queue.producers.load(id, producer);
        }
        let numbers: Vec<u64> = self.queue.consumers.by_number.keys().copied().collect();
        for number in numbers {
            if let Some(consumer) = self.queue.consumers.touch(number) {
                consumer.answers.sum = consumer.answers.recompute(number);
            }
        }
        let lost = self.missing.iter().any(|sequence| self.queue.messages.get(*sequence).is_some());
        ensure(!lost, "a message that its topic does not have")?;
        self.build_lanes()?;
        let queue = &mut self.queue;
        queue.count_retained();
        queue.load_latest();
        queue.refresh_consumers();
        queue.consumers.settle_digest();
        queue.consumers.take_called();
        for number in std::mem::take(&mut queue.consumers.dirty) {
            if let Some(consumer) = queue.consumers.by_number.get_mut(&number) {
                consumer.dirty = false;
            }
        }
        for (_, chunk) in queue.messages.slots.chunks_from_mut(0) {
            (chunk.meta.queued, chunk.meta.dirty) = (false, 0);
        }
        for (_, chunk) in queue.leases.by_token.chunks_from_mut(0) {
            (chunk.meta.queued, chunk.meta.written) = (false, true);
        }
        if let Some(matches) = queue.feed_mut().and_then(|feed| feed.matches.as_mut()) {
            matches.dirty.clear();
        }
        queue.messages.dirty_chunks.clear();
        queue.messages.removed_pages.clear();
        queue.messages.unwritten = 0;
        queue.leases.dirty_chunks.clear();
        queue.written_floor = queue.floor;
        (queue.dirty, queue.written) = (false, true);
        if Canary::TokenReused.is_planted() {
            queue.next_token = queue.leases.deadlines.iter().map(|(_, token)| token + 1).max().unwrap_or(1);
        }
        let mut garbage = Vec::new();
        if self.garbage {
            for table in [Table::Pages, Table::States] {
                let (start, end) =
                    (number_key(queue.uid, table, 0), number_key(queue.uid, table, queue.floor));
                garbage.push((start, end));
            }
        }
        Ok((self.queue, garbage))
    }

    /// Links the lanes and finds what is ready.
    fn build_lanes(&mut self) -> Result<(), LoadError> {
        let queue = &mut self.queue;
        let chunks: Vec<u64> = queue.messages.slots.chunks_from(0).map(|(number, _)| number).collect();
        for number in chunks {
            let Some(live) = queue.messages.slots.chunk(number).map(super::seq_map::Chunk::live) else {
                continue;
            };
            for position in bits(live) {
                let sequence = number * CHUNK + position;
                let Some(slot) = queue.messages.get(sequence) else { continue };
                let (group, state, token) = (slot.group, slot.state, slot.at);
                let Some(lane) = queue.lane_of(group) else {
                    if state == State::Ready && queue.topic().is_none() {
                        queue.messages.set_fresh(sequence);
                    }
                    continue;
                };
                if state != State::Leased {
                    queue.lane_append(lane, sequence);
                    continue;
                }
                let holder = queue.leases.get(token).map_or(0, |lease| lease.consumer);
                let chain = queue.groups.lane(lane);
                ensure(chain.offer == 0, "a leased message behind one of its group that is not leased")?;
                ensure(chain.leased == 0 || chain.holder == holder, "one group with two holders")?;
                queue.lane_append(lane, sequence);
                queue.lane_lease(lane, 0, holder);
            }
        }
        Ok(())
    }
}

/// A message is in a durable page.
fn loaded(queue: &mut Queue, sequence: Sequence) {
    if let Some(chunk) = queue.messages.slots.chunk_mut(chunk_of(sequence)) {
        chunk.meta.written |= bit_of(sequence);
        chunk.meta.durable |= bit_of(sequence);
    }
}

/// A page begins there.
fn loaded_page(queue: &mut Queue, first: Sequence) {
    if let Some(chunk) = queue.messages.slots.chunk_mut(chunk_of(first)) {
        chunk.meta.pages |= bit_of(first);
    }
}

fn start_memory<V: Memory>(memory: &mut Remembered<V>, first: u64) {
    memory.first = first;
    memory.clean_below = first;
    let run = first / remembered::RUN;
    memory.rows = run..run;
}

fn memory<V: Memory>(memory: &mut Remembered<V>, run: u64, row: MemoryRow) -> Result<(), LoadError> {
    ensure(run == memory.rows.end, "remembered ids with a gap")?;
    let count = row.items.len() as u64;
    let fits = row.first / remembered::RUN == run && row.first % remembered::RUN + count <= remembered::RUN;
    ensure(fits, "remembered ids of a wrong run")?;
    memory.rows.end += 1;
    for (ordinal, item) in (row.first..).zip(row.items) {
        if ordinal < memory.first {
            continue; // it was forgotten after this row was written
        }
        ensure(ordinal == memory.next(), "remembered ids with a gap")?;
        let value = V::from_row(item.value);
        let value = value.ok_or_else(|| LoadError("a remembered id without its value".into()))?;
        memory.push(Item { id: item.id, expires_ms: item.expires_ms, value });
    }
    memory.clean_below = memory.next();
    Ok(())
}
