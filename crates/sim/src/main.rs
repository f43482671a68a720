//! Deterministic simulation of the real node: server, Raft, machine and log on a simulated network, disk and clock.
//!
//! `phalanx-sim seams --seed N` runs one seed in this process. `phalanx-sim seams --check` runs a seed twice in fresh processes and
//! fails unless both traces are the same. `PHALANX_TRACE=FILE` writes the trace.

mod determinism;
mod host;
mod net;
mod seams;
mod trace;

use std::process::{Command, ExitCode};

/// The seed that `--check` uses.
const CHECK_SEED: u64 = 7;
const USAGE: &str = "usage: phalanx-sim seams [--seed N | --check]";

// No command line parser: whatever asked for entropy before the seed is set would make runs differ.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["seams", "--check"] => check(),
        ["seams"] => one(1),
        ["seams", "--seed", seed] => match seed.parse() {
            Ok(seed) => one(seed),
            Err(_) => Err(format!("{seed:?} is not a seed")),
        },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(line) => {
            print(&line);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("phalanx-sim: {why}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)] // The result of the program.
fn print(line: &str) {
    println!("{line}");
}

fn one(seed: u64) -> Result<String, String> {
    if let Some(path) = std::env::var_os("PHALANX_TRACE") {
        trace::write_to(path.as_ref()).map_err(|error| format!("trace file: {error}"))?;
    }
    let replay = format!("replay: phalanx-sim seams --seed {seed}");
    let outcome = seams::run(seed).map_err(|error| format!("seed {seed}: {error}; {replay}"))?;
    if outcome.confirmed == 0 || outcome.confirmed != outcome.consumed {
        return Err(format!(
            "seed {seed}: {} confirmed, {} consumed; {replay}",
            outcome.confirmed, outcome.consumed
        ));
    }
    Ok(format!(
        "seed {seed}: trace {:016x} over {} events, {} simulated ms, {} sends confirmed and consumed in order over one leader kill",
        outcome.hash, outcome.events, outcome.simulated_ms, outcome.confirmed
    ))
}

/// The same seed twice, each in a process of its own.
fn check() -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = || -> Result<String, String> {
        let seed = CHECK_SEED.to_string();
        let output =
            Command::new(&program).args(["seams", "--seed", &seed]).env_remove("PHALANX_TRACE").output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (first, second) = (run()?, run()?);
    if first != second {
        return Err(format!("two runs of one seed differ:\n{first}\n{second}"));
    }
    Ok(format!("{first}\ntwice, in fresh processes, with the same trace"))
}
