//! How long a queue was without its leader: from a fault that struck the leader to the end of the first send that began after it and was confirmed.
//!
//! Figures only: what they may be depends on the machine. The times of a send's own way are in them.

use super::Finding;
use crate::history::{Event, F, Index};

/// Kinds of faults, and what their figures are called: trials, median, 99th percentile, longest.
const KINDS: [(&[&str], [&str; 4]); 2] = [
    (&["kill"], ["kills", "kill-p50-ms", "kill-p99-ms", "kill-max-ms"]),
    (&["pause", "partition"], ["silences", "silence-p50-ms", "silence-p99-ms", "silence-max-ms"]),
];

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("recovery");
    let bands = index.bands();
    // Faults at the same time: what follows is neither's.
    let alone = bands.iter().filter(|band| bands.iter().filter(|other| other.1 == band.1).count() == 1);
    let alone: Vec<_> = alone.collect();
    for (kinds, names) in KINDS {
        let mut gaps: Vec<u64> = alone
            .iter()
            .filter(|(_, _, fault)| is_of(fault, kinds))
            .filter_map(|(begin, end, fault)| gap_ms(index, *begin, *end, fault))
            .collect();
        gaps.sort_unstable();
        let Some(most) = gaps.last() else { continue };
        let at = |percent: usize| gaps[(gaps.len() * percent / 100).min(gaps.len() - 1)] as usize;
        for (name, figure) in names.into_iter().zip([gaps.len(), at(50), at(99), *most as usize]) {
            finding.count(name, figure);
        }
    }
    finding
}

/// It struck the leader of one queue, and left a majority.
fn is_of(fault: &Event, kinds: &[&str]) -> bool {
    let note = fault.facts.note.as_deref().unwrap_or("");
    let kind = note.split_whitespace().next().unwrap_or("");
    // A leader that only one other node hears goes on, rightly.
    let goes_on = ["ring", "bridge", "one-way"].iter().any(|name| note.contains(name));
    kinds.contains(&kind) && fault.facts.leader == Some(1) && fault.facts.majority == Some(1) && !goes_on
}

fn gap_ms(index: &Index, begin: u64, end: u64, fault: &Event) -> Option<u64> {
    let queue = fault.facts.queue.as_deref()?;
    let sends = index.of(queue, F::Enqueue).filter(|op| op.is_ok() && op.began_ns >= begin);
    let first = sends.map(|op| op.ended_ns).min()?;
    // After the end of the fault it was not the election that ended the gap.
    (first <= end).then_some((first - begin) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::story::{QUEUE, Story, on};
    use super::check;
    use crate::history::{F, Facts, Index, Kind};

    #[test]
    fn the_gap_ends_with_the_first_send_that_began_after_the_fault() {
        let mut story = Story::of_class("plain");
        story.sent(1, 1);
        let note = Some("partition isolated-leader [1] leader".to_owned());
        let facts = Facts { note, leader: Some(1), majority: Some(1), ..on(QUEUE) };
        story.note(F::Fault, Kind::Info, facts).sent(2, 2).note(F::Heal, Kind::Info, Facts::default());
        let index = Index::new(story.events()).unwrap();
        let counts = check(&index).counts;
        assert_eq!(
            counts,
            [("silences", 1), ("silence-p50-ms", 2), ("silence-p99-ms", 2), ("silence-max-ms", 2)]
        );
    }
}
