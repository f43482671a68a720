//! Looks at all replicas of a cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use phalanx_client::{Client, GroupStatus};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// One node may take this long to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// The replicas of all nodes that answer: node, and what it says of a group.
pub async fn replicas(client: &Client, addresses: &[String]) -> Vec<(u64, GroupStatus)> {
    let admin = client.admin();
    let asked = addresses.iter().map(|address| {
        let admin = &admin;
        async move { tokio::time::timeout(ANSWER_DEADLINE, admin.status_at(address)).await.ok()?.ok() }
    });
    let answers = futures::future::join_all(asked).await;
    let rows = answers.into_iter().flatten();
    rows.flat_map(|status| status.groups.into_iter().map(move |group| (status.node, group))).collect()
}

fn by_group(replicas: &[(u64, GroupStatus)]) -> BTreeMap<u64, Vec<&GroupStatus>> {
    let mut groups: BTreeMap<u64, Vec<&GroupStatus>> = BTreeMap::new();
    for (_, group) in replicas {
        groups.entry(group.group).or_default().push(group);
    }
    groups
}

/// All nodes have a healthy replica of every group.
pub fn is_healthy(replicas: &[(u64, GroupStatus)], nodes: usize) -> bool {
    let groups = by_group(replicas);
    !groups.is_empty()
        && groups.values().all(|group| {
            group.len() == nodes
                && group
                    .iter()
                    .all(|replica| replica.state == "healthy" && replica.voter_nodes.len() == nodes)
        })
}

/// And all have applied the same entries.
pub fn is_level(replicas: &[(u64, GroupStatus)], nodes: usize) -> bool {
    let same = |group: &Vec<&GroupStatus>| {
        group.windows(2).all(|pair| pair[0].applied_index == pair[1].applied_index)
    };
    is_healthy(replicas, nodes) && by_group(replicas).values().all(same)
}

/// Waits until all replicas are healthy; whether they are.
pub async fn wait_healthy(client: &Client, addresses: &[String], deadline: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < deadline {
        if is_healthy(&replicas(client, addresses).await, addresses.len()) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// Waits until all replicas are level; the last look at them, and whether they are.
pub async fn wait_level(
    client: &Client,
    addresses: &[String],
    deadline: Duration,
) -> (Vec<(u64, GroupStatus)>, bool) {
    let begin = Instant::now();
    loop {
        let found = replicas(client, addresses).await;
        let level = is_level(&found, addresses.len());
        if level || begin.elapsed() >= deadline {
            return (found, level);
        }
        tokio::time::sleep(LOOK).await;
    }
}
