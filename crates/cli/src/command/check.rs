//! `phalanx check`: one line and an exit status, as monitoring plugins speak (0 ok, 1 warning, 2 critical, 3 unknown).

use std::fmt::Write as _;

use phalanx_client::{Error, QueueInfo};
use serde::Serialize;

use crate::args::{CheckArgs, CheckCommand, CheckQueueArgs, Common, Output};
use crate::command::connect;
use crate::output::{self, Failure, Outcome, duration, millis};
use crate::survey::Survey;

/// How bad it is. The number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

/// Exit status for a command line or configuration that says nothing about the cluster.
pub const EXIT_CHECK_UNKNOWN: u8 = Level::Unknown as u8;

/// What was found.
#[derive(Debug, Serialize)]
struct Finding {
    status: Level,
    problems: Vec<Problem>,
    /// In a word, when all is well.
    summary: String,
    /// Numbers for graphs.
    metrics: Vec<(&'static str, u64)>,
}

#[derive(Debug, Serialize)]
struct Problem {
    level: Level,
    what: String,
}

impl Finding {
    fn new(summary: String, metrics: Vec<(&'static str, u64)>) -> Self {
        Self { status: Level::Ok, problems: Vec::new(), summary, metrics }
    }

    fn add(&mut self, level: Level, what: String) {
        self.status = self.status.max(level);
        self.problems.push(Problem { level, what });
    }

    /// The worst first, in one line, then the numbers.
    fn line(&self) -> String {
        let name = match self.status {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        };
        let mut problems: Vec<&Problem> = self.problems.iter().collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.level));
        let told: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        let told = if told.is_empty() { self.summary.clone() } else { told.join("; ") };
        let mut line = format!("PHALANX {name}: {told}");
        for (place, (name, value)) in self.metrics.iter().enumerate() {
            let _ = write!(line, "{}{name}={value}", if place == 0 { " | " } else { " " });
        }
        line
    }
}

/// Runs `phalanx check`.
pub async fn run(args: CheckArgs, common: &Common) -> Outcome {
    let finding = match find(args, common).await {
        Ok(finding) => finding,
        Err(failure) => {
            // A cluster that does not answer is what monitoring is for; a wrong command line is not.
            let level = if failure.code == output::EXIT_USAGE { Level::Unknown } else { Level::Critical };
            let mut finding = Finding::new(String::new(), Vec::new());
            finding.add(level, failure.message.replace('\n', " "));
            finding
        }
    };
    if common.output == Output::Json {
        output::line(&serde_json::to_string(&finding).map_err(|error| Failure::new(error.to_string()))?);
    } else {
        output::line(&finding.line());
    }
    match finding.status {
        Level::Ok => Ok(()),
        level => Err(Failure::silent(level as u8)),
    }
}

async fn find(args: CheckArgs, common: &Common) -> Result<Finding, Failure> {
    let admin = connect(common).await?.admin();
    match args.what {
        Some(CheckCommand::Queue(args)) => match admin.queue_info(&args.name).await {
            Ok(info) => Ok(queue(&args, &info)),
            Err(error @ Error::QueueNotFound { .. }) => Err(Failure::new(error.to_string())),
            Err(error) => Err(error.into()),
        },
        Some(CheckCommand::Cluster { lag_warning }) => Ok(cluster(&Survey::take(&admin).await?, lag_warning)),
        None => Ok(cluster(&Survey::take(&admin).await?, u64::MAX)),
    }
}

