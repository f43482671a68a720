//! How long a queue was without its leader: the longest time without a confirmed send, from a fault that struck the leader until the fault was over.
//!
//! Figures only: what they may be depends on the machine. The pauses between two sends, and a send's own way, are in them.

use super::Finding;
use crate::history::{Event, F, Index};

/// Kinds of faults, and what their figures are called: trials, median, 99th percentile, longest.
const KINDS: [(&[&str], [&str; 4]); 2] = [
    (&["kill"], ["kills", "kill-p50-ms", "kill-p99-ms", "kill-max-ms"]),
    (&["pause", "partition"], ["silences", "silence-p50-ms", "silence-p99-ms", "silence-max-ms"]),
];

/// A time without a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of the kinds of faults that are counted together: `kill`, `pause`.
    pub kind: &'static str,
    /// When the fault struck, ns since the beginning.
    pub began_ns: u64,
    /// The longest time from then on without a confirmed send.
    pub took_ms: u64,
}

/// All that a history shows.
pub fn gaps(index: &Index) -> Vec<Gap> {
    let bands = index.bands();
    // Faults at the same time: what follows is neither's.
    let alone = bands.iter().filter(|band| bands.iter().filter(|other| other.1 == band.1).count() == 1);
    let known = alone.filter_map(|(begin, end, fault)| {
        let (kinds, _) = KINDS.iter().find(|(kinds, _)| is_of(fault, kinds))?;
        let took_ms = gap_ms(index, *begin, *end, fault)?;
        Some(Gap { kind: kinds[0], began_ns: *begin, took_ms })
    });
    known.collect()
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("recovery");
    let gaps = gaps(index);
    for (kinds, names) in KINDS {
        let of_kind = gaps.iter().filter(|gap| gap.kind == kinds[0]);
        let mut took: Vec<u64> = of_kind.map(|gap| gap.took_ms).collect();
        took.sort_unstable();
        let Some(most) = took.last() else { continue };
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)] as usize;
        for (name, figure) in names.into_iter().zip([took.len(), at(50), at(99), *most as usize]) {
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
    let sends = index.of(queue, F::Enqueue).filter(|op| op.is_ok());
    let mut ends: Vec<u64> =
        sends.map(|op| op.ended_ns).filter(|ended| (begin..=end).contains(ended)).collect();
    ends.sort_unstable();
    let mut longest = 0;
    let mut last = begin;
    for ended in ends {
        longest = longest.max(ended - last);
        last = ended;
    }
    // A silence that the end of the fault ended was not ended by an election.
    (longest > end.saturating_sub(last)).then_some(longest / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::super::story::{QUEUE, Story, on};
    use super::check;
    use crate::history::{F, Facts, Index, Kind};

    #[test]
    fn the_gap_is_the_longest_silence_that_a_send_ended() {
        let mut story = Story::of_class("plain");
        story.sent(1, 1);
        let note = Some("partition isolated-leader [1] leader".to_owned());
        let facts = Facts { note, leader: Some(1), majority: Some(1), ..on(QUEUE) };
        // One is still confirmed at once; then nothing for 5 ms and the 2 that the next takes.
        story.note(F::Fault, Kind::Info, facts).sent(2, 2);
        for _ in 0..5 {
            story.note(F::Damage, Kind::Info, Facts::default());
        }
        story.sent(3, 3);
        let with_end = |pause: usize| {
            let mut story = story.clone();
            for _ in 0..pause {
                story.note(F::Damage, Kind::Info, Facts::default());
            }
            story.note(F::Heal, Kind::Info, Facts::default());
            check(&Index::new(story.events()).unwrap()).counts
        };
        assert_eq!(
            with_end(0),
            [("silences", 1), ("silence-p50-ms", 7), ("silence-p99-ms", 7), ("silence-max-ms", 7)]
        );
        assert_eq!(with_end(9), [], "the longest was ended by the end of the fault");
    }
}
