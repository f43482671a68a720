//! Wall clocks that are wrong: who has one leads nothing.

use std::time::Duration;

use phalanx_client::{Client, QueueSettings};
use phalanx_state_machine::ids::NodeId;

use crate::support::{SOON, TestCluster};
use crate::topics::client;

/// Further from the others than any network delay.
const WRONG_MS: i64 = 600_000;

fn led(cluster: &TestCluster, node: NodeId) -> usize {
    cluster.node(node).state().shards().iter().filter(|shard| shard.is_leader()).count()
}

/// Until the node leads nothing, and others lead all four groups.
async fn handed_over(cluster: &TestCluster, node: NodeId) {
    let handed_over = async {
        while led(cluster, node) > 0 || (1..=3).map(|node| led(cluster, node)).sum::<usize>() < 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, handed_over).await.expect("a node with a wrong clock hands over");
}

async fn serves(client: &Client, queue: &str) {
    client.admin().create_queue(queue, QueueSettings::default()).await.unwrap();
    client.send(queue, ["body"]).await.unwrap();
    client.receiver(queue).receive(1, SOON).await.unwrap().pop().expect("it was sent").ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_wall_clock_is_wrong_hands_over() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    serves(&client, "before").await;
    for (round, ahead_ms) in (0..).zip([WRONG_MS, -WRONG_MS]) {
        let node = (1..=3).max_by_key(|node| led(&cluster, *node)).expect("three nodes");
        cluster.clock(node).set_ahead_ms(ahead_ms);
        handed_over(&cluster, node).await;
        serves(&client, &format!("without-{round}")).await;
        cluster.clock(node).set_ahead_ms(0);
    }
    cluster.stop_all().await;
}
