//! Receives that wait: who is woken, and that nobody is for nothing.

use std::time::Duration;

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;

use crate::support::{SOON, TestCluster, eventually};
use crate::talk::{create, id, info, message, receive_request, send_request, texts};

const LONG: Duration = Duration::from_secs(15);
/// Far less than [`LONG`], far more than a call takes on a busy machine.
const PROMPT: Duration = Duration::from_secs(7);
/// Entries that a few calls may cost; one that spins costs hundreds in a second.
const FEW_ENTRIES: u64 = 30;

type Waiting = JoinHandle<Result<Vec<v1::Delivery>, Status>>;

async fn orders() -> TestCluster {
    let cluster = TestCluster::started(1).await;
    create(&cluster, 1, "orders", v1::QueueSettings::default()).await;
    cluster
}

async fn send(cluster: &TestCluster, group: &str, text: &str) {
    let message = v1::Message { group: group.to_owned().into(), ..message(text) };
    let request = v1::SendRequest { messages: vec![message], ..send_request("orders", &[]) };
    MessagesClient::new(cluster.channel(1)).send(request).await.expect("it is sent");
}

fn wait(cluster: &TestCluster, request: v1::ReceiveRequest) -> Waiting {
    let mut client = MessagesClient::new(cluster.channel(1));
    tokio::spawn(async move { client.receive(request).await.map(|answer| answer.into_inner().deliveries) })
}

/// What a wait brings, within `limit`.
async fn brings(waiting: Waiting, limit: Duration) -> Vec<v1::Delivery> {
    let answer = tokio::time::timeout(limit, waiting).await.expect("the answer comes in time");
    answer.expect("the task ends well").expect("it is received")
}

async fn applied(cluster: &TestCluster) -> u64 {
    let group = info(cluster, 1, "orders").await.queue.expect("a queue").shard;
    let shard = cluster.node(1).state().shard(group).expect("a replica");
    shard.group.read(phalanx_state_machine::machine::Machine::applied_index)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_that_waits_for_a_held_group_leaves_the_log_alone() {
    let cluster = orders().await;
    send(&cluster, "g", "a").await;
    send(&cluster, "g", "b").await;
    let held = brings(wait(&cluster, receive_request("orders", 1, 1, LONG)), SOON).await;
    assert_eq!(texts(&held), ["a"]);
    let before = applied(&cluster).await;
    let waiting = wait(&cluster, receive_request("orders", 2, 1, Duration::from_secs(2)));
    assert!(brings(waiting, SOON).await.is_empty(), "the group is another one's");
    let entries = applied(&cluster).await - before;
    assert!(entries < FEW_ENTRIES, "{entries} entries for a receive that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_message_of_a_group_wakes_its_holder_behind_all_others() {
    let cluster = orders().await;
    send(&cluster, "g", "a").await;
    let held = brings(wait(&cluster, receive_request("orders", 1, 1, LONG)), SOON).await;
    assert_eq!(texts(&held), ["a"]);
    let before = applied(&cluster).await;
    let other = wait(&cluster, receive_request("orders", 2, 1, LONG));
    eventually("the other one waits", async || (applied(&cluster).await > before).then_some(())).await;
    let before = applied(&cluster).await;
    let holder = wait(&cluster, receive_request("orders", 1, 1, LONG));
    eventually("the holder waits", async || (applied(&cluster).await > before).then_some(())).await;
    send(&cluster, "g", "b").await;
    assert_eq!(texts(&brings(holder, PROMPT).await), ["b"]);
    other.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_repeated_after_its_leases_ended_is_answered_at_once_and_takes_nobodys_turn() {
    let cluster = orders().await;
    send(&cluster, "", "a").await;
    let mut request = receive_request("orders", 1, 1, LONG);
    (request.request_id, request.lease_ms) = (id(5), 50);
    let lost = brings(wait(&cluster, request.clone()), SOON).await;
    assert_eq!(texts(&lost), ["a"], "an answer that got lost on its way to the client");
    eventually("its lease ends", async || (info(&cluster, 1, "orders").await.leased == 0).then_some(()))
        .await;
    let before = applied(&cluster).await;
    let start = Instant::now();
    assert!(brings(wait(&cluster, request), SOON).await.is_empty());
    let entries = applied(&cluster).await - before;
    assert!(start.elapsed() < PROMPT && entries < FEW_ENTRIES, "{:?}, {entries} entries", start.elapsed());
    assert_eq!(texts(&brings(wait(&cluster, receive_request("orders", 1, 1, LONG)), SOON).await), ["a"]);
}
