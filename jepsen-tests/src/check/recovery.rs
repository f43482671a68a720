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

/// Of each fault that struck a leader, alone, and left a majority: whether it was a kill, and how long no send was confirmed, ms.
pub fn gaps(index: &Index) -> Vec<(bool, u64)> {
    let bands = index.bands();
    // Faults at the same time: what follows is neither's.
    let is_alone = |at: u64| bands.iter().filter(|other| other.1 == at).count() == 1;
    let mut gaps = Vec::new();
    for (begin, end, fault) in bands.iter().filter(|band| is_alone(band.1)) {
        for (place, (kinds, _)) in KINDS.iter().enumerate() {
            if is_of(fault, kinds) {
                gaps.extend(gap_ms(index, *begin, *end, fault).map(|gap| (place == 0, gap)));
            }
        }
    }
    gaps
}

/// Of figures in order: the one below which so many percent are.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("recovery");
    let all = gaps(index);
    for (place, (_, names)) in KINDS.into_iter().enumerate() {
        let of_kind = all.iter().filter(|(is_kill, _)| *is_kill == (place == 0));
        let mut gaps: Vec<u64> = of_kind.map(|(_, gap)| *gap).collect();
        gaps.sort_unstable();
        let Some(most) = gaps.last() else { continue };
        let figures = [gaps.len() as u64, percentile(&gaps, 50), percentile(&gaps, 99), *most];
        for (name, figure) in names.into_iter().zip(figures) {
            finding.count(name, figure as usize);
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
    use super::{gaps, percentile};
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
        let with_end = |story: &Story, pause: usize| {
            let mut story = story.clone();
            for _ in 0..pause {
                story.note(F::Damage, Kind::Info, Facts::default());
            }
            story.note(F::Heal, Kind::Info, Facts::default());
            gaps(&Index::new(story.events()).unwrap())
        };
        assert_eq!(with_end(&story, 0), [(false, 7)]);
        assert_eq!(with_end(&story, 9), [], "the longest was ended by the end of the fault");
    }

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let figures: Vec<u64> = (1..=50).collect();
        assert_eq!([50, 90, 99].map(|percent| percentile(&figures, percent)), [26, 46, 50]);
        assert_eq!(percentile(&[], 50), 0);
    }
}
