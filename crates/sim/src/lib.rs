//! Deterministic simulation of the real node: server, Raft, machine and log on a simulated network, disk and clock.
//!
//! One seed is one process and one run. See docs/TESTING.md.

mod command;
mod determinism;
mod history;
mod invariant;
mod nemesis;
mod net;
mod random;
mod report;
mod run;
mod seams;
mod trace;
mod workload;
mod world;

use std::process::ExitCode;

/// The program, in whichever build: its arguments are the command.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(failed) = command::stand_in_for_rustc() {
        return failed;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command::dispatch(&words)
}
