//! Linearizability of a FIFO queue by search, after Wing and Gong with Lowe's memory of what was tried: exact, and slow.
//!
//! It needs no argument about queues, so it is what [`super::fifo`] is tested against. In a run it looks at samples: a queue's history
//! restricted to some of its messages must be that of a queue, too.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::Finding;
use super::fifo::{Call, calls, of_first_deliveries};
use crate::history::Index;

/// Longest history that is searched, operations.
pub const OPS_MAX: usize = 300;
/// Messages of a sample.
const SAMPLE_VALUES: usize = 40;
/// Samples of each queue.
const SAMPLES: usize = 20;
/// A search that has tried so many states gives up.
const STATES_MAX: usize = 20_000;

/// Whether there is an order of the operations that a FIFO queue could have had. `None`: the search gave up.
///
/// # Panics
/// With more than [`OPS_MAX`] operations.
pub fn is_linearizable(history: &[Call]) -> Option<bool> {
    assert!(history.len() <= OPS_MAX, "{} operations are too many to search", history.len());
    let mut seen: HashSet<(Vec<u64>, VecDeque<u64>)> = HashSet::new();
    let done = vec![0_u64; history.len().div_ceil(64)];
    let mut stack = vec![(done, VecDeque::new())];
    while let Some((done, queue)) = stack.pop() {
        let is_done = |place: usize| done[place / 64] >> (place % 64) & 1 == 1;
        // Nothing may come before an operation that ended before it began.
        let open = history.iter().enumerate().filter(|(place, _)| !is_done(*place));
        let first_end = open.clone().map(|(_, call)| call.ended).min();
        let Some(first_end) = first_end.filter(|end| *end != usize::MAX) else { return Some(true) };
        for (place, call) in open.filter(|(_, call)| call.began <= first_end) {
            let mut next = queue.clone();
            let is_possible = match (call.is_enqueue, call.value) {
                (true, Some(value)) => {
                    next.push_back(value);
                    true
                }
                (false, Some(value)) => next.pop_front() == Some(value),
                (false, None) => next.is_empty(),
                (true, None) => false,
            };
            if is_possible {
                let mut done = done.clone();
                done[place / 64] |= 1 << (place % 64);
                if seen.insert((done.clone(), next.clone())) {
                    stack.push((done, next));
                }
            }
        }
        if seen.len() > STATES_MAX {
            return None;
        }
    }
    Some(history.is_empty())
}

pub(super) fn check(index: &Index) -> Finding {
    let mut finding = Finding::new("fifo-by-search");
    for queue in index.queues_of(&["fifo"]) {
        let history = calls(&of_first_deliveries(index, queue));
        let mut by_value: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
        for call in &history {
            if let Some(value) = call.value {
                by_value.entry(value).or_default().push(*call);
            }
        }
        let values: Vec<u64> = by_value.keys().copied().collect();
        let step = (values.len() / SAMPLES).max(SAMPLE_VALUES);
        for sample in values.chunks(step) {
            let sample = &sample[..sample.len().min(SAMPLE_VALUES)];
            let mut part: Vec<Call> = sample.iter().flat_map(|value| by_value[value].clone()).collect();
            part.truncate(OPS_MAX);
            part.sort_unstable_by_key(|call| call.began);
            match is_linearizable(&part) {
                Some(true) => finding.count("samples", 1),
                Some(false) => finding.fault(format!(
                    "{queue}: no order of the operations on messages {:?} to {:?} is that of a FIFO queue",
                    sample.first(),
                    sample.last()
                )),
                None => finding.count("given-up", 1),
            }
        }
    }
    finding
}
