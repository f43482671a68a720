//! `jepsen failover`.

use std::time::Duration;

use super::run::{execute, fresh_seed, results_dir, settings_of, settle_in};
use super::{FailoverArgs, Output, say};
use crate::check::{Results, Verdict};
use crate::edn::Edn;
use crate::report::{self, Distribution};
use crate::run::{Order, Trial, failover as try_it};

/// Tries, and says whether the bound holds.
pub fn failover(args: &FailoverArgs) -> Result<Verdict, String> {
    let blow = args.fault;
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let name = format!("failover-{}-{seed}", blow.name());
    let dir = args.place.out.clone().unwrap_or_else(|| results_dir(&name));
    let mut words: Vec<String> = ["failover", "--fault", blow.name()].map(str::to_owned).into();
    for (name, number) in
        [("--trials", args.trials), ("--nodes", args.nodes), ("--stall-ms", args.stall_ms), ("--seed", seed)]
    {
        words.extend([name.to_owned(), number.to_string()]);
    }
    let settings = settings_of(&args.place, "failover", args.nodes, seed, dir.clone(), words)?;
    settle_in(&args.place);
    let order = Order { settings, blow, trials: args.trials, stall: Duration::from_millis(args.stall_ms) };
    let (trials, results) = execute(&order.settings, "trials", args.trials, async |watch, interrupted| {
        try_it(&order, watch, interrupted).await
    })?;
    let distribution = Distribution::of(&trials);
    let verdict = match distribution.holds(blow.bound()) {
        // What was not tried to its end has not shown that the bound holds.
        true => results.verdict(),
        false if trials.is_empty() => results.verdict().max(Verdict::Unknown),
        false => Verdict::Invalid,
    };
    let figures = figures(args, &trials, &distribution, &results, verdict);
    for (name, text) in [
        ("failover.svg", report::failover(blow, &distribution)),
        ("failover.edn", figures.to_string() + "\n"),
        ("failover.json", figures.json() + "\n"),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    match args.output {
        Output::Json => say(&(figures.json() + "\n")),
        Output::Text => {
            say(&report::summary(&results));
            say(&told(args, &distribution, trials.len()));
            say(&format!("{verdict:?}: {}\n", dir.display()));
        }
    }
    Ok(verdict)
}

fn told(args: &FailoverArgs, distribution: &Distribution, trials: usize) -> String {
    let blow = args.fault;
    let at = |percent| distribution.percentile(percent).map_or("never".to_owned(), |ms| ms.to_string());
    format!(
        "{}: {trials} trials, ms: min {}, p50 {}, p90 {}, p99 {}, max {}; p99 is to be at most {}\n",
        blow.name(),
        at(0),
        at(50),
        at(90),
        at(99),
        at(100),
        blow.bound().as_millis()
    )
}

fn figures(
    args: &FailoverArgs,
    trials: &[Trial],
    distribution: &Distribution,
    results: &Results,
    verdict: Verdict,
) -> Edn {
    let blow = args.fault;
    let at = |percent| distribution.percentile(percent).map_or(Edn::Nil, Edn::from);
    let of = |trial: &Trial| {
        let took = trial.took.map_or(Edn::Nil, |took| Edn::from(took.as_millis() as u64));
        Edn::map([("node", Edn::from(trial.node)), ("took-ms", took)])
    };
    let lost = |name| Edn::from(results.figure("total-queue", name));
    Edn::map([
        ("valid?", verdict.to_edn()),
        ("fault", Edn::text(blow.name())),
        ("nodes", Edn::from(args.nodes)),
        ("stall-ms", Edn::from(args.stall_ms)),
        ("trials", Edn::from(trials.len())),
        ("bound-ms", Edn::from(blow.bound().as_millis() as u64)),
        ("bound-holds?", Edn::Bool(distribution.holds(blow.bound()))),
        ("min-ms", at(0)),
        ("p50-ms", at(50)),
        ("p90-ms", at(90)),
        ("p99-ms", at(99)),
        ("max-ms", at(100)),
        ("confirmed", lost("confirmed")),
        ("lost", lost("lost")),
        ("duplicated", lost("duplicated")),
        ("checks", results.verdict().to_edn()),
        ("each", Edn::List(trials.iter().map(of).collect())),
    ])
}
