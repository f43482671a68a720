//! What a process has applied, its term and its machine time never go back.

use std::collections::BTreeMap;

use super::Index;
use crate::history::History;

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    let mut newest = BTreeMap::new();
    for (at, replica) in &index.replicas {
        let life = (replica.node, replica.start, replica.group, replica.replica);
        let before = newest.insert(life, (*at, replica));
        if let Some((before_at, before)) = before
            && (before.applied > replica.applied
                || before.term > replica.term
                || before.now_ms > replica.now_ms)
        {
            return Err(format!("event {before_at}: {before:?}; event {at}: {replica:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, replica};
    use crate::history::{Replica, What};

    const NAME: &str = "applied-never-back";

    #[test]
    fn a_process_never_goes_back_and_a_new_one_may_begin_earlier() {
        let mut story = Story::new();
        story.replica(1, 5, 50).replica(1, 6, 60);
        let restarted = Replica { start: 2, ..replica(1, 5, 50) };
        story.clone().add(What::Replica(restarted)).check(NAME, true);
        story.replica(1, 5, 50).check(NAME, false);
    }
}
