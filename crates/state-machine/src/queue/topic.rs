//! A topic: a log of messages that its subscriptions take from.
//!
//! A message is stored once, here. A subscription without a filter is a cursor: everything from there on waits for it. One with a filter has
//! a bit for each message that it matched. Either takes a message in when somebody can have it; from then on it is one of its own
//! messages, whose payload stays here. A message goes when nobody waits for it or holds it any more.
//!
//! Invariants: `holds` counts, for each live message, the subscriptions that have taken it in or matched it by filter; no cursor and no pin is below
//! `kept`; a live message below `trim` is held; `trim` is at most `kept`, which is at most `retained.from`.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_filter::{Filter, Index, Pattern};

use super::Queue;
use super::attributes::Attributes;
use super::compact::Compact;
use super::messages::Messages;
use super::retain::Retained;
use super::seq_map::{SeqMap, bits, chunk_of, first_of};
use crate::command::{Send, Source};
use crate::ids::{QueueUid, Sequence};
use crate::limits::{FANOUT_MAX, SUBSCRIPTIONS_MAX, TRIM_PER_ENTRY_MAX};
use crate::reply::Rejection;

/// What a topic has beside its messages.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Subscriptions that take every message, by the sequence of the first that they have not taken in.
    cursors: BTreeSet<(Sequence, QueueUid)>,
    /// Subscriptions with a pattern or a filter.
    index: Index<QueueUid>,
    /// All of them; whether they take every message.
    members: BTreeMap<QueueUid, bool>,
    /// For each chunk: payload bytes of all that was published before it.
    holds: SeqMap<u32, Option<u64>>,
    /// Payload bytes that were published, since some time.
    published_bytes: u64,
    /// Subscriptions that have not been told what of the past they match: everything from there on must stay.
    pins: BTreeSet<(Sequence, QueueUid)>,
    /// Messages below have been looked at: they are kept for those that hold them, and for nothing else.
    pub(super) trim: Sequence,
    /// All messages from here on are there. Only rises.
    pub(super) kept: Sequence,
    pub(super) retained: Retained,
    pub(super) compact: Option<Compact>,
}

/// Where the messages of one publish go.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Messages that were appended.
    pub(crate) sequences: std::ops::Range<Sequence>,
    /// Subscriptions that take every message.
    pub(crate) every: Vec<QueueUid>,
    /// Matches by filter, in rising order of sequences.
    pub(crate) some: Vec<(Sequence, QueueUid)>,
    /// Messages that delete their key.
    pub(super) deletes: BTreeSet<Sequence>,
}

impl Routes {
    /// How many deliveries it comes to.
    pub(crate) fn matched(&self) -> u64 {
        let count = self.sequences.end - self.sequences.start;
        count * self.every.len() as u64 + self.some.len() as u64
    }

    /// The subscriptions that get something, each once, rising.
    pub(crate) fn subscriptions(&self) -> BTreeSet<QueueUid> {
        self.every.iter().copied().chain(self.some.iter().map(|(_, uid)| *uid)).collect()
    }
}

/// The two conditions of a subscription, understood.
///
/// # Errors
/// What is wrong with them, and where.
pub(crate) fn conditions(source: &Source) -> Result<(Option<Pattern>, Option<Filter>), String> {
    let pattern = match source.pattern.as_str() {
        "" | "#" => None,
        text => Some(Pattern::parse(text).map_err(|why| format!("pattern: {why}"))?),
    };
    let filter = match source.filter.as_str() {
        "" => None,
        text => Some(Filter::parse(text).map_err(|why| format!("filter: {why}"))?),
    };
    Ok((pattern, filter))
}

impl Topic {
    pub(super) fn new(compact: bool) -> Self {
        Self {
            cursors: BTreeSet::new(),
            index: Index::default(),
            members: BTreeMap::new(),
            holds: SeqMap::default(),
            published_bytes: 0,
            pins: BTreeSet::new(),
            trim: 1,
            kept: 1,
            retained: Retained::starting_at(1),
            compact: compact.then(Compact::default),
        }
    }

