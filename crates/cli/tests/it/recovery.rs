//! Nodes that come back with less than they had: too old a log, no disk, a flipped bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phalanx_client::{Client, QueueSettings};
use phalanx_testkit::{LocalCluster, Options};

const QUEUE: &str = "orders";
/// Body of a message that is there to fill a log, bytes.
const LARGE: usize = 16 * 1024;
/// Messages in one batch.
const BATCH: usize = 64;
/// Starting, catching up and agreeing, each.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A log that is soon full.
const SMALL_LOG: &str =
    "[wal]\nsegment_bytes = 4194304\nbudget_bytes = 20971520\n\n[limits]\nrequest_bytes = 1572864\n\n";

/// Three nodes whose logs are small.
async fn start(dir: &Path) -> (LocalCluster, Client) {
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir);
    options.shards = 1;
    options.config = SMALL_LOG.to_owned();
    let cluster =
        LocalCluster::start(&options).await.expect("three nodes on an empty machine become a cluster");
    let client = Client::connect(cluster.addresses()).await.expect("the cluster is there");
    client.admin().create_queue(QUEUE, QueueSettings::default()).await.expect("a new queue");
    (cluster, client)
}

async fn send(client: &Client, batches: usize, bytes: usize) {
    let producer = client.producer(QUEUE).open().await.expect("the queue is there");
    for _ in 0..batches {
        let batch = (0..BATCH).map(|_| vec![b'x'; bytes]);
        producer.enqueue_batch(batch).await.expect("the window has room in time").await.expect("confirmed");
    }
    producer.close().await.expect("all was confirmed");
}

async fn consume(client: &Client, messages: usize) {
    let mut consumer = client.consumer(QUEUE).open().await.expect("the queue is there");
    for _ in 0..messages {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a message is there");
        next.expect("nobody closed it").expect("the queue is there").ack().await.expect("acknowledged");
    }
    consumer.close().await.expect("a clean goodbye");
}

async fn leader(client: &Client) -> u64 {
    client.admin().queue_info(QUEUE).await.expect("the queue is there").leader_node
}

/// Waits until all replicas of every group vote, are healthy, have applied the same, and agree.
async fn agree(client: &Client, cluster: &LocalCluster) {
    let begin = Instant::now();
    'look: loop {
        assert!(begin.elapsed() < PATIENCE, "the replicas do not agree: {:?}", states(client, cluster).await);
        tokio::time::sleep(LOOK).await;
        let states = states(client, cluster).await;
        for group in [0, 1] {
            let mut of_group = states.iter().filter(|state| state.0 == group).map(|state| &state.1);
            let first = of_group.next();
            let Some(first) = first.filter(|first| first.1 == "healthy" && first.2.len() == 3) else {
                continue 'look;
            };
            if of_group.clone().count() != 2 || !of_group.all(|other| other == first) {
                continue 'look;
            }
        }
        return;
    }
}

type State = ((u64, u64), String, Vec<u64>);

/// Group; applied and digest, state, voters: of each replica.
async fn states(client: &Client, cluster: &LocalCluster) -> Vec<(u64, State)> {
    let mut states = Vec::new();
    for address in cluster.addresses() {
        let Ok(status) = client.admin().status_at(&address).await else { continue };
        states.extend(status.groups.into_iter().map(|group| {
            let voters = group.voter_nodes;
            (group.group, ((group.applied_index, group.digest), group.state, voters))
        }));
    }
    states
}

fn log_of(cluster: &mut LocalCluster, node: u64) -> String {
    fs::read_to_string(cluster.node(node).log_path()).expect("a node has a log")
}

