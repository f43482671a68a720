//! A replica that is too far behind gets a checkpoint.

use phalanx_raft::RaftOptions;

use bytes::Bytes;
use phalanx_storage::wal::{LogEntry, WalOptions};

use crate::cluster::{Cluster, eventually, quiet};

fn purging() -> RaftOptions {
    RaftOptions { log_keep_entries: 0, snapshot_chunk_bytes: 256, ..quiet() }
}

/// Writes and cuts checkpoints until the leader's log no longer holds what the follower lacks.
fn leave_behind(cluster: &Cluster, follower: u64, last_seen: u64) {
    eventually("the log is purged", || {
        cluster.send(1, 20, &[b'x'; 300]);
        for id in cluster.others(follower) {
            cluster.checkpoint(id, 1);
        }
        let purged = cluster.others(follower).into_iter().map(|id| cluster.status(id, 1).purged).min();
        (purged > Some(last_seen)).then_some(())
    });
}

#[test]
fn a_follower_behind_the_purged_log_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::start(1, purging());
    cluster.send(1, 20, b"before");
    cluster.agree(1);
    let leader = cluster.leader(1);
    let follower = cluster.others(leader)[0];
    let last_seen = cluster.status(follower, 1).last_index;
    cluster.kill(follower);
    leave_behind(&cluster, follower, last_seen);
    cluster.boot(follower);
    cluster.send(1, 5, b"after");
    cluster.agree(1);
    let status = cluster.status(follower, 1);
    assert!(status.checkpoint > last_seen, "it came by a snapshot: {status:?}");
    // What it got is durable: it comes back with it.
    let digest = status.digest;
    cluster.kill(follower);
    cluster.boot(follower);
    assert_eq!(cluster.agree(1).digest, digest);
    cluster.no_fatal();
}

#[test]
fn sends_go_on_while_a_snapshot_is_read() {
    let mut cluster = Cluster::start(1, purging());
    cluster.agree(1);
    let leader = cluster.leader(1);
    let follower = cluster.others(leader)[0];
    let last_seen = cluster.status(follower, 1).last_index;
    cluster.kill(follower);
    leave_behind(&cluster, follower, last_seen);
    cluster.boot(follower);
    // Checkpoints and sends meanwhile: the snapshot is of one moment, the log gives the rest.
    for _ in 0..10 {
        cluster.send(1, 10, b"meanwhile");
        cluster.checkpoint(cluster.leader(1), 1);
    }
    cluster.agree(1);
    cluster.no_fatal();
}

#[test]
fn a_replica_restarts_from_its_checkpoint_and_a_purged_log() {
    let mut cluster = Cluster::start(1, purging());
    for _ in 0..4 {
        cluster.send(1, 20, b"message");
        for id in 1..=3 {
            cluster.checkpoint(id, 1);
        }
    }
    cluster.send(1, 7, b"behind the checkpoint");
    let before = cluster.agree(1);
    eventually("the logs are purged", || (1..=3).all(|id| cluster.status(id, 1).purged > 0).then_some(()));
    for id in 1..=3 {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.boot(id);
    }
    let after = cluster.agree(1);
    assert_eq!(after.digest, before.digest);
    assert!(after.purged > 0);
    cluster.no_fatal();
}

#[test]
fn a_checkpoint_that_became_durable_before_the_log_dropped_what_it_contradicts_opens() {
    let mut cluster = Cluster::start(1, quiet());
    // A second term, so that entries of the first can be left over.
    let first = cluster.leader(1);
    cluster.kill(first);
    cluster.send(1, 10, b"of the second term");
    cluster.boot(first);
    cluster.send(1, 1, b"for all");
    let status = cluster.agree(1);
    assert!(status.term > 1);
    let follower = cluster.others(cluster.leader(1))[0];
    cluster.checkpoint(follower, 1);
    let index = cluster.status(follower, 1).checkpoint;
    cluster.kill(follower);
    // What a power cut leaves when the checkpoint store was quicker than the log: the dead tail of an older term.
    let log = cluster.log_of(follower);
    let kept = index - 2;
    let kept = (log.term_of(1, kept).expect("an entry"), kept);
    log.truncate_after(1, Some(kept), Box::new(|done| done.expect("truncate")));
    let tail =
        (index - 1..index + 5).map(|index| LogEntry { index, term: 1, body: Bytes::from_static(&[1]) });
    log.append(1, tail.collect(), Box::new(|done| done.expect("append"))).expect("append");
    while log.commit_pending().expect("commit") {}
    drop(log);
    cluster.boot(follower);
    cluster.send(1, 3, b"after");
    cluster.agree(1);
    cluster.no_fatal();
}

#[test]
fn a_log_near_its_budget_is_relieved_by_checkpoints() {
    // Nothing else would cut one: not time, not rows, not bytes.
    let options = RaftOptions { checkpoint_rows: usize::MAX, checkpoint_bytes: u64::MAX, ..quiet() };
    let small = WalOptions {
        segment_bytes: 256 << 10,
        budget_bytes: 4 << 20,
        batch_bytes_max: 64 << 10,
        ..WalOptions::small()
    };
    let cluster = Cluster::start_with(2, options, small.clone());
    let body = vec![b'x'; 8 << 10];
    let sends = 4 * small.budget_bytes as usize / body.len();
    // One group writes, the other holds a few entries in the oldest segment.
    cluster.send(2, 3, b"old");
    cluster.send_many(1, 32, sends / 32, &body);
    for group in cluster.groups.clone() {
        let status = cluster.agree(group);
        assert!(status.purged > 0, "{status:?}");
    }
    cluster.no_fatal();
}
