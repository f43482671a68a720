//! Damaged bytes are found, kept out, and replaced from a peer.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use phalanx_raft::{OpenError, PeerNode};

use crate::cluster::{Cluster, eventually, quiet, replica_of};

/// A cluster with a checkpoint on every node and some log behind it.
fn with_checkpoints() -> Cluster {
    let cluster = Cluster::start(1, quiet());
    cluster.send(1, 20, b"in the checkpoint");
    cluster.agree(1);
    for id in 1..=3 {
        cluster.checkpoint(id, 1);
    }
    cluster.send(1, 5, b"in the log");
    cluster.agree(1);
    cluster
}

/// All stored pairs of a node.
fn pairs(cluster: &Cluster, id: u64) -> Vec<(Vec<u8>, Bytes)> {
    cluster.node(id).engine.scan(&[], &[0xff; 32], usize::MAX, usize::MAX).expect("scan")
}

#[test]
fn a_flipped_bit_in_any_row_of_a_checkpoint_is_refilled_from_a_peer() {
    let mut cluster = with_checkpoints();
    let follower = cluster.others(cluster.leader(1))[0];
    let rows = pairs(&cluster, follower).len();
    assert!(rows >= 3, "a manifest and some rows: {rows}");
    for row in 0..rows {
        cluster.kill(follower);
        let (key, value) = pairs(&cluster, follower).swap_remove(row);
        let mut flipped = value.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let engine = &cluster.node(follower).engine;
        engine.write(vec![(key, Some(flipped.into()))]).expect("damage");
        cluster.boot(follower);
        cluster.send(1, 1, b"after");
        cluster.agree(1);
        // Refilled for good: the next start needs no peer.
        cluster.checkpoint(follower, 1);
        if pairs(&cluster, follower).len() <= row + 1 {
            break;
        }
    }
    cluster.no_fatal();
}

#[test]
fn a_lost_checkpoint_of_a_purged_log_is_refilled_from_a_peer() {
    let mut cluster = with_checkpoints();
    let follower = cluster.others(cluster.leader(1))[0];
    cluster.kill(follower);
    let gone = pairs(&cluster, follower).into_iter().map(|(key, _)| (key, None)).collect();
    cluster.node(follower).engine.write(gone).expect("damage");
    cluster.boot(follower);
    cluster.send(1, 1, b"after");
    cluster.agree(1);
    assert!(cluster.status(follower, 1).checkpoint > 0);
    cluster.no_fatal();
}

#[test]
fn a_checkpoint_that_went_back_in_time_is_refilled_from_a_peer() {
    let mut cluster = with_checkpoints();
    let follower = cluster.others(cluster.leader(1))[0];
    let old = pairs(&cluster, follower);
    cluster.checkpoint(follower, 1);
    cluster.send(1, 1, b"one more");
    cluster.agree(1);
    cluster.checkpoint(follower, 1);
    cluster.kill(follower);
    // Every row is sound, but it is not the newest checkpoint that was durable.
    let newer: Vec<_> = pairs(&cluster, follower).into_iter().map(|(key, _)| (key, None)).collect();
    let engine = &cluster.node(follower).engine;
    engine.write(newer).expect("damage");
    engine.write(old.into_iter().map(|(key, value)| (key, Some(value))).collect()).expect("damage");
    cluster.boot(follower);
    cluster.agree(1);
    cluster.no_fatal();
}

#[test]
fn a_damaged_checkpoint_without_a_peer_is_not_opened_and_not_deleted() {
    let mut cluster = with_checkpoints();
    let follower = cluster.others(cluster.leader(1))[0];
    for id in 1..=3 {
        cluster.kill(id);
    }
    let (key, value) = pairs(&cluster, follower).swap_remove(1);
    let mut flipped = value.to_vec();
    *flipped.last_mut().expect("a byte") ^= 1;
    cluster.node(follower).engine.write(vec![(key, Some(flipped.into()))]).expect("damage");
    let before = pairs(&cluster, follower);
    cluster.options.refill_timeout = std::time::Duration::from_millis(300);
    cluster.boot_empty(follower);
    let refused = cluster.open(follower, 1, replica_of(1, follower)).err().expect("refused");
    assert!(matches!(refused, OpenError::NoRefill { .. }), "{refused}");
    assert_eq!(pairs(&cluster, follower), before);
    // With its peers back it opens.
    for id in cluster.others(follower) {
        cluster.boot(id);
    }
    eventually("a peer refills it", || cluster.open(follower, 1, replica_of(1, follower)).ok());
    cluster.agree(1);
}

/// The segment files of a log.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let files =
        std::fs::read_dir(dir).expect("the log's directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        files.filter(|path| path.metadata().is_ok_and(|meta| meta.len() > 4096)).collect();
    files.sort();
    files
}

/// Damages a body that was acknowledged: somewhere a later batch follows.
fn rot(dir: &Path, needle: &[u8]) {
    for segment in segments(dir) {
        let mut bytes = std::fs::read(&segment).expect("read");
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 0x01;
            std::fs::write(&segment, bytes).expect("damage");
            return;
        }
    }
    panic!("no segment holds the message");
}

#[test]
fn a_rotten_log_is_refused_and_its_replica_replaced_by_a_new_one() {
    let mut cluster = Cluster::start(1, quiet());
    cluster.send(1, 3, b"a body to be damaged");
    cluster.send(1, 10, b"later");
    cluster.agree(1);
    let leader = cluster.leader(1);
    let follower = cluster.others(leader)[0];
    cluster.kill(follower);
    rot(&cluster.node(follower).dir.clone(), b"a body to be damaged");
    cluster.boot_empty(follower);
    let old = replica_of(1, follower);
    let refused = cluster.open(follower, 1, old).err().expect("refused");
    assert!(matches!(refused, OpenError::LogRotten { replica, .. } if replica == old), "{refused}");
    // The operator's, or the reconciler's, way out.
    let new = old + 50;
    let groups = cluster.groups_of(follower);
    cluster.block_on(groups.discard(1, old)).expect("discard");
    drop(groups);
    cluster.open(follower, 1, new).expect("opens under its new id");
    let group = cluster.group(leader, 1);
    let node: PeerNode = cluster.peer(follower);
    cluster.block_on(group.replace_replica(old, new, node)).expect("replaced");
    drop(group);
    cluster.send(1, 3, b"after");
    let status = cluster.agree(1);
    let mut voters: Vec<_> = cluster.others(follower).into_iter().map(|id| replica_of(1, id)).collect();
    voters.push(new);
    assert_eq!(status.voters.into_keys().collect::<Vec<_>>(), voters);
    cluster.no_fatal();
}
