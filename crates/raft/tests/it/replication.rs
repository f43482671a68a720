//! What is acknowledged is on every replica, and stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use phalanx_raft::ProposeError;
use phalanx_state_machine::reply::Reply;

use crate::cluster::{Cluster, eventually, propose_once, quiet, replica_of};

#[test]
fn many_proposers_make_the_same_machine_on_every_replica() {
    let cluster = Cluster::start(3, quiet());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let tasks = cluster.groups.iter().flat_map(|group| {
        let leader = cluster.leader(*group);
        (0..16).map(move |_| (leader, *group))
    });
    let tasks: Vec<_> = tasks
        .map(|(leader, group)| {
            let group = cluster.group(leader, group);
            let sends: Vec<_> = (0..20).map(|_| cluster.new_send(b"hello")).collect();
            let acknowledged = Arc::clone(&acknowledged);
            async move {
                for send in &sends {
                    // Refused for too much in flight: nothing was written, so try again.
                    let reply = loop {
                        match propose_once(&group, send).await {
                            Err(ProposeError::Overloaded { retry_after, .. }) => {
                                tokio::time::sleep(retry_after).await
                            }
                            other => break other,
                        }
                    };
                    assert!(matches!(reply, Ok(Reply::Sent(_))), "{reply:?}");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .collect();
    cluster.block_on(futures::future::join_all(tasks));
    assert_eq!(acknowledged.load(Ordering::Relaxed), 3 * 16 * 20);
    for group in cluster.groups.clone() {
        cluster.agree(group);
        for id in 1..=3 {
            assert_eq!(cluster.sent_total(id, group), 16 * 20);
        }
    }
    cluster.no_fatal();
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_are_killed() {
    let mut cluster = Cluster::start(1, quiet());
    let mut sent = 0;
    for _ in 0..3 {
        cluster.send(1, 10, b"before");
        let leader = cluster.leader(1);
        cluster.kill(leader);
        cluster.send(1, 10, b"after");
        sent += 20;
        cluster.boot(leader);
        cluster.agree(1);
        for id in 1..=3 {
            assert_eq!(cluster.sent_total(id, 1), sent, "on node {id}");
        }
    }
    cluster.no_fatal();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed() {
    let mut cluster = Cluster::start(3, quiet());
    for round in 1..=3 {
        for group in cluster.groups.clone() {
            cluster.send(group, 10, b"kept");
        }
        // With and without a checkpoint to start from.
        if round == 2 {
            for id in 1..=3 {
                cluster.checkpoint(id, 1);
            }
        }
        let before: Vec<_> = cluster.groups.iter().map(|group| cluster.agree(*group).digest).collect();
        for id in 1..=3 {
            cluster.kill(id);
        }
        for id in 1..=3 {
            cluster.boot(id);
        }
        let after: Vec<_> = cluster.groups.iter().map(|group| cluster.agree(*group).digest).collect();
        assert_eq!(before, after);
        for group in cluster.groups.clone() {
            assert_eq!(cluster.sent_total(1, group), round * 10);
        }
    }
    cluster.no_fatal();
}

#[test]
fn a_proposal_of_another_term_is_not_written() {
    let cluster = Cluster::start(1, quiet());
    let leader = cluster.leader(1);
    let group = cluster.group(leader, 1);
    let term = group.leadership().borrow().term;
    let before = cluster.agree(1).last_index;
    for wrong in [term - 1, term + 1] {
        let batch = phalanx_state_machine::command::Batch::default();
        let refused = cluster.block_on(group.propose(batch, wrong)).err();
        assert!(matches!(refused, Some(ProposeError::NotLeader { .. })), "{refused:?}");
    }
    assert_eq!(cluster.agree(1).last_index, before);
}

#[test]
fn a_restarted_replica_is_the_one_it_was() {
    let mut cluster = Cluster::start(1, quiet());
    let follower = cluster.others(cluster.leader(1))[0];
    cluster.kill(follower);
    cluster.boot_empty(follower);
    // Its log was written by another replica id: refused, not mixed.
    let refused = cluster.open(follower, 1, replica_of(1, 99)).err().expect("refused");
    assert!(refused.to_string().contains("start group"), "{refused}");
    cluster.open(follower, 1, replica_of(1, follower)).expect("opens under its own id");
    eventually("it follows", || (cluster.status(follower, 1).voters.len() == 3).then_some(()));
    cluster.agree(1);
}
