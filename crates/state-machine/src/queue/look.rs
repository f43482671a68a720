//! Looking at messages and groups where they are: nothing is leased, counted or moved.
//!
//! A look happens while the machine waits, so its work is bounded by [`limits::LOOK_STEPS_MAX`], whatever it finds: an empty page that
//! names where to go on is a good answer.

use std::ops::Bound;

use super::Queue;
use super::assign::reason_of;
use super::groups::{Group, STRICT};
use super::messages::{Slot, State};
use crate::digest;
use crate::ids::Sequence;
use crate::limits;
use crate::machine::{GroupInfo, GroupPage, Holder, LookAt, MessagePage, Seen, Standing};

impl Queue {
    /// A page of messages, in sequence order.
    pub(crate) fn look(&self, at: &LookAt<'_>, topic: Option<&Self>) -> MessagePage {
        let mut page = Pager { queue: self, topic, at, bytes: 0, steps: 0, page: MessagePage::default() };
        self.look_at_own(at, &mut page);
        let Some(topic) = topic.filter(|_| page.page.next.is_none()) else { return page.page };
        for (sequence, slot) in self.waiting_from(topic, at.from) {
            let wanted = at.group.is_none_or(|key| topic.groups.key(slot.group) == key);
            let more = if wanted { page.take(sequence, slot) } else { page.step(sequence) };
            if !more {
                break;
            }
        }
        page.page
    }

    fn look_at_own(&self, at: &LookAt<'_>, page: &mut Pager<'_>) {
        let Some(key) = at.group else {
            for (sequence, slot) in self.messages.slots.iter_from(at.from) {
                if !page.take(sequence, slot) {
                    break;
                }
            }
            return;
        };
        let Some(group) = self.groups.find(key, digest::bytes(key)) else { return };
        let lane = if self.settings.strict { STRICT } else { group };
        let mut next = self.first_in_lane(lane, at.from);
        while let Some(slot) = self.messages.get(next) {
            let wanted = next >= at.from && slot.group == group;
            let more = if wanted { page.take(next, slot) } else { page.step(next) };
            if !more {
                break;
            }
            next = slot.next;
        }
    }

    /// A message of the lane that is not behind the first one wanted: that one itself where it is still there.
    fn first_in_lane(&self, lane: u32, from: Sequence) -> Sequence {
        let there = self.messages.get(from).filter(|slot| self.lane_of(slot.group) == Some(lane));
        if there.is_some() { from } else { self.groups.lane(lane).head }
    }

    /// A page of the groups that have messages (of a subscription: among those it has taken in), in an order that changes do not disturb; `after` is from the page before.
    pub(crate) fn group_page(&self, after: Option<u64>, count_max: usize) -> GroupPage {
        if self.settings.strict {
            return GroupPage { groups: self.strict_group().into_iter().collect(), next: None };
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = GroupPage::default();
        let mut last = None;
        for (hash, first) in self.groups.by_hash.range((from, Bound::Unbounded)) {
            if page.groups.len() >= count_max {
                page.next = last;
                break;
            }
            page.groups.extend(self.groups.of_hash(*first).map(|group| self.group_info(group)));
            last = Some(*hash);
        }
        page
    }

    fn group_info(&self, group: &Group) -> GroupInfo {
        let lane = &group.lane;
        GroupInfo {
            key: group.key.clone(),
            message_count: group.messages,
            leased_count: u64::from(lane.leased),
            oldest_enqueued_ms: self.messages.get(lane.head).map_or(0, |slot| slot.enqueued_ms),
            holder: self.holder(lane.holder),
        }
    }

    /// The whole queue as one group, if it has messages.
    fn strict_group(&self) -> Option<GroupInfo> {
        let message_count = self.messages.len();
        let whole = self.group_info(&self.groups.slots[STRICT as usize]);
        (message_count > 0).then_some(GroupInfo { message_count, ..whole })
    }

    fn standing(&self, slot: &Slot) -> Standing {
        match slot.state {
            State::Ready => Standing::Ready,
            State::Delayed => Standing::Delayed { until_ms: slot.at },
            State::Leased => {
                let lease = self.leases.get(slot.at);
                Standing::Leased {
                    token: slot.at,
                    holder: lease.and_then(|lease| self.holder(lease.consumer)),
                    deadline_ms: lease.map_or(0, |lease| lease.deadline_ms),
                }
            }
        }
    }

    fn holder(&self, number: u64) -> Option<Holder> {
        let consumer = self.consumers.get(number)?;
        Some(Holder { consumer: consumer.id, name: consumer.name.clone() })
    }
}

struct Pager<'a> {
    queue: &'a Queue,
    /// Of a subscription.
    topic: Option<&'a Queue>,
    at: &'a LookAt<'a>,
    bytes: u64,
    steps: usize,
    page: MessagePage,
}

impl Pager<'_> {
    /// Whether the message at hand may be looked at; if not, the next page begins with it.
    fn step(&mut self, sequence: Sequence) -> bool {
        self.steps += 1;
        let goes_on = self.steps <= limits::LOOK_STEPS_MAX;
        if !goes_on {
            self.page.next = Some(sequence);
        }
        goes_on
    }

    /// Puts a message on the page, unless it is full.
    fn take(&mut self, sequence: Sequence, slot: &Slot) -> bool {
        let bytes = u64::from(slot.payload_bytes);
        let full = self.page.messages.len() >= self.at.count_max
            || (!self.page.messages.is_empty() && self.bytes + bytes > self.at.bytes_max);
        if full {
            self.page.next = Some(sequence);
            return false;
        }
        if !self.step(sequence) {
            return false;
        }
        self.bytes += bytes;
        self.page.messages.push(Seen {
            sequence,
            enqueued_ms: slot.enqueued_ms,
            attempts: slot.attempts,
            returned: reason_of(slot.reason),
            standing: self.queue.standing(slot),
            payload: self.queue.payload(sequence, slot, self.topic),
        });
        true
    }
}
