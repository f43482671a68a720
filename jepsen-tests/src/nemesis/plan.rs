//! The order of faults, from a seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::Fault;

/// Faults that strike together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// One, or two.
    pub faults: Vec<Fault>,
    /// Before it.
    pub calm: Duration,
    /// In force.
    pub hold: Duration,
    /// Seed of what it decides.
    pub seed: u64,
}

/// Strikes without end: the same for the same seed.
pub struct Plan {
    faults: Vec<Fault>,
    /// What is left of the present round: every fault has its turn in each.
    round: Vec<Fault>,
    random: SmallRng,
}

impl Plan {
    /// Of these faults; one that is named twice strikes twice as often.
    pub fn new(faults: &[Fault], seed: u64) -> Self {
        Self { faults: faults.to_vec(), round: Vec::new(), random: SmallRng::seed_from_u64(seed) }
    }

    /// Every fault has had its turn as often as any other.
    pub fn is_round_over(&self) -> bool {
        self.round.is_empty()
    }

    fn take(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.clone_from(&self.faults);
            self.round.shuffle(&mut self.random);
        }
        self.round.pop()
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        let first = self.take()?;
        let mut faults = vec![first];
        if !self.round.is_empty() && self.random.random_range(0..100) < 30 {
            match self.take() {
                Some(second) if second != first && !(first.is_of_processes() && second.is_of_processes()) => {
                    faults.push(second);
                }
                // It has its turn later.
                Some(second) => self.round.push(second),
                None => {}
            }
        }
        let mut millis = |from, to| Duration::from_millis(self.random.random_range(from..to));
        let (calm, hold) = (millis(1_000, 2_500), millis(1_500, 4_500));
        Some(Strike { faults, calm, hold, seed: self.random.random() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_every_fault_has_its_turn() {
        let all: Vec<Fault> = Fault::ALL.iter().map(|row| row.0).collect();
        let of = |seed| Plan::new(&all, seed).take(40).collect::<Vec<_>>();
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
        let struck: std::collections::BTreeSet<Fault> =
            of(5).into_iter().flat_map(|strike| strike.faults).collect();
        assert_eq!(struck.len(), all.len());
        assert_eq!(Plan::new(&[], 1).next(), None);
    }
}