    /// The subscriptions, rising.
    pub(crate) fn members(&self) -> impl Iterator<Item = QueueUid> + '_ {
        self.members.keys().copied()
    }

    fn enrol(&mut self, uid: QueueUid, source: &Source, cursor: Option<Sequence>) -> Result<(), Rejection> {
        if self.members.len() >= SUBSCRIPTIONS_MAX && !self.members.contains_key(&uid) {
            let text = format!("a topic has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Rejection::Invalid(text));
        }
        let (pattern, filter) = conditions(source).map_err(Rejection::Invalid)?;
        if let Some(false) = self.members.insert(uid, cursor.is_some()) {
            self.index.remove(uid);
        }
        match cursor {
            Some(cursor) => {
                self.cursors.insert((cursor, uid));
            }
            None => self.index.insert(uid, pattern, filter),
        }
        Ok(())
    }

    /// Lets a subscription go; its cursor, if it takes every message.
    pub(crate) fn dismiss(&mut self, uid: QueueUid, cursor: Option<Sequence>) {
        if self.members.remove(&uid).is_none() {
            return;
        }
        match cursor {
            Some(cursor) => {
                self.cursors.remove(&(cursor, uid));
            }
            None => self.index.remove(uid),
        }
    }

    pub(super) fn move_cursor(&mut self, uid: QueueUid, from: Sequence, to: Sequence) {
        if self.cursors.remove(&(from, uid)) {
            self.cursors.insert((to, uid));
        }
    }

    pub(super) fn pin(&mut self, uid: QueueUid, at: Sequence) {
        self.pins.insert((at, uid));
    }

    pub(super) fn unpin(&mut self, uid: QueueUid, at: Sequence) {
        self.pins.remove(&(at, uid));
    }

    /// A message was appended, or loaded.
    fn push(&mut self, sequence: Sequence, bytes: u32) {
        let before = self.published_bytes;
        self.holds.push(sequence, 0).get_or_insert(before);
        self.published_bytes += u64::from(bytes);
    }

    /// One more subscription holds a message.
    pub(super) fn hold(&mut self, sequence: Sequence) {
        if let Some(count) = self.holds.get_mut(sequence) {
            *count += 1;
        }
    }

    pub(super) fn is_held(&self, sequence: Sequence) -> bool {
        self.holds.get(sequence).is_some_and(|count| *count > 0)
    }

    /// Up to where messages may go that nobody holds.
    fn trim_end(&self) -> Sequence {
        // What is not whole any more is no use to pins: of it, those who take it hold what there is.
        let pin = self.pins.first().map(|(at, _)| (*at).max(self.kept));
        let needed = [self.cursors.first().map(|(at, _)| *at), pin];
        needed.into_iter().flatten().min().unwrap_or(self.retained.from).min(self.retained.from)
    }
}

impl Queue {
    /// Takes a subscription in, or its new conditions; `cursor` if it takes every message.
    ///
    /// # Errors
    /// If there are too many, or the conditions are not understood.
    pub(crate) fn enrol(
        &mut self,
        uid: QueueUid,
        source: &Source,
        cursor: Option<Sequence>,
    ) -> Result<(), Rejection> {
        let Some(topic) = self.topic_mut() else { return Ok(()) };
        topic.enrol(uid, source, cursor)
    }

    /// Where the messages of a send go, were they appended from `first` on; `duplicates` are left out.
    pub(super) fn route(&self, send: &Send, duplicates: &[(u32, Sequence)]) -> Result<Routes, Rejection> {
        let mut routes = Routes::default();
        let Some(topic) = self.topic() else { return Ok(routes) };
        routes.every = topic.cursors.iter().map(|(_, uid)| *uid).collect();
        let (mut duplicates, mut sequence) =
            (duplicates.iter().map(|(at, _)| *at).peekable(), self.next_sequence);
        let mut matching = Vec::new();
        for (position, message) in (0_u32..).zip(&send.messages) {
            if duplicates.next_if_eq(&position).is_some() {
                continue;
            }
            matching.clear();
            if !topic.index.is_empty() || topic.compact.is_some() {
                let attributes = Attributes::of(&message.payload)?;
                topic.index.matching(&attributes.shown(), &mut matching);
                if topic.compact.is_some() && attributes.is_empty() && !message.group.is_empty() {
                    routes.deletes.insert(sequence);
                }
            }
            if send.mandatory && matching.is_empty() && routes.every.is_empty() {
                let text = format!(
                    "message {position} of the batch matches no subscription of the topic, and it is mandatory"
                );
                return Err(Rejection::Unroutable(text));
            }
            if routes.some.len() + matching.len() > FANOUT_MAX {
                let text =
                    format!("a publish that matches more than {FANOUT_MAX} times: send smaller batches");
                return Err(Rejection::Invalid(text));
            }
            routes.some.extend(matching.iter().map(|uid| (sequence, *uid)));
            sequence += 1;
        }
        routes.sequences = self.next_sequence..sequence;
        Ok(routes)
    }

    /// Counts what a publish matched; the messages were appended.
    pub(super) fn hold_routes(&mut self, routes: &Routes) {
        for sequence in routes.sequences.clone() {
            let bytes = self.bytes_of(sequence);
            let Some(topic) = self.topic_mut() else { return };
            topic.push(sequence, bytes);
            topic.retained.count += 1;
            topic.retained.bytes += u64::from(bytes);
        }
        let Some(topic) = self.topic_mut() else { return };
        for (sequence, _) in &routes.some {
            topic.hold(*sequence);
        }
        routes.sequences.clone().for_each(|sequence| self.note_latest(sequence));
    }

    /// A message of a checkpoint can be held.
    pub(super) fn load_holdable(&mut self, sequence: Sequence) {
        let bytes = self.bytes_of(sequence);
        if let Some(topic) = self.topic_mut() {
            topic.push(sequence, bytes);
        }
    }

