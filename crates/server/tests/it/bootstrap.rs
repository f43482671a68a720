//! First start, restart, and disks that do not belong.

use std::collections::BTreeSet;
use std::time::Duration;

use phalanx_proto::v1::{CreateQueueRequest, ListQueuesRequest, StatusRequest};
use phalanx_server::bootstrap::BootstrapError;
use phalanx_server::desk::DeskError;
use phalanx_server::identity::{Passport, Plan, PlanGroup, PlanNode};
use phalanx_server::node::StartError;
use phalanx_state_machine::ids::Id128;
use phalanx_storage::disk::RealDisk;

use crate::support::{SOON, TestCluster, eventually, files, http_get};

/// Long enough for several rounds of questions between nodes; only ever waited for, nothing is measured against it.
const SEVERAL_ROUNDS: Duration = Duration::from_secs(2);

async fn create(cluster: &TestCluster, at: u64, name: &str) {
    let request = CreateQueueRequest { name: name.to_owned(), ..Default::default() };
    cluster.queues(at).create_queue(request).await.expect("the queue is created");
}

async fn names(cluster: &TestCluster, at: u64) -> Vec<String> {
    let answer =
        cluster.queues(at).list_queues(ListQueuesRequest::default()).await.expect("queues are listed");
    answer.into_inner().queues.into_iter().map(|queue| queue.name).collect()
}

