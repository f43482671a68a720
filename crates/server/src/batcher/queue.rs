//! What waits in front of a log, and how entries are cut from it.
//!
//! Two lanes, each first in, first out: small commands, and sends. One submitter's stream uses one lane only (a consumer attaches,
//! settles and detaches; a producer sends), so its commands keep their order although small ones overtake sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use phalanx_state_machine::command::Command;
use phalanx_state_machine::reply::Reply;
use tokio::sync::oneshot;

use super::WriteError;
use super::admission::{Class, Room};
use super::limits::{
    ENTRY_BYTES_TARGET, ENTRY_BYTES_WORTHWHILE, ENTRY_COMMANDS_MAX, ENTRY_SMALL_BYTES_SHARE,
    IN_FLIGHT_BYTES_MAX, IN_FLIGHT_ENTRIES_MAX, IN_FLIGHT_SMALL_ENTRIES_MAX,
};

const WAITING: u8 = 0;
const PROPOSED: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whether a command was handed to the log, decided once between its submitter's deadline and the cut of its entry.
#[derive(Default)]
pub(super) struct Fate(AtomicU8);

impl Fate {
    /// The command goes into an entry; `false`: its submitter has given it up.
    fn propose(&self) -> bool {
        self.0.compare_exchange(WAITING, PROPOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The submitter gives it up; `false`: too late, it was handed to the log.
    pub(super) fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

pub(super) type Answer = Result<Reply, WriteError>;

/// A command that waits.
pub(super) struct Item {
    pub(super) command: Command,
    pub(super) class: Class,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) fate: Arc<Fate>,
    pub(super) _room: Room,
}

/// What one entry is made of.
pub(super) struct Cut {
    pub(super) commands: Vec<Command>,
    pub(super) answers: Vec<oneshot::Sender<Answer>>,
    pub(super) bytes: usize,
}

/// What was handed to the log and is not applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InFlight {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

#[derive(Default)]
pub(super) struct Lanes {
    small: VecDeque<Item>,
    bulk: VecDeque<Item>,
    bytes: usize,
}

impl Lanes {
    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.bytes;
        match item.class {
            Class::Relief | Class::Small => self.small.push_back(item),
            Class::Bulk => self.bulk.push_back(item),
        }
    }

    /// Bytes of all that waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.bulk.is_empty()
    }

    /// Everything, for an answer without the log.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Item> + use<> {
        self.bytes = 0;
        let (small, bulk) = (std::mem::take(&mut self.small), std::mem::take(&mut self.bulk));
        small.into_iter().chain(bulk)
    }

    /// The next entry, if the log has room for one and it is worth its cost.
    pub(super) fn cut(&mut self, flight: InFlight) -> Option<Cut> {
        while !self.is_empty() && self.may_cut(flight) {
            let left = IN_FLIGHT_BYTES_MAX.saturating_sub(flight.bytes);
            let room = if flight.entries == 0 { usize::MAX } else { left };
            let cut = self.fill(room);
            if !cut.commands.is_empty() {
                return Some(cut);
            }
            if self.head_bytes().is_none_or(|head| head > room) {
                return None;
            }
        }
        None
    }

    fn may_cut(&self, flight: InFlight) -> bool {
        flight.entries < IN_FLIGHT_SMALL_ENTRIES_MAX
            || (flight.entries < IN_FLIGHT_ENTRIES_MAX
                && flight.bytes < IN_FLIGHT_BYTES_MAX
                && self.bytes >= ENTRY_BYTES_WORTHWHILE)
    }

    fn head_bytes(&self) -> Option<usize> {
        self.small.front().or(self.bulk.front()).map(|item| item.bytes)
    }

    /// Fills one entry, of at most `room` bytes. Empty when the next command does not fit, or all were given up.
    fn fill(&mut self, room: usize) -> Cut {
        let mut cut = Cut { commands: Vec::new(), answers: Vec::new(), bytes: 0 };
        let small_share = if self.bulk.is_empty() { ENTRY_BYTES_TARGET } else { ENTRY_SMALL_BYTES_SHARE };
        let taken = fill_from(&mut self.small, &mut cut, small_share, room)
            + fill_from(&mut self.bulk, &mut cut, ENTRY_BYTES_TARGET, room);
        self.bytes -= taken;
        cut
    }
}

/// Moves commands from the front of `lane` until `cut` holds `target` bytes; the bytes that left the lane.
fn fill_from(lane: &mut VecDeque<Item>, cut: &mut Cut, target: usize, room: usize) -> usize {
    let target = target.min(room);
    let mut taken = 0;
    while let Some(front) = lane.front() {
        // A command larger than the target goes alone rather than never.
        let fits = cut.bytes + front.bytes <= target || (cut.commands.is_empty() && front.bytes <= room);
        if !fits || cut.commands.len() >= ENTRY_COMMANDS_MAX {
            break;
        }
        let item = lane.pop_front().expect("the front was just looked at");
        taken += item.bytes;
        if item.fate.propose() {
            cut.bytes += item.bytes;
            cut.commands.push(item.command);
            cut.answers.push(item.answer);
        }
    }
    taken
}