    /// From where on a topic has all messages.
    pub(crate) fn kept_from(&self) -> Sequence {
        self.topic().map_or(self.next_sequence, |topic| topic.kept)
    }

    /// Payload bytes of all messages from there on; all of them must be there.
    pub(super) fn bytes_from(&self, from: Sequence) -> u64 {
        let Some(topic) = self.topic() else { return 0 };
        let next = topic.holds.chunks_from(chunk_of(from) + 1).next();
        let before_next = next.and_then(|(_, chunk)| chunk.meta).unwrap_or(topic.published_bytes);
        let own = self.messages.slots.iter_from(from).take_while(|(at, _)| chunk_of(*at) == chunk_of(from));
        topic.published_bytes - before_next + own.map(|(_, slot)| u64::from(slot.payload_bytes)).sum::<u64>()
    }

    /// A subscription is done with a message.
    pub(crate) fn release(&mut self, sequence: Sequence) {
        let Some(topic) = self.topic_mut() else { return };
        let Some(count) = topic.holds.get_mut(sequence) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 && sequence < topic.trim {
            self.discard(sequence);
        }
    }

    /// A subscription is done with many: what goes is found by the next entries.
    pub(super) fn release_later(&mut self, chunk: u64, mask: u64) {
        let Some(topic) = self.topic_mut() else { return };
        topic.trim = topic.trim.min(first_of(chunk).max(1));
        for position in bits(mask) {
            if let Some(count) = topic.holds.get_mut(first_of(chunk) + position) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn discard(&mut self, sequence: Sequence) {
        let slot = self.messages.remove(sequence);
        self.forget_hold(sequence);
        self.dirty = true;
        if let Some(slot) = slot {
            self.groups.leave(slot.group);
            self.forget_deletion(slot.group);
        }
    }

    /// A message is gone.
    pub(super) fn forget_hold(&mut self, sequence: Sequence) {
        if let Some(topic) = self.topic_mut() {
            topic.holds.remove(sequence, |_| ());
        }
    }

    /// Whether messages may be discarded that nobody has looked at yet.
    pub(super) fn is_untrimmed(&self) -> bool {
        self.topic().is_some_and(|topic| topic.trim < topic.trim_end())
    }

    /// Discards what nobody needs, looking at no more than [`TRIM_PER_ENTRY_MAX`] messages and `more`.
    pub(crate) fn trim(&mut self, more: usize) {
        let Some(topic) = self.topic() else { return };
        let end = topic.trim_end();
        if topic.trim >= end {
            return;
        }
        let mut trim = end;
        let mut discard = Vec::new();
        for (seen, (sequence, _)) in self.messages.slots.iter_from(topic.trim).enumerate() {
            if sequence >= end {
                break;
            }
            if seen >= TRIM_PER_ENTRY_MAX + more {
                trim = sequence;
                break;
            }
            if !topic.is_held(sequence) {
                discard.push(sequence);
            }
        }
        // First: what a discarded message sets free is below it.
        if let Some(topic) = self.topic_mut() {
            topic.trim = trim;
            topic.kept = topic.kept.max(trim);
        }
        for sequence in discard {
            self.discard(sequence);
        }
        self.dirty = true;
    }

    /// See [`crate::invariants::check`]: `holds` is what the subscriptions say.
    pub(crate) fn check_topic(
        &self,
        holds: &BTreeMap<Sequence, u32>,
        members: &BTreeMap<QueueUid, bool>,
    ) -> Result<(), String> {
        let Some(topic) = self.topic() else { return Ok(()) };
        topic.holds.check()?;
        let mut holds = holds.clone();
        self.check_latest(&mut holds)?;
        let counted: BTreeMap<Sequence, u32> =
            topic.holds.iter().filter(|(_, count)| **count > 0).map(|(at, count)| (at, *count)).collect();
        if counted != holds {
            return Err(format!("holds are {holds:?}, counted {counted:?}"));
        }
        if &topic.members != members {
            return Err("the topic does not know its subscriptions".into());
        }
        let live = |messages: &Messages| messages.slots.iter().map(|(at, _)| at).collect::<Vec<_>>();
        if topic.holds.iter().map(|(at, _)| at).collect::<Vec<_>>() != live(&self.messages) {
            return Err("holds of messages that are not there".into());
        }
        if topic.trim > topic.kept || topic.kept > topic.trim_end() {
            return Err("a cursor is below what was trimmed".into());
        }
        self.check_retained(topic)?;
        match live(&self.messages).into_iter().find(|at| *at < topic.trim && !topic.is_held(*at)) {
            Some(at) => Err(format!("message {at} is kept for nobody")),
            None => Ok(()),
        }
    }
}

/// The chunks of a set of sequences.
pub(super) fn chunks(sequences: impl Iterator<Item = Sequence>) -> BTreeMap<u64, u64> {
    let mut chunks = BTreeMap::new();
    for sequence in sequences {
        *chunks.entry(chunk_of(sequence)).or_insert(0) |= super::seq_map::bit_of(sequence);
    }
    chunks
}
