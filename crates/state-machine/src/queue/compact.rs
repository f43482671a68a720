//! Compaction: of each key the topic keeps the newest message, whoever has settled it and whatever retention says.
//!
//! The newest message of a key is held by the topic itself, until a newer one takes its place. One with an empty body deletes the key: it
//! is held only while an older message of its key is there, so that nobody who reads the log meets the older one without it.
//! Invariant: `latest` names the last live message of every key that has one, but for a deletion that is alone.

use std::collections::BTreeMap;

use super::Queue;
use super::groups::NONE;
use crate::ids::Sequence;

/// The newest messages by interned key.
#[derive(Debug, Default)]
pub(super) struct Compact {
    latest: BTreeMap<u32, Sequence>,
}

impl Queue {
    pub(crate) fn is_compact(&self) -> bool {
        self.topic().is_some_and(|topic| topic.compact.is_some())
    }

    fn latest_of(&self, group: u32) -> Option<Sequence> {
        self.topic()?.compact.as_ref()?.latest.get(&group).copied()
    }

    fn set_latest(&mut self, group: u32, sequence: Option<Sequence>) -> Option<Sequence> {
        let latest = &mut self.topic_mut()?.compact.as_mut()?.latest;
        match sequence {
            Some(sequence) => latest.insert(group, sequence),
            None => latest.remove(&group),
        }
    }

    /// Whether a message is the newest of its key, and held for that.
    pub(super) fn is_latest(&self, sequence: Sequence) -> bool {
        let group = self.messages.get(sequence).map_or(NONE, |slot| slot.group);
        self.latest_of(group) == Some(sequence)
    }

    /// The first message that somebody who comes now can have.
    pub(crate) fn first_readable(&self) -> Sequence {
        let first = self.messages.slots.first().map(|(sequence, _)| sequence).filter(|_| self.is_compact());
        first.map_or(self.kept_from(), |first| first.min(self.kept_from()))
    }

    /// Whether somebody who comes now can have a live message.
    pub(crate) fn is_readable(&self, sequence: Sequence) -> bool {
        sequence >= self.kept_from() || self.is_latest(sequence)
    }

    /// A message was appended: it takes the place of the one before it.
    pub(super) fn note_latest(&mut self, sequence: Sequence) {
        let Some((group, deletes)) = self.messages.get(sequence).map(|slot| (slot.group, slot.deletes))
        else {
            return;
        };
        if group == NONE || !self.is_compact() {
            return;
        }
        let is_alone = self.groups.slots[group as usize].messages == 1;
        let before = self.set_latest(group, (!deletes || !is_alone).then_some(sequence));
        if let Some(topic) = self.topic_mut().filter(|_| !deletes || !is_alone) {
            topic.hold(sequence);
        }
        if let Some(before) = before {
            self.release(before);
        }
    }

    /// A message of a key is gone: a deletion that is alone is needed no longer.
    pub(super) fn forget_deletion(&mut self, group: u32) {
        let Some(latest) = self.latest_of(group) else { return };
        let deletes = self.messages.get(latest).is_some_and(|slot| slot.deletes);
        if deletes && self.groups.slots[group as usize].messages == 1 {
            self.set_latest(group, None);
            self.release(latest);
        }
    }

    fn count_latest(&self) -> BTreeMap<u32, Sequence> {
        let mut latest = BTreeMap::new();
        for (sequence, slot) in self.messages.slots.iter().filter(|(_, slot)| slot.group != NONE) {
            latest.insert(slot.group, sequence);
        }
        latest.retain(|group, sequence| {
            let deletes = self.messages.get(*sequence).is_some_and(|slot| slot.deletes);
            !deletes || self.groups.slots[*group as usize].messages > 1
        });
        latest
    }

    /// After a load: finds the newest messages.
    pub(super) fn load_latest(&mut self) {
        if !self.is_compact() {
            return;
        }
        let latest = self.count_latest();
        let Some(topic) = self.topic_mut() else { return };
        latest.values().for_each(|sequence| topic.hold(*sequence));
        topic.compact = Some(Compact { latest });
    }

    /// See [`crate::invariants::check`]: counts what compaction holds.
    pub(super) fn check_latest(&self, holds: &mut BTreeMap<Sequence, u32>) -> Result<(), String> {
        let Some(compact) = self.topic().and_then(|topic| topic.compact.as_ref()) else { return Ok(()) };
        if compact.latest != self.count_latest() {
            return Err(format!("the newest of each key are not {:?}", compact.latest));
        }
        compact.latest.values().for_each(|sequence| *holds.entry(*sequence).or_default() += 1);
        Ok(())
    }
}
