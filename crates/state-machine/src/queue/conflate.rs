//! Conflation: a `latest-only` subscription gives up a message that nobody has in hand when a newer one of its key comes.
//!
//! Such a subscription always has a bit for each message that waits, so that one can be taken out. Messages without a key are each their
//! own; a `strict` subscription is one key.
//! Invariant: at most one message of a key waits in the topic, and none that is not leased stands before another one of its lane.

use super::Queue;
use super::feed::Feed;
use super::groups::{NONE, STRICT};
use super::messages::State;
use super::seq_map::{bit_of, chunk_of};
use crate::digest;
use crate::ids::Sequence;

impl Feed {
    /// The message that waits takes the place of an older one; `false` if it is itself the older.
    pub(super) fn supersede(&mut self, topic: &mut Queue, key: u32, sequence: Sequence) -> bool {
        let before = self.newest.get(&key).copied();
        if before.is_some_and(|before| before > sequence) {
            return false;
        }
        self.newest.insert(key, sequence);
        if let Some(before) = before {
            self.drop_match(topic, before);
        }
        true
    }

    /// A message does not wait any more, and was not taken in.
    fn drop_match(&mut self, topic: &mut Queue, sequence: Sequence) {
        let bytes = topic.bytes_of(sequence);
        let Some(matches) = &mut self.matches else { return };
        matches.change(chunk_of(sequence), |bits| bits & !bit_of(sequence));
        self.waiting -= 1;
        self.waiting_bytes -= u64::from(bytes);
        topic.release(sequence);
    }

    /// A message was taken in.
    pub(super) fn forget_newest(&mut self, sequence: Sequence, key: Option<u32>) {
        if let Some(key) = key.filter(|key| self.newest.get(key) == Some(&sequence)) {
            self.newest.remove(&key);
        }
    }
}

impl Queue {
    /// What a message of the topic's group is conflated with, if it is.
    pub(super) fn conflation_key(&self, topic_group: u32) -> Option<u32> {
        match (self.settings.latest_only, self.settings.strict) {
            (false, _) => None,
            (true, true) => Some(STRICT),
            (true, false) => (topic_group != NONE).then_some(topic_group),
        }
    }

    /// A newer message of a key has come: what was taken in of it and is in nobody's hand goes.
    pub(super) fn conflate_with(&mut self, topic: &Self, topic_group: u32, newest: Sequence) {
        if self.conflation_key(topic_group).is_none() {
            return;
        }
        let key = topic.groups.key(topic_group);
        let own =
            if self.settings.strict { Some(STRICT) } else { self.groups.find(&key, digest::bytes(&key)) };
        if let Some(lane) = own {
            self.conflate(lane, newest);
        }
    }

    /// Only the newest of a lane stays, beside what is in somebody's hand.
    pub(super) fn conflate_lane(&mut self, topic: Option<&Self>, lane: Option<u32>, sequence: Sequence) {
        let Some(lane) = lane.filter(|_| self.settings.latest_only) else { return };
        let group = topic.and_then(|topic| topic.messages.get(sequence)).map_or(NONE, |slot| slot.group);
        let waiting = self.conflation_key(group).and_then(|key| self.feed()?.newest.get(&key).copied());
        let newest = self.groups.lane(lane).tail.max(waiting.unwrap_or(0));
        self.conflate(lane, newest);
    }

    /// Drops the messages of a lane before `newest` that are not leased.
    fn conflate(&mut self, lane: u32, newest: Sequence) {
        let mut next = self.groups.lane(lane).offer;
        while next != 0 && next < newest {
            let sequence = next;
            let Some(slot) = self.messages.remove(sequence) else { return };
            next = slot.next;
            if slot.state == State::Delayed {
                self.delayed.remove(&(slot.at, sequence));
            }
            self.lane_unlink(lane, &slot, sequence);
            self.groups.leave(slot.group);
            if let Some(feed) = self.feed_mut() {
                feed.released.push(sequence);
            }
            self.dirty = true;
        }
    }

    /// After a load: finds what waits of each key.
    pub(super) fn load_newest(&mut self, topic: &Self) -> Result<(), String> {
        if !self.settings.latest_only {
            return Ok(());
        }
        let waiting: Vec<(Sequence, u32)> =
            self.waiting_from(topic, 0).map(|(sequence, slot)| (sequence, slot.group)).collect();
        for (sequence, group) in waiting {
            let Some(key) = self.conflation_key(group) else { continue };
            let known = self.feed_mut().and_then(|feed| feed.newest.insert(key, sequence));
            if known.is_some() {
                return Err("two messages of a key wait, of which only one should".into());
            }
        }
        Ok(())
    }

    /// See [`crate::invariants::check`].
    pub(super) fn check_newest(&self, topic: &Self) -> Result<(), String> {
        let Some(feed) = self.feed() else { return Ok(()) };
        let mut newest = std::collections::BTreeMap::new();
        for (sequence, slot) in self.waiting_from(topic, 0) {
            if let Some(key) = self.conflation_key(slot.group) {
                newest.insert(key, sequence);
            }
        }
        if newest == feed.newest {
            Ok(())
        } else {
            Err(format!("what waits of each key is not {:?}", feed.newest))
        }
    }
}
