//! Machine time: within a leader's term it runs with true time, at most 5 % fast, whatever the wall clocks say.

use std::collections::BTreeMap;

use super::Index;
use crate::history::{History, What};

/// An entry that is seen now may have been stamped this long ago: it waited for its quorum, or for this look. Longer than faults last, ms.
const WAITED_MAX_MS: u64 = 25_000;

pub(super) fn check(history: &History, _: &Index) -> Result<(), String> {
    // Of each group's term: when each first look at a later machine time was, and that time. Only the first counts: true time since
    // then bounds every later one.
    let mut first = BTreeMap::new();
    for (at, event) in history.events.iter().enumerate() {
        let What::Replica(replica) = &event.what else { continue };
        if replica.opened == 0 {
            continue; // the catalog's machine notes no terms, and a shard has no time before its first one
        }
        let now_ms = event.at_us / 1_000;
        let (since_ms, began_ms) =
            *first.entry((replica.group, replica.opened)).or_insert((now_ms, replica.now_ms));
        let passed_ms = now_ms - since_ms + WAITED_MAX_MS;
        if replica.now_ms > began_ms + passed_ms * 105 / 100 {
            return Err(format!(
                "event {at}: machine time of the term went from {began_ms} to {} in {} ms: {replica:?}",
                replica.now_ms,
                now_ms - since_ms
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, replica};
    use crate::history::{Replica, What};

    const NAME: &str = "time-within-a-term";

    fn at(now_ms: u64, opened: u64) -> What {
        What::Replica(Replica { now_ms, opened, ..replica(1, now_ms, now_ms) })
    }

    #[test]
    fn machine_time_runs_with_true_time_and_jumps_only_with_a_term() {
        let mut story = Story::new();
        story.add(at(1_000, 1)).pass_ms(40_000).add(at(41_000, 1));
        // What another rule says of a jump with a new term is not looked at here.
        let jumped = story.clone().add(at(600_000, 2)).end();
        assert!(super::super::check(&jumped).iter().all(|violation| violation.invariant != NAME));
        story.add(at(600_000, 1)).check(NAME, false);
    }

    #[test]
    fn an_entry_that_waited_for_its_quorum_is_no_jump() {
        let mut story = Story::new();
        story.add(at(1_000, 1)).add(at(15_000, 1)).check(NAME, true);
    }
}
