//! How a replica that has just started learns what time its group has.
//!
//! Its log tells the time of the last entry, not how long ago that was; its wall clock may be wrong. Whoever was there knows. Invariant:
//! machine time jumps only when a majority of the replicas have just started, and nobody who was there before answers: a start of the
//! whole cluster. It then jumps forward to the median of their wall clocks, so that one wrong clock decides nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use phalanx_proto::raft::v1::TimeResponse;
use phalanx_state_machine::ids::{GroupId, NodeId, TimestampMs};

use crate::clock::MachineClock;
use crate::peers::Peers;

/// Pause before the others are asked again, when nobody knew.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// See the module.
pub struct Timekeeper {
    group: GroupId,
    clock: Arc<MachineClock>,
    peers: Arc<Peers>,
    /// The nodes that have the other replicas.
    others: Vec<NodeId>,
}

/// What the answers amount to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Somebody was there.
    Known(TimestampMs),
    /// A majority has just started: the median of its wall clocks.
    WholeStart(TimestampMs),
    /// Too few have answered.
    Open,
}

impl Timekeeper {
    /// For a group with replicas on this node and `others`.
    #[must_use]
    pub fn new(group: GroupId, clock: Arc<MachineClock>, peers: Arc<Peers>, others: Vec<NodeId>) -> Self {
        Self { group, clock, peers, others }
    }

    /// Asks until this replica is in step with somebody who is.
    pub async fn follow(&self) {
        while !self.clock.is_in_step() {
            if let Verdict::Known(time_ms) = self.verdict().await {
                self.clock.adopt(time_ms);
                return;
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    /// Makes the clock ready to lead: at once unless this replica has just started. The caller stops waiting when it leads no more.
    pub async fn ready_to_lead(&self) {
        while !self.clock.is_in_step() {
            match self.verdict().await {
                Verdict::Known(time_ms) => self.clock.adopt(time_ms),
                Verdict::WholeStart(wall_ms) => {
                    tracing::info!(
                        group_id = self.group,
                        wall_ms,
                        "the whole cluster starts: machine time goes on at its wall clocks"
                    );
                    self.clock.adopt(wall_ms);
                }
                Verdict::Open => tokio::time::sleep(ASK_PAUSE).await,
            }
        }
    }

    async fn verdict(&self) -> Verdict {
        let mut asked: FuturesUnordered<_> =
            self.others.iter().map(|node| self.peers.ask_time(*node, self.group)).collect();
        let mut walls = vec![self.clock.wall_ms()];
        while let Some(answer) = asked.next().await {
            match answer {
                Some(TimeResponse { in_step: true, machine_time_ms, .. }) => {
                    return Verdict::Known(machine_time_ms);
                }
                Some(fresh) => walls.push(fresh.wall_ms),
                None => {}
            }
        }
        of_the_fresh(walls, self.others.len() + 1)
    }
}

/// The verdict when nobody is in step: `walls` are the clocks of those who have just started, of `replicas` in all.
fn of_the_fresh(mut walls: Vec<u64>, replicas: usize) -> Verdict {
    if walls.len() * 2 <= replicas {
        return Verdict::Open;
    }
    walls.sort_unstable();
    walls.get((walls.len() - 1) / 2).map_or(Verdict::Open, |median| Verdict::WholeStart(*median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_that_has_just_started_moves_time_and_by_its_median() {
        assert_eq!(of_the_fresh(vec![700], 1), Verdict::WholeStart(700));
        assert_eq!(of_the_fresh(vec![700], 3), Verdict::Open);
        assert_eq!(of_the_fresh(vec![700, 100], 3), Verdict::WholeStart(100));
        assert_eq!(of_the_fresh(vec![900_000, 700, 710], 3), Verdict::WholeStart(710));
        assert_eq!(of_the_fresh(vec![700, 710], 4), Verdict::Open);
    }
}
