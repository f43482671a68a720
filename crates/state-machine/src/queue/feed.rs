//! A subscription's side of its topic: what waits for it there, and how it takes it in.
//!
//! A message is taken in when a consumer could have it. Then it is a message of the subscription like any other of a queue: it may be
//! leased, returned, delayed, stand in its group; only its payload stays with the topic. Sequences are the topic's.
//! Invariant: what was taken in is below the cursor (`Queue::next_sequence`), what waits is at it or above.

use std::collections::BTreeMap;

use super::Queue;
use super::Turn;
use super::assign::payload_of;
use super::groups::NONE;
use super::matches::Matches;
use super::messages::{NewReference, Slot};
use super::seq_map::{bit_of, chunk_of};
use super::topic::chunks;
use crate::command::{PutQueue, Source};
use crate::digest;
use crate::ids::{QueueUid, Sequence, TimestampMs};
use crate::limits::PULLS_PER_COMMAND_MAX;
use crate::reply::{Payload, Reply};

/// What makes a queue a subscription.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(super) source: Source,
    /// Messages that wait; `None`: all that the topic has from the cursor on.
    pub(super) matches: Option<Matches>,
    /// How many wait.
    pub(super) waiting: u64,
    /// Their payload bytes.
    pub(super) waiting_bytes: u64,
    /// There was more to take in than one command may.
    pub(super) starved: bool,
    /// Messages that it is done with since the topic was told.
    pub(super) released: Vec<Sequence>,
    /// Messages of the past that nobody has looked at for it.
    pub(super) replaying: Option<Replaying>,
    /// Named places.
    pub(super) marks: BTreeMap<String, Sequence>,
    /// If it conflates: what waits of each key.
    pub(super) newest: BTreeMap<u32, Sequence>,
}

/// Messages from `at` on, before `end`: whether they match is not known yet. Nothing behind them is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaying {
    pub(crate) at: Sequence,
    pub(crate) end: Sequence,
}

fn takes_all(source: &Source) -> bool {
    matches!(source.pattern.as_str(), "" | "#") && source.filter.is_empty()
}

