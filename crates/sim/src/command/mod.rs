//! The commands: what they take, what they print, and how they exit. 0: sound; 1: a rule was broken; 2: nothing was shown.
//!
//! No command line parser: whatever asked for entropy before the seed is set would make runs differ.

mod canaries;
mod canary_build;
mod fail_points;
mod processes;
mod run;
mod seams;
mod sweep;

use std::process::ExitCode;

use crate::net::Transport;
use crate::world::Betrayal;

pub use canary_build::stand_in_for_rustc;

const USAGE: &str = "usage:
  phalanx-sim run --seed N [--transport tonic|message] [--nodes 3|5] [--trace FILE] [--json]
                  [--fail-point NAME [--how kill|power]]             one run
  phalanx-sim sweep --seeds N [--transport tonic|message] [--from S] [--jobs J] [--json]
                    [--check-determinism N] [--planted lying-disk|jumping-clock]
                                                                     many runs, each in a process of its own
  phalanx-sim failpoints [--transport tonic|message] [--from S] [--jobs J] [--json]
                                                                     an end at every boundary of a persist
  phalanx-sim canaries [--seeds MAX] [--from S] [--jobs J] [--only NAME] [--json]
                                                                     bugs planted on purpose: each must be found
  phalanx-sim seams [--seed N | --check]                             the seams alone: boot, 1,000 sends, a leader's death";

/// Exit code of a run that shows nothing, and of a wrong command line.
const EXIT_UNKNOWN: u8 = 2;

/// Runs the command that `words` name.
pub fn dispatch(words: &[&str]) -> ExitCode {
    let result = match words.split_first() {
        Some((&"run", rest)) => run::command(rest),
        Some((&"sweep", rest)) => sweep::command(rest),
        Some((&"failpoints", rest)) => fail_points::command(rest),
        Some((&"canaries", rest)) => canaries::command(rest),
        Some((&"seams", rest)) => seams::command(rest),
        _ => Err(USAGE.to_owned()),
    };
    result.unwrap_or_else(|why| {
        eprintln!("phalanx-sim: {why}");
        ExitCode::from(EXIT_UNKNOWN)
    })
}

#[allow(clippy::print_stdout)] // The result of the program.
fn print(line: &str) {
    println!("{line}");
}

/// `--name value` pairs and single `--name`s.
struct Options<'a>(Vec<&'a str>);

impl<'a> Options<'a> {
    fn new(words: &[&'a str]) -> Self {
        Self(words.to_vec())
    }

    /// Takes `name` and the word after it.
    fn value(&mut self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(at) = self.0.iter().position(|word| *word == name) else { return Ok(None) };
        if at + 1 >= self.0.len() {
            return Err(format!("{name} needs a value\n{USAGE}"));
        }
        let value = self.0.remove(at + 1);
        self.0.remove(at);
        Ok(Some(value))
    }

    /// As [`Options::value`], a number.
    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name}: {text:?} is not a number"))
    }

    /// `--jobs`: as many as there are cores, unless it says otherwise.
    fn jobs(&mut self) -> Result<u64, String> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        Ok(self.number("--jobs")?.unwrap_or(cores).max(1))
    }

    /// `--transport`: real tonic, unless it says otherwise.
    fn transport(&mut self) -> Result<Transport, String> {
        let Some(name) = self.value("--transport")? else { return Ok(Transport::default()) };
        Transport::named(name)
            .ok_or_else(|| format!("--transport {name}: {:?}", Transport::ALL.map(Transport::name)))
    }

    /// `--planted`: a promise that the world breaks.
    fn planted(&mut self) -> Result<Option<Betrayal>, String> {
        let Some(name) = self.value("--planted")? else { return Ok(None) };
        let all = [Betrayal::LyingDisk, Betrayal::JumpingClock];
        let found = all.into_iter().find(|betrayal| run::name_of(*betrayal) == name);
        found.map(Some).ok_or_else(|| format!("--planted {name}: {:?}", all.map(run::name_of)))
    }

    /// Takes `name`; whether it was there.
    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| *word != name);
        self.0.len() < before
    }

    /// Nothing is left over.
    fn end(self) -> Result<(), String> {
        match self.0.first() {
            Some(word) => Err(format!("{word:?} is not understood here\n{USAGE}")),
            None => Ok(()),
        }
    }
}
