//! A cluster of real `phalanx server` processes.

mod node;
mod ready;

pub use node::Node;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::net::{Network, PORTS};

/// A first start, or a start after a fault, may take this long.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two questions whether a node is ready.
const READY_PAUSE: Duration = Duration::from_millis(50);

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The `phalanx` binary.
    pub binary: PathBuf,
    /// Holds a directory for each node.
    pub dir: PathBuf,
    /// Where the data of each node is, in their order.
    pub data_dirs: Vec<PathBuf>,
    /// Groups that hold queues.
    pub shards: u64,
    /// `sled` or `redb`.
    pub engine: &'static str,
}

/// Small logs, so that they are recycled and checkpoints are made all the time.
const CONFIG: &str =
    "[wal]\nsegment_bytes = 4194304\nbudget_bytes = 20971520\n\n[limits]\nrequest_bytes = 1572864\n";

/// A cluster of child processes. Dropping it kills them.
pub struct Cluster {
    nodes: Vec<Node>,
    network: Network,
}

fn config(spec: &Spec, network: &Network, id: u64) -> String {
    let [client, peer, admin] = PORTS;
    let host = network.listen_host(id);
    let nodes = spec.data_dirs.len();
    let mut text = String::from("insecure = true\n");
    let data_dir = spec.data_dirs[id as usize - 1].display();
    let _ = write!(
        text,
        "\n[node]\nid = {id}\ndata_dir = '{data_dir}'\n\n[client]\nlisten = \"{host}:{client}\"\n\n\
         [peer]\nlisten = \"{host}:{peer}\"\n\n[admin]\nlisten = \"{host}:{admin}\"\n\n\
         [cluster]\nshards = {}\nreplicas = {nodes}\n\n[checkpoint]\nengine = \"{}\"\n",
        spec.shards, spec.engine,
    );
    for node in 1..=nodes as u64 {
        let host = network.host(node);
        let _ = write!(
            text,
            "\n[[peers]]\nid = {node}\npeer = \"{host}:{peer}\"\nclient = \"{host}:{client}\"\n"
        );
    }
    text.push('\n');
    text.push_str(CONFIG);
    text
}

impl Cluster {
    /// Writes directories and configurations, and starts nothing.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn prepare(spec: &Spec, network: Network) -> io::Result<Self> {
        let nodes = (1..=spec.data_dirs.len() as u64).map(|id| {
            let dir = spec.dir.join(format!("node-{id}"));
            let data_dir = &spec.data_dirs[id as usize - 1];
            Node::new(id, &dir, data_dir, &config(spec, &network, id), network.wrapper(id), &spec.binary)
        });
        Ok(Self { nodes: nodes.collect::<io::Result<_>>()?, network })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All nodes, by their number.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// One node; they count from 1.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// How many nodes.
    pub fn size(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| format!("http://{}:{}", self.network.host(node.id()), PORTS[0]))
            .collect()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, id: u64) -> io::Result<()> {
        if self.node(id).is_running() {
            return Ok(());
        }
        let pid = self.node(id).spawn()?;
        self.network.started(id, pid);
        Ok(())
    }

    /// Waits until a node serves.
    ///
    /// # Errors
    /// When its process ended, or after `deadline`: what it said last.
    pub async fn wait_ready(&mut self, id: u64, deadline: Duration) -> io::Result<()> {
        let address = format!("{}:{}", self.network.listen_host(id), PORTS[2]);
        let begin = Instant::now();
        loop {
            if !self.node(id).is_running() {
                return Err(io::Error::other(format!("node {id} does not run")));
            }
            match ready::ready(&address).await {
                Ok(()) => return Ok(()),
                Err(said) if begin.elapsed() >= deadline => {
                    let log = self.node(id).log_path();
                    let why =
                        format!("node {id} is not ready after {deadline:?}: {said}; see {}", log.display());
                    return Err(io::Error::other(why));
                }
                Err(_) => tokio::time::sleep(READY_PAUSE).await,
            }
        }
    }

    /// Starts all nodes and waits until all serve.
    ///
    /// # Errors
    /// The first that does not.
    pub async fn start_all(&mut self) -> io::Result<()> {
        for id in 1..=self.size() {
            self.start(id)?;
        }
        for id in 1..=self.size() {
            self.wait_ready(id, START_DEADLINE).await?;
        }
        Ok(())
    }

    /// Asks all to stop, all at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop_all(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            node.resume()?;
        }
        for result in futures::future::join_all(self.nodes.iter_mut().map(Node::stop)).await {
            result?;
        }
        Ok(())
    }
}
