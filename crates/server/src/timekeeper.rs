//! How a replica that has just started learns what time its group has.
//!
//! Its log tells the time of the last entry, not how long ago that was; its wall clock may be wrong. Whoever was there knows. Invariant:
//! machine time jumps only when a majority of the replicas have just started, and nobody who was there before answers, asked several times:
//! a start of the whole cluster. It then jumps forward to the median of their wall clocks, the lower one of two: a clock that is ahead
//! decides nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use phalanx_proto::raft::v1::TimeResponse;
use phalanx_state_machine::ids::{GroupId, NodeId, TimestampMs};

use crate::clock::MachineClock;
use crate::peers::Peers;

/// Pause before the others are asked again, when nobody knew.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// The same for one that does not lead: it must be in step soon after its leader, which may be lost at once.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// How often those who do not answer are asked before a majority that has just started goes on without them.
const PATIENCE_ROUNDS: u32 = 4;
/// Rounds without a verdict between two log lines that say so.
const ROUNDS_PER_LINE: u32 = 10;

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
    /// All of them, or a majority of them, have just started: the median of their wall clocks.
    WholeStart { wall_ms: TimestampMs, all: bool },
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
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
    }

    /// Makes the clock ready to lead: at once unless this replica has just started. The caller stops waiting when it leads no more.
    pub async fn ready_to_lead(&self) {
        for round in 1_u32.. {
            if self.clock.is_in_step() {
                return;
            }
            match self.verdict().await {
                Verdict::Known(time_ms) => self.clock.adopt(time_ms),
                Verdict::WholeStart { wall_ms, all } if all || round >= PATIENCE_ROUNDS => {
                    tracing::info!(
                        group_id = self.group,
                        wall_ms,
                        "the whole cluster starts: machine time goes on at its wall clocks"
                    );
                    self.clock.adopt(wall_ms);
                }
                Verdict::WholeStart { .. } | Verdict::Open => {
                    if round.is_multiple_of(ROUNDS_PER_LINE) {
                        tracing::warn!(
                            group_id = self.group,
                            "leads, and does not serve yet: too few of its peers say what time the group has"
                        );
                    }
                    tokio::time::sleep(ASK_PAUSE).await;
                }
            }
        }
    }

    async fn verdict(&self) -> Verdict {
        let asked = self.others.iter().map(|node| self.peers.ask_time(*node, self.group));
        let answers = join_all(asked).await.into_iter().flatten();
        judge(answers, self.clock.wall_ms(), self.others.len() + 1)
    }
}

/// The verdict of a replica that is not in step itself, of `replicas` in all.
fn judge(answers: impl Iterator<Item = TimeResponse>, own_wall_ms: u64, replicas: usize) -> Verdict {
    let mut walls = vec![own_wall_ms];
    let mut known = None;
    for answer in answers {
        if answer.in_step {
            known = known.max(Some(answer.machine_time_ms));
        } else {
            walls.push(answer.wall_ms);
        }
    }
    if let Some(time_ms) = known {
        return Verdict::Known(time_ms);
    }
    walls.sort_unstable();
    let median = walls.get((walls.len() - 1) / 2).copied();
    match median.filter(|_| walls.len() * 2 > replicas) {
        Some(wall_ms) => Verdict::WholeStart { wall_ms, all: walls.len() == replicas },
        None => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(wall_ms: u64) -> TimeResponse {
        TimeResponse { in_step: false, machine_time_ms: 1, wall_ms }
    }

    fn verdict(answers: &[TimeResponse], own_wall_ms: u64, replicas: usize) -> Verdict {
        judge(answers.iter().copied(), own_wall_ms, replicas)
    }

    #[test]
    fn whoever_was_there_knows() {
        let there = |machine_time_ms| TimeResponse { in_step: true, machine_time_ms, wall_ms: 99 };
        assert_eq!(verdict(&[there(5)], 700, 3), Verdict::Known(5));
        assert_eq!(verdict(&[fresh(900), there(5)], 700, 3), Verdict::Known(5));
        assert_eq!(verdict(&[there(6), there(5)], 700, 3), Verdict::Known(6));
    }

    #[test]
    fn only_a_majority_that_has_just_started_moves_time_and_by_its_median() {
        let start = |wall_ms, all| Verdict::WholeStart { wall_ms, all };
        assert_eq!(verdict(&[], 700, 1), start(700, true));
        assert_eq!(verdict(&[], 700, 3), Verdict::Open);
        assert_eq!(verdict(&[fresh(100)], 700, 3), start(100, false));
        assert_eq!(verdict(&[fresh(900_000), fresh(710)], 700, 3), start(710, true));
        assert_eq!(verdict(&[fresh(710)], 700, 4), Verdict::Open);
    }
}
