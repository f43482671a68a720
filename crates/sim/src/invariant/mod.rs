//! What must hold of every history, a file for each rule.
//!
//! The rules are exact: a history that a correct cluster can produce passes, whatever was lost, repeated or unknown. They know histories
//! and nothing of what produced them. Each has a history that it must reject in its tests.

mod applied;
mod dedup;
mod digests;
mod fan_out;
mod fifo;
mod groups;
mod index;
mod leaders;
mod lives;
mod lost;
mod machine_time;
mod one_token;
mod reads;
mod remembered;
mod stops;
#[cfg(test)]
mod story;
mod time;

pub use index::Index;

use crate::history::History;

/// A rule that was broken, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// Name of the rule.
    pub invariant: String,
    /// What happened, in the terms of the history.
    pub evidence: String,
}

type Rule = fn(&History, &Index) -> Result<(), String>;

/// Every rule with its name.
pub const ALL: &[(&str, Rule)] = &[
    ("nothing-lost", lost::check),
    ("one-live-token", one_token::check),
    ("fifo", fifo::check),
    ("groups-in-order", groups::check),
    ("dedup", dedup::check),
    ("remembered-answers", remembered::check),
    ("reads-are-linearizable", reads::check),
    ("lives-apart", lives::check),
    ("fan-out-complete", fan_out::check),
    ("equal-digests", digests::check),
    ("one-leader-per-term", leaders::check),
    ("applied-never-back", applied::check),
    ("machine-time", machine_time::check),
    ("time-within-a-term", time::check),
    ("no-unplanned-stop", stops::check),
];

/// The first violation of each rule.
pub fn check(history: &History) -> Vec<Violation> {
    let index = Index::new(history);
    let broken = ALL.iter().filter_map(|(name, rule)| {
        let evidence = rule(history, &index).err()?;
        Some(Violation { invariant: (*name).to_owned(), evidence })
    });
    broken.collect()
}
