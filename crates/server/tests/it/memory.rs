//! Bodies over the memory budget are on disk only, and come back when they are delivered.

use std::time::Duration;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_state_machine::machine::Machine;

use crate::support::{TestCluster, eventually};
use crate::talk::{create, receive_request, send_request, settle_item, settle_request, texts, tokens};

/// Body of one message, bytes.
const BODY: usize = 8 * 1024;
/// Messages: four times the budget.
const MESSAGES: usize = 512;
/// The budget, bytes: the least that the configuration takes.
const BUDGET: u64 = 1024 * 1024;

fn body(number: usize) -> String {
    format!("{number:0>BODY$}")
}

/// Payload bytes that a node holds in memory.
fn resident(cluster: &TestCluster, node: u64) -> u64 {
    let shards = cluster.node(node).state().shards();
    shards.iter().map(|shard| shard.group.read(Machine::resident_bytes)).sum()
}

async fn within_budget(cluster: &TestCluster) {
    for node in 1..=3 {
        let within = async || (resident(cluster, node) <= BUDGET).then_some(());
        eventually("the node is within its memory budget", within).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_the_memory_budget_are_read_back_in_order_also_after_a_restart() {
    let mut cluster = TestCluster::new(3);
    for node in 1..=3 {
        cluster.config_mut(node).limits.payload_memory_bytes = BUDGET;
    }
    cluster.start_all().await;
    create(&cluster, 1, "orders", v1::QueueSettings::default()).await;
    let mut client = MessagesClient::new(cluster.channel(1));
    for first in (0..MESSAGES).step_by(8) {
        let bodies: Vec<String> = (first..first + 8).map(body).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        client.send(send_request("orders", &bodies)).await.expect("it is sent");
    }
    within_budget(&cluster).await;
    let mut next = 0;
    next = take(&cluster, next, MESSAGES / 2).await;
    for node in 1..=3 {
        cluster.crash(node).await;
    }
    cluster.start_all().await;
    within_budget(&cluster).await;
    assert_eq!(take(&cluster, next, MESSAGES).await, MESSAGES);
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}

/// Receives and acknowledges the messages from `next` up to `end`, each checked; where it stopped.
async fn take(cluster: &TestCluster, mut next: usize, end: usize) -> usize {
    let mut client = MessagesClient::new(cluster.channel(2));
    while next < end {
        let request = receive_request("orders", 1, 16, Duration::from_secs(15));
        let deliveries = client.receive(request).await.expect("it is received").into_inner().deliveries;
        let expected: Vec<String> = (next..next + deliveries.len()).map(body).collect();
        assert!(!deliveries.is_empty() && texts(&deliveries) == expected, "from message {next}");
        let item = settle_item(v1::SettleAction::Ack, &tokens(&deliveries));
        client.settle(settle_request("orders", 1, item)).await.expect("it is acknowledged");
        next += deliveries.len();
    }
    next
}
