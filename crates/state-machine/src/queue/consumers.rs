//! The consumers of a queue: who they are, what room they have, and who gets the next message.
//!
//! Consumers with room stand in `open`, least loaded first (ties: longest idle). A consumer that holds messages of a group
//! alone may get the group's next one: the first of those, if it has room for it, stands in `sticky`.
//! Invariant: `open` and `sticky` say what `Consumer` says, except for those in `stale`, until `refresh`.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::Answers;
use crate::digest;
use crate::ids::{Id128, Sequence, TimestampMs, Token};

/// How a consumer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has a stream at the leader.
    Attached,
    /// Its stream broke; its leases end at this time.
    Detached(TimestampMs),
    /// It keeps no stream: leases end at their deadlines, the rest is forgotten at this time at the earliest.
    Unary(TimestampMs),
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) id: Id128,
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) phase: Phase,
    pub(super) window_messages: u32,
    pub(super) window_bytes: u64,
    /// 0 = the queue's.
    pub(super) lease_ms: u64,
    /// The last token it got; 0 = none. Lower = idle for longer.
    pub(super) last_token: Token,
    pub(super) in_hand: u32,
    pub(super) in_hand_bytes: u64,
    /// Ends of the chain of its leases; 0 = none.
    pub(super) head: Token,
    pub(super) tail: Token,
    /// Next messages of the groups that it holds.
    pub(super) own: BTreeSet<Sequence>,
    pub(super) answers: Answers,
    open_key: Option<(u32, Token)>,
    sticky_key: Option<Sequence>,
    /// The first of `own`, while it is not attached: only a receive of its own gets it.
    alone: Option<Sequence>,
    stale: bool,
    /// Part of the digest as last counted.
    hash: u64,
    touched: bool,
    pub(super) dirty: bool,
    pub(super) written: bool,
}

impl Consumer {
    pub(super) fn new(id: Id128, phase: Phase) -> Self {
        Self {
            id,
            name: String::new(),
            incarnation: 0,
            phase,
            window_messages: 0,
            window_bytes: 0,
            lease_ms: 0,
            last_token: 0,
            in_hand: 0,
            in_hand_bytes: 0,
            head: 0,
            tail: 0,
            own: BTreeSet::new(),
            answers: Answers::default(),
            open_key: None,
            sticky_key: None,
            alone: None,
            stale: false,
            hash: 0,
            touched: false,
            dirty: false,
            written: false,
        }
    }

    pub(super) fn attached(&self) -> bool {
        self.phase == Phase::Attached
    }

    /// When something happens to it by time alone.
    pub(super) fn due_ms(&self) -> Option<TimestampMs> {
        match self.phase {
            Phase::Attached => None,
            Phase::Detached(due) | Phase::Unary(due) => Some(due),
        }
    }

    /// Its leases are over, whatever their deadlines say.
    pub(super) fn is_over(&self, now_ms: TimestampMs) -> bool {
        matches!(self.phase, Phase::Detached(due) if due <= now_ms)
    }

    /// Whether its window has room for a message of that size. One message is always allowed.
    pub(super) fn has_room(&self, payload_bytes: u32) -> bool {
        self.attached()
            && self.in_hand < self.window_messages
            && (self.in_hand == 0
                || self.in_hand_bytes.saturating_add(u64::from(payload_bytes)) <= self.window_bytes)
    }

    fn is_open(&self) -> bool {
        self.attached()
            && self.in_hand < self.window_messages
            && (self.in_hand == 0 || self.in_hand_bytes <= self.window_bytes)
    }

    fn item_hash(&self, number: u64) -> u64 {
        let (phase, due) = match self.phase {
            Phase::Attached => (1, 0),
            Phase::Detached(due) => (2, due),
            Phase::Unary(due) => (3, due),
        };
        let window = u64::from(self.window_messages);
        let who = [number, self.id.hi, self.id.lo, digest::bytes(self.name.as_bytes()), self.incarnation];
        let how = [phase, due, window, self.window_bytes, self.lease_ms, self.last_token];
        let head = digest::words(6, &who) ^ digest::words(7, &how);
        head.wrapping_add(self.answers.sum)
    }
}

