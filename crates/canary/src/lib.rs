//! Canaries: bugs planted on purpose, one line of the product each, to show that the simulation would find them.
//!
//! They exist only in builds with `--cfg phalanx_test`, which `phalanx-sim canaries` makes beside the normal ones; there one of them is
//! planted by name when the process starts. In every other build [`Canary::is_planted`] is the constant `false`, and no name is in the
//! binary: a test of `phalanx-cli` looks for them. This crate knows nothing, so that every other may know it.
#![deny(missing_docs)]

#[cfg(phalanx_test)]
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Canary {
    /// The log reports a batch as durable and leaves it to the system to write it at some time.
    AckBeforeFsync,
    /// Deduplication ids are neither in checkpoints and snapshots nor in the digest.
    DedupNotInSnapshot,
    /// Machine time is the leader's wall clock.
    LeaseByWallClock,
    /// A read does not ask a quorum whether this replica still leads.
    StaleReads,
    /// A nack does not end the later leases of its group.
    GroupOrderOnNack,
    /// Recovery cuts a damaged batch off as if it had never been written to its end.
    RottenAsTorn,
    /// The next token is not stored: after a restart it follows from the leases that are live.
    TokenReused,
    /// A consumer that attaches is shown deliveries from remembered effects, whatever became of their leases.
    EffectsTrusted,
    /// A queue's uid follows from its name, and what is dropped is left for the next queue of that uid.
    UidConfusion,
    /// A publish passes over every seventh message for those who take it by pattern or filter.
    FanOutSkips,
    /// What a binding feeds does not remember what it has had of it.
    InboxForgets,
}

impl Canary {
    /// Every canary.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeFsync,
        Self::DedupNotInSnapshot,
        Self::LeaseByWallClock,
        Self::StaleReads,
        Self::GroupOrderOnNack,
        Self::RottenAsTorn,
        Self::TokenReused,
        Self::EffectsTrusted,
        Self::UidConfusion,
        Self::FanOutSkips,
        Self::InboxForgets,
    ];

    /// Its name. Only for tests: no product code may mention it, or it would be in the binary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::DedupNotInSnapshot => "dedup-not-in-snapshot",
            Self::LeaseByWallClock => "lease-by-wall-clock",
            Self::StaleReads => "stale-reads",
            Self::GroupOrderOnNack => "group-order-on-nack",
            Self::RottenAsTorn => "rotten-as-torn",
            Self::TokenReused => "token-reused",
            Self::EffectsTrusted => "effects-trusted",
            Self::UidConfusion => "uid-confusion",
            Self::FanOutSkips => "fan-out-skips",
            Self::InboxForgets => "inbox-forgets",
        }
    }

    /// Whether this bug is in force.
    #[cfg(phalanx_test)]
    #[must_use]
    pub fn is_planted(self) -> bool {
        PLANTED.load(Relaxed) == self as u8
    }

    /// Whether this bug is in force: never, in this build.
    #[cfg(not(phalanx_test))]
    #[inline(always)]
    #[must_use]
    pub const fn is_planted(self) -> bool {
        false
    }

    /// Puts this bug into force, for the whole process.
    #[cfg(phalanx_test)]
    pub fn plant(self) {
        PLANTED.store(self as u8, Relaxed);
    }
}

#[cfg(phalanx_test)]
const NONE: u8 = u8::MAX;
#[cfg(phalanx_test)]
static PLANTED: AtomicU8 = AtomicU8::new(NONE);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_canary_is_listed_under_a_name_of_its_own() {
        let names: BTreeSet<&str> = Canary::ALL.iter().map(|canary| canary.name()).collect();
        assert_eq!(names.len(), Canary::ALL.len());
        for (place, canary) in Canary::ALL.into_iter().enumerate() {
            assert_eq!(canary as usize, place, "the list is in the order of the declarations");
        }
    }

    #[cfg(not(phalanx_test))]
    #[test]
    fn no_canary_is_planted_in_a_normal_build() {
        assert!(Canary::ALL.into_iter().all(|canary| !canary.is_planted()));
    }
}
