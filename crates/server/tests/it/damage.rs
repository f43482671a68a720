//! A damaged log: the replicas that it held are given up, and new ones take their places.

use std::path::{Path, PathBuf};

use phalanx_proto::v1::{CreateQueueRequest, GetQueueRequest, StatusRequest};

use crate::support::{SOON, TestCluster, eventually, files};

/// As long as a node that could go on would need, several times over.
const WHILE: std::time::Duration = std::time::Duration::from_secs(4);

/// Batches of the log begin at whole blocks of this size with this magic; the kind is the seventh byte, 2 = records.
const BLOCK_BYTES: usize = 4096;
const BATCH_MAGIC: &[u8] = b"PXWB";
const BATCH_HEADER_BYTES: usize = 48;

/// Places of all batches with records, in the files' order.
fn record_batches(wal: &Path) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for (path, bytes) in files(wal) {
        let starts = (0..bytes.len()).step_by(BLOCK_BYTES);
        let batches =
            starts.filter(|at| bytes[*at..].starts_with(BATCH_MAGIC) && bytes.get(at + 6) == Some(&2));
        found.extend(batches.map(|at| (path.clone(), at)));
    }
    found
}

fn flip_bit(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

async fn create(cluster: &TestCluster, at: u64, name: &str) {
    let request = CreateQueueRequest { name: name.to_owned(), ..Default::default() };
    cluster.queues(at).create_queue(request).await.expect("the queue is created");
}

/// Waits until all replicas of every group have applied the same and agree, with this node among the voters.
async fn agree(cluster: &TestCluster) {
    for group in 0..=3 {
        eventually("all replicas vote and have the same digest", async || {
            let mut seen = Vec::new();
            for node in 1..=3 {
                let status = cluster.cluster(node).status(StatusRequest {}).await.ok()?.into_inner();
                let status = status.groups.into_iter().find(|status| status.group == group)?;
                if status.state != "healthy" || status.voter_nodes != [1, 2, 3] {
                    return None;
                }
                seen.push((status.applied_index, status.digest));
            }
            seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        })
        .await;
    }
}

async fn flipped_bit_is_healed(offset_in_batch: usize) {
    let mut cluster = TestCluster::started(3).await;
    for number in 0..6 {
        create(&cluster, number % 3 + 1, &format!("queue-{number}")).await;
    }
    cluster.crash(3).await;
    let batches = record_batches(&cluster.data_dir(3).join("wal"));
    assert!(batches.len() > 4, "the log was not read: {batches:?}");
    // In the middle: batches follow, so that it cannot pass for a write that was never finished.
    let (path, at) = &batches[batches.len() / 2];
    flip_bit(path, at + offset_in_batch);
    cluster.start_some(&[3]).await;
    agree(&cluster).await;
    create(&cluster, 3, "after").await;
    for name in ["queue-0", "queue-5", "after"] {
        let request = GetQueueRequest { name: name.to_owned(), ..Default::default() };
        cluster.queues(3).get_queue(request).await.expect("every queue is there");
    }
    // The new replicas are what the node comes back with.
    let replicas = |cluster: &TestCluster| -> Vec<u64> {
        cluster.node(3).state().shards().iter().map(|shard| shard.group.replica()).collect()
    };
    let before = replicas(&cluster);
    let planned = cluster.node(3).state().identity.plan.groups.iter().flat_map(|group| &group.replicas);
    let planned: Vec<u64> = planned.filter(|row| row.1 == 3).map(|row| row.0).collect();
    assert_ne!(before, planned, "the damage was not noticed");
    cluster.crash(3).await;
    cluster.start_some(&[3]).await;
    agree(&cluster).await;
    assert_eq!(replicas(&cluster), before);
    cluster.stop_all().await;
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_in_an_entry_gives_its_group_a_new_replica() {
    flipped_bit_is_healed(BATCH_HEADER_BYTES + 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bit_in_a_header_gives_every_group_a_new_replica() {
    flipped_bit_is_healed(20).await;
}

/// What a node holds beside its log: identity and checkpoints.
fn kept(cluster: &TestCluster, id: u64) -> (Vec<u8>, usize, bool) {
    let identity = std::fs::read(cluster.data_dir(id).join("identity")).unwrap();
    let rows = cluster.engine(id).scan(&[1], &[0xff], usize::MAX, usize::MAX).unwrap();
    let has_manifest = rows.iter().any(|(key, _)| key.first() == Some(&b'M'));
    (identity, rows.len(), has_manifest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_logs_on_a_majority_give_up_nothing_and_go_on_when_one_is_back() {
    let mut cluster = TestCluster::started(3).await;
    create(&cluster, 1, "queue").await;
    eventually("every group has a checkpoint everywhere", async || {
        let shards = |id| cluster.node(id).state().shards();
        let all = (1..=3).all(|id| shards(id).iter().all(|shard| shard.group.status().checkpoint > 0));
        all.then_some(())
    })
    .await;
    for id in 1..=3 {
        cluster.crash(id).await;
    }
    let sound = files(&cluster.data_dir(2).join("wal"));
    for id in [2, 3] {
        let batches = record_batches(&cluster.data_dir(id).join("wal"));
        let (path, at) = &batches[batches.len() / 2];
        flip_bit(path, at + 20);
    }
    let before = [2, 3].map(|id| kept(&cluster, id));
    assert!(before.iter().all(|(_, _, has_manifest)| *has_manifest));
    let second = tokio::spawn(cluster.start(2));
    let third = tokio::spawn(cluster.start(3));
    cluster.start_some(&[1]).await;
    tokio::time::sleep(WHILE).await;
    // With one sound log of three nobody knows what was acknowledged: what is left of the others may be needed.
    assert!(!second.is_finished() && !third.is_finished(), "they wait");
    assert_eq!([2, 3].map(|id| kept(&cluster, id)), before);
    // The operator puts one log back.
    second.abort();
    assert!(second.await.is_err());
    for (path, bytes) in sound {
        std::fs::write(path, bytes).unwrap();
    }
    for (path, _) in files(&cluster.data_dir(2).join("wal")) {
        if path.extension().is_some_and(|extension| extension == "rotten") {
            std::fs::remove_file(path).unwrap();
        }
    }
    cluster.start_some(&[2]).await;
    let third = tokio::time::timeout(SOON, third).await.expect("it goes on").unwrap();
    cluster.keep(3, third.expect("the node starts"));
    agree(&cluster).await;
    create(&cluster, 3, "after").await;
    cluster.stop_all().await;
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}
