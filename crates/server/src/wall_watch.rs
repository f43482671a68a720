//! Whether this node's wall clock can be believed.
//!
//! A node that leads asks the others for theirs. One that is further than `TOLERANCE_MS` from the median of all hands over what it leads, to
//! nodes that are not; until it agrees again, its wall clock does not pull machine time. Invariant: nothing but that depends on what is found
//! here; without a majority of answers, or if nobody better can be reached, a node goes on as it is.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use phalanx_state_machine::ids::NodeId;

use crate::shard::CATALOG;
use crate::shutdown::hand_over_to;
use crate::state::NodeState;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A wall clock that is further from the median of all is wrong, ms.
const TOLERANCE_MS: i64 = 2_000;
/// An answer that took longer says too little, ms.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// Looks again and again, until the node stops.
pub async fn drive(state: Arc<NodeState>) {
    let stop = state.stop.clone();
    stop.run_until_cancelled(watch(&state)).await;
}

async fn watch(state: &NodeState) {
    let mut was_wrong = false;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let shards = state.shards();
        if !was_wrong && !shards.iter().any(|shard| shard.is_leader()) {
            continue;
        }
        let offsets = ask(state).await;
        let Some(verdict) = judge(&offsets, state.identity.plan.nodes.len()) else { continue };
        for shard in &shards {
            shard.clock.believe_wall(verdict.is_right());
        }
        if verdict.is_right() {
            if was_wrong {
                tracing::info!("the wall clock of this node agrees with the others again");
            }
            was_wrong = false;
            continue;
        }
        if !was_wrong {
            tracing::warn!(
                ahead_ms = -verdict.median_ms,
                "the wall clock of this node is wrong by the median of all: it leads nothing until it agrees"
            );
        }
        was_wrong = true;
        hand_over_to(state, |node| verdict.right.contains(&node)).await;
    }
}

/// How far the others' wall clocks are ahead of this one's.
async fn ask(state: &NodeState) -> Vec<(NodeId, i64)> {
    let own = state.node();
    let others = state.identity.plan.nodes.iter().map(|planned| planned.node).filter(|node| *node != own);
    let asked = others.map(|node| async move {
        let (before, began) = (state.clock.wall_ms(), state.clock.monotonic());
        let answer = state.peers.ask_time(node, CATALOG).await?;
        let took = state.clock.monotonic().saturating_sub(began);
        let then = before.saturating_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX) / 2);
        (took <= ROUND_TRIP_MAX).then_some((node, answer.wall_ms.wrapping_sub(then).cast_signed()))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What the others' clocks amount to.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// How far the median is ahead of this node; of two in the middle the nearer one.
    median_ms: i64,
    /// The others whose clocks are near the median.
    right: Vec<NodeId>,
}

impl Verdict {
    fn is_right(&self) -> bool {
        self.median_ms.abs() <= TOLERANCE_MS
    }
}

/// `None` without the answers of a majority of `nodes`, this one included.
fn judge(offsets: &[(NodeId, i64)], nodes: usize) -> Option<Verdict> {
    let mut sorted: Vec<i64> = offsets.iter().map(|(_, offset)| *offset).chain([0]).collect();
    if sorted.len() * 2 <= nodes {
        return None;
    }
    sorted.sort_unstable();
    let middle = [sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]];
    let median_ms = middle.into_iter().min_by_key(|offset| offset.saturating_abs())?;
    let is_near = |offset: i64| offset.saturating_sub(median_ms).saturating_abs() <= TOLERANCE_MS;
    let right = offsets.iter().filter(|(_, offset)| is_near(*offset)).map(|(node, _)| *node).collect();
    Some(Verdict { median_ms, right })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(offsets: &[(NodeId, i64)], nodes: usize) -> Option<(bool, Vec<NodeId>)> {
        judge(offsets, nodes).map(|verdict| (verdict.is_right(), verdict.right))
    }

    #[test]
    fn a_clock_is_wrong_if_the_median_is_elsewhere() {
        assert_eq!(verdict(&[(2, 10), (3, -20)], 3), Some((true, vec![2, 3])));
        assert_eq!(verdict(&[(2, 600_000), (3, 600_500)], 3), Some((false, vec![2, 3])));
        assert_eq!(verdict(&[(2, -600_000), (3, -3_000)], 3), Some((false, vec![3])));
        assert_eq!(verdict(&[(2, 2_000), (3, 2_000)], 3), Some((true, vec![2, 3])));
        assert_eq!(verdict(&[(2, 2_001), (3, 2_001)], 3), Some((false, vec![2, 3])));
    }

    #[test]
    fn one_that_is_wrong_does_not_make_others_so() {
        assert_eq!(verdict(&[(2, 600_000), (3, 5)], 3), Some((true, vec![3])));
        assert_eq!(verdict(&[(2, 600_000), (3, -600_000)], 3), Some((true, vec![])));
        assert_eq!(verdict(&[(2, i64::MAX), (3, i64::MIN)], 3), Some((true, vec![])));
    }

    #[test]
    fn two_alone_do_not_know_which_of_them_is_wrong_and_one_knows_nothing() {
        assert_eq!(verdict(&[(2, 600_000)], 3), Some((true, vec![])));
        assert_eq!(verdict(&[], 3), None);
        assert_eq!(verdict(&[(2, 9_000)], 5), None);
        assert_eq!(verdict(&[], 1), Some((true, vec![])));
    }
}
