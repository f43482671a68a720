//! Several nodes as one cluster.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;
use crate::node::Node;
use crate::ports::Ports;

/// A first start, with all elections, is given this long by [`LocalCluster::start`].
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// A graceful stop is given this long by [`LocalCluster::stop`].
pub const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `phalanx` binary.
    pub binary: PathBuf,
    /// Holds a directory for each node.
    pub dir: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Where they listen.
    pub ports: Ports,
    /// What the nodes tell clients, in their order, instead of the addresses on which they listen: for clients that cannot use those.
    pub advertised: Option<Vec<String>>,
    /// Groups that hold queues.
    pub shards: u64,
    /// Further keys of the configuration, before its first section.
    pub top_level_config: String,
    /// Further sections of the configuration.
    pub config: String,
}

impl Options {
    /// Three nodes on free ports, with data below `dir`.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            dir: dir.into(),
            nodes: 3,
            ports: Ports::Free,
            advertised: None,
            shards: 8,
            top_level_config: String::new(),
            config: String::new(),
        }
    }
}

/// A cluster of child processes. Dropping it kills them.
#[derive(Debug)]
pub struct LocalCluster {
    nodes: Vec<Node>,
}

impl LocalCluster {
    /// Starts all nodes and waits until all are ready.
    ///
    /// # Errors
    /// The first thing that went wrong; nodes that were started are killed.
    pub async fn start(options: &Options) -> Result<Self, Error> {
        let mut cluster = Self::prepare(options)?;
        for node in &mut cluster.nodes {
            node.spawn()?;
        }
        cluster.wait_ready(START_DEADLINE).await?;
        Ok(cluster)
    }

    /// Writes the directories and configurations, and starts nothing.
    ///
    /// # Errors
    /// When files cannot be written or ports are taken.
    pub fn prepare(options: &Options) -> Result<Self, Error> {
        let ports = options.ports.take(options.nodes)?;
        let nodes = (1..=options.nodes as u64).map(|id| Node::new(id, &ports, options));
        Ok(Self { nodes: nodes.collect::<Result<_, _>>()? })
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

    /// Where clients reach the nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// Waits until every running node is ready.
    ///
    /// # Errors
    /// See [`Node::wait_ready`].
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<(), Error> {
        for node in &mut self.nodes {
            if node.pid().is_some() {
                node.wait_ready(deadline).await?;
            }
        }
        Ok(())
    }

    /// Asks all nodes to stop, one after the other, and waits for each.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop(&mut self) -> Result<(), Error> {
        for node in &mut self.nodes {
            node.stop(STOP_DEADLINE).await?;
        }
        Ok(())
    }
}
