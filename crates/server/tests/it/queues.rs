//! Administration of queues, through any node.

use std::collections::BTreeSet;

use phalanx_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, GetQueueRequest, ListQueuesRequest, LookupRequest,
    PurgeQueueRequest, Queue, QueueSettings, TopologyRequest, UpdateQueueRequest,
};
use phalanx_server::status::{self, Reason};
use tonic::{Code, Status};

use crate::support::{TestCluster, eventually};

fn create(name: &str, settings: Option<QueueSettings>) -> CreateQueueRequest {
    CreateQueueRequest { namespace: String::new(), name: name.to_owned(), settings }
}

fn strict() -> Option<QueueSettings> {
    Some(QueueSettings { strict: true, ..Default::default() })
}

async fn get(cluster: &TestCluster, at: u64, name: &str) -> Result<Queue, Status> {
    let request = GetQueueRequest { name: name.to_owned(), ..Default::default() };
    let info = cluster.queues(at).get_queue(request).await?.into_inner();
    assert_ne!(info.leader_node, 0);
    Ok(info.queue.expect("information names its queue"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_lives_its_whole_life_through_every_node() {
    let mut cluster = TestCluster::started(3).await;
    let mut uids = BTreeSet::new();
    // Each step through another node than the one before, three times around.
    for round in 0..3_u64 {
        let at = |step: u64| (round + step) % 3 + 1;
        let made = cluster.queues(at(0)).create_queue(create("orders", None)).await.unwrap().into_inner();
        assert_eq!(
            (made.name.as_str(), made.namespace.as_str(), made.state.as_str()),
            ("orders", "default", "live")
        );
        assert!(uids.insert(made.uid), "a uid is never reused");
        assert_eq!(get(&cluster, at(1), "orders").await.unwrap(), made);

        let again = cluster.queues(at(2)).create_queue(create("orders", None)).await.unwrap().into_inner();
        assert_eq!(again.uid, made.uid, "creating it again with the same settings finds it");
        let other = cluster.queues(at(2)).create_queue(create("orders", strict())).await.unwrap_err();
        assert!(status::is(&other, Reason::AlreadyExists), "{other}");

        let update = |if_version| UpdateQueueRequest {
            name: "orders".to_owned(),
            settings: Some(QueueSettings { lease_ms: 5_000, ..Default::default() }),
            if_version,
            ..Default::default()
        };
        let stale = cluster.queues(at(0)).update_queue(update(made.version + 7)).await.unwrap_err();
        assert!(status::is(&stale, Reason::VersionMismatch), "{stale}");
        let updated = cluster.queues(at(1)).update_queue(update(made.version)).await.unwrap().into_inner();
        assert_eq!((updated.uid, updated.version), (made.uid, made.version + 1));
        assert_eq!(get(&cluster, at(2), "orders").await.unwrap().settings.unwrap().lease_ms, 5_000);

        let purge = PurgeQueueRequest { name: "orders".to_owned(), ..Default::default() };
        assert_eq!(cluster.queues(at(0)).purge_queue(purge).await.unwrap().into_inner().removed, 0);
        let delete = DeleteQueueRequest { name: "orders".to_owned(), ..Default::default() };
        cluster.queues(at(1)).delete_queue(delete.clone()).await.unwrap();
        let gone = get(&cluster, at(2), "orders").await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        let gone = cluster.queues(at(0)).delete_queue(delete).await.unwrap_err();
        assert!(status::is(&gone, Reason::QueueNotFound), "{gone}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_copies_of_changes_touch_no_later_life_of_a_name() {
    let mut cluster = TestCluster::started(3).await;
    let found = async |name: &str| {
        let ask = LookupRequest { name: name.to_owned(), ..Default::default() };
        cluster.queues(2).lookup(ask).await.map(|found| found.into_inner())
    };
    assert!(status::is(&found("orders").await.unwrap_err(), Reason::QueueNotFound));
    let old = cluster.queues(1).create_queue(create("orders", None)).await.unwrap().into_inner();
    let life = found("orders").await.unwrap();
    assert_eq!((life.uid, life.version, life.kind.as_str()), (old.uid, old.version, "queue"));
    let delete = DeleteQueueRequest { name: "orders".to_owned(), uid: life.uid, ..Default::default() };
    cluster.queues(3).delete_queue(delete.clone()).await.unwrap();
    let new = cluster.queues(1).create_queue(create("orders", None)).await.unwrap().into_inner();
    let update = UpdateQueueRequest {
        name: "orders".to_owned(),
        settings: Some(QueueSettings { lease_ms: 5_000, ..Default::default() }),
        if_version: life.version,
        uid: life.uid,
        ..Default::default()
    };
    for node in 1..=3 {
        let late = cluster.queues(node).delete_queue(delete.clone()).await.unwrap_err();
        assert!(status::is(&late, Reason::QueueNotFound), "{late}");
        let late = cluster.queues(node).update_queue(update.clone()).await.unwrap_err();
        assert!(status::is(&late, Reason::QueueNotFound), "{late}");
    }
    assert_eq!(get(&cluster, 1, "orders").await.unwrap(), new);
    let update = UpdateQueueRequest { uid: new.uid, if_version: new.version, ..update };
    assert_eq!(cluster.queues(2).update_queue(update).await.unwrap().into_inner().version, new.version + 1);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shard_has_dropped_the_queue_when_its_deletion_is_answered() {
    let mut cluster = TestCluster::started(3).await;
    let made = cluster.queues(1).create_queue(create("short", None)).await.unwrap().into_inner();
    for node in 1..=3 {
        let shard = cluster.node(node).state().shard(made.shard).expect("three nodes, three replicas");
        eventually("every replica has the queue", async || {
            shard.group.read(|machine| machine.queue_info(made.uid)).map(drop)
        })
        .await;
    }
    let delete = DeleteQueueRequest { name: "short".to_owned(), ..Default::default() };
    cluster.queues(2).delete_queue(delete).await.unwrap();
    let shards = (1..=3).filter_map(|node| cluster.node(node).state().shard(made.shard));
    let dropped =
        shards.filter(|shard| shard.group.read(|machine| machine.queue_info(made.uid)).is_none()).count();
    assert!(dropped >= 1, "the shard's leader at least has dropped it");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_goes_page_by_page_in_the_order_of_names() {
    let mut cluster = TestCluster::started(3).await;
    let names: Vec<String> = (0..7).map(|number| format!("queue-{number}")).collect();
    for (position, name) in names.iter().enumerate() {
        cluster.queues(position as u64 % 3 + 1).create_queue(create(name, None)).await.unwrap();
    }
    let elsewhere = CreateQueueRequest { namespace: "other".to_owned(), ..create("queue-3", None) };
    cluster.queues(1).create_queue(elsewhere).await.unwrap();
    for node in 1..=3 {
        let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request = ListQueuesRequest { page_size: 3, page_token, ..Default::default() };
            let page = cluster.queues(node).list_queues(request).await.unwrap().into_inner();
            found.extend(page.queues.into_iter().map(|queue| queue.name));
            (page_token, pages) = (page.next_page_token, pages + 1);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((&found, pages), (&names, 3), "through node {node}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topology_names_the_leader_and_all_nodes() {
    let mut cluster = TestCluster::started(3).await;
    let made = cluster.queues(1).create_queue(create("where", None)).await.unwrap().into_inner();
    for node in 1..=3 {
        let request = TopologyRequest { queue: "where".to_owned(), ..Default::default() };
        let leader = eventually("the node knows the leader", async || {
            let answer = cluster.cluster(node).topology(request.clone()).await.ok()?.into_inner();
            assert_eq!(answer.nodes.len(), 3);
            (answer.leader_node != 0).then_some(answer.leader_node)
        })
        .await;
        let shard = cluster.node(leader).state().shard(made.shard).unwrap();
        eventually("that node leads", async || shard.is_leader().then_some(())).await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_names_and_unknown_queues_get_their_reasons() {
    let mut cluster = TestCluster::started(1).await;
    for name in ["", "a\u{7}b", &"x".repeat(256)] {
        let refusal = cluster.queues(1).create_queue(create(name, None)).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{name:?}");
        assert!(status::is(&refusal, Reason::Invalid), "{refusal}");
    }
    let refusal = get(&cluster, 1, "nowhere").await.unwrap_err();
    assert!(status::is(&refusal, Reason::QueueNotFound), "{refusal}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creation_under_way_survives_the_loss_of_the_catalogs_leader() {
    let mut cluster = TestCluster::started(3).await;
    let leader = eventually("the catalog has a leader", async || {
        (1..=3).find(|node| cluster.node(*node).state().catalog().is_leader())
    })
    .await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    let mut asking = Vec::new();
    for number in 0..20 {
        let mut queues = cluster.queues(others[number % 2]);
        asking.push(tokio::spawn(async move {
            queues.create_queue(create(&format!("q{number:02}"), None)).await
        }));
    }
    cluster.crash(leader).await;
    for (number, asked) in asking.into_iter().enumerate() {
        // Lost answers are unknown outcomes: asking again settles them.
        if asked.await.unwrap().is_err() {
            eventually("the queue is created", async || {
                let request = create(&format!("q{number:02}"), None);
                cluster.queues(others[0]).create_queue(request).await.ok()
            })
            .await;
        }
    }
    for number in 0..20 {
        assert_eq!(get(&cluster, others[1], &format!("q{number:02}")).await.unwrap().state, "live");
    }
    cluster.stop_all().await;
}
