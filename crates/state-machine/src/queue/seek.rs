//! A subscription moves in its topic's log: creation at a place, `Seek`, marks, and the replay of what conditions must be asked about.
//!
//! One that takes every message has its cursor moved. For one with conditions the messages of the past must be looked at first, and
//! the machine may not have them in memory: until a leader has said which match (`Replay`), the subscription waits at `Replaying::at`,
//! and its topic keeps everything from there on.

use super::feed::{Feed, Replaying};
use super::purge::Trash;
use super::seq_map::{CHUNK, bits, chunk_of, first_of};
use super::{Queue, Turn};
use crate::command::{Mark, Place, PlaceKind, Replay, Seek};
use crate::ids::{Sequence, TimestampMs};
use crate::limits::{MARKS_MAX, NAME_BYTES_MAX, REPLAY_MESSAGES_MAX};
use crate::reply::{Rejection, Reply};

fn invalid(text: String) -> Reply {
    Reply::Rejected(Rejection::Invalid(text))
}

impl Queue {
    /// The first message that a place means; of a place that is gone, what is kept.
    fn place(&self, topic: &Self, place: &Place) -> Result<Sequence, String> {
        let (kept, end) = (topic.first_readable(), topic.next_sequence);
        match &place.kind {
            None => Err("a place of an unknown kind".into()),
            Some(PlaceKind::Earliest(_)) => Ok(kept),
            Some(PlaceKind::Latest(_)) => Ok(end),
            Some(PlaceKind::Sequence(sequence)) => Ok((*sequence).clamp(1, end)),
            Some(PlaceKind::Time(time_ms)) => Ok(topic.first_since(*time_ms)),
            Some(PlaceKind::Mark(name)) => {
                let known = self.feed().and_then(|feed| feed.marks.get(name));
                known.copied().ok_or_else(|| format!("the subscription has no mark {name:?}"))
            }
        }
    }

    /// The first message of a topic that was published at that time or later.
    fn first_since(&self, time_ms: TimestampMs) -> Sequence {
        let kept = self.first_readable();
        let is_before = |(_, chunk): &(u64, &super::seq_map::Chunk<_, _>)| {
            let last = chunk.live().checked_ilog2();
            last.and_then(|at| chunk.at(at.into()))
                .is_none_or(|slot: &super::messages::Slot| slot.enqueued_ms < time_ms)
        };
        let first = self.messages.slots.chunks_from(chunk_of(kept)).find(|chunk| !is_before(chunk));
        let from = first.map_or(self.next_sequence, |(number, _)| first_of(number).max(kept));
        let found = self.messages.slots.iter_from(from).find(|(_, slot)| slot.enqueued_ms >= time_ms);
        found.map_or(self.next_sequence, |(sequence, _)| sequence)
    }

    /// Gives up all that the subscription has, and waits for what is at a place and behind.
    pub(crate) fn seek(&mut self, turn: &mut Turn<'_>, seek: &Seek) -> (Reply, Option<Trash>) {
        let Some(topic) = turn.topic.as_deref() else {
            return (invalid("only a subscription can be moved".into()), None);
        };
        let kept = topic.first_readable();
        let sequence = match self.place(topic, &seek.place) {
            Ok(sequence) if sequence >= kept => sequence,
            Ok(sequence) => {
                let text = format!(
                    "messages from sequence {sequence} on are not all kept any more: the first that is kept is {kept}"
                );
                return (invalid(text), None);
            }
            Err(why) => return (invalid(why), None),
        };
        let (_, trash) = self.purge(turn);
        if let Some(topic) = turn.topic.as_deref_mut() {
            self.start_at(topic, sequence);
        }
        self.assign(turn);
        (Reply::Placed { sequence }, Some(trash))
    }

    /// A new subscription begins at a place, or with the first message behind it that is kept.
    pub(crate) fn start_at_place(&mut self, topic: &mut Self, place: &Place) {
        if let Ok(sequence) = self.place(topic, place) {
            self.start_at(topic, sequence.max(topic.first_readable()));
        }
    }

