//! A cluster in one process: each node has a runtime of its own, so that ending the runtime is as good as killing a process: all its
//! sockets close, nothing it had in mind is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use phalanx_proto::channel::Channel;
use phalanx_raft::{
    Dialer, EffectSink, Executor, FatalError, Group, GroupSpec, GroupStatus, Groups, NodeContext, OpenError,
    PayloadMemory, PeerNode, ProposeError, Purpose, RaftOptions,
};
use phalanx_state_machine::command::{
    Batch, Command, CommandKind, NewMessage, PutQueue, QueueSettings, Send,
};
use phalanx_state_machine::ids::Id128;
use phalanx_state_machine::machine::{Machine, MachineKind};
use phalanx_state_machine::reply::{Effect, Reply};
use phalanx_storage::checkpoint::{Engine, MemoryEngine};
use phalanx_storage::disk::RealDisk;
use phalanx_storage::wal::{Wal, WalOptions};
use tokio::runtime::Runtime;
use tonic::transport::{Endpoint, Server};

use crate::committer::Committer;

/// Nothing here takes that long; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The queue that every group gets.
pub const QUEUE: u64 = 7;
/// The cluster.
pub const CLUSTER: Id128 = Id128 { hi: 1, lo: 2 };

struct Threads;

impl Executor for Threads {
    fn blocking(&self, job: Box<dyn FnOnce() + std::marker::Send>) {
        std::thread::spawn(job);
    }
}

struct Tcp;

impl Dialer for Tcp {
    fn channel(&self, address: &str, _: Purpose) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).connect_lazy().into()
    }
}

/// Checks that each replica's entries arrive in the order of the log.
#[derive(Default)]
pub struct Sink {
    last: Mutex<BTreeMap<u64, u64>>,
    diverged: Mutex<Vec<(u64, u64)>>,
}

impl EffectSink for Sink {
    fn applied(&self, group: u64, machine: &Machine, _: Vec<Effect>) {
        let index = machine.applied_index();
        let before = self.last.lock().insert(group, index).unwrap_or(0);
        assert!(index >= before, "group {group}: entry {index} was applied after {before}");
    }

    fn compared(&self, group: u64, index: u64, agrees: bool) {
        if !agrees {
            self.diverged.lock().push((group, index));
        }
    }
}

struct Running {
    runtime: Runtime,
    groups: Arc<Groups>,
    wal: Arc<Wal>,
    sink: Arc<Sink>,
    committer: Committer,
}

/// One node, running or not.
pub struct Node {
    pub id: u64,
    pub dir: PathBuf,
    pub address: String,
    pub engine: Arc<dyn Engine>,
    pub fatal: Arc<Mutex<Vec<FatalError>>>,
    running: Option<Running>,
}

/// All of them.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub groups: Vec<u64>,
    pub options: RaftOptions,
    pub wal_options: WalOptions,
    control: Runtime,
    requests: AtomicU64,
    _dir: tempfile::TempDir,
}

