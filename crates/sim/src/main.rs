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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command::dispatch(&words)
}
