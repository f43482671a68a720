//! Who leads, who takes over, and what a leader without its quorum may say.

use std::time::{Duration, Instant};

use phalanx_proto::raft::v1;
use phalanx_proto::raft::v1::raft_client::RaftClient;
use phalanx_raft::{ChangeError, ProposeError, RaftOptions};
use phalanx_state_machine::ids::Id128;
use tonic::Code;

use crate::cluster::{CLUSTER, Cluster, PATIENCE, eventually, propose_once, quiet, replica_of};

#[test]
fn leadership_goes_where_it_is_handed() {
    let cluster = Cluster::start(1, quiet());
    for _ in 0..3 {
        let leader = cluster.leader(1);
        let next = cluster.others(leader)[1];
        cluster.send(1, 3, b"before");
        let group = cluster.group(leader, 1);
        cluster.block_on(group.transfer_leader(replica_of(1, next))).expect("handed over");
        eventually("the new leader leads", || (cluster.leader(1) == next).then_some(()));
        cluster.send(1, 3, b"after");
    }
    cluster.agree(1);
    cluster.no_fatal();
}

#[test]
fn leadership_is_not_handed_to_a_replica_that_is_down() {
    let mut cluster = Cluster::start(1, quiet());
    let leader = cluster.leader(1);
    let down = cluster.others(leader)[0];
    cluster.kill(down);
    let group = cluster.group(leader, 1);
    // Its last answer has to be older than a few heartbeats; until then it may as well be alive.
    std::thread::sleep(quiet().heartbeat * 10);
    let refused = cluster.block_on(group.transfer_leader(replica_of(1, down))).expect_err("refused");
    assert!(matches!(refused, ChangeError::Refused(_)), "{refused}");
    assert_eq!(cluster.leader(1), leader);
    cluster.send(1, 3, b"still served");
}

#[test]
fn a_killed_leader_is_replaced_long_before_the_election_timeout() {
    let timeout = Duration::from_secs(8);
    // The first election of a new group waits for the timeout too, so it is made as long only for what comes after.
    let options = RaftOptions { election_min: timeout, election_max: timeout * 2, ..quiet() };
    let mut cluster = Cluster::start(1, options);
    cluster.send(1, 3, b"before");
    cluster.agree(1);
    let leader = cluster.leader(1);
    for id in cluster.others(leader) {
        // Each follower has to have begun to watch its peers.
        eventually("a follower", || cluster.status(id, 1).leader.map(|_| ()));
    }
    std::thread::sleep(Duration::from_secs(1));
    cluster.kill(leader);
    let killed = Instant::now();
    let next = cluster.leader(1);
    assert_ne!(next, leader);
    assert!(killed.elapsed() < timeout, "took {:?}", killed.elapsed());
    cluster.send(1, 3, b"after");
}

#[test]
fn a_leader_without_its_quorum_never_says_done() {
    let options = RaftOptions { proposal_timeout: Duration::from_secs(2), ..quiet() };
    let mut cluster = Cluster::start(1, options);
    cluster.send(1, 3, b"before");
    let leader = cluster.leader(1);
    let group = cluster.group(leader, 1);
    for id in cluster.others(leader) {
        cluster.kill(id);
    }
    // While its lease lasts it accepts the proposal, but cannot finish it; afterwards it refuses.
    let send = cluster.new_send(b"isolated");
    let mut outcomes = Vec::new();
    eventually("the lease is over", || {
        let outcome = cluster.block_on(propose_once(&group, &send)).expect_err("never done");
        let refused = matches!(outcome, ProposeError::NotLeader { .. });
        outcomes.push(outcome);
        refused.then_some(())
    });
    for outcome in &outcomes {
        let honest = matches!(outcome, ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown { .. });
        assert!(honest, "{outcome}");
    }
    assert!(!group.leadership().borrow().is_leader);
    let read = cluster.block_on(group.read_barrier(Duration::from_millis(300)));
    assert!(read.is_err(), "a read without a quorum");
    drop(group);
    for id in cluster.others(leader) {
        cluster.boot(id);
    }
    // Whatever became of it, all replicas agree, and repeating it with its request id makes it one message.
    assert!(matches!(cluster.propose(1, &send), phalanx_state_machine::reply::Reply::Sent(_)));
    cluster.agree(1);
    assert_eq!(cluster.sent_total(leader, 1), 4);
}

#[test]
fn a_read_sees_what_was_acknowledged_before_it() {
    let cluster = Cluster::start(1, quiet());
    let leader = cluster.leader(1);
    let group = cluster.group(leader, 1);
    for count in 1..=10 {
        cluster.send(1, 1, b"message");
        cluster.block_on(group.read_barrier(PATIENCE)).expect("a quorum confirms");
        assert_eq!(cluster.sent_total(leader, 1), count);
    }
    let follower = cluster.group(cluster.others(leader)[0], 1);
    let refused = cluster.block_on(follower.read_barrier(PATIENCE)).expect_err("it does not lead");
    assert!(
        matches!(refused, ProposeError::NotLeader { leader: Some(node), .. } if node == leader),
        "{refused}"
    );
}

#[test]
fn what_is_meant_for_another_cluster_or_replica_is_refused() {
    let cluster = Cluster::start(1, quiet());
    let address = format!("http://{}", cluster.node(1).address);
    let peer = |cluster: Id128, group, to_replica| v1::Peer {
        cluster_id: cluster.to_bytes().to_vec().into(),
        group,
        from_replica: replica_of(1, 2),
        to_replica,
    };
    let ask = |peer: v1::Peer| {
        let ballot = Some(v1::Ballot { term: 999, replica: peer.from_replica, committed: false });
        v1::VoteRequest { peer: Some(peer), ballot, last: None, pre_vote: false, leadership_transfer: true }
    };
    let term = cluster.status(1, 1).term;
    cluster.block_on(async {
        let mut client = RaftClient::connect(address).await.expect("connect");
        let stranger = Id128 { hi: 5, lo: 5 };
        let wrong = [
            (peer(stranger, 1, replica_of(1, 1)), Code::FailedPrecondition),
            (peer(CLUSTER, 1, replica_of(1, 3)), Code::FailedPrecondition),
            (peer(CLUSTER, 55, replica_of(1, 1)), Code::NotFound),
        ];
        for (peer, code) in wrong {
            let refused = client.vote(ask(peer)).await.expect_err("refused");
            assert_eq!(refused.code(), code, "{refused}");
        }
        let refused = client.vote(v1::VoteRequest::default()).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    });
    assert_eq!(cluster.status(1, 1).term, term);
}
