//! Builds what a run needs: network, machines, cluster.

use std::path::PathBuf;

use super::Settings;
use crate::cluster::{Cluster, Spec};
use crate::machine::{Machines, Own};
use crate::nemesis::Needs;
use crate::net::{self, Namespaces, Network, Proxies};

/// Groups that hold queues: few, so that each has work.
const SHARDS: u64 = 2;

/// The cluster, not started, and its machines.
pub async fn build(settings: &Settings) -> Result<(Cluster, Box<dyn Machines>), String> {
    let dir = std::path::absolute(&settings.dir).map_err(|error| error.to_string())?;
    let needs = |what| settings.faults.iter().any(|fault| fault.needs() == what);
    let network = if net::is_inside() {
        let made = Namespaces::new(settings.nodes, settings.seed).await;
        Network::Namespaces(made.map_err(|error| format!("namespaces: {error}"))?)
    } else {
        let made = Proxies::new(settings.nodes).await;
        Network::Proxies(made.map_err(|error| format!("proxies on 127.77.0.0/16: {error}"))?)
    };
    let data_dirs: Vec<PathBuf> =
        (1..=settings.nodes).map(|id| dir.join(format!("node-{id}/data"))).collect();
    let mut machines = Own::default();
    if needs(Needs::Fuse) {
        machines.mount(&data_dirs).map_err(|error| format!("a disk cannot be mounted: {error}"))?;
    }
    let engine = if settings.seed.is_multiple_of(4) { "redb" } else { "sled" };
    let spec = Spec { binary: settings.binary.clone(), dir, data_dirs, shards: SHARDS, engine };
    let mut cluster = Cluster::prepare(&spec, network).map_err(|error| error.to_string())?;
    if needs(Needs::FakeTime) {
        let dirs: Vec<PathBuf> = cluster.nodes().iter().map(|node| node.dir().to_owned()).collect();
        let clocks = machines.make_clocks(&dirs).map_err(|error| format!("clocks: {error}"))?;
        for (node, variables) in cluster.nodes().iter_mut().zip(clocks) {
            for (name, value) in variables {
                node.set_environment(name, value);
            }
        }
    }
    for node in cluster.nodes() {
        if let Some(canary) = &settings.canary {
            node.set_environment("CANARY", canary.clone());
        }
    }
    Ok((cluster, Box::new(machines)))
}
