//! Nodes in this process, on ports of their own, with real sockets and a real disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use phalanx_proto::v1::cluster_client::ClusterClient;
use phalanx_proto::v1::queues_client::QueuesClient;
use phalanx_raft::RaftOptions;
use phalanx_server::authorize::{AllowAll, Authorizer};
use phalanx_server::clock::{Clock, SystemClock};
use phalanx_server::config::{NodeConfig, PeerConfig};
use phalanx_server::drive::{ThreadDrive, ThreadExecutor};
use phalanx_server::node::{Node, RunningNode, StartError};
use phalanx_server::seams::{Bound, Listen, Seams, SystemEntropy, TcpDialer, TcpListen, bound};
use phalanx_storage::checkpoint::{Engine, MemoryEngine};
use phalanx_storage::disk::RealDisk;
use tempfile::TempDir;
use tonic::transport::Channel;
use tracing_subscriber::EnvFilter;

/// Longest wait for something that must happen; a test that needs it has failed, whatever the machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Ports that were reserved by binding them; a restart binds the same ones again.
#[derive(Default)]
struct Reserved(Mutex<BTreeMap<String, std::net::TcpListener>>);

impl Reserved {
    fn reserve(&self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.0.lock().insert(address.clone(), listener);
        address
    }
}

impl Listen for Reserved {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Bound>> {
        let reserved = self.0.lock().remove(address);
        Box::pin(async move {
            match reserved {
                Some(listener) => bound(tokio::net::TcpListener::from_std(listener)?),
                None => TcpListen.listen(address).await,
            }
        })
    }
}

/// The machine's clocks, with a wall clock that can be set wrong.
#[derive(Default)]
pub struct OffsetClock {
    system: SystemClock,
    ahead_ms: AtomicI64,
}

