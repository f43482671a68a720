//! What a run came to, and what to make of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::history::{End, Fan, History, What};
use crate::invariant::Violation;
use crate::net::Transport;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What connected the hosts.
    pub transport: Transport,
    /// Nodes of the cluster.
    pub nodes: u64,
    /// Hash of the trace.
    pub trace: String,
    /// Events in it.
    pub trace_events: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Faults begun, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What befell messages, by kind, as far as the network tells.
    pub network: BTreeMap<String, u64>,
    /// Leaders that came to serve: one for each group and term.
    pub leaders: u64,
    /// Processes that ended at the boundary that was asked for.
    pub fail_point_hits: u64,
    /// Deliveries of what bindings carried.
    pub carried: u64,
    /// Sends confirmed.
    pub sends_confirmed: u64,
    /// Of these: while a fault was in force.
    pub sends_confirmed_in_fault: u64,
    /// Deliveries seen.
    pub deliveries: u64,
    /// Settles answered.
    pub settles_answered: u64,
    /// Operations whose outcome is unknown.
    pub unknown_operations: u64,
    /// From healing to rest, simulated ms.
    pub drained_after_ms: u64,
    /// Rules that were broken.
    pub violations: Vec<Violation>,
}

/// What to make of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every rule held, and was put to the test.
    Sound,
    /// Every rule held, but nothing was acknowledged while a fault was in force: it shows nothing (J24).
    Unknown,
    /// A rule was broken.
    Broken,
}

impl Report {
    /// See [`Verdict`].
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Broken
        } else if self.sends_confirmed_in_fault == 0 || self.faults.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Sound
        }
    }

    /// Counts what clients did.
    pub fn count(&mut self, history: &History) {
        let mut known = |end: &End<()>, counter: fn(&mut Self) -> &mut u64| match end {
            End::Known(()) => *counter(self) += 1,
            End::Unknown(_) => self.unknown_operations += 1,
            End::Refused(_) => {}
        };
        let mut leaders = BTreeSet::new();
        for event in &history.events {
            match &event.what {
                What::Replica(replica) if replica.leads => {
                    leaders.insert((replica.group, replica.term));
                }
                What::Fan(Fan::Carried { .. }) => known(&End::Known(()), |report| &mut report.carried),
                What::Fan(Fan::Published { end, .. }) => {
                    known(&blank(end), |report| &mut report.sends_confirmed);
                }
                What::SendEnd { end, .. } => known(&blank(end), |report| &mut report.sends_confirmed),
                What::SettleEnd { end, .. } => known(&blank(end), |report| &mut report.settles_answered),
                What::Deliver(_) => known(&End::Known(()), |report| &mut report.deliveries),
                _ => {}
            }
        }
        self.leaders = leaders.len() as u64;
    }
}

fn blank<T>(end: &End<T>) -> End<()> {
    match end {
        End::Known(_) => End::Known(()),
        End::Refused(why) => End::Refused(why.clone()),
        End::Unknown(why) => End::Unknown(why.clone()),
    }
}
