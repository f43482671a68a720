//! Behind a proxy that maps ports: what the nodes tell of themselves is of no use, and everything works all the same.

use std::time::{Duration, Instant};

use phalanx_client::{Client, QueueSettings};
use phalanx_testkit::{LocalCluster, Options};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

const QUEUE: &str = "orders";
const ROUNDS: u64 = 50;
/// Whatever is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of its own that leads to a node.
struct Proxy {
    address: String,
    task: AbortHandle,
}

impl Proxy {
    async fn to(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let task = tokio::spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let Ok((mut client, _)) = listener.accept().await else { return };
                links.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", node)).await {
                        // Either side may go at any time.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                while links.try_join_next().is_some() {}
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends, consumes, receives and looks; the sends go on from `first`.
async fn work(client: &Client, first: u64) {
    let producer = client.producer(QUEUE).open().await.expect("the queue is there");
    let mut consumer = client.consumer(QUEUE).open().await.expect("the queue is there");
    for number in first..first + ROUNDS {
        assert_eq!(producer.send(number.to_string()).await.expect("confirmed").sequence, number);
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a message is there");
        let delivery = next.expect("nobody closed it").expect("the queue is there");
        assert_eq!(delivery.body(), number.to_string().as_bytes());
        delivery.ack().await.expect("acknowledged");
    }
    producer.close().await.expect("all was confirmed");
    consumer.close().await.expect("a clean goodbye");
    assert_eq!(client.admin().queue_info(QUEUE).await.expect("it is looked at").ready, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_stays_on_the_ports_it_was_given_when_advertised_addresses_lead_nowhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir.path());
    options.shards = 1;
    // Reserved ports that nothing listens on: connections are refused.
    options.advertised = Some((1..=3).map(|port| format!("127.0.0.1:{port}")).collect());
    let mut cluster = LocalCluster::start(&options).await.expect("three nodes become a cluster");
    let direct = Client::connect(cluster.addresses()).await.expect("the cluster is there");
    direct.admin().create_queue(QUEUE, QueueSettings::default()).await.expect("a new queue");
    let leader = direct.admin().queue_info(QUEUE).await.expect("it is there").leader_node;
    drop(direct);

    // The client knows one port, and it does not lead to the leader.
    let seed = leader % 3 + 1;
    let port = |cluster: &mut LocalCluster, node: u64| cluster.node(node).ports().client;
    let first = Proxy::to(port(&mut cluster, seed)).await;
    let client = Client::connect([first.address.as_str()]).await.expect("the proxy leads to a node");
    let begin = Instant::now();
    work(&client, 1).await;
    println!("{ROUNDS} rounds through a forwarding node: {:?}", begin.elapsed());

    cluster.node(leader).kill().await.expect("it was running");
    let begin = Instant::now();
    work(&client, 1 + ROUNDS).await;
    println!("{ROUNDS} rounds after the leader was killed: {:?}", begin.elapsed());
    cluster.node(leader).spawn().expect("it starts again");
    cluster.node(leader).wait_ready(PATIENCE).await.expect("it comes back");

    // A second port leads to another node; then the node behind the first one dies.
    let second = Proxy::to(port(&mut cluster, leader)).await;
    let addresses = [first.address.as_str(), second.address.as_str()];
    let client = Client::connect(addresses).await.expect("the proxies lead to nodes");
    work(&client, 1 + 2 * ROUNDS).await;
    cluster.node(seed).kill().await.expect("it was running");
    work(&client, 1 + 3 * ROUNDS).await;
    cluster.stop().await.expect("they stop");
}
