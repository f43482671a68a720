//! A machine of the simulation: what survives its crashes, and how its process is started.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use phalanx_raft::{Dialer, RaftOptions};
use phalanx_server::authorize::AllowAll;
use phalanx_server::config::{NodeConfig, PeerConfig};
use phalanx_server::drive::{TaskDrive, TaskExecutor};
use phalanx_server::node::Node;
use phalanx_server::seams::{Listen, Seams, SystemEntropy};
use phalanx_server::state::NodeState;
use phalanx_storage::checkpoint::{Engine, MemoryEngine};
use phalanx_storage::disk::{Disk, SimDisk};
use tokio::sync::Notify;

use super::clock::{SimClock, WallError};
use crate::net::{Door, Network};
use crate::trace;

/// Simulated time that one write with its sync takes.
const SYNC_TIME: Duration = Duration::from_micros(500);
/// Simulated time that a blocking job takes.
const JOB_TIME: Duration = Duration::from_millis(1);

/// How the nodes of a cluster are set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Nodes.
    pub nodes: u64,
    /// Replicas of each shard.
    pub replicas: u64,
    /// Groups that hold queues: few, so that a run stays short.
    pub shards: u64,
    /// Of the log, bytes.
    pub segment_bytes: u64,
    /// Of the log, bytes.
    pub budget_bytes: u64,
    /// Largest request, bytes.
    pub request_bytes: u64,
    /// Intervals and limits of the groups.
    pub raft: RaftOptions,
}

/// What the process on a machine tells the world outside.
#[derive(Default)]
pub struct Telling {
    /// The node, once it takes part.
    pub node: Option<Weak<NodeState>>,
    /// Why it must stop.
    pub fatal: Option<String>,
    /// Why it did not start.
    pub refused: Option<String>,
    /// Processes started so far.
    pub starts: u64,
    /// Leadership to hand over: group, node.
    pub transfers: Vec<(u64, u64)>,
}

/// What a crash leaves, and what the world holds of it. Clones are of the same machine.
#[derive(Clone)]
pub struct Machine {
    id: u64,
    config: NodeConfig,
    raft: RaftOptions,
    /// Its disk.
    pub disk: Arc<SimDisk>,
    /// Its checkpoints.
    pub engine: Arc<MemoryEngine>,
    door: Arc<dyn Door>,
    /// Its wall clock.
    pub wall: WallError,
    /// What its process tells.
    pub telling: Arc<Mutex<Telling>>,
    transfer: Arc<Notify>,
}

impl Machine {
    /// Machine `id`, with an empty disk.
    pub fn new(id: u64, setup: &Setup, seed: u64, network: &mut dyn Network) -> Self {
        let peer = |id| PeerConfig {
            id,
            peer: format!("{}:7520", name(id)),
            client: format!("{}:7420", name(id)),
            zone: String::new(),
        };
        let peers = (1..=setup.nodes).map(peer).collect();
        let mut config = NodeConfig { insecure: true, peers, ..NodeConfig::default() };
        config.node.id = id;
        config.node.data_dir = PathBuf::from("/data");
        config.client.listen = "0.0.0.0:7420".to_owned();
        config.peer.listen = "0.0.0.0:7520".to_owned();
        config.admin.listen = "0.0.0.0:7620".to_owned();
        config.cluster.shards = setup.shards;
        config.cluster.replicas = setup.replicas;
        config.wal.segment_bytes = setup.segment_bytes;
        config.wal.budget_bytes = setup.budget_bytes;
        config.limits.request_bytes = setup.request_bytes;
        let disk = SimDisk::new(seed.wrapping_mul(31).wrapping_add(id));
        Self {
            id,
            config,
            raft: setup.raft.clone(),
            engine: Arc::new(MemoryEngine::beside(disk.clone())),
            disk: Arc::new(disk),
            door: network.door(&name(id)),
            wall: WallError::default(),
            telling: Arc::default(),
            transfer: Arc::default(),
        }
    }

    /// Its host name in the simulated network.
    pub fn name(&self) -> String {
        name(self.id)
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        format!("http://{}:7420", self.name())
    }

    /// The process has been killed: what it wrote stays, synced or not.
    pub fn killed(&self) {
        self.disk.kill();
        self.ended();
    }

    /// The power has failed: what was not synced is lost, all or part of it.
    pub fn power_failed(&self) {
        self.disk.power_cut();
        self.engine.power_cut();
        self.ended();
    }

    fn ended(&self) {
        let mut telling = self.telling.lock();
        telling.node = None;
        telling.fatal = None;
        telling.refused = None;
        telling.transfers.clear();
    }

    /// The node, while it takes part.
    pub fn node(&self) -> Option<Arc<NodeState>> {
        self.telling.lock().node.as_ref()?.upgrade()
    }

    /// Asks its process to hand the leadership of `group` to `node`.
    pub fn transfer(&self, group: u64, node: u64) {
        self.telling.lock().transfers.push((group, node));
        self.transfer.notify_one();
    }

    /// Runs the node's process until the simulation ends it.
    pub async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        trace::record(&format!("start {}", self.name()));
        self.telling.lock().starts += 1;
        let (name, telling) = (self.name(), Arc::clone(&self.telling));
        let seams = Seams {
            clock: Arc::new(SimClock::new(self.wall.clone())),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::clone(&self.disk) as Arc<dyn Disk>,
            engine: Arc::clone(&self.engine) as Arc<dyn Engine>,
            dialer: Arc::clone(&self.door) as Arc<dyn Dialer>,
            listen: Arc::clone(&self.door) as Arc<dyn Listen>,
            executor: Arc::new(TaskExecutor { job_time: JOB_TIME }),
            drive: Arc::new(TaskDrive { sync_time: SYNC_TIME }),
            authorizer: Arc::new(AllowAll),
            raft: self.raft.clone(),
            on_fatal: Arc::new(move |why| {
                trace::record(&format!("fatal {name}: {why}"));
                telling.lock().fatal.get_or_insert(why);
            }),
        };
        let node = match Node::start(self.config.clone(), seams).await {
            Ok(node) => node,
            Err(error) => {
                trace::record(&format!("refused {}: {error}", self.name()));
                self.telling.lock().refused = Some(describe(&error));
                return std::future::pending().await;
            }
        };
        self.telling.lock().node = Some(Arc::downgrade(node.state()));
        loop {
            self.transfer.notified().await;
            let transfers = std::mem::take(&mut self.telling.lock().transfers);
            for (group, to) in transfers {
                hand_over(node.state(), group, to).await;
            }
        }
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

async fn hand_over(state: &NodeState, group: u64, to: u64) {
    let Some(shard) = state.shard(group) else { return };
    let voters = shard.group.status().voters;
    let Some(replica) = voters.into_iter().find(|(_, peer)| peer.node == to).map(|(replica, _)| replica)
    else {
        return;
    };
    let result = shard.group.transfer_leader(replica).await;
    trace::record(&format!("handed group {group} to node {to}: {result:?}"));
}

fn name(id: u64) -> String {
    format!("node-{id}")
}
