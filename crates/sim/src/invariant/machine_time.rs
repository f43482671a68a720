//! Machine time jumps only when a majority of the group's nodes have just started.

use std::collections::BTreeMap;

use super::Index;
use crate::history::History;

/// How long after its start a node may still be without anybody who knows the time: cut off, or waiting for a leader, µs.
const FRESH_US: u64 = 30_000_000;

pub(super) fn check(history: &History, index: &Index) -> Result<(), String> {
    let mut nodes: BTreeMap<u64, BTreeMap<u64, (u64, u64)>> = BTreeMap::new();
    for (_, replica) in &index.replicas {
        nodes.entry(replica.group).or_default().insert(replica.node, (0, 0));
    }
    for (at, replica) in &index.replicas {
        let at_us = history.events[*at].at_us;
        let Some(of_group) = nodes.get_mut(&replica.group) else { continue };
        let (start, since_us) = of_group.entry(replica.node).or_default();
        if *start != replica.start {
            (*start, *since_us) = (replica.start, at_us);
        }
        if !index.jumps.contains(at) {
            continue;
        }
        let fresh =
            of_group.values().filter(|(start, since)| *start > 0 && at_us - since <= FRESH_US).count();
        if fresh * 2 <= of_group.len() {
            return Err(format!(
                "event {at}: time jumped when {fresh} of {} nodes had just started: {replica:?}",
                of_group.len()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, replica};
    use crate::history::{Replica, What};

    const NAME: &str = "machine-time";
    const LATER_MS: u64 = 600_000;

    /// Three nodes that have run for a minute.
    fn running() -> Story {
        let mut story = Story::new();
        for node in 1..=3 {
            story.add(What::Replica(Replica { node, now_ms: 1_000, ..replica(1, 5, 50) }));
        }
        story.pass_ms(60_000);
        story
    }

    fn restarted(node: u64, now_ms: u64) -> What {
        // Within a term time does not jump: another rule.
        let opened = 1 + u64::from(now_ms == LATER_MS);
        What::Replica(Replica { node, start: 2, now_ms, opened, ..replica(1, 6, 60) })
    }

    #[test]
    fn time_jumps_at_a_start_of_the_whole_cluster_and_not_at_that_of_one_node() {
        let mut story = running();
        story.add(restarted(1, 1_000));
        story.clone().add(restarted(1, LATER_MS)).check(NAME, false);
        story.add(restarted(2, 1_000)).add(restarted(1, LATER_MS)).check(NAME, true);
    }

    #[test]
    fn time_that_runs_as_the_clock_does_is_no_jump() {
        running().add(restarted(1, 61_500)).check(NAME, true);
    }
}
