//! A schedule of faults, drawn from a seed.

use super::{Cut, Fault, Reach};
use crate::random::Random;

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Beginning, ms since the start of the faults.
    pub at_ms: u64,
    /// The fault.
    pub fault: Fault,
    /// How long it lasts, ms.
    pub lasts_ms: u64,
}

/// Wall clocks are off by at most this, ms.
const CLOCK_OFF_MAX_MS: u64 = 600_000;
/// A message is delayed by at most this, ms.
pub const DELAY_MAX_MS: u64 = 200;

/// What goes wrong within `during_ms`. A seed has a few kinds of faults, each more than once, so that they meet each other.
pub fn plan(seed: u64, during_ms: u64) -> Vec<Planned> {
    let mut random = Random::new(seed, 3);
    let mut kinds: Vec<usize> = (0..KINDS).collect();
    random.shuffle(&mut kinds);
    kinds.truncate(random.within(2..5) as usize);
    let mut planned = Vec::new();
    let mut at_ms = random.within(500..2_000);
    while at_ms < during_ms {
        let fault = draw(*random.pick(&kinds), &mut random);
        let lasts_ms = random.within(300..4_000).min(during_ms - at_ms);
        planned.push(Planned { at_ms, fault, lasts_ms });
        // Mostly one at a time, with time to recover in between; sometimes one upon the other.
        at_ms +=
            if random.chance(30) { random.within(50..1_000) } else { lasts_ms + random.within(300..2_500) };
    }
    planned
}

/// What makes every boundary of a persist come up: leaders that write what is never committed, replicas that fall far behind, elections.
pub fn stir(during_ms: u64) -> Vec<Planned> {
    const ROUND_MS: u64 = 6_000;
    let round = [
        Planned { at_ms: 500, fault: Fault::Partition(Cut::Leader), lasts_ms: 1_500 },
        Planned { at_ms: 2_500, fault: Fault::Kill(Reach::One), lasts_ms: 2_000 },
        Planned { at_ms: 5_500, fault: Fault::Transfer, lasts_ms: 300 },
    ];
    let rounds = (0..).map(|number| number * ROUND_MS);
    let all = rounds.flat_map(|from| round.map(|planned| Planned { at_ms: planned.at_ms + from, ..planned }));
    all.take_while(|planned| planned.at_ms < during_ms).collect()
}

const KINDS: usize = 13;

fn draw(kind: usize, random: &mut Random) -> Fault {
    let reach = |random: &mut Random| *random.pick(&[Reach::One, Reach::One, Reach::Majority, Reach::All]);
    match kind {
        0 => Fault::Partition(Cut::Halves),
        1 => Fault::Partition(Cut::Leader),
        2 => Fault::Partition(Cut::OneWay),
        3 => Fault::Partition(Cut::Bridge),
        4 => Fault::Partition(Cut::Clients),
        5 => Fault::Reset,
        6 => Fault::Delay(random.within(20..DELAY_MAX_MS + 1)),
        7 => Fault::Kill(reach(random)),
        8 => Fault::PowerCut(reach(random)),
        9 => {
            let off = random.within(0..2 * CLOCK_OFF_MAX_MS + 1);
            Fault::Clock(off as i64 - CLOCK_OFF_MAX_MS as i64)
        }
        10 => *random.pick(&[Fault::FailingSync, Fault::FullDisk]),
        11 => Fault::BitFlips,
        _ => Fault::Transfer,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_thousand_seeds_have_every_fault() {
        let mut kinds = BTreeSet::new();
        for seed in 0..1_000 {
            let planned = plan(seed, 15_000);
            assert_eq!(planned, plan(seed, 15_000));
            assert!(!planned.is_empty(), "seed {seed} has no fault");
            kinds.extend(planned.iter().map(|planned| planned.fault.kind()));
        }
        assert_eq!(kinds.len(), 18, "{kinds:?}");
    }
}
