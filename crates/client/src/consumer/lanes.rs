//! Which delivery may be worked on next.
//!
//! Invariants: of one group one delivery is worked on at a time, the one that came first. A delivery that came before an
//! earlier one of its group was returned is not worked on: its lease ended with the return, whether or not the news of
//! that has come. So after a return a group is in *doubt*, until the server has confirmed the lease of a delivery of it:
//! from that one on they are of after the return, since tokens rise.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::delivery::Delivery;

/// Groups in doubt that have nothing waiting are remembered up to this number. Beyond it every group that appears is in
/// doubt: that costs a round trip for its first delivery, and no order.
const DOUBTFUL_MAX: usize = 16_384;

/// Deliveries that may wait before those whose leases have ended are looked for the first time.
const SWEEP_MIN: usize = 1_024;

/// The group that a delivery is worked on in; `None`: alone.
pub(super) type Key = Option<Bytes>;

/// A delivery whose turn it is.
pub(super) struct Turn {
    pub(super) delivery: Arc<Delivery>,
    pub(super) key: Key,
    /// Its lease must be confirmed before it is worked on.
    pub(super) doubtful: bool,
}

#[derive(Default)]
pub(super) struct Lanes {
    /// Without a group.
    loose: VecDeque<Arc<Delivery>>,
    lanes: HashMap<Bytes, Lane>,
    /// First deliveries of lanes that nobody works on, by token.
    heads: BTreeMap<u64, Bytes>,
    /// Of lanes that are not in `lanes`.
    doubtful: HashSet<Bytes>,
    all_doubtful: bool,
    /// Deliveries in `loose` and `lanes`.
    waiting: usize,
    /// So many of them, and those whose leases have ended are dropped: there are never more than twice the live ones.
    sweep_at: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Arc<Delivery>>,
    busy: bool,
    doubtful: bool,
    /// As it is in `heads`.
    head: Option<u64>,
}

impl Lanes {
    /// A delivery has come. `strict`: the queue is one group.
    pub(super) fn push(&mut self, delivery: Delivery, strict: bool) {
        let delivery = Arc::new(delivery);
        self.waiting += 1;
        if self.waiting > self.sweep_at {
            self.sweep();
        }
        let key = match &delivery.message().group {
            _ if strict => Bytes::new(),
            group if group.is_empty() => {
                self.loose.push_back(delivery);
                return;
            }
            group => group.clone(),
        };
        let doubtful = self.all_doubtful || self.doubtful.remove(&key);
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane { doubtful, ..Lane::default() });
        lane.waiting.push_back(delivery);
        self.refresh(key);
    }

    /// The delivery to work on next: of all whose turn it is, the one that came first. Its lane is busy from now on.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let loose = self.loose.front().map(|delivery| delivery.token());
        let head = self.heads.first_key_value().map(|(token, _)| *token);
        if let Some(token) = loose
            && head.is_none_or(|head| token < head)
        {
            let delivery = self.loose.pop_front()?;
            self.waiting -= 1;
            return Some(Turn { delivery, key: None, doubtful: false });
        }
        let (_, key) = self.heads.pop_first()?;
        let lane = self.lanes.get_mut(&key).expect("a head belongs to a lane");
        let delivery = lane.waiting.pop_front().expect("a head waits in its lane");
        (lane.busy, lane.head) = (true, None);
        self.waiting -= 1;
        Some(Turn { delivery, doubtful: lane.doubtful, key: Some(key) })
    }

    /// The server has confirmed the lease of a doubtful delivery.
    pub(super) fn confirmed(&mut self, key: &Key) {
        if let Some(lane) = key.as_ref().and_then(|key| self.lanes.get_mut(key)) {
            lane.doubtful = false;
        }
    }

    /// What was worked on is out of hand. `returned`: it, or something before it, will come again.
    pub(super) fn done(&mut self, key: Key, returned: bool) {
        let Some(key) = key else { return };
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.busy = false;
            lane.doubtful |= returned;
            self.refresh(key);
        }
    }

    /// Something of the group was returned, although it was thought to be settled.
    pub(super) fn doubt(&mut self, key: Key) {
        let Some(key) = key else { return };
        match self.lanes.get_mut(&key) {
            Some(lane) => lane.doubtful = true,
            None => self.remember_doubt(key),
        }
    }

    /// All that is not worked on, in the order in which it came.
    pub(super) fn clear(&mut self) -> Vec<Arc<Delivery>> {
        self.heads.clear();
        self.waiting = 0;
        let lanes = self.lanes.drain().flat_map(|(_, lane)| lane.waiting);
        let mut all: Vec<_> = self.loose.drain(..).chain(lanes).collect();
        all.sort_unstable_by_key(|delivery| delivery.token());
        all
    }

    /// Drops what waits under a lease that the server has ended.
    fn sweep(&mut self) {
        self.loose.retain(|delivery| !delivery.has_ended());
        let mut left = self.loose.len();
        let mut changed = Vec::new();
        for (key, lane) in &mut self.lanes {
            let before = lane.waiting.len();
            lane.waiting.retain(|delivery| !delivery.has_ended());
            left += lane.waiting.len();
            if lane.waiting.len() < before {
                lane.doubtful = true;
                changed.push(key.clone());
            }
        }
        changed.into_iter().for_each(|key| self.refresh(key));
        self.waiting = left + 1; // the one that is just coming
        self.sweep_at = SWEEP_MIN.max(2 * self.waiting);
    }

    fn refresh(&mut self, key: Bytes) {
        let lane = self.lanes.get_mut(&key).expect("the caller has seen it");
        let first = lane.waiting.front().map(|delivery| delivery.token());
        let head = if lane.busy { None } else { first };
        let before = std::mem::replace(&mut lane.head, head);
        let over = !lane.busy && first.is_none();
        if before != head {
            before.and_then(|token| self.heads.remove(&token));
            if let Some(token) = head {
                self.heads.insert(token, key.clone());
            }
        }
        if over && self.lanes.remove(&key).is_some_and(|lane| lane.doubtful) {
            self.remember_doubt(key);
        }
    }

    fn remember_doubt(&mut self, key: Bytes) {
        if self.doubtful.len() >= DOUBTFUL_MAX {
            self.doubtful.clear();
            self.all_doubtful = true;
        }
        if !self.all_doubtful {
            self.doubtful.insert(key);
        }
    }
}
