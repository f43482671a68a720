//! `jepsen soak`: runs in turn until the time is over, what they come to together, and whether enough was put to the test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::list::obstacle;
use super::many::{Part, figure};
use super::run::{fresh_seed, results_dir};
use super::{SoakArgs, interrupt, say};
use crate::check::Verdict;
use crate::edn::Edn;
use crate::nemesis::Fault;
use crate::report::{self, Series, Stretch};
use crate::workload;

/// Sets of faults, in turn: each strikes as often as it is named. With few in a set each comes often.
const SETS: [&str; 4] = [
    "kill,kill,kill,kill,kill-majority,kill-all,halves,ring,bridge,one-way,isolated-leader,isolated-leader,pause,pause,pause-majority",
    "power-cut,power-cut,power-cut-majority,power-cut-all,power-cut-all,kill,kill,kill,halves,one-way,isolated-leader,flip",
    "full,full,sync-fails,slow-disk,flip,flip,kill,kill,kill,ring,one-way,isolated-leader,pause",
    "all,kill,kill,halves",
];
/// A soak of so many minutes has quotas to fill.
const QUOTA_MINUTES: u64 = 45;
/// Strikes that such a soak must have seen: what they are called, the faults that count, how many.
const QUOTAS: [(&str, &[&str], u64); 7] = [
    ("kills", &["kills"], 100),
    ("partitions", &["partition"], 100),
    ("power cuts", &["power"], 20),
    ("power cuts of all nodes", &["power-cut-all"], 5),
    ("pauses", &["pauses"], 20),
    ("flips", &["flip"], 10),
    ("full disks", &["full"], 5),
];
/// Fail-overs that are told one by one.
const SLOWEST: usize = 10;

/// One run that is over.
struct Done {
    part: Part,
    verdict: Verdict,
    results: Edn,
    begin: u64,
    series: Series,
}

/// Runs until the time is over.
pub fn soak(args: &SoakArgs) -> Result<Verdict, String> {
    let dir = args.place.out.clone().unwrap_or_else(|| results_dir("soak"));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let begin = Instant::now();
    let mut runs = Vec::new();
    interrupt::listen()?;
    for part in parts(args, &dir)? {
        if begin.elapsed() >= Duration::from_secs(args.minutes * 60) || interrupt::is_wanted() {
            break;
        }
        let began = begin.elapsed().as_secs();
        let (verdict, results) = part.run(&args.place)?;
        let text = std::fs::read_to_string(part.dir.join("series.edn")).unwrap_or_default();
        let series = Edn::parse(&text).map(|edn| Series::from_edn(&edn)).unwrap_or_default();
        if verdict == Verdict::Valid {
            // Nobody needs the data of what went well.
            forget_data(&part);
        }
        runs.push(Done { part, verdict, results, begin: began, series });
        // After each, so that an end before the time leaves what there is.
        write(&dir, &runs, args.minutes, begin.elapsed().as_secs())?;
    }
    say(&markdown(&runs, args.minutes, begin.elapsed().as_secs()));
    let verdict = verdict(&runs, args.minutes);
    say(&format!("{verdict:?}: {}\n", dir.display()));
    Ok(verdict)
}

/// Faults of these words that can be had here, as often as they are named.
fn possible(words: &str, args: &SoakArgs) -> Result<String, String> {
    let faults = words.split(',').map(Fault::parse).collect::<Result<Vec<_>, _>>()?.concat();
    let faults = faults.into_iter().filter(|fault| obstacle(fault.needs(), &args.place).is_none());
    Ok(faults.map(Fault::name).collect::<Vec<_>>().join(","))
}

fn parts(args: &SoakArgs, dir: &Path) -> Result<impl Iterator<Item = Part> + use<>, String> {
    let workloads: Vec<String> = match args.workload.is_empty() {
        true => workload::ALL.iter().map(|(name, _)| (*name).to_owned()).collect(),
        false => args.workload.clone(),
    };
    let sets: Vec<String> = if args.nemesis.is_empty() {
        for (_, name, needs) in Fault::ALL {
            if let Some(why) = obstacle(needs, &args.place) {
                eprintln!("jepsen: without {name}: {why}");
            }
        }
        SETS.iter().map(|words| possible(words, args)).collect::<Result<_, _>>()?
    } else {
        vec![args.nemesis.join(",")]
    };
    let (first, time, dir) = (args.seed.unwrap_or_else(fresh_seed), args.time, dir.to_owned());
    Ok((0..).map(move |number: u64| {
        let (place, round) = (number as usize % workloads.len(), number as usize / workloads.len());
        let (workload, seed) = (workloads[place].clone(), first + number);
        // In each round, every workload meets another set than in the round before.
        let set = (place + round) % sets.len();
        Part {
            nemesis: sets[set].clone(),
            nodes: if (place + place / sets.len() + round).is_multiple_of(2) { 3 } else { 5 },
            time,
            seed,
            rounds: None,
            dir: dir.join(format!("{number:03}-{workload}-{seed}")),
            workload,
        }
    }))
}

