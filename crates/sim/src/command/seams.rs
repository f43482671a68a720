//! `seams`: the seam test, once or twice.

use std::process::{Command, ExitCode};

use super::{Options, print};
use crate::{seams, trace};

/// The seed that `--check` uses.
const CHECK_SEED: u64 = 7;

pub(super) fn command(words: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::new(words);
    let seed = options.number("--seed")?.unwrap_or(1);
    let path = options.value("--trace")?;
    let twice = options.flag("--check");
    options.end()?;
    if let Some(path) = path {
        trace::write_to(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
    }
    let result = if twice { check() } else { one(seed) };
    Ok(match result {
        Ok(line) => {
            print(&line);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("phalanx-sim: {why}");
            ExitCode::FAILURE
        }
    })
}

fn one(seed: u64) -> Result<String, String> {
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
        let output = Command::new(&program).args(["seams", "--seed", &seed]).output();
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