fn plan_on_disk(cluster: &TestCluster, node: u64) -> Option<Plan> {
    Passport::load(&RealDisk, &cluster.data_dir(node), node).unwrap().and_then(|passport| passport.plan)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_nodes_found_one_cluster_with_leaders_everywhere() {
    let mut cluster = TestCluster::started(3).await;
    let ids: BTreeSet<_> = (1..=3).map(|node| cluster.node(node).state().cluster()).collect();
    assert_eq!(ids.len(), 1);
    let replicas: Vec<_> =
        cluster.node(1).state().identity.plan.groups.iter().flat_map(|group| &group.replicas).collect();
    let unique: BTreeSet<_> = replicas.iter().map(|(replica, _)| replica).collect();
    assert_eq!(unique.len(), replicas.len(), "a replica id is used once in the whole cluster");
    for node in 1..=3 {
        eventually("every group has a leader that the node knows", async || {
            let status = cluster.cluster(node).status(StatusRequest {}).await.ok()?.into_inner();
            let all = status.groups.len() == 4
                && status.groups.iter().all(|group| group.leader_node != 0 && group.voter_nodes == [1, 2, 3])
                && status.nodes.iter().all(|node| node.reachable);
            all.then_some(())
        })
        .await;
        let admin = cluster.node(node).addresses().admin.clone();
        assert_eq!(http_get(&admin, "/healthz").await.0, 200);
        assert_eq!(http_get(&admin, "/readyz").await.0, 200);
    }
    cluster.stop_all().await;
    assert_eq!(cluster.fatal(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_alone_waits_and_is_healthy_but_not_ready() {
    let cluster = TestCluster::new(3);
    let admin = cluster.config(1).admin.listen.clone();
    let starting = tokio::spawn(cluster.start(1));
    eventually("health is served during the wait", async || {
        tokio::net::TcpStream::connect(&admin).await.is_ok().then_some(())
    })
    .await;
    assert_eq!(http_get(&admin, "/healthz").await.0, 200);
    assert_eq!(http_get(&admin, "/readyz").await.0, 503);
    tokio::time::sleep(SEVERAL_ROUNDS).await;
    assert!(!starting.is_finished(), "one of three founded a cluster");
    starting.abort();
    assert_eq!(plan_on_disk(&cluster, 1), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_of_all_keeps_cluster_and_queues() {
    let mut cluster = TestCluster::started(3).await;
    let id = cluster.node(1).state().cluster();
    create(&cluster, 2, "orders").await;
    cluster.stop_all().await;
    cluster.start_all().await;
    assert_eq!(cluster.node(3).state().cluster(), id);
    assert_eq!(names(&cluster, 3).await, ["orders"]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_of_one_node_leaves_the_others_at_work_and_it_comes_back() {
    let mut cluster = TestCluster::started(3).await;
    create(&cluster, 1, "before").await;
    cluster.crash(2).await;
    create(&cluster, 1, "during").await;
    cluster.start_some(&[2]).await;
    assert_eq!(names(&cluster, 2).await, ["before", "during"]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_node_founds_serves_and_restarts() {
    let mut cluster = TestCluster::started(1).await;
    create(&cluster, 1, "alone").await;
    cluster.stop_all().await;
    cluster.start_all().await;
    assert_eq!(names(&cluster, 1).await, ["alone"]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_node_is_refused_under_its_old_identity_and_told_what_to_do() {
    let mut cluster = TestCluster::started(3).await;
    let id = cluster.node(1).state().cluster();
    cluster.crash(3).await;
    cluster.wipe(3);
    let refusal = tokio::time::timeout(SOON, cluster.start(3)).await.expect("it is refused");
    let error = refusal.err().expect("a wiped node must not start");
    assert!(
        matches!(error, StartError::Bootstrap(BootstrapError::Wiped { node: 3, cluster, .. }) if cluster == id)
    );
    let text = error.to_string();
    for part in ["node 3", "refused under its old identity", "Put the old disk back", &id.to_string()] {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
    create(&cluster, 1, "still-served").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_wiped_nodes_of_three_found_no_cluster() {
    let mut cluster = TestCluster::started(3).await;
    let id = cluster.node(3).state().cluster();
    create(&cluster, 1, "kept").await;
    cluster.stop_all().await;
    cluster.wipe(1);
    cluster.wipe(2);
    let kept = files(&cluster.data_dir(3));
    let (first, second) = (tokio::spawn(cluster.start(1)), tokio::spawn(cluster.start(2)));
    tokio::time::sleep(SEVERAL_ROUNDS).await;
    assert!(!first.is_finished() && !second.is_finished(), "without the third they only wait");
    assert_eq!(plan_on_disk(&cluster, 1), None);
    assert_eq!(plan_on_disk(&cluster, 2), None);
    assert_eq!(files(&cluster.data_dir(3)), kept, "nobody touches the third node's files");
    // The third comes back: both are told that they were members once.
    let third =
        tokio::time::timeout(SOON, cluster.start(3)).await.expect("it needs nobody").expect("it starts");
    assert_eq!(third.state().cluster(), id);
    for wiped in [first, second] {
        let refusal = tokio::time::timeout(SOON, wiped).await.expect("it is refused").unwrap();
        assert!(matches!(refusal.err(), Some(StartError::Bootstrap(BootstrapError::Wiped { .. }))));
    }
    third.shutdown().await;
}

/// The papers that each node has when the coordinator of a first start dies after `prepared` nodes kept the plan.
fn interrupted_first_start(cluster: &TestCluster, prepared: &[u64]) -> Plan {
    let store = |node| Id128 { hi: 77, lo: node };
    let members = cluster.config(1).members();
    let nodes = members.iter().map(|member| PlanNode {
        node: member.id,
        store: store(member.id),
        client_address: member.client.clone(),
        peer_address: member.peer.clone(),
        zone: String::new(),
    });
    let group =
        |group: u64| PlanGroup { group, replicas: (1..=3).map(|node| (group * 3 + node, node)).collect() };
    let plan = Plan {
        cluster: Id128 { hi: 5, lo: 6 },
        nodes: nodes.collect(),
        groups: (0..=2).map(group).collect(),
    };
    for node in 1..=3 {
        let plan = prepared.contains(&node).then(|| plan.clone());
        let dir = cluster.data_dir(node);
        std::fs::create_dir_all(&dir).unwrap();
        Passport { node, store: store(node), plan, started: false, seats: Vec::new() }
            .save(&RealDisk, &dir)
            .unwrap();
    }
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_that_crashed_at_any_step_is_carried_on() {
    for prepared in [&[1][..], &[2], &[1, 3], &[2, 3], &[1, 2, 3]] {
        let mut cluster = TestCluster::new(3);
        let plan = interrupted_first_start(&cluster, prepared);
        cluster.start_all().await;
        for node in 1..=3 {
            assert_eq!(cluster.node(node).state().identity.plan, plan, "prepared: {prepared:?}");
        }
        create(&cluster, 2, "works").await;
        cluster.stop_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_wiped_during_the_first_start_stops_it() {
    let cluster = TestCluster::new(3);
    interrupted_first_start(&cluster, &[1, 2]);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    let others = [1, 2].map(|node| tokio::spawn(cluster.start(node)));
    let refusal = tokio::time::timeout(SOON, cluster.start(3)).await.expect("it gives up");
    assert!(matches!(refusal, Err(StartError::Bootstrap(BootstrapError::Wiped { node: 3, .. }))));
    // The others stay up, so that they can tell it why; they do not begin without it.
    tokio::time::sleep(SEVERAL_ROUNDS).await;
    for other in others {
        assert!(!other.is_finished());
        other.abort();
    }
    for node in [1, 2] {
        let passport = Passport::load(&RealDisk, &cluster.data_dir(node), node).unwrap();
        assert!(!passport.expect("it kept its papers").started);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stranger_and_wrong_address_are_refused() {
    let mut cluster = TestCluster::started(3).await;
    let mut config = cluster.config(3).clone();
    cluster.stop(3).await;
    // A new machine that was configured as node 4 in the place of node 3.
    config.node.id = 4;
    config.node.data_dir = cluster.data_dir(4_000);
    config.peers[2].id = 4;
    let refusal = tokio::time::timeout(SOON, cluster.start_as(config)).await.expect("it is refused");
    assert!(matches!(refusal.err(), Some(StartError::Bootstrap(BootstrapError::NotMember { node: 4, .. }))));
    // A configuration that takes node 1 for node 2.
    let mut config = cluster.config(3).clone();
    config.node.data_dir = cluster.data_dir(3_000);
    let other = config.peers[0].peer.clone();
    config.peers[0].peer = config.peers[1].peer.clone();
    config.peers[1].peer = other;
    let refusal = tokio::time::timeout(SOON, cluster.start_as(config)).await.expect("it is refused");
    let refusal = refusal.err();
    assert!(matches!(refusal, Some(StartError::Bootstrap(BootstrapError::WrongNode { .. }))), "{refusal:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_without_identity_and_identity_without_log_do_not_start() {
    let mut cluster = TestCluster::started(1).await;
    eventually("the node notes that it has started", async || {
        Passport::load(&RealDisk, &cluster.data_dir(1), 1).unwrap().unwrap().started.then_some(())
    })
    .await;
    cluster.stop_all().await;
    let dir = cluster.data_dir(1);
    std::fs::rename(dir.join("identity"), dir.join("elsewhere")).unwrap();
    std::fs::remove_file(dir.join("identity.copy")).unwrap();
    let refusal = cluster.start(1).await.err();
    assert!(matches!(refusal, Some(StartError::Desk(DeskError::LogWithoutIdentity { .. }))));
    std::fs::rename(dir.join("elsewhere"), dir.join("identity")).unwrap();
    std::fs::remove_dir_all(dir.join("wal")).unwrap();
    let refusal = cluster.start(1).await.err();
    assert!(matches!(refusal, Some(StartError::Desk(DeskError::LogGone { .. }))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_process_on_the_same_directory_is_refused() {
    let mut cluster = TestCluster::started(1).await;
    let mut config = cluster.config(1).clone();
    for listen in [&mut config.client.listen, &mut config.peer.listen, &mut config.admin.listen] {
        *listen = "127.0.0.1:0".to_owned();
    }
    config.client.advertise = "127.0.0.1:1".to_owned();
    config.peer.advertise = "127.0.0.1:2".to_owned();
    let refusal = cluster.start_as(config).await.err();
    assert!(matches!(refusal, Some(StartError::Storage { .. })), "{refusal:?}");
    cluster.stop_all().await;
}