/// What the node said since `before`.
fn said_since(cluster: &mut LocalCluster, node: u64, before: usize) -> String {
    log_of(cluster, node).split_off(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_was_down_for_long_catches_up_by_snapshot_while_sends_go_on() {
    let _beside_others = crate::MACHINE.read().await;
    let dir = tempfile::tempdir().expect("a directory for the test");
    let (mut cluster, client) = start(dir.path()).await;
    let follower = leader(&client).await % 3 + 1;
    cluster.node(follower).kill().await.expect("it was running");
    // More than the whole log may hold: what the follower misses is purged.
    send(&client, 48, LARGE).await;
    consume(&client, 40 * BATCH).await;
    let before = log_of(&mut cluster, follower).len();
    cluster.node(follower).spawn().expect("it starts again");
    let meanwhile = tokio::spawn({
        let client = client.clone();
        async move { send(&client, 16, LARGE).await }
    });
    cluster.node(follower).wait_ready(PATIENCE).await.expect("it comes back");
    meanwhile.await.expect("every send was confirmed");
    agree(&client, &cluster).await;
    let said = said_since(&mut cluster, follower, before);
    assert!(said.contains("caught up by a snapshot"), "{said}");
    // It is a full member: with another node gone, it is needed for every write.
    let other = (1..=3).find(|node| *node != follower).expect("there are three");
    cluster.node(other).kill().await.expect("it was running");
    send(&client, 1, 16).await;
    consume(&client, 25 * BATCH).await;
    let info = client.admin().queue_info(QUEUE).await.expect("the queue is there");
    assert_eq!((info.ready, info.leased, info.acked_total), (0, 0, 65 * BATCH as u64));
}

/// Waits until the node's process has ended by itself.
async fn refused(cluster: &mut LocalCluster, node: u64) -> String {
    let begin = Instant::now();
    while cluster.node(node).exited().is_none() {
        assert!(begin.elapsed() < PATIENCE, "node {node} was not refused");
        tokio::time::sleep(LOOK).await;
    }
    // Takes the ended process off the books.
    cluster.node(node).kill().await.expect("it has ended");
    let log = log_of(cluster, node);
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_node_is_refused_and_two_wiped_nodes_found_no_new_cluster() {
    let _beside_others = crate::MACHINE.read().await;
    let dir = tempfile::tempdir().expect("a directory for the test");
    let (mut cluster, client) = start(dir.path()).await;
    send(&client, 2, 16).await;
    cluster.node(1).kill().await.expect("it was running");
    cluster.node(1).wipe().expect("its files can be removed");
    cluster.node(1).spawn().expect("it starts");
    let why = refused(&mut cluster, 1).await;
    assert!(why.contains("its data are gone") && why.contains("node 1"), "{why}");
    send(&client, 2, 16).await;

    // Two of three without their disks: no majority, and nothing new in its place.
    let (settled, before) = {
        let status = client.admin().status_at(&cluster.node(3).address()).await.expect("node 3 is there");
        (status.cluster_id, log_of(&mut cluster, 3).len())
    };
    cluster.node(2).kill().await.expect("it was running");
    cluster.node(2).wipe().expect("its files can be removed");
    cluster.node(1).wipe().expect("its files can be removed");
    for node in [1, 2] {
        cluster.node(node).spawn().expect("it starts");
    }
    for node in [1, 2] {
        let why = refused(&mut cluster, node).await;
        assert!(why.contains("its data are gone") && why.contains("do not wipe further nodes"), "{why}");
    }
    let said = said_since(&mut cluster, 3, before);
    assert!(said.contains("came back with another disk"), "{said}");
    let status = client.admin().status_at(&cluster.node(3).address()).await.expect("node 3 is there");
    assert_eq!(status.cluster_id, settled);
}

/// Every file below `dir`, in order.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of a node") {
        let entry = entry.expect("an entry of it");
        if entry.file_type().expect("its type").is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Flips a bit in the middle of what was written to the file; `None` when nothing was.
fn flip_a_bit(file: &Path) -> Option<usize> {
    let mut bytes = fs::read(file).expect("a stored file");
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let at = *written.get(written.len() / 2)?;
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("the test may write");
    Some(at)
}

#[expect(clippy::print_stdout, reason = "what a flip led to is shown with --nocapture")]
async fn flip_in_each_file_is_found_and_healed(engine: &str) {
    let _beside_others = crate::MACHINE.read().await;
    let dir = tempfile::tempdir().expect("a directory for the test");
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir.path());
    options.shards = 1;
    options.config = format!("{SMALL_LOG}[checkpoint]\nengine = \"{engine}\"\n");
    let mut cluster = LocalCluster::start(&options).await.expect("a cluster");
    let client = Client::connect(cluster.addresses()).await.expect("the cluster is there");
    client.admin().create_queue(QUEUE, QueueSettings::default()).await.expect("a new queue");
    send(&client, 24, LARGE).await;
    consume(&client, 20 * BATCH).await;
    agree(&client, &cluster).await;

    let data = cluster.node(2).data_dir();
    let mut noticed = 0;
    let mut flipped = 0;
    for file in files_below(&data) {
        let name = file.strip_prefix(&data).expect("below it").display().to_string();
        // Messages that are new to the node when it comes back, so that its log is needed.
        cluster.node(2).kill().await.expect("it was running");
        if !file.exists() {
            continue; // replaced by what an earlier flip led to
        }
        let Some(at) = flip_a_bit(&file) else {
            cluster.node(2).spawn().expect("it starts");
            continue;
        };
        flipped += 1;
        let before = log_of(&mut cluster, 2).len();
        cluster.node(2).spawn().expect("it starts");
        send(&client, 1, LARGE).await;
        cluster.node(2).wait_ready(PATIENCE).await.expect("it comes back");
        agree(&client, &cluster).await;
        let said = said_since(&mut cluster, 2, before);
        let detected = said.contains("damaged") || said.contains("quarantined");
        noticed += usize::from(detected);
        println!("{name}, byte {at}: {}", if detected { "found and healed" } else { "changed nothing" });
    }
    assert!(flipped >= 5 && noticed >= 3, "{noticed} of {flipped} flips were found");
    // Node 2 is needed for every write now, and has all that was sent.
    cluster.node(1).kill().await.expect("it was running");
    let waiting = client.admin().queue_info(QUEUE).await.expect("the queue is there").ready;
    assert_eq!(waiting, ((4 + flipped) * BATCH) as u64);
    consume(&client, (4 + flipped) * BATCH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_in_each_stored_file_is_found_and_healed_with_sled() {
    flip_in_each_file_is_found_and_healed("sled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_in_each_stored_file_is_found_and_healed_with_redb() {
    flip_in_each_file_is_found_and_healed("redb").await;
}
