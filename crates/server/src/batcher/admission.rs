//! Who is let in when much waits: a budget for everything, and a reserve for what makes the queues shorter.
//!
//! Invariant: a command holds its [`Room`] from its admission until it is handed to the log or given up.

use std::sync::Arc;

use phalanx_state_machine::command::{Command, CommandKind, SettleItem};
use phalanx_state_machine::limits::WINDOW_MESSAGES_MAX;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{COMMAND_BYTES_MIN, TOKENS_PER_BYTE, WAITING_BYTES_MAX, WAITING_BYTES_RESERVED};

/// What a command may use, and when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Frees something or is needed to: may use the reserve, and goes before sends.
    Relief,
    /// Small, goes before sends, but asks for more work.
    Small,
    /// Appends messages.
    Bulk,
}

impl Class {
    pub(super) fn of(command: &Command) -> Self {
        match &command.kind {
            Some(CommandKind::Send(_) | CommandKind::Transfer(_)) => Class::Bulk,
            Some(
                CommandKind::Tick(_)
                | CommandKind::TermStart(_)
                | CommandKind::DropQueue(_)
                | CommandKind::Purge(_)
                | CommandKind::Seek(_)
                | CommandKind::Detach(_)
                | CommandKind::SetWindow(_)
                | CommandKind::Settle(_)
                | CommandKind::CheckDigest(_)
                | CommandKind::Transferred(_)
                | CommandKind::OpenInbox(_)
                | CommandKind::CloseInbox(_)
                | CommandKind::DeleteQueue(_)
                | CommandKind::ConfirmQueue(_),
            ) => Class::Relief,
            Some(_) | None => Class::Small,
        }
    }
}

/// Bytes a command counts for: those it has, and for a settle what applying it may take.
pub(super) fn cost(command: &Command) -> usize {
    let reach = match &command.kind {
        Some(CommandKind::Settle(settle)) => settle.items.iter().map(reach).sum(),
        _ => 0,
    };
    command.encoded_len().saturating_add(reach / TOKENS_PER_BYTE).max(COMMAND_BYTES_MIN)
}

/// Most tokens that an item of a settle may concern.
fn reach(item: &SettleItem) -> usize {
    if item.up_to > 0 {
        return WINDOW_MESSAGES_MAX as usize;
    }
    let spans = item.tokens.iter().map(|range| range.last.saturating_sub(range.first).saturating_add(1));
    let all = spans.fold(0_u64, u64::saturating_add).min(u64::from(WINDOW_MESSAGES_MAX));
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// A place among what waits; dropping it frees the place.
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
}

pub(super) struct Admission {
    common: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            common: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            reserve: Arc::new(Semaphore::new(WAITING_BYTES_RESERVED)),
        }
    }

    /// A place at once, or none.
    pub(super) fn try_enter(&self, class: Class, bytes: usize) -> Option<Room> {
        if class == Class::Relief
            && let Some(room) = take(&self.reserve, bytes, WAITING_BYTES_RESERVED)
        {
            return Some(room);
        }
        take(&self.common, bytes, WAITING_BYTES_MAX)
    }

    /// A place, in the order of the asking; waits for it.
    pub(super) async fn enter(&self, class: Class, bytes: usize) -> Room {
        if class == Class::Relief
            && let Some(room) = take(&self.reserve, bytes, WAITING_BYTES_RESERVED)
        {
            return room;
        }
        let permits = bytes.min(WAITING_BYTES_MAX) as u32;
        let permit = Arc::clone(&self.common).acquire_many_owned(permits).await;
        Room { _permit: permit.expect("this semaphore is never closed") }
    }
}

/// A command larger than the whole budget takes all of it: it waits until nothing else does.
fn take(budget: &Arc<Semaphore>, bytes: usize, total: usize) -> Option<Room> {
    let permits = bytes.min(total) as u32;
    let permit = Arc::clone(budget).try_acquire_many_owned(permits).ok()?;
    Some(Room { _permit: permit })
}

#[cfg(test)]
mod tests {
    use phalanx_state_machine::command::{Settle, TokenRange};

    use super::*;

    fn settle(items: Vec<SettleItem>) -> usize {
        cost(&Command::from(CommandKind::Settle(Settle { items, ..Settle::default() })))
    }

    #[test]
    fn settle_counts_for_what_it_may_concern() {
        let one =
            |first, last| SettleItem { tokens: vec![TokenRange { first, last }], ..SettleItem::default() };
        assert_eq!(settle(vec![one(1, 1)]), COMMAND_BYTES_MIN);
        let all = SettleItem { up_to: 9, ..SettleItem::default() };
        assert!(settle(vec![all.clone()]) >= WINDOW_MESSAGES_MAX as usize / TOKENS_PER_BYTE);
        assert!(settle(vec![one(0, u64::MAX)]) >= WINDOW_MESSAGES_MAX as usize / TOKENS_PER_BYTE);
        assert_eq!(settle(vec![one(5, 1)]), COMMAND_BYTES_MIN, "malformed: it concerns nothing");
        assert!(settle(vec![all; 100]) > WINDOW_MESSAGES_MAX as usize);
    }
}