#[derive(Debug)]
pub(super) struct Consumers {
    pub(super) by_number: BTreeMap<u64, Consumer>,
    pub(super) by_id: BTreeMap<Id128, u64>,
    /// Number of the next consumer; never reused.
    pub(super) next_number: u64,
    /// (in hand, last token, number).
    open: BTreeSet<(u32, Token, u64)>,
    /// (next message of a group it holds, number).
    sticky: BTreeSet<(Sequence, u64)>,
    pub(super) due: BTreeSet<(TimestampMs, u64)>,
    /// Consumers whose `alone` changed in this entry: a receive of theirs may be waiting.
    called: Vec<u64>,
    stale: Vec<u64>,
    touched: Vec<u64>,
    /// Hashes of all consumers and their answers.
    sum: u64,
    /// Removed consumers that have rows: number, segments of answers.
    pub(super) removed: Vec<(u64, std::ops::Range<u64>)>,
    /// Numbers of consumers whose rows changed.
    pub(super) dirty: Vec<u64>,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            by_number: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_number: 1,
            open: BTreeSet::new(),
            sticky: BTreeSet::new(),
            due: BTreeSet::new(),
            called: Vec::new(),
            stale: Vec::new(),
            touched: Vec::new(),
            sum: 0,
            removed: Vec::new(),
            dirty: Vec::new(),
        }
    }
}

impl Consumers {
    pub(super) fn number_of(&self, id: Id128) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Consumer> {
        self.by_number.get(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// A new consumer; the id must not be known.
    pub(super) fn add(&mut self, consumer: Consumer) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.put(number, consumer);
        self.touch(number);
        number
    }

    /// A consumer under a given number (of a checkpoint).
    pub(super) fn put(&mut self, number: u64, mut consumer: Consumer) {
        if let Some(due) = consumer.due_ms() {
            self.due.insert((due, number));
        }
        consumer.hash = consumer.item_hash(number);
        self.sum = self.sum.wrapping_add(consumer.hash);
        self.by_id.insert(consumer.id, number);
        self.by_number.insert(number, consumer);
    }

    /// The consumer, about to be changed: its place, hash and row follow.
    pub(super) fn touch(&mut self, number: u64) -> Option<&mut Consumer> {
        let consumer = self.by_number.get_mut(&number)?;
        if !consumer.stale {
            consumer.stale = true;
            self.stale.push(number);
        }
        if !consumer.touched {
            consumer.touched = true;
            self.touched.push(number);
        }
        if !consumer.dirty {
            consumer.dirty = true;
            self.dirty.push(number);
        }
        Some(consumer)
    }

    pub(super) fn set_phase(&mut self, number: u64, phase: Phase) {
        let Some(consumer) = self.touch(number) else { return };
        let before = consumer.due_ms();
        consumer.phase = phase;
        let after = consumer.due_ms();
        if let Some(due) = before {
            self.due.remove(&(due, number));
        }
        if let Some(due) = after {
            self.due.insert((due, number));
        }
    }

    /// Forgets a consumer that holds nothing, and its answers.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(consumer) = self.by_number.remove(&number) else { return };
        assert!(consumer.in_hand == 0 && consumer.own.is_empty(), "it holds nothing");
        self.by_id.remove(&consumer.id);
        self.sum = self.sum.wrapping_sub(consumer.hash);
        if let Some(due) = consumer.due_ms() {
            self.due.remove(&(due, number));
        }
        self.unregister(number, consumer.open_key, consumer.sticky_key);
        if consumer.written {
            self.removed.push((number, consumer.answers.rows));
        }
    }

    fn unregister(&mut self, number: u64, open: Option<(u32, Token)>, sticky: Option<Sequence>) {
        if let Some((in_hand, last)) = open {
            self.open.remove(&(in_hand, last, number));
        }
        if let Some(sequence) = sticky {
            self.sticky.remove(&(sequence, number));
        }
    }