/// Replica ids are never reused: group and node make one.
pub fn replica_of(group: u64, node: u64) -> u64 {
    group * 100 + node
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// What the tests run with: everything as in production, but checkpoints only when asked for.
pub fn quiet() -> RaftOptions {
    RaftOptions { checkpoint_interval: Duration::from_secs(3600), ..RaftOptions::default() }
}

impl Cluster {
    /// Three nodes, each with a replica of every group, initialized and led.
    pub fn start(group_count: u64, options: RaftOptions) -> Self {
        let wal_options = WalOptions {
            segment_bytes: 4 << 20,
            budget_bytes: 32 << 20,
            batch_bytes_max: 1 << 20,
            ..WalOptions::default()
        };
        Self::start_with(group_count, options, wal_options)
    }

    /// As [`Self::start`], with a log of the given size.
    pub fn start_with(group_count: u64, options: RaftOptions, wal_options: WalOptions) -> Self {
        // Set RUST_LOG to see what the replicas say; a second cluster in the process finds it set up.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let dir = tempfile::tempdir().expect("a directory");
        let control = runtime();
        let node = |id: u64| {
            // Bound once to learn a free port; every start of the node binds it again.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            Node {
                id,
                dir: dir.path().join(id.to_string()),
                address: listener.local_addr().expect("an address").to_string(),
                engine: Arc::new(MemoryEngine::default()),
                fatal: Arc::default(),
                running: None,
            }
        };
        let nodes = (1..=3).map(node).collect();
        let groups = (1..=group_count).collect();
        let requests = AtomicU64::new(1);
        let mut cluster = Self { nodes, groups, options, wal_options, control, requests, _dir: dir };
        for id in 1..=3 {
            cluster.boot(id);
        }
        for group in cluster.groups.clone() {
            let members: BTreeMap<_, _> =
                (1..=3).map(|id| (replica_of(group, id), cluster.peer(id))).collect();
            let first = cluster.group(1, group);
            cluster.block_on(async { first.initialize(members).await }).expect("initialize");
            cluster.put_queue(group);
        }
        cluster
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.control.block_on(future)
    }

    pub fn node(&self, id: u64) -> &Node {
        self.nodes.iter().find(|node| node.id == id).expect("a node")
    }

    pub fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("a node")
    }

    pub fn peer(&self, id: u64) -> PeerNode {
        PeerNode { node: id, address: self.node(id).address.clone() }
    }

    pub fn others(&self, id: u64) -> Vec<u64> {
        (1..=3).filter(|other| *other != id).collect()
    }

    /// Starts a node without opening its groups.
    pub fn boot_empty(&mut self, id: u64) {
        let (options, wal_options) = (self.options.clone(), self.wal_options.clone());
        let node = self.node_mut(id);
        assert!(node.running.is_none(), "node {id} is running");
        let runtime = runtime();
        let wal = open_wal(node, &wal_options);
        let committer = Committer::start(Arc::clone(&wal));
        let (fatal, sink) = (Arc::clone(&node.fatal), Arc::new(Sink::default()));
        let context = NodeContext {
            node: id,
            cluster: CLUSTER,
            wal: Arc::clone(&wal),
            engine: Arc::clone(&node.engine),
            dialer: Arc::new(Tcp),
            executor: Arc::new(Threads),
            sink: Arc::clone(&sink) as Arc<dyn EffectSink>,
            memory: Arc::new(PayloadMemory::new(u64::MAX)),
            options,
            on_fatal: Arc::new(move |error| fatal.lock().push(error)),
        };
        let groups = {
            let _inside = runtime.enter();
            Groups::new(context)
        };
        let address = node.address.clone();
        let service = groups.services();
        let listener =
            runtime.block_on(async { tokio::net::TcpListener::bind(&address).await }).expect("bind again");
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(async move {
            Server::builder().tcp_nodelay(true).add_service(service).serve_with_incoming(incoming).await
        });
        node.running = Some(Running { runtime, groups, wal, sink, committer });
    }

    /// Starts a node with all groups.
    pub fn boot(&mut self, id: u64) {
        self.boot_empty(id);
        for group in self.groups.clone() {
            self.open(id, group, replica_of(group, id)).expect("open");
        }
    }

    /// Opens one group on a running node.
    pub fn open(&self, id: u64, group: u64, replica: u64) -> Result<Arc<Group>, OpenError> {
        let running = self.running(id);
        let peers = self.others(id).into_iter().map(|other| self.peer(other)).collect();
        let spec = GroupSpec { group, replica, kind: MachineKind::Shard(group), peers };
        let groups = Arc::clone(&running.groups);
        let opened = running.runtime.spawn(async move { groups.open(spec).await });
        self.block_on(opened).expect("open does not panic")
    }

    fn running(&self, id: u64) -> &Running {
        self.node(id).running.as_ref().unwrap_or_else(|| panic!("node {id} is down"))
    }

    pub fn is_up(&self, id: u64) -> bool {
        self.node(id).running.is_some()
    }

    pub fn groups_of(&self, id: u64) -> Arc<Groups> {
        Arc::clone(&self.running(id).groups)
    }

    pub fn group(&self, id: u64, group: u64) -> Arc<Group> {
        self.running(id).groups.get(group).expect("an open group")
    }

    pub fn status(&self, id: u64, group: u64) -> GroupStatus {
        self.group(id, group).status()
    }

    /// Ends a node as a kill does.
    pub fn kill(&mut self, id: u64) {
        let Running { runtime, groups, wal, sink: _, committer } =
            self.node_mut(id).running.take().expect("a running node");
        drop((committer, wal));
        runtime.shutdown_timeout(PATIENCE);
        drop(groups);
    }

    /// The log of a node that is down.
    pub fn log_of(&self, id: u64) -> Arc<Wal> {
        assert!(!self.is_up(id), "node {id} is running");
        open_wal(self.node(id), &self.wal_options)
    }

    /// Where replicas of a running node were found to differ from their leaders: groups and entries.
    pub fn diverged(&self, id: u64) -> Vec<(u64, u64)> {
        self.node(id).running.as_ref().expect("a running node").sink.diverged.lock().clone()
    }

    /// From now on, whoever gives a running node's log something to do panics.
    pub fn plant_panic(&self, id: u64) {
        let running = self.node(id).running.as_ref().expect("a running node");
        running.wal.on_pending(Arc::new(|| panic!("planted")));
    }

    /// Ends a node in good order.
    pub fn stop(&mut self, id: u64) {
        let groups = self.groups_of(id);
        self.block_on(groups.shutdown());
        drop(groups);
        self.kill(id);
    }

    /// Waits until some running node leads the group with a quorum.
    pub fn leader(&self, group: u64) -> u64 {
        eventually("a leader", || {
            let up = self.nodes.iter().filter(|node| node.running.is_some());
            let opened =
                up.filter_map(|node| self.running(node.id).groups.get(group).map(|group| (node.id, group)));
            opened.into_iter().find(|(_, group)| group.leadership().borrow().is_leader).map(|(id, _)| id)
        })
    }

    /// Proposes until it is answered, wherever the leader is. The same request each time.
    pub fn propose(&self, group: u64, command: &CommandKind) -> Reply {
        eventually("an answer", || {
            let leader = self.group(self.leader(group), group);
            self.block_on(propose_once(&leader, command)).ok()
        })
    }

    fn put_queue(&self, group: u64) {
        let put = PutQueue {
            uid: QUEUE,
            version: 1,
            namespace: "default".to_owned(),
            name: "orders".to_owned(),
            settings: QueueSettings::default(),
            first_token: 1,
            ..PutQueue::default()
        };
        assert_eq!(self.propose(group, &CommandKind::PutQueue(put)), Reply::Done);
    }

    pub fn new_send(&self, body: &[u8]) -> CommandKind {
        let request = Id128 { hi: 9, lo: self.requests.fetch_add(1, Ordering::Relaxed) };
        CommandKind::Send(Send {
            uid: QUEUE,
            producer: None,
            producer_sequence: 0,
            request: Some(request),
            messages: vec![NewMessage {
                payload: Bytes::copy_from_slice(body),
                group: Bytes::new(),
                dedup: None,
            }],
            ..Send::default()
        })
    }

    /// Sends messages one after another; each is acknowledged.
    pub fn send(&self, group: u64, count: usize, body: &[u8]) {
        for _ in 0..count {
            let send = self.new_send(body);
            let reply = self.propose(group, &send);
            assert!(matches!(reply, Reply::Sent(_)), "{reply:?}");
        }
    }

    pub fn sent_total(&self, id: u64, group: u64) -> u64 {
        self.group(id, group).read(|machine| machine.queue_info(QUEUE).map_or(0, |info| info.sent_total))
    }

    /// Sends messages from many tasks at once; each is acknowledged.
    pub fn send_many(&self, group: u64, tasks: usize, count: usize, body: &[u8]) {
        let leader = self.group(self.leader(group), group);
        let task = |_| {
            let leader = Arc::clone(&leader);
            let sends: Vec<_> = (0..count).map(|_| self.new_send(body)).collect();
            async move {
                for send in &sends {
                    // Refused for too much in flight: nothing was written, so try again.
                    let reply = loop {
                        match propose_once(&leader, send).await {
                            Err(ProposeError::Overloaded { retry_after, .. }) => {
                                tokio::time::sleep(retry_after).await
                            }
                            other => break other,
                        }
                    };
                    assert!(matches!(reply, Ok(Reply::Sent(_))), "{reply:?}");
                }
            }
        };
        self.block_on(futures::future::join_all((0..tasks).map(task)));
    }

    /// Cuts a checkpoint on a node.
    pub fn checkpoint(&self, id: u64, group: u64) {
        let group = self.group(id, group);
        self.block_on(group.checkpoint_now()).expect("checkpoint");
    }

    /// Waits until all running replicas of the group have applied the same and are the same.
    pub fn agree(&self, group: u64) -> GroupStatus {
        let leader = self.leader(group);
        eventually("replicas agree", || {
            let one = self.status(leader, group);
            let up: Vec<_> =
                self.nodes.iter().filter(|node| node.running.is_some()).map(|node| node.id).collect();
            let same = up.iter().all(|id| {
                let other = self.status(*id, group);
                other.applied == one.last_index && other.digest == one.digest
            });
            (same && one.applied == one.last_index).then_some(one)
        })
    }

    pub fn no_fatal(&self) {
        for node in &self.nodes {
            assert!(node.fatal.lock().is_empty(), "node {}: {:?}", node.id, node.fatal.lock());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in 1..=3 {
            if self.is_up(id) {
                self.kill(id);
            }
        }
    }
}

fn open_wal(node: &Node, options: &WalOptions) -> Arc<Wal> {
    // The tasks of a killed node let go of the directory's lock in their own time.
    eventually("the log's lock", || match Wal::open(Arc::new(RealDisk), &node.dir, options.clone()) {
        Ok(wal) => Some(Arc::new(wal)),
        Err(phalanx_storage::Error::Locked { .. }) => None,
        Err(error) => panic!("open the log: {error}"),
    })
}

/// One attempt at the replica that is given.
pub async fn propose_once(group: &Group, command: &CommandKind) -> Result<Reply, ProposeError> {
    let term = group.leadership().borrow().term;
    let commands = vec![Command::from(command.clone())];
    let batch = Batch { version: Batch::VERSION, now_ms: 1, commands };
    let mut replies = group.propose(batch, term).await?.await?;
    assert_eq!(replies.len(), 1);
    Ok(replies.remove(0))
}

/// Looks until there is something to see.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
