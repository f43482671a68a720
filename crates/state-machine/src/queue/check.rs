//! Every structural invariant of a queue, checked from scratch. For tests.

use std::collections::{BTreeMap, BTreeSet};

use super::Queue;
use super::groups::{NONE, Place};
use super::messages::{Slot, State};
use super::seq_map::bit_of;
use crate::ids::{Sequence, Token};

/// Fails with the text unless the condition holds.
fn ensure(condition: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(text()) }
}

/// What the indexes of ready messages must say, by the messages and lanes.
#[derive(Default)]
struct Expected {
    returned: BTreeSet<Sequence>,
    heads: BTreeSet<Sequence>,
    own: BTreeMap<u64, BTreeSet<Sequence>>,
    delayed: BTreeSet<(u64, Sequence)>,
    leased: u64,
    fresh: u64,
}

impl Queue {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.messages.slots.check()?;
        self.leases.by_token.check()?;
        let mut expected = Expected::default();
        self.check_messages(&mut expected)?;
        self.check_lanes(&mut expected)?;
        self.check_leases()?;
        self.check_hands(&expected)?;
        ensure(expected.returned == self.returned, || "returned messages are wrong".into())?;
        ensure(expected.heads == self.heads, || "heads of lanes are wrong".into())?;
        ensure(expected.delayed == self.delayed, || "delayed messages are wrong".into())?;
        ensure(expected.leased == self.leases.len(), || {
            "leased messages and leases differ in number".into()
        })?;
        ensure(expected.fresh == self.messages.fresh_count, || "count of fresh messages is wrong".into())?;
        let bytes_of = |sequence| self.messages.get(sequence).map_or(0, |slot| slot.payload_bytes);
        self.consumers.check(bytes_of)?;
        self.producers.check()?;
        self.dedup.check()?;
        self.sends.check()?;
        self.receives.check()
    }

    fn check_messages(&self, expected: &mut Expected) -> Result<(), String> {
        let (mut sum, mut bytes, mut resident, mut unwritten) = (0_u64, 0, 0, 0);
        let mut by_group: BTreeMap<u32, u64> = BTreeMap::new();
        for (number, chunk) in self.messages.slots.chunks_from(0) {
            for at in super::seq_map::bits(chunk.live()) {
                let sequence = number * super::seq_map::CHUNK + at;
                let slot = chunk.at(at).ok_or("a live position without a slot")?;
                ensure(sequence >= self.floor && sequence < self.next_sequence, || {
                    format!("message {sequence} is outside floor and end")
                })?;
                sum = sum.wrapping_add(slot.hash());
                bytes += u64::from(slot.payload_bytes);
                resident += if slot.spilled { 0 } else { u64::from(slot.payload_bytes) };
                let is_written = chunk.meta.written & (1 << at) != 0 || slot.spilled;
                unwritten += if is_written { 0 } else { u64::from(slot.payload_bytes) };
                *by_group.entry(slot.group).or_default() += 1;
                let fresh = chunk.meta.fresh & bit_of(sequence) != 0;
                self.check_message(sequence, slot, fresh, expected)?;
            }
            ensure(chunk.meta.fresh & !chunk.live() == 0, || {
                format!("chunk {number}: a fresh message is gone")
            })?;
            ensure(chunk.meta.durable & !chunk.meta.written == 0, || {
                format!("chunk {number}: durable and not written")
            })?;
            ensure(chunk.meta.states & !chunk.meta.pages == 0, || {
                format!("chunk {number}: state without page")
            })?;
        }
        let counts = [bytes, resident, unwritten];
        let counted = [self.messages.bytes, self.messages.resident, self.messages.unwritten];
        ensure(counts == counted, || format!("bytes are {counts:?}, counted {counted:?}"))?;
        ensure(sum == self.messages.sum, || "sum of messages is wrong".into())?;
        by_group.remove(&NONE);
        for (index, count) in &by_group {
            let group = self.groups.slots.get(*index as usize).ok_or("a message of an unknown group")?;
            ensure(
                group.messages == *count && self.groups.find(&group.key, group.key_hash) == Some(*index),
                || format!("group {index} is wrong"),
            )?;
        }
        ensure(by_group.len() as u64 == self.groups.count, || "a group without messages".into())
    }

    fn check_message(
        &self,
        sequence: Sequence,
        slot: &Slot,
        fresh: bool,
        expected: &mut Expected,
    ) -> Result<(), String> {
        let loose = self.lane_of(slot.group).is_none();
        if self.topic().is_some() {
            return ensure(!fresh && slot.state == State::Ready, || {
                format!("message {sequence} of a topic is offered")
            });
        }
        let ready = slot.state == State::Ready;
        ensure(!fresh || (loose && ready), || format!("message {sequence} is fresh and may not be"))?;
        expected.fresh += u64::from(fresh);
        match slot.state {
            State::Ready if loose && !fresh => {
                expected.returned.insert(sequence);
            }
            State::Ready => {}
            State::Delayed => {
                expected.delayed.insert((slot.at, sequence));
            }
            State::Leased => {
                expected.leased += 1;
                let lease = self.leases.get(slot.at);
                ensure(lease.is_some_and(|lease| lease.sequence == sequence), || {
                    format!("message {sequence} is leased under a token that is not its own")
                })?;
            }
        }
        Ok(())
    }

    fn check_lanes(&self, expected: &mut Expected) -> Result<(), String> {
        let mut chains: BTreeMap<u32, Vec<(Sequence, &Slot)>> = BTreeMap::new();
        for (sequence, slot) in self.messages.slots.iter() {
            if let Some(lane) = self.lane_of(slot.group) {
                chains.entry(lane).or_default().push((sequence, slot));
            }
        }
        for (index, chain) in &chains {
            self.check_lane(*index, chain, expected)?;
        }
        for (index, group) in (0_u32..).zip(&self.groups.slots) {
            let empty = group.lane.head == 0 && group.lane.leased == 0 && group.lane.place == Place::Nowhere;
            ensure(chains.contains_key(&index) || empty, || {
                format!("lane {index} without messages is not empty")
            })?;
        }
        Ok(())
    }

    fn check_lane(
        &self,
        index: u32,
        chain: &[(Sequence, &Slot)],
        expected: &mut Expected,
    ) -> Result<(), String> {
        let lane = self.groups.lane(index);
        let sequences: Vec<Sequence> = chain.iter().map(|(sequence, _)| *sequence).collect();
        let mut linked = Vec::new();
        let (mut at, mut before) = (lane.head, 0);
        while let Some(slot) = self.messages.get(at) {
            ensure(slot.prev == before && linked.len() <= chain.len(), || {
                format!("lane {index} is knotted")
            })?;
            linked.push(at);
            (before, at) = (at, slot.next);
        }
        ensure(linked == sequences && lane.tail == before, || format!("lane {index} misses a message"))?;
        let leased: Vec<&Slot> =
            chain.iter().map(|(_, slot)| *slot).take_while(|slot| slot.state == State::Leased).collect();
        let in_lane = chain.iter().filter(|(_, slot)| slot.state == State::Leased).count();
        ensure(leased.len() == in_lane, || format!("lane {index}: a lease behind a message without one"))?;
        ensure(leased.len() == lane.leased as usize, || format!("lane {index}: count of leases is wrong"))?;
        let held = |slot: &&Slot| self.leases.get(slot.at).is_some_and(|lease| lease.consumer == lane.holder);
        ensure(leased.iter().all(held), || format!("lane {index} has two holders"))?;
        let offer = chain.get(leased.len());
        ensure(lane.offer == offer.map_or(0, |(sequence, _)| *sequence), || {
            format!("lane {index}: next message is wrong")
        })?;
        let place = match offer {
            Some((sequence, slot)) if slot.state == State::Ready && leased.is_empty() => {
                expected.heads.insert(*sequence);
                Place::Heads(*sequence)
            }
            Some((sequence, slot)) if slot.state == State::Ready => {
                expected.own.entry(lane.holder).or_default().insert(*sequence);
                Place::Own(lane.holder, *sequence)
            }
            _ => Place::Nowhere,
        };
        ensure(place == lane.place, || format!("lane {index} is registered in the wrong place"))
    }

    fn check_leases(&self) -> Result<(), String> {
        let mut deadlines = BTreeSet::new();
        let mut sum = 0_u64;
        for (token, lease) in self.leases.by_token.iter() {
            ensure(token < self.next_token, || format!("token {token} was never given"))?;
            let slot = self.messages.get(lease.sequence);
            let own = slot.is_some_and(|slot| {
                slot.state == State::Leased && slot.at == token && slot.payload_bytes == lease.payload_bytes
            });
            ensure(own, || format!("lease {token} without its message"))?;
            deadlines.insert((lease.deadline_ms, token));
            sum = sum.wrapping_add(lease.hash(token));
        }
        ensure(sum == self.leases.sum, || "sum of leases is wrong".into())?;
        ensure(deadlines == self.leases.deadlines, || "deadlines are wrong".into())
    }

    fn check_hands(&self, expected: &Expected) -> Result<(), String> {
        let mut hands: BTreeMap<u64, Vec<Token>> = BTreeMap::new();
        for (token, lease) in self.leases.by_token.iter() {
            hands.entry(lease.consumer).or_default().push(token);
        }
        for number in hands.keys() {
            ensure(self.consumers.get(*number).is_some(), || format!("leases of unknown consumer {number}"))?;
        }
        for (number, consumer) in &self.consumers.by_number {
            let hand = hands.remove(number).unwrap_or_default();
            let walked: Vec<Token> =
                self.hand(*number).map(|(token, _)| token).take(hand.len() + 1).collect();
            ensure(walked == hand, || format!("chain of consumer {number} is wrong"))?;
            ensure(consumer.tail == hand.last().copied().unwrap_or(0), || {
                format!("chain of consumer {number} ends wrong")
            })?;
            let bytes: u64 = self.hand(*number).map(|(_, lease)| u64::from(lease.payload_bytes)).sum();
            ensure(consumer.in_hand as usize == hand.len() && consumer.in_hand_bytes == bytes, || {
                format!("hand of consumer {number} is counted wrong")
            })?;
            let own = expected.own.get(number).cloned().unwrap_or_default();
            ensure(own == consumer.own, || format!("own messages of consumer {number} are wrong"))?;
        }
        Ok(())
    }

    /// Nothing that could be given to someone with room was left lying.
    pub(crate) fn check_assigned(&self) -> Result<(), String> {
        if self.leases.len() >= crate::limits::LEASES_PER_QUEUE_MAX {
            return Ok(());
        }
        let fresh = self.messages.slots.chunks_from(0).find(|(_, chunk)| chunk.meta.fresh != 0).map(
            |(number, chunk)| number * super::seq_map::CHUNK + u64::from(chunk.meta.fresh.trailing_zeros()),
        );
        let general = [fresh, self.returned.first().copied(), self.heads.first().copied()];
        if let Some(first) = general.into_iter().flatten().min() {
            let bytes = self.messages.get(first).map_or(0, |slot| slot.payload_bytes);
            ensure(self.consumers.pick(bytes).is_none(), || {
                format!("message {first} lies while a consumer has room")
            })?;
        }
        ensure(self.consumers.first_sticky().is_none(), || {
            "a group's next message lies while its holder has room".into()
        })
    }
}
