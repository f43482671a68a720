//! Equal digests: replicas that have applied the same entries are in the same state.

use std::collections::BTreeMap;

use super::Index;
use crate::history::History;

pub(super) fn check(_: &History, index: &Index) -> Result<(), String> {
    let mut first = BTreeMap::new();
    for (at, replica) in &index.replicas {
        let before = *first.entry((replica.group, replica.applied)).or_insert((*at, replica));
        if before.1.digest != replica.digest {
            return Err(format!("event {}: {:?}; event {at}: {replica:?}", before.0, before.1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;

    #[test]
    fn replicas_at_one_entry_have_one_digest() {
        let mut story = Story::new();
        story.replica(1, 5, 50).replica(2, 4, 40).replica(2, 5, 50).check("equal-digests", true);
        story.replica(3, 5, 51).check("equal-digests", false);
    }
}
