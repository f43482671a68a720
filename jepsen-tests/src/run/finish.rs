//! After the faults: leaders, empty queues, equal replicas, logs without panics.

use std::time::{Duration, Instant};

use phalanx_client::{Client, Error};

use crate::check::topic_of;
use crate::cluster::START_DEADLINE;
use crate::history::{F, Facts, Index, Kind};
use crate::nemesis::Nemesis;
use crate::survey;
use crate::workload::client::{PATIENT, Repeats, Scribe, connect};

/// Every queue is to be empty this long after all consumers have left: the longest lease, and some.
const DRAIN_DEADLINE: Duration = Duration::from_secs(45);
/// All replicas are to be level this long after that.
const LEVEL_DEADLINE: Duration = Duration::from_secs(45);
/// One receive waits this long while a queue is drained.
const DRAIN_WAIT: Duration = Duration::from_millis(400);

fn outcome(since: Instant, failed: Option<String>) -> (Kind, Facts) {
    let took_ms = Some(since.elapsed().as_millis() as u64);
    let kind = if failed.is_none() { Kind::Ok } else { Kind::Fail };
    (kind, Facts { took_ms, error: failed, ..Facts::default() })
}

/// Waits until all nodes serve, and queues have leaders.
pub async fn settle_down(nemesis: &mut Nemesis, client: &Client) {
    let begin = Instant::now();
    let mut failed = None;
    for id in 1..=nemesis.cluster.size() {
        while let Err(error) = nemesis.cluster.wait_ready(id, Duration::from_secs(2)).await {
            if let Err(error) = nemesis.supervise() {
                failed = Some(error.to_string());
            }
            if begin.elapsed() > START_DEADLINE {
                failed = Some(error.to_string());
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for (queue, class) in queues(nemesis) {
        // Whether there is one is up to a client.
        if class == "lives" {
            continue;
        }
        if let Err(error) = client.admin().queue_info(&queue).await {
            failed = Some(format!("{queue}: {error}"));
        }
    }
    let (kind, facts) = outcome(begin, failed);
    nemesis.recorder.note(F::Leader, kind, facts);
}

/// Queues from which messages are taken, and their classes.
fn queues(nemesis: &Nemesis) -> Vec<(String, String)> {
    let index = Index::new(&nemesis.recorder.events()).unwrap_or_default();
    index.queues.into_iter().filter(|(_, class)| *class != "topic").collect()
}

/// Empties queues, compares replicas, stops all nodes, and reads what they said. No client works any more.
///
/// # Errors
/// When the machine refuses.
pub async fn finish(nemesis: &mut Nemesis, client: &Client) -> Result<(), String> {
    drain(nemesis).await;
    compare(nemesis, client).await;
    nemesis.supervise().map_err(|error| error.to_string())?;
    nemesis.cluster.stop_all().await.map_err(|error| error.to_string())?;
    read_logs(nemesis);
    nemesis.machines.heal().map_err(|error| error.to_string())
}

/// Takes out what is left.
async fn drain(nemesis: &mut Nemesis) {
    let addresses = nemesis.cluster.addresses();
    let begin = Instant::now();
    let drained = queues(nemesis).into_iter().enumerate().map(|(number, (queue, class))| {
        let (addresses, recorder) = (addresses.clone(), nemesis.recorder.clone());
        async move {
            let scribe = Scribe {
                recorder: recorder.clone(),
                queue: queue.clone(),
                holder: 1_000_000 + number as u64,
                repeats: Repeats::default(),
            };
            let failed = match connect(&addresses, PATIENT, false) {
                Ok(client) => empty(&client, &scribe, begin).await,
                Err(error) => Some(Left::There(error.to_string())),
            };
            let (kind, facts) = match failed {
                // What that means, its own checker says.
                Some(Left::Gone(why)) if class == "lives" => {
                    (Kind::Info, Facts { error: Some(why), ..Facts::default() })
                }
                Some(Left::Gone(why) | Left::There(why)) => outcome(begin, Some(why)),
                None => outcome(begin, None),
            };
            recorder.note(F::Drain, kind, Facts { queue: Some(queue), ..facts });
        }
    });
    futures::future::join_all(drained).await;
}

/// Nothing is still to come to a queue that a binding feeds.
async fn is_carried(client: &Client, queue: &str) -> bool {
    match topic_of(queue) {
        Some(topic) => client.admin().binding_info(topic, queue).await.is_ok_and(|info| info.waiting == 0),
        None => true,
    }
}

/// Why a queue is not empty.
enum Left {
    /// Of a queue that is there, or may be.
    There(String),
    /// There is no such queue.
    Gone(String),
}

async fn empty(client: &Client, scribe: &Scribe, begin: Instant) -> Option<Left> {
    let receiver = client.receiver(&scribe.queue);
    loop {
        // Asked before the queue: what was carried in between is in it.
        let nothing_waits = is_carried(client, &scribe.queue).await;
        let left = match scribe.receive(&receiver, DRAIN_WAIT).await {
            Ok(Some(delivery)) => {
                scribe.ack(delivery).await;
                None
            }
            _ => Some(client.admin().queue_info(&scribe.queue).await),
        };
        match left {
            Some(Ok(info)) if info.ready + info.leased == 0 && nothing_waits => return None,
            Some(Ok(info)) if begin.elapsed() > DRAIN_DEADLINE => {
                return Some(Left::There(format!("{} ready, {} leased", info.ready, info.leased)));
            }
            Some(Err(error @ Error::QueueNotFound { .. })) => return Some(Left::Gone(error.to_string())),
            Some(Err(error)) if begin.elapsed() > DRAIN_DEADLINE => {
                return Some(Left::There(error.to_string()));
            }
            // Messages come as fast as they can: the deadline is for those that do not come.
            _ if begin.elapsed() > 4 * DRAIN_DEADLINE => {
                return Some(Left::There("there is no end to it".to_owned()));
            }
            _ => {}
        }
    }
}

/// Waits until all replicas are level, and notes what they are.
async fn compare(nemesis: &mut Nemesis, client: &Client) {
    let begin = Instant::now();
    let (replicas, level) = survey::wait_level(client, &nemesis.cluster.addresses(), LEVEL_DEADLINE).await;
    let told = || {
        let rows = replicas.iter().map(|(node, group)| {
            let voters = group.voter_nodes.len();
            format!(
                "node {node} group {}: {} at {} of {voters} voters",
                group.group, group.state, group.applied_index
            )
        });
        rows.collect::<Vec<_>>().join("; ")
    };
    let (kind, facts) = outcome(begin, (!level).then(told));
    nemesis.recorder.note(F::Level, kind, facts);
    for (node, group) in &replicas {
        let facts = Facts {
            node: Some(*node),
            shard: Some(group.group),
            applied: Some(group.applied_index),
            digest: Some(group.digest),
            note: Some(group.state.clone()),
            ..Facts::default()
        };
        nemesis.recorder.note(F::Replica, Kind::Info, facts);
    }
}

/// Looks for panics.
fn read_logs(nemesis: &mut Nemesis) {
    for node in nemesis.cluster.nodes() {
        let log = std::fs::read(node.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        for line in log.lines().filter(|line| line.contains("panicked at")) {
            let facts = Facts { node: Some(node.id()), note: Some(line.to_owned()), ..Facts::default() };
            nemesis.recorder.note(F::Panic, Kind::Info, facts);
        }
    }
}
