//! Rot where it would cost most: at the end of a log that an election is about to rely on.
//!
//! A minority hears nothing while the others go on. Then the minority is back, one of the others restarts with a damaged batch near the end
//! of its log, and the rest are down. What was acknowledged meanwhile is in no log of this majority that is whole: a node that cut
//! its log at the damage would lead it, and lose it.

use super::{Fault, Faults, Nemesis, Planned};
use crate::random::Random;

/// Seeds of a hundred that have this plan.
const PERCENT: u64 = 12;

/// The plan, for the seeds that have it.
pub fn edge(seed: u64) -> Option<Vec<Planned>> {
    let mut random = Random::new(seed, 8);
    if !random.chance(PERCENT) {
        return None;
    }
    let behind = Planned {
        at_ms: random.within(600..2_000),
        fault: Fault::Behind,
        lasts_ms: random.within(2_500..4_000),
    };
    let rot = Planned {
        at_ms: behind.at_ms + behind.lasts_ms,
        fault: Fault::Rot,
        lasts_ms: random.within(2_000..4_000),
    };
    Some(vec![behind, rot])
}

impl Nemesis {
    pub(super) fn leave_behind(&mut self, world: &mut dyn Faults) -> String {
        let mut nodes: Vec<u64> = (1..=world.nodes()).collect();
        self.random.shuffle(&mut nodes);
        let others = nodes.split_off(nodes.len() / 2);
        for a in &nodes {
            for b in &others {
                world.cut(*a, *b);
                world.cut(*b, *a);
            }
        }
        self.behind = nodes;
        format!("{:?} | {others:?}", self.behind)
    }

    pub(super) fn rot(&mut self, at: usize, world: &mut dyn Faults) -> String {
        let others: Vec<u64> = (1..=world.nodes()).filter(|node| !self.behind.contains(node)).collect();
        others.iter().for_each(|node| world.kill(*node));
        let rotten = *self.random.pick(&others);
        let damaged = *self.damaged.get_or_insert(rotten);
        let detail = world.rot(damaged, &mut self.random);
        world.start(damaged);
        let rest = others.into_iter().filter(|node| *node != damaged).collect();
        format!("{detail}; down: {}", self.keep_down(at, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_have_it_and_those_of_the_regress_file_do_not() {
        let count = (0..1_000).filter(|seed| edge(*seed).is_some()).count();
        assert!((60..200).contains(&count), "{count} of 1,000");
        assert_eq!(edge(1204), None, "its plan is what shows its bug");
    }
}