impl Feed {
    /// A subscription that begins behind the last message of its topic.
    pub(super) fn new(source: Source, latest_only: bool) -> Self {
        let matches = (latest_only || !takes_all(&source)).then(Matches::default);
        Self {
            source,
            matches,
            waiting: 0,
            waiting_bytes: 0,
            starved: false,
            released: Vec::new(),
            replaying: None,
            marks: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The first that matched, and may be taken in.
    fn first_match(&self) -> Option<Sequence> {
        let first = self.matches.as_ref()?.first()?;
        self.replaying.is_none_or(|replaying| first < replaying.at).then_some(first)
    }

    /// A message matches, and waits; `holds`: its topic does not know yet.
    fn add_match(&mut self, topic: &mut Queue, sequence: Sequence, holds: bool) {
        let bytes = topic.bytes_of(sequence);
        let Some(matches) = &mut self.matches else { return };
        matches.change(chunk_of(sequence), |bits| bits | bit_of(sequence));
        self.waiting += 1;
        self.waiting_bytes += u64::from(bytes);
        if let Some(topic) = topic.topic_mut().filter(|_| holds) {
            topic.hold(sequence);
        }
    }

    pub(super) fn head_hash(&self) -> u64 {
        let texts =
            [digest::bytes(self.source.pattern.as_bytes()), digest::bytes(self.source.filter.as_bytes())];
        let kind = u64::from(self.matches.is_some()) << 1 | u64::from(self.starved);
        let sum = self.matches.as_ref().map_or(0, |matches| matches.sum);
        let replaying = self.replaying.map_or([0; 2], |replaying| [replaying.at, replaying.end]);
        let marks = self.marks.iter().fold(0, |sum: u64, (name, sequence)| {
            sum.wrapping_add(digest::words(33, &[digest::bytes(name.as_bytes()), *sequence]))
        });
        let numbers = [self.source.topic, texts[0], texts[1], kind, replaying[0], replaying[1]];
        // Nothing for a subscription, so that older checkpoints keep their digest.
        let target = if self.source.target == 0 { 0 } else { digest::words(36, &[self.source.target]) };
        digest::words(31, &numbers).wrapping_add(sum).wrapping_add(marks).wrapping_add(target)
    }
}

impl Queue {
    /// Its topic, if it is a subscription.
    pub(crate) fn topic_uid(&self) -> Option<QueueUid> {
        Some(self.feed()?.source.topic)
    }

    /// Where it stands, if it takes every message.
    pub(crate) fn cursor(&self) -> Option<Sequence> {
        self.feed()?.matches.is_none().then_some(self.next_sequence)
    }

    /// Whether the topic has something for it.
    pub(super) fn has_waiting(&self) -> bool {
        self.feed().is_some_and(|feed| match feed.matches {
            None => feed.waiting > 0,
            Some(_) => feed.first_match().is_some(),
        })
    }

    /// `count` messages were published, which it all takes.
    pub(crate) fn note_every(&mut self, count: u64, bytes: u64) {
        if let Some(feed) = self.feed_mut() {
            feed.waiting += count;
            feed.waiting_bytes += bytes;
            self.totals.sent += count;
        }
    }

    /// A message was published that it matches.
    pub(crate) fn note_match(&mut self, topic: &mut Self, sequence: Sequence) {
        self.totals.sent += 1;
        self.take_match(topic, sequence, false);
    }

    /// A message of the past matches.
    pub(super) fn match_past(&mut self, topic: &mut Self, sequence: Sequence) {
        let has =
            self.feed().and_then(|feed| feed.matches.as_ref()).is_some_and(|matches| matches.has(sequence));
        if !has && topic.messages.get(sequence).is_some() && topic.is_readable(sequence) {
            self.take_match(topic, sequence, true);
        }
    }

    fn take_match(&mut self, topic: &mut Self, sequence: Sequence, holds: bool) {
        let group = topic.messages.get(sequence).map_or(NONE, |slot| slot.group);
        let key = self.conflation_key(group);
        let Some(feed) = self.feed_mut() else { return };
        if key.is_none_or(|key| feed.supersede(topic, key, sequence)) {
            feed.add_match(topic, sequence, holds);
            self.conflate_with(topic, group, sequence);
        }
    }

    /// The next message that waits.
    fn next_waiting(&self, topic: &Self) -> Option<Sequence> {
        let feed = self.feed()?;
        match &feed.matches {
            Some(_) => feed.first_match(),
            None => topic.messages.slots.iter_from(self.next_sequence).next().map(|(sequence, _)| sequence),
        }
    }

    /// Takes in the next message that waits; `false` if there is none. `budget` is lowered.
    pub(super) fn pull(&mut self, turn: &mut Turn<'_>, budget: &mut usize) -> bool {
        if !self.has_waiting() {
            return false;
        }
        if *budget == 0 {
            if let Some(feed) = self.feed_mut() {
                feed.starved = true;
            }
            return false;
        }
        *budget -= 1;
        let uid = self.uid;
        let Some(topic) = turn.topic.as_deref_mut() else { return false };
        let next = self.next_waiting(topic);
        let Some((sequence, slot)) = next.and_then(|at| Some((at, topic.messages.get(at)?))) else {
            return false;
        };
        let new = NewReference {
            sequence,
            base: slot.base,
            group: self.groups.enter(&topic.groups.key(slot.group)),
            enqueued_ms: slot.enqueued_ms,
            payload_bytes: slot.payload_bytes,
        };
        let cursor = std::mem::replace(&mut self.next_sequence, sequence + 1);
        let key = self.conflation_key(slot.group);
        let Some(feed) = self.feed_mut() else { return false };
        feed.forget_newest(sequence, key);
        feed.waiting -= 1;
        feed.waiting_bytes -= u64::from(new.payload_bytes);
        match &mut feed.matches {
            Some(matches) => matches.change(chunk_of(sequence), |bits| bits & !bit_of(sequence)),
            None => {
                if let Some(topic) = topic.topic_mut() {
                    topic.hold(sequence);
                    topic.move_cursor(uid, cursor, sequence + 1);
                }
            }
        }
        let lane = self.lane_of(new.group);
        self.messages.append_reference(new, lane.is_none());
        if let Some(lane) = lane {
            self.lane_append(lane, sequence);
        }
        self.conflate_lane(None, lane, sequence);
        self.dirty = true;
        true
    }

    /// How many messages one command may take in.
    pub(super) fn pull_budget(&mut self) -> usize {
        if let Some(feed) = self.feed_mut() {
            feed.starved = false;
        }
        PULLS_PER_COMMAND_MAX
    }

    /// It begins behind the last message of its topic.
    pub(crate) fn start_behind(&mut self, topic: &Self) {
        self.next_sequence = topic.next_sequence;
        if topic.is_compact()
            && let Some(feed) = self.feed_mut()
        {
            // Messages in the middle of the log may go before it comes to them.
            feed.matches.get_or_insert_default();
        }
    }

    /// Brings settings and conditions to a newer version. Conditions hold for what is published from now on; what waits goes on waiting.
    pub(crate) fn put_source(
        &mut self,
        now_ms: TimestampMs,
        topic: &mut Self,
        put: &PutQueue,
        source: &Source,
    ) -> Reply {
        if put.version > self.version {
            self.change_source(topic, source);
            if let Err(rejection) = topic.enrol(self.uid, source, self.cursor()) {
                return Reply::Rejected(rejection);
            }
        }
        self.put(now_ms, put)
    }

    fn change_source(&mut self, topic: &mut Self, source: &Source) {
        let Some(feed) = self.feed() else { return };
        if feed.matches.is_none() && !takes_all(source) {
            self.count_matches(topic);
        }
        if let Some(feed) = self.feed_mut() {
            feed.source = source.clone();
        }
    }

    /// From now on it has a bit for each message that waits.
    fn count_matches(&mut self, topic: &mut Self) {
        let cursor = self.next_sequence;
        let waiting: Vec<Sequence> =
            topic.messages.slots.iter_from(cursor).map(|(sequence, _)| sequence).collect();
        let mut matches = Matches::default();
        for (chunk, mask) in chunks(waiting.iter().copied()) {
            matches.change(chunk, |_| mask);
        }
        if let Some(topic) = topic.topic_mut() {
            topic.dismiss(self.uid, Some(cursor));
            waiting.iter().for_each(|sequence| topic.hold(*sequence));
        }
        if let Some(feed) = self.feed_mut() {
            feed.matches = Some(matches);
        }
    }

    /// Gives up all that waits for it.
    pub(super) fn skip_waiting(&mut self, topic: &mut Self) {
        let (uid, end) = (self.uid, topic.next_sequence);
        let cursor = std::mem::replace(&mut self.next_sequence, end);
        let Some(feed) = self.feed_mut() else { return };
        (feed.waiting, feed.waiting_bytes) = (0, 0);
        feed.newest.clear();
        if let (Some(replaying), Some(topic)) = (feed.replaying.take(), topic.topic_mut()) {
            topic.unpin(uid, replaying.at);
        }
        match &mut feed.matches {
            Some(matches) => {
                for (chunk, mask) in std::mem::take(&mut matches.by_chunk) {
                    matches.dirty.insert(chunk);
                    topic.release_later(chunk, mask);
                }
                matches.sum = 0;
            }
            None => {
                if let Some(topic) = topic.topic_mut() {
                    topic.move_cursor(uid, cursor, end);
                }
            }
        }
        self.dirty = true;
    }

    /// Gives up all that it has taken in: they are about to be thrown away.
    pub(super) fn release_own(&self, topic: &mut Self) {
        for (chunk, mask) in chunks(self.messages.slots.iter().map(|(sequence, _)| sequence)) {
            topic.release_later(chunk, mask);
        }
    }

    /// It ends: whatever only it needed goes.
    pub(crate) fn leave_topic(&mut self, topic: &mut Self) {
        self.release_own(topic);
        self.skip_waiting(topic);
        let cursor = self.cursor();
        if let Some(topic) = topic.topic_mut() {
            topic.dismiss(self.uid, cursor);
        }
        topic.dirty = true;
    }

    /// Tells the topic what it is done with.
    pub(crate) fn tell_released(&mut self, topic: &mut Self) {
        let Some(feed) = self.feed_mut() else { return };
        for sequence in std::mem::take(&mut feed.released) {
            topic.release(sequence);
        }
    }

    /// Where the payload of a message is.
    pub(super) fn payload(&self, sequence: Sequence, slot: &Slot, topic: Option<&Self>) -> Payload {
        if self.feed().is_none() {
            return payload_of(slot);
        }
        let stored = topic.and_then(|topic| topic.messages.get(sequence));
        stored.map_or(Payload::Spilled(slot.payload_bytes), payload_of)
    }

    /// What waits, from `from` on.
    pub(super) fn waiting_from<'a>(
        &'a self,
        topic: &'a Self,
        from: Sequence,
    ) -> Box<dyn Iterator<Item = (Sequence, &'a Slot)> + 'a> {
        let from = from.max(self.next_sequence);
        match self.feed().map(|feed| &feed.matches) {
            None => Box::new(std::iter::empty()),
            Some(None) => Box::new(topic.messages.slots.iter_from(from)),
            Some(Some(matches)) => {
                Box::new(matches.from(from).filter_map(|at| topic.messages.get(at).map(|slot| (at, slot))))
            }
        }
    }

    /// After a load: joins its topic again, and counts what waits.
    ///
    /// # Errors
    /// If the topic does not have it.
    pub(crate) fn rejoin(&mut self, topic: &mut Self) -> Result<(), String> {
        if self.next_sequence > topic.next_sequence {
            return Err("its cursor is beyond the end of its topic".into());
        }
        let source = self.feed().map(|feed| feed.source.clone()).unwrap_or_default();
        topic.enrol(self.uid, &source, self.cursor()).map_err(|rejection| rejection.to_string())?;
        let (uid, end) = (self.uid, topic.next_sequence);
        let replaying = self.feed().and_then(|feed| feed.replaying);
        if let Some(topic) = topic.topic_mut() {
            if self.cursor().is_some_and(|cursor| cursor < topic.kept) {
                return Err("its cursor is below what its topic keeps".into());
            }
            if let Some(Replaying { at, end: replay_end }) = replaying {
                if (at < topic.kept && topic.compact.is_none()) || replay_end > end {
                    return Err("it replays what its topic does not keep".into());
                }
                topic.pin(uid, at);
            }
            self.held().for_each(|sequence| topic.hold(sequence));
        }
        if topic.is_compact() && self.cursor().is_some() {
            return Err("it has a cursor in a log that is compacted".into());
        }
        self.load_newest(topic)?;
        self.count_waiting(topic)
    }

    fn count_waiting(&mut self, topic: &Self) -> Result<(), String> {
        let (mut waiting, mut waiting_bytes) = (0, 0);
        for (_, slot) in self.waiting_from(topic, 0) {
            waiting += 1;
            waiting_bytes += u64::from(slot.payload_bytes);
        }
        let Some(feed) = self.feed_mut() else { return Ok(()) };
        (feed.waiting, feed.waiting_bytes) = (waiting, waiting_bytes);
        if let Some(matches) = &feed.matches {
            let bits: u32 = matches.by_chunk.values().map(|mask| mask.count_ones()).sum();
            if u64::from(bits) != waiting {
                return Err("it waits for messages that its topic does not have".into());
            }
        }
        Ok(())
    }

    /// See [`crate::invariants::check`].
    pub(crate) fn check_feed(&self, topic: &Self) -> Result<(), String> {
        let Some(feed) = self.feed() else { return Ok(()) };
        let waiting: Vec<u64> =
            self.waiting_from(topic, 0).map(|(_, slot)| u64::from(slot.payload_bytes)).collect();
        let counted = (feed.waiting, feed.waiting_bytes);
        if (waiting.len() as u64, waiting.iter().sum::<u64>()) != counted {
            return Err(format!("{} messages wait, counted {counted:?}", waiting.len()));
        }
        if let Some(Replaying { at, end }) = feed.replaying {
            let known = feed.matches.as_ref().and_then(|matches| matches.from(at).next());
            if at >= end || self.next_sequence > at || known.is_some_and(|first| first < end) {
                return Err("it knows what it has not looked at".into());
            }
        }
        self.check_newest(topic)?;
        if !feed.released.is_empty() {
            return Err("the topic was not told of all that it is done with".into());
        }
        if feed.matches.as_ref().is_some_and(|matches| matches.recompute() != matches.sum) {
            return Err("sum of matches is wrong".into());
        }
        match self.messages.slots.iter().find(|(sequence, _)| topic.messages.get(*sequence).is_none()) {
            Some((sequence, _)) => Err(format!("message {sequence} is not with the topic")),
            None => Ok(()),
        }
    }

    /// The messages that it holds in its topic's books.
    pub(crate) fn held(&self) -> impl Iterator<Item = Sequence> + '_ {
        let matches = self.feed().and_then(|feed| feed.matches.as_ref());
        let own = self.messages.slots.iter().map(|(sequence, _)| sequence);
        own.chain(matches.into_iter().flat_map(|matches| matches.from(0)))
    }
}
