//! What the examples share: a cluster of real processes of their own, and the death of its leader.
//!
//! Nothing here is needed by a program that uses Phalanx: it would call `Client::connect` and be done.
#![allow(clippy::print_stdout)] // an example speaks to its reader
#![deny(missing_docs)]

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use phalanx_client::Client;
use phalanx_testkit::{LocalCluster, Options};
use tempfile::TempDir;

/// What goes wrong in an example ends it.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Where an example runs.
#[derive(Clone, Debug, Args)]
pub struct Where {
    /// Use this cluster, and kill nothing of it; without it, three nodes are started for the run.
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<String>,
    /// The `phalanx` binary for nodes of its own; without it, the one beside this example's.
    #[arg(long, value_name = "FILE")]
    pub phalanx: Option<PathBuf>,
}

/// A cluster to run on.
pub struct Stage {
    addresses: Vec<String>,
    own: Option<(LocalCluster, TempDir)>,
}

impl Stage {
    /// Starts three nodes with data in a temporary directory, or takes the cluster that is named.
    ///
    /// # Errors
    /// When there is no `phalanx` binary, or its nodes do not start.
    pub async fn set(place: &Where) -> Result<Self, Failure> {
        if !place.servers.is_empty() {
            println!("on {}; nothing of it will be killed", place.servers.join(", "));
            return Ok(Self { addresses: place.servers.clone(), own: None });
        }
        let binary = match &place.phalanx {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("phalanx"),
        };
        if !binary.is_file() {
            let name = binary.display();
            return Err(format!(
                "{name} is not there: `cargo build --release` makes it, --phalanx names another"
            )
            .into());
        }
        let dir = tempfile::tempdir()?;
        let cluster = LocalCluster::start(&Options::new(binary, dir.path())).await?;
        let addresses = cluster.addresses();
        println!("three nodes on {}", addresses.join(", "));
        Ok(Self { addresses, own: Some((cluster, dir)) })
    }

    /// Where clients go.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Ends the process of the node that leads a queue with `kill -9`. On a cluster of somebody else's: does nothing.
    ///
    /// # Errors
    /// When the leader cannot be found or killed.
    pub async fn kill_leader(&mut self, client: &Client, queue: &str) -> Result<(), Failure> {
        let Some((cluster, _)) = &mut self.own else { return Ok(()) };
        let leader = client.admin().queue_info(queue).await?.leader_node;
        let pid = cluster.node(leader).pid().unwrap_or_default();
        cluster.node(leader).kill().await?;
        println!("kill -9 {pid}: node {leader}, which led {queue}");
        Ok(())
    }

    /// Ends the nodes that were started.
    ///
    /// # Errors
    /// When one cannot be ended.
    pub async fn strike(mut self) -> Result<(), Failure> {
        if let Some((cluster, _)) = &mut self.own {
            cluster.stop().await?;
        }
        Ok(())
    }
}
