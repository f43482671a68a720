//! What is acknowledged is on every replica, and stays.

use phalanx_raft::ProposeError;
use phalanx_state_machine::command::{CheckDigest, CommandKind};
use phalanx_state_machine::reply::Reply;

use crate::cluster::{Cluster, eventually, propose_once, quiet, replica_of};

#[test]
fn many_proposers_make_the_same_machine_on_every_replica() {
    let cluster = Cluster::start(3, quiet());
    std::thread::scope(|scope| {
        for group in &cluster.groups {
            scope.spawn(|| cluster.send_many(*group, 16, 20, b"hello"));
        }
    });
    for group in cluster.groups.clone() {
        cluster.agree(group);
        for id in 1..=3 {
            assert_eq!(cluster.sent_total(id, group), 16 * 20);
        }
    }
    cluster.no_fatal();
}

#[test]
fn a_node_that_is_stopped_in_good_order_leaves_the_others_serving() {
    let mut cluster = Cluster::start(3, quiet());
    for id in 1..=3 {
        cluster.stop(id);
        for group in cluster.groups.clone() {
            cluster.send(group, 3, b"meanwhile");
        }
        cluster.boot(id);
    }
    for group in cluster.groups.clone() {
        cluster.agree(group);
        assert_eq!(cluster.sent_total(1, group), 9);
    }
    // Nobody calls a shutdown a failure.
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

#[test]
fn a_replica_that_lost_its_newest_entry_is_filled_up_by_its_leader() {
    let mut cluster = Cluster::start(1, quiet());
    cluster.send(1, 5, b"kept");
    cluster.agree(1);
    let leader = cluster.leader(1);
    let follower = cluster.others(leader)[0];
    cluster.kill(follower);
    {
        let wal = cluster.log_of(follower);
        let (_, last) = wal.state(1).last.expect("entries");
        let kept = (wal.term_of(1, last - 1).expect("the one before"), last - 1);
        wal.truncate_after(1, Some(kept), Box::new(|result| result.expect("truncate")));
        while wal.commit_pending().expect("commit") {}
    }
    cluster.boot(follower);
    cluster.send(1, 1, b"after");
    cluster.agree(1);
    assert_eq!(cluster.leader(1), leader);
    assert_eq!(cluster.sent_total(follower, 1), 6);
    cluster.no_fatal();
}

#[test]
fn every_replica_compares_its_state_with_the_leaders_and_says_when_it_differs() {
    let cluster = Cluster::start(1, quiet());
    cluster.send(1, 5, b"the same everywhere");
    cluster.agree(1);
    let leader = cluster.group(cluster.leader(1), 1);
    let (index, digest) = leader.read(|machine| (machine.applied_index(), machine.digest()));
    let reply = cluster.propose(1, &CommandKind::CheckDigest(CheckDigest { index, digest }));
    assert_eq!(reply, Reply::Digest { agrees: true });
    cluster.agree(1);
    assert!((1..=3).all(|id| cluster.diverged(id).is_empty()));

    let other = CommandKind::CheckDigest(CheckDigest { index, digest: digest + 1 });
    assert_eq!(cluster.propose(1, &other), Reply::Digest { agrees: false });
    let checked_at = cluster.agree(1).applied;
    for id in 1..=3 {
        assert_eq!(cluster.diverged(id), [(1, checked_at)]);
    }
}

#[test]
fn a_panic_in_the_raft_task_is_fatal() {
    let cluster = Cluster::start(1, quiet());
    let leader = cluster.leader(1);
    cluster.plant_panic(leader);
    let command = cluster.new_send(b"never written here");
    let group = cluster.group(leader, 1);
    let outcome = cluster.block_on(propose_once(&group, &command));
    assert!(outcome.is_err(), "{outcome:?}");
    let fatal = eventually("the node hears of it", || cluster.node(leader).fatal.lock().first().cloned());
    assert_eq!(fatal.group, Some(1));
    assert!(!group.leadership().borrow().is_leader);
}
