//! A node of the simulation: what survives its crashes, and how its process is started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_raft::Executor;
use phalanx_server::authorize::AllowAll;
use phalanx_server::clock::SystemClock;
use phalanx_server::config::{NodeConfig, PeerConfig};
use phalanx_server::drive::{Drive, DriveHandle, MARK_AFTER};
use phalanx_server::node::Node;
use phalanx_server::seams::{Seams, SystemEntropy};
use phalanx_storage::checkpoint::{Engine, MemoryEngine};
use phalanx_storage::disk::{Disk, SimDisk};
use phalanx_storage::wal::Wal;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::net::SimNet;
use crate::trace;

/// Simulated time that one write with its sync takes.
const SYNC_TIME: Duration = Duration::from_micros(500);
/// Simulated time that a blocking job takes.
const JOB_TIME: Duration = Duration::from_millis(1);
/// Groups that hold queues: few, so that a run stays short.
const SHARDS: u64 = 2;

/// What a crash leaves.
#[derive(Clone)]
pub struct Machine {
    id: u64,
    config: NodeConfig,
    disk: Arc<SimDisk>,
    engine: Arc<MemoryEngine>,
}

impl Machine {
    /// Machine `id` of `count`, with an empty disk.
    pub fn new(id: u64, count: u64, seed: u64) -> Self {
        let peer = |id| PeerConfig {
            id,
            peer: format!("{}:7520", name(id)),
            client: format!("{}:7420", name(id)),
            zone: String::new(),
        };
        let mut config =
            NodeConfig { insecure: true, peers: (1..=count).map(peer).collect(), ..NodeConfig::default() };
        config.node.id = id;
        config.node.data_dir = PathBuf::from("/data");
        config.client.listen = "0.0.0.0:7420".to_owned();
        config.peer.listen = "0.0.0.0:7520".to_owned();
        config.admin.listen = "0.0.0.0:7620".to_owned();
        config.cluster.shards = SHARDS;
        config.wal.segment_bytes = 16 * 1024 * 1024;
        config.wal.budget_bytes = 128 * 1024 * 1024;
        config.limits.request_bytes = 4 * 1024 * 1024;
        let disk = Arc::new(SimDisk::new(seed.wrapping_mul(31).wrapping_add(id)));
        Self { id, config, disk, engine: Arc::new(MemoryEngine::new()) }
    }

    /// Its host name in the simulated network.
    pub fn name(&self) -> String {
        name(self.id)
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        format!("http://{}:7420", self.name())
    }

    /// The process is killed: what it wrote stays, synced or not.
    pub fn killed(&self) {
        self.disk.kill();
    }

    /// Runs the node's process until the simulation ends it.
    pub async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        trace::record(&format!("start {}", self.name()));
        let name = self.name();
        let seams = Seams {
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::clone(&self.disk) as Arc<dyn Disk>,
            engine: Arc::clone(&self.engine) as Arc<dyn Engine>,
            dialer: Arc::new(SimNet),
            listen: Arc::new(SimNet),
            executor: Arc::new(TaskExecutor),
            drive: Arc::new(TaskDrive),
            authorizer: Arc::new(AllowAll),
            on_fatal: Arc::new(move |why| trace::record(&format!("fatal {name}: {why}"))),
        };
        let _node = Node::start(self.config, seams).await?;
        std::future::pending().await
    }
}

fn name(id: u64) -> String {
    format!("node-{id}")
}

/// Blocking jobs as tasks: in a simulation nothing blocks.
struct TaskExecutor;

impl Executor for TaskExecutor {
    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        tokio::spawn(async move {
            tokio::time::sleep(JOB_TIME).await;
            job();
        });
    }
}

/// The log's committer as a task.
struct TaskDrive;

struct TaskHandle(AbortHandle);

impl Drive for TaskDrive {
    fn start(&self, wal: Arc<Wal>, on_fatal: Arc<dyn Fn(String) + Send + Sync>) -> Box<dyn DriveHandle> {
        let pending = Arc::new(Notify::new());
        let waker = Arc::clone(&pending);
        wal.on_pending(Arc::new(move || waker.notify_one()));
        let task = tokio::spawn(async move {
            if let Err(error) = commit(&wal, &pending).await {
                on_fatal(format!("the log cannot go on: {error}"));
            }
        });
        Box::new(TaskHandle(task.abort_handle()))
    }
}

async fn commit(wal: &Wal, pending: &Notify) -> Result<(), phalanx_storage::Error> {
    let mut marked = false;
    loop {
        tokio::time::sleep(SYNC_TIME).await;
        if wal.commit_pending()? {
            marked = false;
            continue;
        }
        if marked {
            pending.notified().await;
        } else if tokio::time::timeout(MARK_AFTER, pending.notified()).await.is_err() {
            wal.mark_idle()?;
            marked = true;
        }
    }
}

impl DriveHandle for TaskHandle {
    fn pulse(&self) -> u64 {
        // Simulated time stands in for movement: a task cannot hang while time goes on.
        crate::determinism::now_ns()
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A cell that the simulated client and the world outside it share.
pub type Shared<T> = Arc<Mutex<T>>;
