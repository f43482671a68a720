//! The command line.

mod canaries;
mod failover;
mod interrupt;
mod list;
mod many;
mod progress;
mod run;
mod soak;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::check::{self, Verdict};
use crate::report;
use crate::run::Blow;

/// Set in the environment of a run that is one of several: it ends with what started it.
const CHILD: &str = "PHALANX_JEPSEN_CHILD";
/// Could not be carried out.
const EXIT_UNKNOWN: u8 = 2;

/// Real `phalanx` processes under real faults, judged by their histories.
///
/// Ends with 0 when every promise was kept, 1 when one was broken, 2 when that is unknown: nothing was put to the test, or it
/// could not be run here.
#[derive(Parser)]
#[command(name = "jepsen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run.
    Run(RunArgs),
    /// Judges a history again.
    Check {
        /// A `history.edn`.
        history: PathBuf,
    },
    /// Strikes the leader again and again, and measures how long sends have to wait.
    ///
    /// Ends with 0 when 99 of 100 trials are within the bound (isolated: 2 s, killed: 0.5 s) and every promise was kept.
    Failover(FailoverArgs),
    /// All workloads in turn under all nemeses that this machine can do, until the time is over. From 45 minutes on it must also
    /// have seen enough strikes of each kind.
    Soak(SoakArgs),
    /// What every change must pass: three workloads of half a minute each, with kills, partitions and pauses.
    Smoke(Place),
    /// Planted bugs, in an extra build that this makes, must be caught.
    Canaries {
        /// Only these, by their names.
        only: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Does again what a directory of results is of: the same workload, faults, seed. What the machine does in between is its own.
    Replay {
        /// A directory that a run has written.
        dir: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Workloads, nemeses, and what this machine can do.
    List(Place),
}

/// Where it runs.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The server.
    #[arg(long, default_value = "target/release/phalanx")]
    binary: PathBuf,
    /// Directory of the results; made anew.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Do not use namespaces, even where they are allowed: links are proxies then.
    #[arg(long)]
    proxies: bool,
    /// A planted bug that a binary built with `--cfg phalanx_test` puts into force.
    #[arg(long)]
    canary: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct RunArgs {
    /// What clients do.
    #[arg(long, short, default_value = "queue")]
    workload: String,
    /// What strikes, separated by commas; `none`, `all`.
    #[arg(long, short, default_value = "kill,partition,pause", value_delimiter = ',')]
    nemesis: Vec<String>,
    /// 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=5))]
    nodes: u64,
    /// Seconds during which faults strike.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Decides faults and clients. Default: by the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// End earlier, when every fault has had its turn so often.
    #[arg(long)]
    rounds: Option<u64>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Clone, Debug)]
struct SoakArgs {
    /// Minutes in all.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Seconds of each run.
    #[arg(long, default_value_t = 90)]
    time: u64,
    /// What strikes; default: sets of faults in turn, of all that this machine can do.
    #[arg(long, short, value_delimiter = ',')]
    nemesis: Vec<String>,
    /// Only these workloads.
    #[arg(long, short, value_delimiter = ',')]
    workload: Vec<String>,
    /// Of the first run; the next has the next. Nodes are 3 and 5 in turn.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One object.
    Json,
}

#[derive(Args, Clone, Debug)]
struct FailoverArgs {
    /// What strikes.
    #[arg(long, value_enum, default_value = "isolate")]
    fault: Blow,
    /// How often.
    #[arg(long, default_value_t = 50)]
    trials: u64,
    /// 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=5))]
    nodes: u64,
    /// The clients' stall timeout, ms. A call leaves a node that owes it an answer for twice as long, or when another one leads.
    #[arg(long, default_value_t = phalanx_client::limits::STALL_TIMEOUT.as_millis() as u64)]
    stall_ms: u64,
    /// Default: by the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(code) = canaries::stand_in_for_rustc() {
        return code;
    }
    if std::env::var_os(CHILD).is_some() {
        // Refused by no system that this runs on; without it a run goes on to its end.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check { history } => judge(&history),
        Command::Failover(args) => failover::failover(&args),
        Command::Soak(args) => soak::soak(&args),
        Command::Canaries { only, place } => canaries::canaries(&only, &place),
        Command::Smoke(place) => many::smoke(&place),
        Command::Replay { dir, place } => run::replay(&dir, place),
        Command::List(place) => list::list(&place),
    };
    match outcome {
        Ok(verdict) => ExitCode::from(verdict.exit_code()),
        Err(why) => {
            eprintln!("jepsen: {why}");
            ExitCode::from(EXIT_UNKNOWN)
        }
    }
}

fn judge(history: &std::path::Path) -> Result<Verdict, String> {
    let text = std::fs::read_to_string(history).map_err(|error| format!("{}: {error}", history.display()))?;
    let results = check::check(&crate::history::from_text(&text)?);
    say(&report::summary(&results));
    Ok(results.verdict())
}

/// To standard output; who does not listen is not told.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}
