//! The boundaries of every persist in several steps, by name, so that a test can end the process exactly there.
//!
//! They cost one virtual call that does nothing. Invariant: an implementation of [`crate::disk::Disk::reached`] that answers with an error
//! must behave as a disk without power from then on: a real process would not live to see the error.

use std::fmt;

/// What is being persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Persist {
    /// A batch of the log with entries in it.
    Append,
    /// A batch of the log with a vote in it.
    Vote,
    /// A batch of the log with a truncation in it.
    Truncate,
    /// A batch of the log with a purge in it.
    Purge,
    /// A batch of the log with the number of a checkpoint in it.
    Note,
    /// The head that takes the next segment into use and lets go of dead ones.
    Recycle,
    /// A segment file being made.
    Make,
    /// A committed entry on its way into the machine.
    Apply,
    /// A checkpoint: its rows and its manifest, one batch.
    Checkpoint,
    /// Rows of a received checkpoint, in a generation of its own.
    Install,
    /// The manifest that takes that generation into use.
    Flip,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing of it is written.
    Before,
    /// It is written, and not durable.
    Written,
    /// It is durable, and nobody has been told.
    Durable,
}

/// A boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailPoint {
    /// What is being persisted.
    pub persist: Persist,
    /// How far it has come.
    pub step: Step,
}

impl FailPoint {
    /// The boundary of `persist` after `step`.
    #[must_use]
    pub const fn new(persist: Persist, step: Step) -> Self {
        Self { persist, step }
    }

    /// Every boundary there is.
    #[must_use]
    pub fn all() -> Vec<Self> {
        use Persist::{Append, Apply, Checkpoint, Flip, Install, Make, Note, Purge, Recycle, Truncate, Vote};
        let mut all = Vec::new();
        for persist in [Append, Vote, Truncate, Purge, Note, Recycle, Make, Apply, Checkpoint, Install, Flip]
        {
            let steps: &[Step] = match persist {
                Append | Vote | Truncate | Purge | Note | Recycle | Checkpoint | Flip => {
                    &[Step::Before, Step::Written, Step::Durable]
                }
                // A file counts from when the inventory names it; rows of a generation that is not in use are never waited for; what is
                // applied is durable in the log.
                Make => &[Step::Written, Step::Durable],
                Apply => &[Step::Before, Step::Durable],
                Install => &[Step::Before, Step::Written],
            };
            all.extend(steps.iter().map(|step| Self::new(persist, *step)));
        }
        all
    }
}

impl fmt::Display for FailPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}-{:?}", self.persist, self.step);
        f.write_str(&text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_boundary_has_a_name_of_its_own() {
        let all = FailPoint::all();
        let names: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.contains("append-before"), "{names:?}");
    }
}
