//! Copies the end of the newest segment into the head of the one that recovery starts.
//!
//! The last batch is always copied (see the module above). A segment of which at most half still counts is copied whole
//! and so freed: restarts in a row do not each use up a segment.

use super::replay::Tail;
use crate::wal::batch::{self, BatchHeader, Item};
use crate::wal::committer::Committer;
use crate::wal::index::{GroupLog, Place, Slot};
use crate::wal::ledger::Ledger;
use crate::wal::record::{HEADER_BYTES, Header, Kind};
use crate::wal::types::Position;
use std::collections::BTreeMap;

/// An entry that is copied.
pub(super) struct Move {
    group: u64,
    position: Position,
    offset: u32,
}

/// Takes what is to be copied out of the ledger, and cuts the segment before it, or drops it if nothing else is in it.
/// Answers the entries in the order they were written.
pub(super) fn leave_tail(
    ledger: &mut Ledger,
    groups: &BTreeMap<u64, GroupLog>,
    tail: Option<&Tail>,
    segment_bytes: u64,
) -> Vec<Move> {
    let Some(tail) = tail else {
        return Vec::new();
    };
    let sound = groups.values().all(|log| log.quarantined.is_none());
    let whole = tail.last_batch == 0 || (sound && live_bytes(groups, tail.slot) <= segment_bytes / 2);
    let from = if whole { 0 } else { tail.last_batch };
    let mut moved = Vec::new();
    for (group, log) in groups {
        let mut first = None;
        for (index, slot, offset) in
            suffix(log, tail.slot).take_while(|(_, _, offset)| u64::from(*offset) >= from)
        {
            moved.push(Move { group: *group, position: (slot.term, index), offset });
            first = Some(index);
        }
        if let Some(first) = first {
            let kept = first.checked_sub(1).and_then(|index| Some((log.term_of(index)?, index)));
            ledger.truncate(*group, kept);
        }
    }
    moved.sort_unstable_by_key(|one| one.offset);
    if whole {
        ledger.segments.pop_back();
        return moved;
    }
    let newest = ledger.current();
    newest.end = tail.last_batch;
    newest.last_number = tail.last_number - 1;
    moved
}

/// The group's last entries as far as they are in this slot, newest first.
fn suffix(log: &GroupLog, number: u32) -> impl Iterator<Item = (u64, &Slot, u32)> {
    log.iter().rev().map_while(move |(index, slot)| match slot.place {
        Place::Stored { slot: at, offset } if at == number => Some((index, slot, offset)),
        Place::Stored { .. } | Place::Waiting(_) | Place::Rotten => None,
    })
}

fn live_bytes(groups: &BTreeMap<u64, GroupLog>, number: u32) -> u64 {
    let live = groups.values().flat_map(|log| suffix(log, number));
    live.map(|(_, slot, _)| HEADER_BYTES as u64 + u64::from(slot.body_bytes)).sum()
}

/// Builds the head, with the copies behind the groups' states.
pub(super) fn write_head(
    committer: &mut Committer,
    slot: u32,
    moved: &[Move],
    tail: Option<&Tail>,
    groups: &mut BTreeMap<u64, GroupLog>,
) {
    let incarnation = committer.begin_head();
    if let Some(tail) = tail {
        let bodies = bodies(tail, moved);
        for one in moved {
            let body = bodies.get(&one.offset).copied().expect("the replay has just read this record");
            let header = Header::at(Kind::Entry, one.group, one.position);
            let offset = committer.push_moved(&header, body) as u32;
            let log = groups.get_mut(&one.group).expect("moves come from these groups");
            log.moved(one.position.1, Place::Stored { slot, offset });
        }
    }
    committer.finish_head(slot, incarnation);
}

/// The bodies of the records to copy, by offset.
fn bodies<'a>(tail: &'a Tail, moved: &[Move]) -> BTreeMap<u32, &'a [u8]> {
    let mut bodies = BTreeMap::new();
    let mut at = 0;
    if moved.is_empty() {
        return bodies;
    }
    while at < tail.end {
        let Some(header) = BatchHeader::decode(&tail.contents[at as usize..], at) else {
            break;
        };
        for item in batch::records(&tail.contents, at, &header) {
            if let Item::Sound { offset, header, body } = item
                && header.kind == Kind::Entry
            {
                bodies.insert(offset as u32, body);
            }
        }
        at += header.extent();
    }
    bodies
}

/// The head is durable: the copies count.
pub(super) fn enter(ledger: &mut Ledger, moved: &[Move]) {
    for one in moved {
        let entered = ledger.entry(one.group, one.position);
        debug_assert_eq!(entered, Ok(true), "moves follow what was kept");
    }
}