fn cluster(survey: &Survey, lag_warning: u64) -> Finding {
    let groups = survey.groups();
    let (nodes, lost) = (survey.status.nodes.len(), survey.lost_nodes());
    let led = groups.iter().filter(|group| group.leader_node.is_some()).count();
    let lag = groups.iter().map(|group| group.lag).max().unwrap_or(0);
    let reached = nodes - lost.len();
    let summary = format!("{reached} of {nodes} nodes, {led} of {} groups led", groups.len());
    let metrics = vec![
        ("nodes", nodes as u64),
        ("nodes_reached", reached as u64),
        ("groups", groups.len() as u64),
        ("groups_led", led as u64),
        ("lag_entries", lag),
    ];
    let mut finding = Finding::new(summary, metrics);
    for node in &lost {
        finding.add(Level::Warning, format!("node {node} does not answer"));
    }
    for group in &groups {
        let name = if group.group == 0 { "the catalog".to_owned() } else { format!("shard {}", group.group) };
        if group.leader_node.is_none() {
            finding.add(Level::Critical, format!("{name} has no leader: its queues are not served"));
        }
        for (node, state) in &group.unsound {
            let level = if state == "differs from its leader" { Level::Critical } else { Level::Warning };
            finding.add(level, format!("{name} on node {node}: {state}"));
        }
        if group.lag > lag_warning {
            finding.add(Level::Warning, format!("{name}: a replica is {} entries behind", group.lag));
        }
    }
    finding
}

fn queue(args: &CheckQueueArgs, info: &QueueInfo) -> Finding {
    let attached = info.consumers.iter().filter(|consumer| consumer.attached).count() as u64;
    let age_ms = info.oldest_age.map_or(0, millis);
    let metrics = vec![
        ("ready", info.ready),
        ("leased", info.leased),
        ("oldest_age_ms", age_ms),
        ("consumers", attached),
        ("bytes", info.bytes),
    ];
    let name = &args.name;
    let summary = format!("queue {name}: {} ready, {} leased, {attached} consumers", info.ready, info.leased);
    let mut finding = Finding::new(summary, metrics);
    let over = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value > limit);
    let level = |critical, warning, value| match (over(critical, value), over(warning, value)) {
        (true, _) => Some(Level::Critical),
        (false, true) => Some(Level::Warning),
        (false, false) => None,
    };
    if let Some(level) = level(args.ready_critical, args.ready_warning, info.ready) {
        finding.add(level, format!("queue {name}: {} messages wait", info.ready));
    }
    if let Some(level) = level(args.age_critical, args.age_warning, age_ms) {
        finding.add(level, format!("queue {name}: the oldest message is {} old", duration(age_ms)));
    }
    if args.consumers_min.is_some_and(|least| attached < least) {
        let what = format!("queue {name}: {attached} consumers are attached");
        finding.add(Level::Critical, what);
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::tests::{group, survey, view};

    #[test]
    fn a_sound_cluster_is_ok_in_one_line() {
        let groups = || vec![group(0, Some(1), 3, 10), group(1, Some(2), 2, 50)];
        let all = [true; 3];
        let finding = cluster(&survey((1..=3).map(|node| view(node, all, groups())).collect()), u64::MAX);
        assert_eq!(
            finding.line(),
            "PHALANX OK: 3 of 3 nodes, 2 of 2 groups led | nodes=3 nodes_reached=3 groups=2 groups_led=2 lag_entries=0"
        );
    }

    #[test]
    fn a_dead_node_is_a_warning_and_a_leaderless_shard_critical() {
        let reach = [true, true, false];
        let dead = cluster(&survey(vec![view(1, reach, vec![group(1, Some(1), 2, 5)])]), u64::MAX);
        assert_eq!(dead.status, Level::Warning);
        let leaderless = cluster(&survey(vec![view(1, reach, vec![group(1, None, 2, 5)])]), u64::MAX);
        assert_eq!(leaderless.status, Level::Critical);
        assert!(
            leaderless.line().starts_with("PHALANX CRITICAL: shard 1 has no leader"),
            "{}",
            leaderless.line()
        );
    }

    #[test]
    fn lag_counts_from_its_limit_on() {
        let views = || {
            survey(vec![
                view(1, [true; 3], vec![group(1, Some(1), 2, 50)]),
                view(2, [true; 3], vec![group(1, Some(1), 2, 30)]),
            ])
        };
        assert_eq!(cluster(&views(), 20).status, Level::Ok);
        assert_eq!(cluster(&views(), 19).status, Level::Warning);
    }
}
