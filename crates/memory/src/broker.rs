//! The broker: one node on a disk and a network of memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_client::{Client, ClientBuilder, Error};
use phalanx_raft::RaftOptions;
use phalanx_server::authorize::AllowAll;
use phalanx_server::clock::TokioClock;
use phalanx_server::config::{NodeConfig, PeerConfig};
use phalanx_server::drive::{TaskDrive, TaskExecutor};
use phalanx_server::seams::{Seams, SystemEntropy};
use phalanx_server::{Node, RunningNode};
use phalanx_storage::checkpoint::MemoryEngine;
use phalanx_storage::disk::SimDisk;

use crate::network::{CLIENT_ADDRESS, Door};

/// The log, bytes: what bounds the memory for messages that are not yet in a checkpoint.
const LOG_BYTES: u64 = 20 * 1024 * 1024;
/// A piece of the log, bytes.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Largest request, bytes: a segment of the log bounds it. Bodies of the usual limit, 1 MiB, fit.
const REQUEST_BYTES: u64 = 1536 * 1024;
/// Alone, a node need not wait for others: it becomes leader after this time. Not shorter: paused time is dearer, the more timers run.
const ELECTION_MIN: Duration = Duration::from_millis(60);
const ELECTION_MAX: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_millis(50);

/// The broker did not start.
#[derive(Debug, thiserror::Error)]
#[error("the broker in memory does not start")]
pub struct StartError(#[from] phalanx_server::StartError);

/// A broker in this process. Dropping it ends it.
///
/// Must be used inside a tokio runtime with time enabled; the runtime that it was started in must go on running.
pub struct MemoryBroker {
    door: Door,
    disk: Arc<SimDisk>,
    engine: Arc<MemoryEngine>,
    node: Option<RunningNode>,
    /// Why the node stopped by itself.
    fatal: Arc<Mutex<Option<String>>>,
}

impl MemoryBroker {
    /// Starts an empty broker.
    ///
    /// # Errors
    /// When the node does not start: a defect of this crate.
    pub async fn start() -> Result<Self, StartError> {
        let disk = SimDisk::new(0);
        let mut broker = Self {
            door: Door::default(),
            engine: Arc::new(MemoryEngine::beside(disk.clone())),
            disk: Arc::new(disk),
            node: None,
            fatal: Arc::default(),
        };
        broker.restart().await?;
        Ok(broker)
    }

    /// For a client of this broker with settings of its own; the addresses and the connector are set.
    pub fn client_builder(&self) -> ClientBuilder {
        Client::builder().addresses([CLIENT_ADDRESS]).connector(self.door.clone())
    }

    /// A client of this broker.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is down.
    pub async fn client(&self) -> Result<Client, Error> {
        self.client_builder().connect().await
    }

    /// Ends the node as `kill -9` would: connections break, nothing is said to anybody, and what was acknowledged is
    /// there again after [`restart`](Self::restart). Does nothing when it is down already.
    pub async fn crash(&mut self) {
        self.door.close();
        if let Some(node) = self.node.take() {
            node.abort().await;
            self.disk.kill();
        }
    }

    /// Starts the node again, with all that it had written. Does nothing while it runs.
    ///
    /// # Errors
    /// When the node does not start: a defect of this crate.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        if self.node.is_none() {
            self.node = Some(Node::start(config(), self.seams()).await?);
        }
        Ok(())
    }

    /// Why the node stopped by itself, if it did: a defect, not something that a test provokes.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.fatal.lock().clone()
    }

    fn seams(&self) -> Seams {
        let fatal = self.fatal.clone();
        let mut raft = RaftOptions::default();
        (raft.heartbeat, raft.election_min, raft.election_max) = (HEARTBEAT, ELECTION_MIN, ELECTION_MAX);
        Seams {
            clock: Arc::new(TokioClock::default()),
            entropy: Arc::new(SystemEntropy),
            disk: self.disk.clone(),
            engine: self.engine.clone(),
            dialer: Arc::new(self.door.clone()),
            listen: Arc::new(self.door.clone()),
            executor: Arc::new(TaskExecutor { job_time: Duration::ZERO }),
            drive: Arc::new(TaskDrive { sync_time: Duration::ZERO }),
            authorizer: Arc::new(AllowAll),
            raft,
            on_fatal: Arc::new(move |why| {
                fatal.lock().get_or_insert(why);
            }),
        }
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("is_running", &self.node.is_some()).finish_non_exhaustive()
    }
}

fn config() -> NodeConfig {
    let peer = PeerConfig {
        id: 1,
        peer: "memory:7520".to_owned(),
        client: CLIENT_ADDRESS.to_owned(),
        zone: String::new(),
    };
    let mut config = NodeConfig { insecure: true, peers: vec![peer], ..NodeConfig::default() };
    config.node.id = 1;
    config.node.data_dir = PathBuf::from("/memory");
    config.client.listen = CLIENT_ADDRESS.to_owned();
    config.peer.listen = "memory:7520".to_owned();
    config.admin.listen = "memory:7620".to_owned();
    config.cluster.shards = 1;
    config.cluster.replicas = 1;
    config.wal.segment_bytes = SEGMENT_BYTES;
    config.wal.budget_bytes = LOG_BYTES;
    config.limits.request_bytes = REQUEST_BYTES;
    config
}
