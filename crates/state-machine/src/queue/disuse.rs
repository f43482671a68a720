//! Queues that live as long as they are used: `expires` after disuse, and `exclusive` ones that have one consumer.
//!
//! A queue is in use while a consumer has a stream or a message in hand, and for a while after it last had one, was received from or settled. One whose time is over
//! takes and gives nothing any more, for good: the leader asks the catalog to delete it, however long that takes.

use super::Queue;
use super::consumers::Phase;
use crate::ids::{Id128, TimestampMs};
use crate::reply::Rejection;

impl Queue {
    /// Something of a consumer happened.
    pub(crate) fn use_now(&mut self, now_ms: TimestampMs) {
        if self.settings.expires_ms > 0 {
            self.used_ms = self.used_ms.max(now_ms);
            self.dirty = true;
        }
    }

    /// Whether a use that leaves no other trace is to be noted: not each, so that receives which find nothing do not wake each other for ever.
    pub(crate) fn is_stale(&self, now_ms: TimestampMs) -> bool {
        let expires_ms = self.settings.expires_ms;
        expires_ms > 0 && !self.expired && now_ms >= self.used_ms.saturating_add(expires_ms / 4)
    }

    /// When it will have been out of use for too long.
    pub(super) fn disuse_due_ms(&self) -> Option<TimestampMs> {
        let may_end =
            self.settings.expires_ms > 0 && !self.expired && self.leases.len() == 0 && !self.has_attached();
        may_end.then(|| self.used_ms.saturating_add(self.settings.expires_ms))
    }

    /// Its time may be over.
    pub(super) fn expire_by_disuse(&mut self, now_ms: TimestampMs) {
        if self.disuse_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.expired = true;
            self.dirty = true;
        }
    }

    /// Its time is over.
    pub(crate) fn has_expired(&self) -> bool {
        self.expired
    }

    /// Whether a consumer may use it.
    pub(super) fn admits(&self, consumer: Id128, now_ms: TimestampMs) -> Result<(), Rejection> {
        let owns = |other: &super::consumers::Consumer| match other.phase {
            Phase::Attached => true,
            Phase::Detached(until_ms) => until_ms > now_ms,
            Phase::Unary(_) => other.in_hand > 0,
        };
        let taken = self.settings.exclusive
            && self.consumers.by_number.values().any(|other| other.id != consumer && owns(other));
        if taken { Err(Rejection::Exclusive) } else { Ok(()) }
    }

    /// Namespace and name, for people and for the catalog.
    pub(crate) fn full_name(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}
