//! What became of a topic, told by its only user.
//!
//! That user does one thing after the other, so one event for each is enough: it was over before the next one began.

use super::End;

/// What conditions look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its routing key is `a`; otherwise `b`.
    pub is_a: bool,
    /// Its header `n`.
    pub n: u64,
}

/// Bindings are told of as subscriptions with numbers from here on.
pub const FIRST_BINDING: u64 = 100;

/// What subscription or binding `number` takes: by its number, so that histories need not say it.
#[must_use]
pub fn takes(number: u64, look: Look) -> bool {
    match number % 4 {
        0 => true,
        1 => look.is_a,
        2 => look.n >= 2,
        _ => !look.is_a && look.n == 1,
    }
}

/// The same, for a server: pattern and filter.
#[must_use]
pub fn conditions(number: u64) -> (&'static str, &'static str) {
    match number % 4 {
        0 => ("", ""),
        1 => ("a", ""),
        2 => ("", "n >= 2"),
        _ => ("b.#", "n in ('1')"),
    }
}

/// Where a message was put, and how many took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the topic.
    pub sequence: u64,
    /// Subscriptions.
    pub matched: u64,
}

/// One event of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fan {
    /// A subscription was asked for, and may be there from now on.
    Asked { subscription: u64 },
    /// It is there.
    Made { subscription: u64 },
    /// It was asked to begin with the first message that is kept, which is the first that was published: from now on it may get every one.
    Rewinding { subscription: u64 },
    /// It did: it is owed every one.
    Rewound { subscription: u64 },
    /// Its deletion was asked for: nothing is promised of it any more.
    Doomed { subscription: u64 },
    /// A message was published.
    Published { message: u64, look: Look, end: End<Published> },
    /// A message was received.
    Delivered { subscription: u64, message: u64, sequence: u64 },
    /// A message was received from the queue that a binding feeds, where it is at that place.
    Carried { binding: u64, message: u64, sequence: u64 },
}
