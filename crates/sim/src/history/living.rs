//! What became of a name whose queue is deleted and created again, told by its only user.
//!
//! That user does one thing after the other, so one event for each is enough: it was over before the next one began.

use super::{Action, End, Settled};

/// Where a message of such a queue was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence, or that of the one that its deduplication id names.
    pub sequence: u64,
    /// It was not appended: an earlier one with its deduplication id is there.
    pub duplicate: bool,
    /// The answer is the remembered one of an earlier attempt.
    pub repeated: bool,
}

/// One event of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Living {
    /// The queue of that name has this uid.
    Created { uid: u64 },
    /// There was none of that name at some time since the event before: a deletion was answered, or refused because there was none.
    Deleted,
    /// A creation or deletion was asked for once, and may be carried out at any time from now on.
    Unclear,
    /// A message was sent once, as a batch of its producer.
    Sent { producer: u64, message: u64, dedup: Option<u64>, end: End<Stored> },
    /// A message was received.
    Delivered { token: u64, sequence: u64, message: u64 },
    /// A token was settled.
    Settled { token: u64, action: Action, end: End<Settled> },
}
