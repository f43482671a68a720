//! Shortens a failing history: leaves out steps and commands as long as something still breaks.

use super::run::{Checkpoint, Step};

/// Most replays of one shortening.
const REPLAYS_MAX: usize = 4_000;

/// The shortest history found that still fails, and how it fails.
pub fn shortest(
    steps: &[Step],
    why: &str,
    replay: impl Fn(&[Step]) -> Result<(), String>,
) -> (Vec<Step>, String) {
    let mut best = steps.to_vec();
    let mut reason = why.to_owned();
    let mut budget = REPLAYS_MAX;
    let mut attempt = |candidate: Vec<Step>, best: &mut Vec<Step>, reason: &mut String| -> bool {
        if budget == 0 {
            return false;
        }
        budget -= 1;
        match replay(&candidate) {
            Ok(()) => false,
            Err(why) => {
                *best = candidate;
                *reason = why;
                true
            }
        }
    };
    loop {
        let mut smaller = false;
        let mut size = best.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < best.len() {
                let mut candidate = best.clone();
                candidate.drain(start..(start + size).min(best.len()));
                if attempt(candidate, &mut best, &mut reason) {
                    smaller = true;
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        for place in 0..best.len() {
            for simpler in simpler(&best[place]) {
                let mut candidate = best.clone();
                candidate[place] = simpler;
                if attempt(candidate, &mut best, &mut reason) {
                    smaller = true;
                    break;
                }
            }
        }
        if !smaller {
            return (best, reason);
        }
    }
}

/// The step with one thing less.
fn simpler(step: &Step) -> Vec<Step> {
    let mut all = Vec::new();
    for place in 0..step.commands.len() {
        let mut less = step.clone();
        less.commands.remove(place);
        all.push(less);
    }
    if !matches!(step.checkpoint, Checkpoint::None) {
        all.push(Step { checkpoint: Checkpoint::None, ..step.clone() });
    }
    if step.spill.is_some() {
        all.push(Step { spill: None, ..step.clone() });
    }
    if step.check_digest.is_some() {
        all.push(Step { check_digest: None, ..step.clone() });
    }
    if step.advance_ms > 0 {
        all.push(Step { advance_ms: 0, ..step.clone() });
        all.push(Step { advance_ms: step.advance_ms / 2, ..step.clone() });
    }
    all
}