    /// Nothing waits for it: from here on all does.
    fn start_at(&mut self, topic: &mut Self, sequence: Sequence) {
        let (uid, end) = (self.uid, topic.next_sequence);
        let before = std::mem::replace(&mut self.next_sequence, sequence);
        let (count, bytes) = (end - sequence, topic.bytes_from(sequence));
        self.dirty = true;
        let Some(feed) = self.feed_mut() else { return };
        if feed.matches.is_none() {
            (feed.waiting, feed.waiting_bytes) = (count, bytes);
            if let Some(topic) = topic.topic_mut() {
                topic.move_cursor(uid, before, sequence);
            }
        } else if sequence < end {
            feed.replaying = Some(Replaying { at: sequence, end });
            if let Some(topic) = topic.topic_mut() {
                topic.pin(uid, sequence);
            }
        }
    }

    /// What a leader found among messages of the past.
    pub(crate) fn replay(&mut self, turn: &mut Turn<'_>, replay: &Replay) -> Reply {
        let (uid, version) = (self.uid, self.version);
        let (Some(topic), Some(feed)) = (turn.topic.as_deref_mut(), self.feed_mut()) else {
            return invalid("only a subscription replays".into());
        };
        let asked = feed.replaying.filter(|asked| {
            let fits = replay.from == asked.at && replay.from < replay.end && replay.end <= asked.end;
            fits && replay.version == version && replay.end - replay.from <= REPLAY_MESSAGES_MAX
        });
        let Some(Replaying { at, end }) = asked else {
            return invalid("the subscription does not wait for that".into());
        };
        // Each chunk once: no more than messages were looked at.
        let chunks = chunk_of(replay.end - 1) - chunk_of(at) + 1;
        for found in replay.matches.iter().take(usize::try_from(chunks).unwrap_or(usize::MAX)) {
            let in_range = found
                .chunk
                .checked_mul(CHUNK)
                .into_iter()
                .flat_map(|first| bits(found.bits).map(move |position| first.saturating_add(position)));
            for sequence in in_range.filter(|sequence| (at..replay.end).contains(sequence)) {
                self.match_past(topic, sequence);
            }
        }
        let Some(feed) = self.feed_mut() else { return invalid("only a subscription replays".into()) };
        feed.replaying = (replay.end < end).then_some(Replaying { at: replay.end, end });
        let goes_on = feed.replaying.is_some();
        if let Some(topic) = topic.topic_mut() {
            topic.unpin(uid, at);
            if goes_on {
                topic.pin(uid, replay.end);
            }
        }
        self.dirty = true;
        self.assign(turn);
        Reply::Done
    }

    /// Where it stands: at the first message that it has not settled, or may have to take.
    fn position(&self, topic: &Self) -> Sequence {
        let own = self.messages.slots.first().map(|(sequence, _)| sequence);
        let unseen = self.feed().and_then(|feed| feed.replaying).map(|replaying| replaying.at);
        let waiting = self.waiting_from(topic, 0).next().map(|(sequence, _)| sequence);
        [own, unseen, waiting].into_iter().flatten().min().unwrap_or(topic.next_sequence)
    }

    /// Names the place where it stands, or forgets one.
    pub(crate) fn mark(&mut self, turn: &Turn<'_>, mark: &Mark) -> Reply {
        let Some(topic) = turn.topic.as_deref() else {
            return invalid("only a subscription has marks".into());
        };
        if mark.name.is_empty() || mark.name.len() > NAME_BYTES_MAX {
            return invalid(format!("a mark has a name of 1 to {NAME_BYTES_MAX} bytes"));
        }
        let position = self.position(topic);
        self.dirty = true;
        let Some(feed) = self.feed_mut() else { return Reply::Rejected(Rejection::QueueGone) };
        if mark.remove {
            return match feed.marks.remove(&mark.name) {
                Some(sequence) => Reply::Placed { sequence },
                None => invalid(format!("the subscription has no mark {:?}", mark.name)),
            };
        }
        if feed.marks.len() >= MARKS_MAX && !feed.marks.contains_key(&mark.name) {
            return invalid(format!("a subscription has at most {MARKS_MAX} marks: remove one first"));
        }
        feed.marks.insert(mark.name.clone(), position);
        Reply::Placed { sequence: position }
    }

    pub(super) fn marks(&self) -> Vec<(String, Sequence)> {
        let marks = self.feed().into_iter().flat_map(|feed| &feed.marks);
        marks.map(|(name, sequence)| (name.clone(), *sequence)).collect()
    }

    /// What a leader is to look at for it, if anything.
    pub(crate) fn replaying(&self) -> Option<(&Feed, Replaying)> {
        let feed = self.feed()?;
        Some((feed, feed.replaying?))
    }
}
