//! Messages that have no number yet, in the order in which they came.

use std::collections::VecDeque;

use phalanx_proto::v1;
use tokio::time::Instant;
use tracing::Span;

use super::confirmation::{Promise, Unheard};
use super::ledger::Ledger;
use crate::error::Error;
use crate::limits;
use crate::message::Sent;
use crate::trace;

/// What one call of `enqueue` brought.
pub(super) struct Item {
    pub(super) load: Load,
    pub(super) bytes: usize,
    /// Until then it may wait for company.
    pub(super) due: Instant,
    pub(super) slot: Slot,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(super) enum Load {
    /// May share a batch with others.
    One(v1::Message),
    /// A batch of its own.
    Many(Vec<v1::Message>),
}

/// The caller's side of an item.
pub(super) struct Slot {
    pub(super) count: usize,
    /// Place in the order of enqueuing, for `flush`.
    pub(super) ordinal: u64,
    pub(super) since: Instant,
    /// From the call to the answer.
    pub(super) span: Span,
    pub(super) deadline: Instant,
    pub(super) promise: Promise,
}

impl Slot {
    /// Gives the error, if an answer is owed.
    pub(super) fn fail(&mut self, error: &Error, ledger: &mut Ledger, unheard: &Unheard) {
        if self.promise.is_owed() {
            ledger.add_outcome(self.count, self.since, Some(error));
            if !self.promise.fail(error.clone()) {
                unheard.note(error);
            }
            trace::failed(&self.span, error);
            self.span = Span::none();
        }
    }

    /// Gives its part of the answer to a batch.
    pub(super) fn keep(&mut self, sent: &mut dyn Iterator<Item = Sent>, ledger: &mut Ledger) {
        if self.promise.is_owed() {
            ledger.add_outcome(self.count, self.since, None);
        }
        if let Some(sequence) = self.promise.keep(sent, self.count) {
            self.span.record("messaging.message.id", sequence);
        }
    }
}

impl Item {
    /// Whether it shares a batch with others, if there are any.
    pub(super) fn may_join(&self) -> bool {
        matches!(self.load, Load::One(_)) && self.bytes <= limits::COALESCE_MESSAGE_BYTES_MAX
    }
}

/// See the module. Its sums say at once whether the first batch is full.
#[derive(Default)]
pub(super) struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    loners: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.loners += usize::from(!item.may_join());
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        self.pop_if(|_| true)
    }

    /// The first one, if it is like that.
    pub(super) fn pop_if(&mut self, like: impl FnOnce(&Item) -> bool) -> Option<Item> {
        let item = self.items.pop_front_if(|item| like(item))?;
        self.bytes -= item.bytes;
        self.loners -= usize::from(!item.may_join());
        Some(item)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Item> {
        (self.bytes, self.loners) = (0, 0);
        std::mem::take(&mut self.items).into_iter()
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is one that goes alone: what waits before it will get no more company.
    pub(super) fn has_loners(&self) -> bool {
        self.loners > 0
    }
}
