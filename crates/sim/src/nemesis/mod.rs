//! What goes wrong: the faults that a world can be asked for, and a schedule of them drawn from a seed.
//!
//! The nemesis knows only [`Faults`], so that it works on every kind of world.

mod edge;
mod fault;
mod plan;

pub use edge::edge;
pub use fault::{Cut, Fault, Faults, Reach};
pub use plan::{Planned, plan, stir};

use std::collections::BTreeMap;

use crate::random::Random;

/// Carries a plan out.
pub struct Nemesis {
    random: Random,
    plan: Vec<Planned>,
    next: usize,
    /// Faults in force: when they end, ms, and their place in the plan.
    active: Vec<(u64, usize)>,
    /// Nodes that a fault keeps down.
    down: BTreeMap<usize, Vec<u64>>,
    /// The one node whose stored files may be damaged: a second one could take the majority of a group.
    damaged: Option<u64>,
    /// Those who were left behind last.
    behind: Vec<u64>,
}

/// A fault that has begun.
pub struct Begun {
    /// Its name.
    pub kind: &'static str,
    /// Whom it struck.
    pub detail: String,
}

impl Nemesis {
    /// For a plan.
    pub fn new(seed: u64, plan: Vec<Planned>) -> Self {
        let random = Random::new(seed, 4);
        Self {
            random,
            plan,
            next: 0,
            active: Vec::new(),
            down: BTreeMap::new(),
            damaged: None,
            behind: Vec::new(),
        }
    }

    /// Ends and begins what is due at `now_ms`; what has begun.
    pub fn step(&mut self, now_ms: u64, world: &mut dyn Faults) -> Vec<Begun> {
        let over: Vec<usize> =
            self.active.iter().filter(|(end, _)| *end <= now_ms).map(|(_, at)| *at).collect();
        self.active.retain(|(end, _)| *end > now_ms);
        for at in over {
            self.end(at, world);
        }
        let mut begun = Vec::new();
        while let Some(planned) = self.plan.get(self.next).copied().filter(|planned| planned.at_ms <= now_ms)
        {
            let at = self.next;
            self.next += 1;
            self.active.push((now_ms + planned.lasts_ms, at));
            let detail = self.begin(at, planned.fault, world);
            begun.push(Begun { kind: planned.fault.kind(), detail });
        }
        begun
    }

    /// Whether a fault is in force.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Ends everything.
    pub fn heal(&mut self, world: &mut dyn Faults) {
        self.next = self.plan.len();
        for (_, at) in std::mem::take(&mut self.active) {
            self.end(at, world);
        }
        world.heal_network();
        for node in 1..=world.nodes() {
            world.limit_disk(node, None);
            world.set_clock(node, 0);
            world.start(node);
        }
    }

    fn some_node(&mut self, world: &dyn Faults) -> u64 {
        let random = self.random.within(1..world.nodes() + 1);
        if self.random.chance(60) { world.leader().unwrap_or(random) } else { random }
    }

    fn struck(&mut self, reach: Reach, world: &dyn Faults) -> Vec<u64> {
        let first = self.some_node(world);
        let mut nodes: Vec<u64> = (1..=world.nodes()).filter(|node| *node != first).collect();
        self.random.shuffle(&mut nodes);
        nodes.insert(0, first);
        nodes.truncate(match reach {
            Reach::One => 1,
            Reach::Majority => world.nodes() as usize / 2 + 1,
            Reach::All => world.nodes() as usize,
        });
        nodes
    }

