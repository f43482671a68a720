//! Checkers: what a history shows of the promises. Pure code; none of them talks to a cluster.
//!
//! A checker reports a fault only when no run of a correct queue can have this history. What is unknown counts in the queue's favour.

mod cluster;
mod fan_out;
pub mod fifo;
mod groups;
mod lease;
mod lives;
mod most;
mod reads;
mod recovery;
mod sends;
#[cfg(test)]
mod story;
mod tally;
mod total;
pub mod wgl;

pub use fan_out::topic_of;
pub use recovery::{Gap, gaps};

use crate::edn::Edn;
use crate::history::{Event, Index};

/// Faults that a finding spells out; the others are counted.
const FAULTS_TOLD_MAX: usize = 20;

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every promise was kept.
    Valid,
    /// Nothing is wrong, and nothing was shown.
    Unknown,
    /// A promise was broken.
    Invalid,
}

impl Verdict {
    /// As Jepsen writes it under `:valid?`.
    pub fn to_edn(self) -> Edn {
        match self {
            Self::Valid => Edn::Bool(true),
            Self::Unknown => Edn::word("unknown"),
            Self::Invalid => Edn::Bool(false),
        }
    }

    /// Of a process that ends with it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Unknown => 2,
        }
    }
}

/// What one checker found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The checker.
    pub name: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// What is wrong, or why it is unknown: the first ones.
    pub faults: Vec<String>,
    /// How many there are.
    pub faults_count: usize,
    /// Figures.
    pub counts: Vec<(&'static str, u64)>,
}

impl Finding {
    fn new(name: &'static str) -> Self {
        Self { name, verdict: Verdict::Valid, faults: Vec::new(), faults_count: 0, counts: Vec::new() }
    }

    fn tell(&mut self, verdict: Verdict, text: impl Into<String>) {
        self.verdict = self.verdict.max(verdict);
        self.faults_count += 1;
        if self.faults.len() < FAULTS_TOLD_MAX {
            self.faults.push(text.into());
        }
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.tell(Verdict::Invalid, text);
    }

    fn unknown(&mut self, text: impl Into<String>) {
        self.tell(Verdict::Unknown, text);
    }

    fn count(&mut self, name: &'static str, number: usize) {
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some(row) => row.1 += number as u64,
            None => self.counts.push((name, number as u64)),
        }
    }

    fn to_edn(&self) -> Edn {
        let mut rows = vec![("valid?".to_owned(), self.verdict.to_edn())];
        rows.extend(self.counts.iter().map(|(name, number)| ((*name).to_owned(), Edn::from(*number))));
        if self.faults_count > 0 {
            rows.push(("faults-count".to_owned(), Edn::from(self.faults_count)));
            let told = self.faults.iter().map(|text| Edn::text(text.clone())).collect();
            rows.push(("faults".to_owned(), Edn::List(told)));
        }
        Edn::map(rows)
    }
}

/// What all checkers found.
#[derive(Clone, Debug)]
pub struct Results {
    /// One of each checker.
    pub findings: Vec<Finding>,
}

impl Results {
    /// The worst of the verdicts.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
    }

    /// A figure of a checker.
    pub fn figure(&self, checker: &str, name: &str) -> u64 {
        let finding = self.findings.iter().find(|finding| finding.name == checker);
        let row = finding.and_then(|finding| finding.counts.iter().find(|(known, _)| *known == name));
        row.map_or(0, |(_, number)| *number)
    }

    /// It was not carried out to its end: what was found stands, and what was not found is unknown.
    pub fn cut_short(&mut self, why: impl Into<String>) {
        let mut finding = Finding::new("carried-out");
        finding.unknown(why);
        self.findings.insert(0, finding);
    }

    /// As `results.edn` has it.
    pub fn to_edn(&self) -> Edn {
        let mut rows = vec![("valid?", self.verdict().to_edn())];
        rows.extend(self.findings.iter().map(|finding| (finding.name, finding.to_edn())));
        Edn::map(rows)
    }
}

/// Runs every checker. A history that is none is a fault of its own.
pub fn check(events: &[Event]) -> Results {
    let index = match Index::new(events) {
        Ok(index) => index,
        Err(why) => {
            let mut finding = Finding::new("well-formed");
            finding.fault(why);
            return Results { findings: vec![finding] };
        }
    };
    let findings = vec![
        total::check(&index),
        sends::check(&index),
        fifo::check(&index),
        wgl::check(&index),
        lease::check(&index),
        groups::check(&index),
        fan_out::check(&index),
        lives::check(&index),
        reads::check(&index),
        cluster::digests(&index),
        cluster::liveness(&index),
        cluster::stops(&index),
        cluster::coverage(&index),
        recovery::check(&index),
        tally::strikes(&index),
        tally::operations(&index),
    ];
    Results { findings }
}

/// The cluster as a whole was away at some moment between the two, so that machine time may have jumped forward (ns).
fn time_may_jump(index: &Index, from_ns: u64, until_ns: u64) -> bool {
    let mut bands = index.bands().into_iter();
    bands.any(|(begin, end, fault)| fault.facts.all == Some(1) && begin <= until_ns && end >= from_ns)
}
