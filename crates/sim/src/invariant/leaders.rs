//! One leader per term.

use std::collections::BTreeMap;

use super::Index;
use crate::history::History;

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    let mut leaders = BTreeMap::new();
    for (at, replica) in index.replicas.iter().filter(|(_, replica)| replica.leads) {
        let before = *leaders.entry((replica.group, replica.term)).or_insert((*at, replica));
        if before.1.replica != replica.replica {
            return Err(format!("event {}: {:?}; event {at}: {replica:?}", before.0, before.1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::{Story, replica};
    use crate::history::{Replica, What};

    #[test]
    fn a_term_has_one_leader() {
        let leader = |node, term| Replica { term, leads: true, ..replica(node, 1, 1) };
        let mut story = Story::new();
        story.add(What::Replica(leader(1, 1))).add(What::Replica(leader(2, 2)));
        story.check("one-leader-per-term", true);
        story.add(What::Replica(leader(3, 2))).check("one-leader-per-term", false);
    }
}
