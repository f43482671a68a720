//! The faults there are, and what a world must be able to suffer.

use crate::random::Random;

/// How a partition cuts the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Two halves that do not hear each other.
    Halves,
    /// A leader alone.
    Leader,
    /// A node that hears the others and is not heard.
    OneWay,
    /// Two halves that share one node.
    Bridge,
    /// Clients and one node do not hear each other.
    Clients,
}

/// How many nodes a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// One, a leader or not.
    One,
    /// Just enough to stop the cluster.
    Majority,
    /// Every one.
    All,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nodes do not hear each other.
    Partition(Cut),
    /// All connections of a node break.
    Reset,
    /// Messages take up to this long, ms.
    Delay(u64),
    /// Processes die.
    Kill(Reach),
    /// Machines lose power.
    PowerCut(Reach),
    /// A wall clock jumps, ms.
    Clock(i64),
    /// The next sync of a node fails.
    FailingSync,
    /// A node's disk is full.
    FullDisk,
    /// Bits of a stopped node's files flip.
    BitFlips,
    /// Leadership is handed over.
    Transfer,
    /// A minority hears nothing of what the others agree on.
    Behind,
    /// Of those others one restarts with rot near the end of its log, and the rest are down: it and the minority are a majority.
    Rot,
}

impl Fault {
    /// Its name in tables.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Partition(Cut::Halves) => "partition: halves",
            Self::Partition(Cut::Leader) => "partition: leader alone",
            Self::Partition(Cut::OneWay) => "partition: one way",
            Self::Partition(Cut::Bridge) => "partition: bridge",
            Self::Partition(Cut::Clients) => "partition: clients",
            Self::Reset => "connections reset",
            Self::Delay(_) => "messages delayed",
            Self::Kill(Reach::One) => "kill: one",
            Self::Kill(Reach::Majority) => "kill: majority",
            Self::Kill(Reach::All) => "kill: all",
            Self::PowerCut(Reach::One) => "power cut: one",
            Self::PowerCut(Reach::Majority) => "power cut: majority",
            Self::PowerCut(Reach::All) => "power cut: all",
            Self::Clock(_) => "clock jump",
            Self::FailingSync => "failing sync",
            Self::FullDisk => "full disk",
            Self::BitFlips => "bit flips",
            Self::Transfer => "leader transfer",
            Self::Behind => "minority left behind",
            Self::Rot => "rot before an election",
        }
    }
}

/// What a world can be asked to suffer. Nodes are numbered from 1.
pub trait Faults {
    /// How many nodes there are.
    fn nodes(&self) -> u64;
    /// Who leads a group, as far as anyone knows.
    fn leader(&self) -> Option<u64>;
    /// `from` is no longer heard by `to`.
    fn cut(&mut self, from: u64, to: u64);
    /// Clients and `node` no longer hear each other.
    fn cut_clients(&mut self, node: u64);
    /// All connections of `node` break at once.
    fn reset(&mut self, node: u64);
    /// Messages take up to `ms`.
    fn delay(&mut self, ms: u64);
    /// Everyone hears everyone at once again.
    fn heal_network(&mut self);
    /// The process dies. It stays down until [`Faults::start`].
    fn kill(&mut self, node: u64);
    /// The machine loses power, in the middle of its `writes`-th write from now. It stays down until [`Faults::start`].
    fn cut_power(&mut self, node: u64, writes: u64);
    /// The process starts, unless it runs.
    fn start(&mut self, node: u64);
    /// The wall clock shows `ms` more than the truth.
    fn set_clock(&mut self, node: u64, ms: i64);
    /// The `syncs`-th sync from now fails.
    fn fail_sync(&mut self, node: u64, syncs: u64);
    /// The disk takes no more than `bytes` more; `None`: it is endless again.
    fn limit_disk(&mut self, node: u64, bytes: Option<u64>);
    /// Flips bits in the stored files of a node that is down; what it did.
    fn flip_bits(&mut self, node: u64, random: &mut Random) -> String;
    /// Flips a bit near the end of the log of a node that is down, in a batch that others follow; what it did.
    fn rot(&mut self, node: u64, random: &mut Random) -> String;
    /// Every leader hands over to `node`.
    fn transfer(&mut self, node: u64);
}