    fn begin(&mut self, at: usize, fault: Fault, world: &mut dyn Faults) -> String {
        match fault {
            Fault::Partition(cut) => self.partition(cut, world),
            Fault::Reset => {
                let node = self.some_node(world);
                world.reset(node);
                format!("node {node}")
            }
            Fault::Delay(ms) => {
                world.delay(ms);
                format!("up to {ms} ms")
            }
            Fault::Kill(reach) => {
                let nodes = self.struck(reach, world);
                nodes.iter().for_each(|node| world.kill(*node));
                self.keep_down(at, nodes)
            }
            Fault::PowerCut(reach) => {
                let nodes = self.struck(reach, world);
                for node in &nodes {
                    let writes = self.random.within(0..6);
                    world.cut_power(*node, writes);
                }
                self.keep_down(at, nodes)
            }
            Fault::Clock(ms) => {
                let node = self.some_node(world);
                world.set_clock(node, ms);
                format!("node {node} by {ms} ms")
            }
            Fault::FailingSync => {
                let node = self.some_node(world);
                let syncs = self.random.within(0..4);
                world.fail_sync(node, syncs);
                self.keep_down(at, vec![node])
            }
            Fault::FullDisk => {
                let (node, bytes) = (self.some_node(world), self.random.within(0..65_536));
                world.limit_disk(node, Some(bytes));
                format!("node {node}, {bytes} bytes left")
            }
            Fault::BitFlips => {
                let random = self.random.within(1..world.nodes() + 1);
                let node = *self.damaged.get_or_insert(random);
                world.kill(node);
                let detail = world.flip_bits(node, &mut self.random);
                self.keep_down(at, vec![node]);
                detail
            }
            Fault::Transfer => {
                let node = self.random.within(1..world.nodes() + 1);
                world.transfer(node);
                format!("to node {node}")
            }
            Fault::Behind => self.leave_behind(world),
            Fault::Rot => self.rot(at, world),
        }
    }

    fn keep_down(&mut self, at: usize, nodes: Vec<u64>) -> String {
        let text = format!("nodes {nodes:?}");
        self.down.insert(at, nodes);
        text
    }

    fn partition(&mut self, cut: Cut, world: &mut dyn Faults) -> String {
        let first = self.some_node(world);
        let mut others: Vec<u64> = (1..=world.nodes()).filter(|node| *node != first).collect();
        self.random.shuffle(&mut others);
        let minority = world.nodes() as usize / 2;
        let (left, right): (Vec<u64>, Vec<u64>) = match cut {
            Cut::Halves => ([&[first], &others[..minority - 1]].concat(), others[minority - 1..].to_vec()),
            Cut::Bridge => (others[..minority].to_vec(), others[minority..].to_vec()),
            Cut::Leader | Cut::OneWay => (vec![first], others),
            Cut::Clients => {
                world.cut_clients(first);
                return format!("node {first}");
            }
        };
        for a in &left {
            for b in &right {
                world.cut(*a, *b);
                if cut != Cut::OneWay {
                    world.cut(*b, *a);
                }
            }
        }
        format!("{left:?} | {right:?}")
    }

    fn end(&mut self, at: usize, world: &mut dyn Faults) {
        match self.plan[at].fault {
            Fault::Partition(_) | Fault::Delay(_) | Fault::Behind => {
                let is_network =
                    |fault: Fault| matches!(fault, Fault::Partition(_) | Fault::Delay(_) | Fault::Behind);
                let others =
                    self.active.iter().any(|(_, other)| *other != at && is_network(self.plan[*other].fault));
                // Healing is of the whole network: the last one does it.
                if !others {
                    world.heal_network();
                }
            }
            Fault::Kill(_) | Fault::PowerCut(_) | Fault::FailingSync | Fault::BitFlips | Fault::Rot => {
                for node in self.down.remove(&at).unwrap_or_default() {
                    if !self.down.values().any(|nodes| nodes.contains(&node)) {
                        world.start(node);
                    }
                }
            }
            Fault::Clock(_) => {
                // Clocks are mended in the end: a machine may run with a wrong one for long.
            }
            Fault::FullDisk => (1..=world.nodes()).for_each(|node| world.limit_disk(node, None)),
            Fault::Reset | Fault::Transfer => {}
        }
    }
}