fn forget_data(part: &Part) {
    for node in 1..=part.nodes {
        // Not there when it was on a disk of our own.
        let _ = std::fs::remove_dir_all(part.dir.join(format!("node-{node}/data")));
    }
}

/// Strikes by all faults that these words stand for.
fn strikes(runs: &[Done], words: &[&str]) -> u64 {
    let faults = words.iter().filter_map(|word| Fault::parse(word).ok()).flatten();
    faults.map(|fault| sum(runs, "strikes", fault.name())).sum()
}

fn sum(runs: &[Done], checker: &str, name: &str) -> u64 {
    runs.iter().map(|run| figure(&run.results, checker, name)).sum()
}

/// Quotas: what, how many there were, how many must be.
fn quotas(runs: &[Done]) -> impl Iterator<Item = (&'static str, u64, u64)> {
    QUOTAS.iter().map(|(what, words, least)| (*what, strikes(runs, words), *least))
}

/// The worst of the runs; and a long soak that has not seen enough, or one that saw nothing, has shown nothing.
fn verdict(runs: &[Done], minutes: u64) -> Verdict {
    let worst = runs.iter().map(|run| run.verdict).max().unwrap_or(Verdict::Unknown);
    let missed = minutes >= QUOTA_MINUTES && quotas(runs).any(|(_, seen, least)| seen < least);
    if missed || interrupt::is_wanted() { worst.max(Verdict::Unknown) } else { worst }
}

