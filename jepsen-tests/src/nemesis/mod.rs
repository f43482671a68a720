//! Faults: which there are, and which strike when.

mod plan;
mod strike;

pub use plan::{Plan, Strike};
pub use strike::Nemesis;

/// What a fault needs to be possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A file system of our own, mounted through FUSE: root, or a user namespace.
    Fuse,
    /// The library of the package `libfaketime`.
    FakeTime,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of one node.
    Kill,
    /// `kill -9` of a majority.
    KillMajority,
    /// `kill -9` of all.
    KillAll,
    /// One process stands still.
    Pause,
    /// A majority stands still.
    PauseMajority,
    /// A minority and a majority.
    Halves,
    /// Each node sees a majority, no two the same.
    Ring,
    /// Two halves that have one node in common.
    Bridge,
    /// One node hears nothing, or is not heard.
    OneWay,
    /// The leader is alone, also for clients.
    IsolatedLeader,
    /// Packets to and from one node are late.
    Slow,
    /// Packets to and from one node get lost and overtake each other.
    Lossy,
    /// One machine loses power.
    PowerCut,
    /// A majority loses power.
    PowerCutMajority,
    /// All lose power.
    PowerCutAll,
    /// A sync fails once.
    SyncFails,
    /// A disk is full.
    Full,
    /// A disk is slow.
    SlowDisk,
    /// Bits flip in the files of a stopped node.
    Flip,
    /// One after the other stops and starts.
    Restart,
    /// A wall clock is wrong for a while.
    Skew,
    /// A wall clock jumps back and forth.
    Strobe,
}

impl Fault {
    /// Every fault, its name, what it needs.
    pub const ALL: [(Self, &'static str, Needs); 22] = [
        (Self::Kill, "kill", Needs::Nothing),
        (Self::KillMajority, "kill-majority", Needs::Nothing),
        (Self::KillAll, "kill-all", Needs::Nothing),
        (Self::Pause, "pause", Needs::Nothing),
        (Self::PauseMajority, "pause-majority", Needs::Nothing),
        (Self::Halves, "halves", Needs::Nothing),
        (Self::Ring, "ring", Needs::Nothing),
        (Self::Bridge, "bridge", Needs::Nothing),
        (Self::OneWay, "one-way", Needs::Nothing),
        (Self::IsolatedLeader, "isolated-leader", Needs::Nothing),
        (Self::Slow, "slow", Needs::Nothing),
        (Self::Lossy, "lossy", Needs::Nothing),
        (Self::PowerCut, "power-cut", Needs::Fuse),
        (Self::PowerCutMajority, "power-cut-majority", Needs::Fuse),
        (Self::PowerCutAll, "power-cut-all", Needs::Fuse),
        (Self::SyncFails, "sync-fails", Needs::Fuse),
        (Self::Full, "full", Needs::Fuse),
        (Self::SlowDisk, "slow-disk", Needs::Fuse),
        (Self::Flip, "flip", Needs::Nothing),
        (Self::Restart, "restart", Needs::Nothing),
        (Self::Skew, "skew", Needs::FakeTime),
        (Self::Strobe, "strobe", Needs::FakeTime),
    ];

    /// Words for several.
    pub const GROUPS: [(&'static str, &'static [&'static str]); 7] = [
        ("kills", &["kill", "kill-majority", "kill-all"]),
        ("pauses", &["pause", "pause-majority"]),
        ("partition", &["halves", "ring", "bridge", "one-way", "isolated-leader"]),
        ("link", &["slow", "lossy"]),
        ("power", &["power-cut", "power-cut-majority", "power-cut-all"]),
        ("disk", &["sync-fails", "full", "slow-disk", "flip"]),
        ("clock", &["skew", "strobe"]),
    ];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        Self::ALL.iter().find(|row| row.0 == self).map_or(Needs::Nothing, |row| row.2)
    }

    /// What a word on the command line stands for.
    ///
    /// # Errors
    /// When it stands for nothing.
    pub fn parse(word: &str) -> Result<Vec<Self>, String> {
        match word {
            "none" => return Ok(Vec::new()),
            "all" => return Ok(Self::ALL.iter().map(|row| row.0).collect()),
            _ => {}
        }
        if let Some((_, words)) = Self::GROUPS.iter().find(|(name, _)| *name == word) {
            return Ok(words.iter().filter_map(|word| Self::parse(word).ok()).flatten().collect());
        }
        let known = Self::ALL.iter().find(|row| row.1 == word);
        known.map(|row| vec![row.0]).ok_or_else(|| format!("there is no nemesis {word:?}; see `jepsen list`"))
    }

    /// The kind that figures are kept of.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Kill | Self::KillMajority | Self::KillAll => "kill",
            Self::Pause | Self::PauseMajority => "pause",
            Self::Halves | Self::Ring | Self::Bridge | Self::OneWay | Self::IsolatedLeader => "partition",
            Self::PowerCut | Self::PowerCutMajority | Self::PowerCutAll => "power-cut",
            other => other.name(),
        }
    }

    /// Two faults that would undo each other's effect are not in force together.
    fn is_of_processes(self) -> bool {
        matches!(self.kind(), "kill" | "pause" | "power-cut" | "restart" | "flip" | "skew")
    }
}