    /// Brings `open` and `sticky` up to date. `bytes_of` gives the size of a message.
    pub(super) fn refresh(&mut self, bytes_of: impl Fn(Sequence) -> u32) {
        while let Some(number) = self.stale.pop() {
            let Some(consumer) = self.by_number.get_mut(&number) else { continue };
            consumer.stale = false;
            let (old_open, old_sticky) = (consumer.open_key, consumer.sticky_key);
            consumer.open_key = consumer.is_open().then_some((consumer.in_hand, consumer.last_token));
            let first = consumer.own.first().copied();
            consumer.sticky_key = first.filter(|sequence| consumer.has_room(bytes_of(*sequence)));
            let alone = first.filter(|_| !consumer.attached());
            if alone.is_some() && alone != consumer.alone {
                self.called.push(number);
            }
            consumer.alone = alone;
            let (new_open, new_sticky) = (consumer.open_key, consumer.sticky_key);
            if old_open != new_open {
                self.unregister(number, old_open, None);
                self.open.extend(new_open.map(|(in_hand, last)| (in_hand, last, number)));
            }
            if old_sticky != new_sticky {
                self.unregister(number, None, old_sticky);
                self.sticky.extend(new_sticky.map(|sequence| (sequence, number)));
            }
        }
    }

    /// The consumer that gets a message of that size which no one has a claim to.
    pub(super) fn pick(&self, payload_bytes: u32) -> Option<u64> {
        let has_room = |number: &u64| {
            self.by_number.get(number).is_some_and(|consumer| consumer.has_room(payload_bytes))
        };
        self.open.iter().map(|(_, _, number)| *number).find(has_room)
    }

    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The earliest message that only its holder may get, and the holder, which has room.
    pub(super) fn first_sticky(&self) -> Option<(Sequence, u64)> {
        self.sticky.first().copied()
    }

    /// Consumers without a stream for which the next message of a group they hold became ready in this entry.
    pub(super) fn take_called(&mut self) -> Vec<Id128> {
        let mut called = std::mem::take(&mut self.called);
        called.sort_unstable();
        called.dedup();
        let still = |number: u64| {
            self.by_number
                .get(&number)
                .filter(|consumer| consumer.alone.is_some())
                .map(|consumer| consumer.id)
        };
        called.into_iter().filter_map(still).collect()
    }

    /// Counts the changes of this entry into the digest. Returns the sum over all consumers.
    pub(super) fn settle_digest(&mut self) -> u64 {
        while let Some(number) = self.touched.pop() {
            let Some(consumer) = self.by_number.get_mut(&number) else { continue };
            consumer.touched = false;
            self.sum = self.sum.wrapping_sub(consumer.hash);
            consumer.hash = consumer.item_hash(number);
            self.sum = self.sum.wrapping_add(consumer.hash);
        }
        self.sum
    }

    /// Checks that the indexes say what the consumers say.
    pub(super) fn check(&self, bytes_of: impl Fn(Sequence) -> u32) -> Result<(), String> {
        let mut fresh = Self { next_number: self.next_number, ..Self::default() };
        let mut sum = 0_u64;
        for (number, consumer) in &self.by_number {
            let who = format!("consumer {number}");
            if *number >= self.next_number || self.by_id.get(&consumer.id) != Some(number) {
                return Err(format!("{who}: number or id is wrong"));
            }
            if consumer.stale || consumer.touched {
                return Err(format!("{who} was not refreshed"));
            }
            sum = sum.wrapping_add(consumer.item_hash(*number));
            if consumer.answers.sum != consumer.answers.recompute(*number) {
                return Err(format!("{who}: sum of answers is wrong"));
            }
            if consumer.is_open() {
                fresh.open.insert((consumer.in_hand, consumer.last_token, *number));
            }
            let first = consumer.own.first().filter(|first| consumer.has_room(bytes_of(**first)));
            fresh.sticky.extend(first.map(|first| (*first, *number)));
            fresh.due.extend(consumer.due_ms().map(|due| (due, *number)));
        }
        let same = fresh.open == self.open
            && fresh.sticky == self.sticky
            && fresh.due == self.due
            && self.by_id.len() == self.by_number.len();
        if !same {
            return Err("an index of consumers is wrong".into());
        }
        if sum == self.sum { Ok(()) } else { Err("sum of consumers is wrong".into()) }
    }
}
