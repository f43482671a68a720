//! Leaders that fall silent, and leaders that are only slow.

use std::time::Duration;

use phalanx_client::Client;
use tokio::time::Instant;

use crate::fake::{Cluster, Fault};

/// The silence before the first question, and until a call is given up without an answer to any.
const ASKED_AFTER: Duration = Duration::from_millis(300);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(6);
/// When the others have a new leader.
const ELECTED_AFTER: Duration = Duration::from_millis(900);

/// Three nodes that agree about node 1, and a client that goes there.
async fn agreed(term: u64) -> (Cluster, Client) {
    let cluster = Cluster::start(3);
    see(&cluster, [(1, term); 3]);
    let client = cluster.client().await;
    client.send("q", ["before"]).await.expect("node 1 leads");
    (cluster, client)
}

fn see(cluster: &Cluster, views: [(u64, u64); 3]) {
    cluster.lock().views = (1..).zip(views).collect();
}

/// Node 1 falls silent, and the others elect node 2.
fn isolate(cluster: &Cluster) {
    cluster.lock().send_faults.push_back(Fault::Swallow);
    let cluster = cluster.clone();
    tokio::spawn(async move {
        tokio::time::sleep(ELECTED_AFTER).await;
        cluster.lock().leader = 2;
        see(&cluster, [(1, 4), (2, 5), (2, 5)]);
    });
}

fn soon(start: Instant) -> bool {
    (ELECTED_AFTER..ELECTED_AFTER + 2 * ASKED_AFTER).contains(&start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_left_when_another_is_named() {
    let (cluster, client) = agreed(4).await;
    isolate(&cluster);
    let start = Instant::now();
    client.send("q", ["a"]).await.unwrap();
    assert!(soon(start), "{:?}", start.elapsed());
    assert_eq!(cluster.bodies(), ["before", "a"], "the repetition is recognised");
}

#[tokio::test(start_paused = true)]
async fn a_producer_leaves_a_silent_leader_in_order() {
    let (cluster, client) = agreed(4).await;
    let producer = client.producer("q").open().await.unwrap();
    producer.send("a").await.unwrap();
    isolate(&cluster);
    let start = Instant::now();
    let confirmations = [producer.enqueue("b").await.unwrap(), producer.enqueue("c").await.unwrap()];
    for confirmation in confirmations {
        confirmation.await.unwrap();
    }
    assert!(soon(start), "{:?}", start.elapsed());
    assert_eq!(cluster.bodies(), ["before", "a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_leader_is_not_left_and_many_calls_ask_as_one() {
    let (cluster, client) = agreed(4).await;
    let asked = cluster.lock().user_agents.len();
    cluster.lock().send_faults.extend([Fault::Swallow; 50]);
    let start = Instant::now();
    let sends = (0..50).map(|_| client.send("q", ["a"]));
    for outcome in futures::future::join_all(sends).await {
        outcome.unwrap();
    }
    assert!(start.elapsed() >= GIVEN_UP_AFTER, "{:?}", start.elapsed());
    let asked = cluster.lock().user_agents.len() - asked;
    let most = GIVEN_UP_AFTER.as_millis() / (ASKED_AFTER.as_millis() / 2);
    // Beside those, each call looks for a leader when it is given up.
    assert!((10..=most as usize + 50).contains(&asked), "{asked} questions");
}

#[tokio::test(start_paused = true)]
async fn who_has_not_heard_of_the_leader_is_not_believed() {
    let (cluster, client) = agreed(4).await;
    see(&cluster, [(1, 4), (3, 3), (3, 3)]);
    cluster.lock().send_faults.push_back(Fault::Swallow);
    let start = Instant::now();
    client.send("q", ["a"]).await.unwrap();
    assert!(start.elapsed() >= GIVEN_UP_AFTER, "{:?}", start.elapsed());
}
