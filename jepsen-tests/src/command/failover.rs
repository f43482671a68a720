//! `jepsen failover`: how long the cluster is without a leader, over many trials.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::run::{check_binary, execute, fresh_seed, results_dir, settle_in};
use super::{Place, say};
use crate::check::recovery::{gaps, percentile};
use crate::check::{Results, Verdict};
use crate::history::Index;
use crate::nemesis::Fault;
use crate::report;
use crate::run::{Settings, Trials};

/// What clients do meanwhile: two send one message after the other, two pipeline.
const WORKLOAD: &str = "queue";
/// A trial takes about so long; for the progress only.
const TRIAL_SECONDS: u64 = 6;

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Harm {
    /// `kill -9`.
    Kill,
    /// Packets to and from it are dropped; in half of the trials those of clients, too.
    Isolate,
}

impl Harm {
    fn fault(self) -> Fault {
        match self {
            Self::Kill => Fault::Kill,
            Self::Isolate => Fault::IsolatedLeader,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Isolate => "isolate",
        }
    }

    /// What 99 of 100 trials have to stay below, ms.
    fn bound_ms(self) -> u64 {
        match self {
            Self::Kill => 500,
            Self::Isolate => 2_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

#[derive(Args, Clone, Debug)]
pub(super) struct FailoverArgs {
    /// What happens to the leader.
    #[arg(long, value_enum)]
    pub(super) fault: Harm,
    /// How often.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(super) trials: u64,
    /// 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=5))]
    pub(super) nodes: u64,
    /// Decides moments and clients. Default: by the clock.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) place: Place,
}

fn settings(args: &FailoverArgs, seed: u64, dir: &Path) -> Result<Settings, String> {
    let binary = std::path::absolute(&args.place.binary).map_err(|error| error.to_string())?;
    check_binary(&binary)?;
    let (trials, nodes, seed_word) = (args.trials.to_string(), args.nodes.to_string(), seed.to_string());
    let words = ["failover", "--fault", args.fault.name(), "--trials", &trials, "--nodes", &nodes];
    let words = words.into_iter().chain(["--seed", &seed_word]).map(str::to_owned).collect();
    Ok(Settings {
        workload: WORKLOAD.to_owned(),
        faults: vec![args.fault.fault()],
        nodes: args.nodes,
        time: Duration::from_secs(args.trials * TRIAL_SECONDS),
        rounds: None,
        trials: Some(Trials { fault: args.fault.fault(), count: args.trials }),
        seed,
        binary,
        dir: dir.to_owned(),
        canary: args.place.canary.clone(),
        words,
    })
}

/// Trials, and their figures.
pub(super) fn failover(args: &FailoverArgs) -> Result<Verdict, String> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let name = format!("failover-{}-{seed}", args.fault.name());
    let dir = args.place.out.clone().unwrap_or_else(|| results_dir(&name));
    let settings = settings(args, seed, &dir)?;
    settle_in(&args.place);
    let results = execute(&settings)?;
    let text = |error: std::io::Error| error.to_string();
    let history = std::fs::read_to_string(dir.join("history.edn")).map_err(text)?;
    let index = Index::new(&crate::history::from_text(&history)?)?;
    let is_kill = args.fault == Harm::Kill;
    let all: Vec<u64> = gaps(&index).into_iter().filter(|gap| gap.0 == is_kill).map(|gap| gap.1).collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let title = format!("{} of the leader, {} nodes, {} trials", args.fault.name(), args.nodes, args.trials);
    let bound_ms = args.fault.bound_ms();
    std::fs::write(dir.join("failover.svg"), report::gaps(&title, &sorted, bound_ms)).map_err(text)?;
    let verdict = judge(args, &results, &sorted);
    std::fs::write(dir.join("failover.json"), json(args, seed, &all, verdict)).map_err(text)?;
    if args.output == Output::Json {
        say(&json(args, seed, &all, verdict));
        return Ok(verdict);
    }
    say(&report::summary(&results));
    let figures = [50, 90, 99].map(|percent| format!("p{percent} {}", percentile(&sorted, percent)));
    say(&format!(
        "{title}: longest time without a confirmed send, ms: min {}, {}, max {} (p99 must be at most {bound_ms}); {} of {} trials were measured\n",
        percentile(&sorted, 0),
        figures.join(", "),
        percentile(&sorted, 100),
        sorted.len(),
        args.trials,
    ));
    say(&format!("{verdict:?}: {}; seed {seed}; again: jepsen replay {}\n", dir.display(), dir.display()));
    Ok(verdict)
}

/// A trial that shows no gap was ended by something else than an election: too many of these show nothing.
fn judge(args: &FailoverArgs, results: &Results, sorted: &[u64]) -> Verdict {
    let mut verdict = results.verdict();
    if (sorted.len() as u64) < args.trials - args.trials / 10 {
        verdict = verdict.max(Verdict::Unknown);
    }
    if percentile(sorted, 99) > args.fault.bound_ms() {
        verdict = Verdict::Invalid;
    }
    verdict
}

/// All of it is numbers and words of ours.
fn json(args: &FailoverArgs, seed: u64, gaps_ms: &[u64], verdict: Verdict) -> String {
    let gaps: Vec<String> = gaps_ms.iter().map(u64::to_string).collect();
    format!(
        "{{\"fault\":\"{}\",\"nodes\":{},\"trials\":{},\"seed\":{seed},\"bound_ms\":{},\"verdict\":\"{}\",\"gaps_ms\":[{}]}}\n",
        args.fault.name(),
        args.nodes,
        args.trials,
        args.fault.bound_ms(),
        format!("{verdict:?}").to_lowercase(),
        gaps.join(",")
    )
}
