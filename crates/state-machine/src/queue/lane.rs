//! Lanes: the chains of messages that must be handed out and settled in order.
//!
//! See `groups` for the invariant. Every change of a lane ends in `lane_refresh`, which registers its next message where
//! it may be found: among `heads`, with its holder, or nowhere.

use super::Queue;
use super::groups::{NONE, Place, STRICT};
use super::messages::{Slot, State};
use crate::ids::Sequence;

impl Queue {
    /// The lane of messages of a group; `None` if they belong to none.
    pub(super) fn lane_of(&self, group: u32) -> Option<u32> {
        if self.topic().is_some() {
            return None;
        }
        if self.settings.strict {
            return Some(STRICT);
        }
        (group != NONE).then_some(group)
    }

    /// Puts a new message at the end of its lane.
    pub(super) fn lane_append(&mut self, lane: u32, sequence: Sequence) {
        let chain = self.groups.lane_mut(lane);
        let before = chain.tail;
        chain.tail = sequence;
        if before == 0 {
            chain.head = sequence;
        }
        let is_next = chain.offer == 0;
        if is_next {
            chain.offer = sequence;
        }
        if before != 0 {
            self.messages.links(before).next = sequence;
            self.messages.links(sequence).prev = before;
        }
        if is_next {
            self.lane_refresh(lane);
        }
    }

    /// Takes a message that was removed out of its lane. It must not be leased any more (`lane_unlease`).
    pub(super) fn lane_unlink(&mut self, lane: u32, slot: &Slot, sequence: Sequence) {
        if slot.prev != 0 {
            self.messages.links(slot.prev).next = slot.next;
        }
        if slot.next != 0 {
            self.messages.links(slot.next).prev = slot.prev;
        }
        let chain = self.groups.lane_mut(lane);
        if chain.head == sequence {
            chain.head = slot.next;
        }
        if chain.tail == sequence {
            chain.tail = slot.prev;
        }
        if chain.offer == sequence {
            chain.offer = slot.next;
        }
        self.lane_refresh(lane);
    }

    /// The lane's next message was leased.
    pub(super) fn lane_lease(&mut self, lane: u32, next: Sequence, holder: u64) {
        let chain = self.groups.lane_mut(lane);
        chain.leased += 1;
        chain.holder = holder;
        chain.offer = next;
        self.lane_refresh(lane);
    }

    /// One lease less. The caller then moves `offer` back or removes the message, and refreshes.
    pub(super) fn lane_unlease(&mut self, lane: u32) {
        let chain = self.groups.lane_mut(lane);
        chain.leased -= 1;
        if chain.leased == 0 {
            chain.holder = 0;
        }
    }

    /// Registers the lane's next message where it belongs now.
    pub(super) fn lane_refresh(&mut self, lane: u32) {
        let chain = self.groups.lane(lane);
        let ready = self.messages.get(chain.offer).is_some_and(|slot| slot.state == State::Ready);
        let wanted = match (ready, chain.leased) {
            (false, _) => Place::Nowhere,
            (true, 0) => Place::Heads(chain.offer),
            (true, _) => Place::Own(chain.holder, chain.offer),
        };
        let before = std::mem::replace(&mut self.groups.lane_mut(lane).place, wanted);
        if before == wanted {
            return;
        }
        match before {
            Place::Nowhere => {}
            Place::Heads(sequence) => {
                self.heads.remove(&sequence);
            }
            Place::Own(holder, sequence) => {
                if let Some(consumer) = self.consumers.touch(holder) {
                    consumer.own.remove(&sequence);
                }
            }
        }
        match wanted {
            Place::Nowhere => {}
            Place::Heads(sequence) => {
                self.heads.insert(sequence);
            }
            Place::Own(holder, sequence) => {
                if let Some(consumer) = self.consumers.touch(holder) {
                    consumer.own.insert(sequence);
                }
            }
        }
    }
}