impl OffsetClock {
    /// Sets the wall clock so far ahead of the right time, or behind it.
    pub fn set_ahead_ms(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

impl Clock for OffsetClock {
    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn wall_ms(&self) -> u64 {
        self.system.wall_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }
}

/// A place for one node: its configuration, directory and checkpoint store outlive its runs.
struct Slot {
    config: NodeConfig,
    engine: Arc<dyn Engine>,
    clock: Arc<OffsetClock>,
    running: Option<RunningNode>,
}

/// Several nodes.
pub struct TestCluster {
    listen: Arc<Reserved>,
    slots: BTreeMap<u64, Slot>,
    authorizer: Arc<dyn Authorizer>,
    fatal: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
}

impl TestCluster {
    /// Configured, not started; nodes are numbered from 1.
    pub fn new(nodes: u64) -> Self {
        // `RUST_LOG=phalanx_server=debug` shows what the nodes say; a second test finds the subscriber set.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        let listen = Arc::new(Reserved::default());
        let peers: Vec<PeerConfig> = (1..=nodes)
            .map(|id| PeerConfig {
                id,
                peer: listen.reserve(),
                client: listen.reserve(),
                zone: String::new(),
            })
            .collect();
        let slots = peers.iter().map(|peer| {
            let mut config = NodeConfig::default();
            config.node.id = peer.id;
            config.node.data_dir = dir.path().join(format!("node-{}", peer.id));
            config.client.listen = peer.client.clone();
            config.peer.listen = peer.peer.clone();
            config.admin.listen = listen.reserve();
            config.peers = if nodes == 1 { Vec::new() } else { peers.clone() };
            config.cluster.shards = 3;
            config.limits.request_bytes = 128 * 1024;
            config.wal.segment_bytes = 1024 * 1024;
            config.wal.budget_bytes = 8 * 1024 * 1024;
            (
                peer.id,
                Slot { config, engine: Arc::new(MemoryEngine::new()), clock: Arc::default(), running: None },
            )
        });
        let slots = slots.collect();
        let fatal = Arc::default();
        Self { listen, slots, authorizer: Arc::new(AllowAll), fatal, dir }
    }

    /// With other access rules.
    pub fn authorized_by(mut self, authorizer: impl Authorizer) -> Self {
        self.authorizer = Arc::new(authorizer);
        self
    }

    /// The clocks of a node.
    pub fn clock(&self, id: u64) -> &OffsetClock {
        &self.slots[&id].clock
    }

    /// Configuration of a node, for its next start.
    pub fn config_mut(&mut self, id: u64) -> &mut NodeConfig {
        &mut self.slots.get_mut(&id).unwrap().config
    }

    /// Started, all of them.
    pub async fn started(nodes: u64) -> Self {
        let mut cluster = Self::new(nodes);
        cluster.start_all().await;
        cluster
    }

    fn seams(&self, id: u64) -> Seams {
        let fatal = Arc::clone(&self.fatal);
        Seams {
            clock: Arc::clone(&self.slots[&id].clock) as Arc<dyn Clock>,
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(RealDisk),
            engine: Arc::clone(&self.slots[&id].engine),
            dialer: Arc::new(TcpDialer),
            listen: Arc::clone(&self.listen) as Arc<dyn Listen>,
            executor: Arc::new(ThreadExecutor::start().unwrap()),
            drive: Arc::new(ThreadDrive),
            authorizer: Arc::clone(&self.authorizer),
            raft: RaftOptions::default(),
            on_fatal: Arc::new(move |why| fatal.lock().push(why)),
        }
    }

    /// Starts one node; on a first start it waits for the others.
    pub fn start(&self, id: u64) -> impl Future<Output = Result<RunningNode, StartError>> + use<> {
        Node::start(self.slots[&id].config.clone(), self.seams(id))
    }

    /// Starts some nodes side by side and keeps them.
    pub async fn start_some(&mut self, ids: &[u64]) {
        let starting = join_all(ids.iter().map(|id| self.start(*id)));
        let started = tokio::time::timeout(SOON, starting).await.expect("the nodes start");
        for (id, node) in ids.iter().zip(started) {
            self.keep(*id, node.expect("the node starts"));
        }
    }

    /// Starts all nodes side by side and waits until they are ready.
    pub async fn start_all(&mut self) {
        let ids: Vec<u64> = self.slots.keys().copied().collect();
        self.start_some(&ids).await;
        for id in ids {
            eventually("the node is ready", async || self.node(id).health().is_ready().then_some(())).await;
        }
    }

    /// Keeps a node that was started by hand.
    pub fn keep(&mut self, id: u64, node: RunningNode) {
        self.slots.get_mut(&id).unwrap().running = Some(node);
    }

    /// Stops one gracefully.
    pub async fn stop(&mut self, id: u64) {
        self.slots.get_mut(&id).unwrap().running.take().expect("it runs").shutdown().await;
    }

    /// Stops one as a crash would.
    pub async fn crash(&mut self, id: u64) {
        self.slots.get_mut(&id).unwrap().running.take().expect("it runs").abort().await;
    }

    /// Stops all, side by side.
    pub async fn stop_all(&mut self) {
        let running: Vec<_> = self.slots.values_mut().filter_map(|slot| slot.running.take()).collect();
        join_all(running.into_iter().map(RunningNode::shutdown)).await;
    }

    /// Empties the disk of a stopped node.
    pub fn wipe(&mut self, id: u64) {
        let slot = self.slots.get_mut(&id).unwrap();
        assert!(slot.running.is_none(), "a running node is not wiped");
        std::fs::remove_dir_all(&slot.config.node.data_dir).unwrap();
        slot.engine = Arc::new(MemoryEngine::new());
    }

    pub fn node(&self, id: u64) -> &RunningNode {
        self.slots[&id].running.as_ref().expect("it runs")
    }

    /// Directory of a node, also of one that is not of the cluster.
    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    /// Starts a node with a configuration of its own and an empty checkpoint store.
    pub fn start_as(
        &self,
        config: NodeConfig,
    ) -> impl Future<Output = Result<RunningNode, StartError>> + use<> {
        let seams = Seams { engine: Arc::new(MemoryEngine::new()), ..self.seams(1) };
        Node::start(config, seams)
    }

    /// A node's checkpoint store.
    pub fn engine(&self, id: u64) -> Arc<dyn Engine> {
        Arc::clone(&self.slots[&id].engine)
    }

    pub fn config(&self, id: u64) -> &NodeConfig {
        &self.slots[&id].config
    }

    /// What was fatal on any node.
    pub fn fatal(&self) -> Vec<String> {
        self.fatal.lock().clone()
    }

    /// A connection to a node's client listener.
    pub fn channel(&self, id: u64) -> Channel {
        let address = &self.slots[&id].config.client.listen;
        Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }

    /// Where clients reach a node.
    pub fn client_address(&self, id: u64) -> String {
        format!("http://{}", self.slots[&id].config.client.listen)
    }

    pub fn queues(&self, id: u64) -> QueuesClient<Channel> {
        QueuesClient::new(self.channel(id))
    }

    pub fn cluster(&self, id: u64) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel(id))
    }
}

/// Looks until something is found, at most [`SOON`].
pub async fn eventually<R>(what: &str, mut look: impl AsyncFnMut() -> Option<R>) -> R {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(SOON, found).await {
        Ok(found) => found,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// A GET over plain HTTP/1.1: status code and body.
pub async fn http_get(address: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    (code, body)
}

/// All files under a directory with their contents.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}