fn write(dir: &Path, runs: &[Done], minutes: u64, seconds: u64) -> Result<(), String> {
    let stretches: Vec<Stretch> = runs.iter().map(stretch).collect();
    for (name, text) in [
        ("figures.md", markdown(runs, minutes, seconds)),
        ("results.edn", to_edn(runs, minutes, seconds).to_string() + "\n"),
        ("soak.svg", report::soak(&stretches, seconds)),
    ] {
        let path: PathBuf = dir.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn stretch(run: &Done) -> Stretch {
    let name = format!("{}: {} nodes, seed {}", run.part.workload, run.part.nodes, run.part.seed);
    Stretch { begin: run.begin, name, verdict: run.verdict, series: run.series.clone() }
}

/// Figures of a checker over all runs, in the order in which they were first seen. Of times, percentiles and the like the largest counts.
fn sums(runs: &[Done], is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String, u64)> {
    let mut sums: Vec<(String, String, u64)> = Vec::new();
    for run in runs {
        let Edn::Map(checkers) = &run.results else { continue };
        for (checker, finding) in checkers {
            let (Edn::Word(checker), Edn::Map(rows)) = (checker, finding) else { continue };
            for (name, number) in rows.iter().filter(|_| is_wanted(checker)) {
                let (Edn::Word(name), Edn::Int(_)) = (name, number) else { continue };
                let number = number.as_u64().unwrap_or_default();
                match sums.iter_mut().find(|row| row.0 == *checker && row.1 == *name) {
                    Some(row) if name.ends_with("-ms") => row.2 = row.2.max(number),
                    Some(row) => row.2 += number,
                    None => sums.push((checker.clone(), name.clone(), number)),
                }
            }
        }
    }
    sums
}

/// The slowest fail-overs: kind, ms, run.
fn slowest(runs: &[Done]) -> Vec<(&'static str, u64, &Done)> {
    let gaps =
        runs.iter().flat_map(|run| run.series.gaps.iter().map(move |gap| (gap.kind, gap.took_ms, run)));
    let mut gaps: Vec<_> = gaps.collect();
    gaps.sort_by_key(|(_, ms, _)| std::cmp::Reverse(*ms));
    gaps.truncate(SLOWEST);
    gaps
}

/// Of all fail-overs of a kind: how many, and how long half, 99 of 100, and all took at most, ms.
fn gaps_of(runs: &[Done], kind: &str) -> Option<[u64; 4]> {
    let gaps = runs.iter().flat_map(|run| &run.series.gaps).filter(|gap| gap.kind == kind);
    let mut took: Vec<u64> = gaps.map(|gap| gap.took_ms).collect();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
    (!took.is_empty()).then(|| [took.len() as u64, at(50), at(99), at(100)])
}

fn with(runs: &[Done], verdict: Verdict) -> usize {
    runs.iter().filter(|run| run.verdict == verdict).count()
}

fn to_edn(runs: &[Done], minutes: u64, seconds: u64) -> Edn {
    let of = |rows: Vec<(String, String, u64)>| {
        Edn::map(rows.into_iter().map(|(_, name, number)| (name, Edn::from(number))))
    };
    let run = |run: &Done| {
        Edn::map([
            ("valid?", run.verdict.to_edn()),
            ("workload", Edn::text(run.part.workload.clone())),
            ("nemesis", Edn::text(run.part.nemesis.clone())),
            ("nodes", Edn::from(run.part.nodes)),
            ("seed", Edn::from(run.part.seed)),
        ])
    };
    let slow = slowest(runs).into_iter().map(|(kind, ms, run)| {
        Edn::map([
            ("kind", Edn::word(kind)),
            ("took-ms", Edn::from(ms)),
            ("workload", Edn::text(run.part.workload.clone())),
            ("seed", Edn::from(run.part.seed)),
        ])
    });
    let quotas = quotas(runs).map(|(what, seen, least)| {
        (what.replace(' ', "-"), Edn::map([("seen", Edn::from(seen)), ("least", Edn::from(least))]))
    });
    Edn::map([
        ("valid?", verdict(runs, minutes).to_edn()),
        ("seconds", Edn::from(seconds)),
        ("runs", Edn::List(runs.iter().map(run).collect())),
        ("quotas", Edn::map(quotas)),
        ("strikes", of(sums(runs, |checker| checker == "strikes"))),
        ("operations", of(sums(runs, |checker| checker == "operations"))),
        ("slowest", Edn::List(slow.collect())),
    ])
}

fn markdown(runs: &[Done], minutes: u64, seconds: u64) -> String {
    let mut text = format!(
        "{} runs in {} min: {} valid, {} invalid, {} unknown.\n\n",
        runs.len(),
        seconds / 60,
        with(runs, Verdict::Valid),
        with(runs, Verdict::Invalid),
        with(runs, Verdict::Unknown)
    );
    text += "| Strikes | Seen | At least |\n|---|---|---|\n";
    for (what, seen, least) in quotas(runs) {
        let least = match (minutes >= QUOTA_MINUTES, seen < least) {
            (true, true) => format!("{least}: MISSED"),
            (true, false) => least.to_string(),
            (false, _) => format!("({least} from {QUOTA_MINUTES} minutes on)"),
        };
        text += &format!("| {what} | {seen} | {least} |\n");
    }
    let listed = |rows: Vec<(String, String, u64)>| {
        rows.iter().map(|(_, name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ")
    };
    text += &format!("\nBy fault: {}.\n", listed(sums(runs, |checker| checker == "strikes")));
    text += &format!("\nOperations: {}.\n\n", listed(sums(runs, |checker| checker == "operations")));
    text += "| Leader lost to | Times | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|\n";
    for (kind, what) in [("kill", "a kill"), ("pause", "a pause or a partition")] {
        if let Some([count, p50, p99, most]) = gaps_of(runs, kind) {
            text += &format!("| {what} | {count} | {p50} | {p99} | {most} |\n");
        }
    }
    text += "\n| Slowest fail-overs, ms | Of | Run |\n|---|---|---|\n";
    for (kind, ms, run) in slowest(runs) {
        text += &format!("| {ms} | {kind} | {}, seed {} |\n", run.part.workload, run.part.seed);
    }
    text += "\n| Run | Nodes | Seed | Verdict |\n|---|---|---|---|\n";
    for run in runs {
        text += &format!(
            "| {} | {} | {} | {:?} |\n",
            run.part.workload, run.part.nodes, run.part.seed, run.verdict
        );
    }
    text += "\nWhat the checkers counted:\n\n";
    let known = sums(runs, |checker| !["strikes", "operations", "recovery"].contains(&checker));
    for part in known.chunk_by(|a, b| a.0 == b.0) {
        text += &format!("- `{}`: {}\n", part[0].0, listed(part.to_vec()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_name_faults_and_fill_every_quota_from_one_of_them() {
        let sets: Vec<Vec<Fault>> = SETS
            .iter()
            .map(|set| set.split(',').flat_map(|word| Fault::parse(word).unwrap()).collect())
            .collect();
        for (what, words, _) in QUOTAS {
            let counted: Vec<Fault> = words.iter().flat_map(|word| Fault::parse(word).unwrap()).collect();
            assert!(sets.iter().any(|set| set.iter().any(|fault| counted.contains(fault))), "{what}");
        }
    }
}
