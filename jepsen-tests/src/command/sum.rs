//! What the runs of a soak come to together: figures, a picture, and whether it was enough.

use std::path::{Path, PathBuf};

use super::say;
use crate::check::{self, Verdict};
use crate::edn::Edn;
use crate::history::Event;
use crate::report::{self, Strip};

/// What a soak of [`LEAST_MINUTES`] must have seen, by kind of fault.
const LEAST: [(&str, u64); 7] = [
    ("kill", 100),
    ("partition", 100),
    ("power-cut", 20),
    ("power-cut-of-all", 5),
    ("pause", 20),
    ("flip", 10),
    ("full", 5),
];
/// Shorter ones must have seen a part.
const LEAST_MINUTES: u64 = 45;

/// All runs of a soak so far.
#[derive(Default)]
pub(super) struct Sum {
    runs: Vec<(Verdict, Edn)>,
    strips: Vec<Strip>,
}

impl Sum {
    /// Adds a run whose history is in `dir`. A run that could not be carried out may have none.
    pub fn add(&mut self, dir: &Path, verdict: Verdict, results: Edn) {
        let events = history(dir).unwrap_or_default();
        let name = dir.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        self.strips.push(report::strip(&name, &events));
        self.runs.push((verdict, results));
    }

    /// The worst verdict.
    pub fn verdict(&self) -> Verdict {
        self.runs.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Unknown)
    }

    fn total(&self, checker: &str, name: &str) -> u64 {
        self.runs.iter().map(|(_, results)| figure(results, checker, name)).sum()
    }

    /// What there was too little of.
    pub fn missing(&self, minutes: u64) -> Vec<String> {
        let missing = LEAST.iter().filter_map(|(kind, least)| {
            let (seen, least) =
                (self.total("coverage", kind), least * minutes.min(LEAST_MINUTES) / LEAST_MINUTES);
            (seen < least).then(|| format!("{seen} of {kind}, {least} are needed"))
        });
        missing.collect()
    }

    /// The sums of all runs.
    pub fn figures(&self) -> String {
        let mut sums: Vec<(String, u64)> = Vec::new();
        for (_, results) in &self.runs {
            let Edn::Map(checkers) = results else { continue };
            for (checker, finding) in checkers {
                let (Edn::Word(checker), Edn::Map(rows)) = (checker, finding) else { continue };
                for (name, number) in rows {
                    let (Edn::Word(name), Edn::Int(_)) = (name, number) else { continue };
                    add(&mut sums, format!("{checker} {name}"), number.as_u64().unwrap_or_default());
                }
            }
        }
        let with = |verdict| self.runs.iter().filter(|(known, _)| *known == verdict).count();
        let mut text = format!(
            "{} runs: {} valid, {} invalid, {} unknown\n",
            self.runs.len(),
            with(Verdict::Valid),
            with(Verdict::Invalid),
            with(Verdict::Unknown)
        );
        for (name, number) in sums {
            text += &format!("  {name}: {number}\n");
        }
        text
    }

    /// Writes figures and picture to the directory of the soak.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let title = format!("{} runs; confirmed sends a second, and faults", self.runs.len());
        for (name, text) in [("figures", self.figures()), ("soak.svg", report::soak(&title, &self.strips))] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// Times are not added up, nor are percentiles: the longest counts.
fn add(sums: &mut Vec<(String, u64)>, name: String, number: u64) {
    match sums.iter_mut().find(|(known, _)| *known == name) {
        Some(row) if name.ends_with("-ms") => row.1 = row.1.max(number),
        Some(row) => row.1 += number,
        None => sums.push((name, number)),
    }
}

/// A figure of a checker.
pub(super) fn figure(results: &Edn, checker: &str, name: &str) -> u64 {
    results.get(checker).and_then(|finding| finding.get(name)).and_then(Edn::as_u64).unwrap_or_default()
}

fn history(dir: &Path) -> Result<Vec<Event>, String> {
    let path = dir.join("history.edn");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    crate::history::from_text(&text)
}

/// Judges the runs of a soak that is over, or was ended, once more.
pub(super) fn sum(dir: &Path) -> Result<Verdict, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut runs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("history.edn").is_file())
        .collect();
    runs.sort();
    let mut sum = Sum::default();
    for run in runs {
        let results = check::check(&history(&run)?);
        let verdict = results.verdict();
        say(&format!("{verdict:?}: {}\n", run.display()));
        sum.add(&run, verdict, results.to_edn());
    }
    sum.write(dir)?;
    say(&sum.figures());
    Ok(sum.verdict())
}
