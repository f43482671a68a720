//! `Bootstrap`: the cluster's identity, nodes and groups.

use std::collections::BTreeSet;

use super::{Catalog, GROUPS_MAX, NODES_MAX, REPLICAS_MAX};
use crate::command::Bootstrap;
use crate::ids::Id128;
use crate::reply::{Rejection, Reply};

/// Largest number of a node.
const NODE_ID_MAX: u64 = 65_535;

impl Catalog {
    /// Takes the plan of the first start. The leader of group 0 proposes it whenever it finds no cluster here, so
    /// it may come twice: the second does nothing, one of another cluster is refused.
    pub(super) fn bootstrap(&mut self, command: &Bootstrap) -> Result<Reply, Rejection> {
        if let Some(cluster) = self.cluster {
            if cluster == command.cluster {
                return Ok(Reply::Done);
            }
            return Err(Rejection::Invalid(format!(
                "this catalog belongs to cluster {cluster}, not to {}",
                command.cluster
            )));
        }
        check(command).map_err(Rejection::Invalid)?;
        self.set_cluster(command.cluster);
        for node in &command.nodes {
            self.put_node(node.clone());
        }
        for group in &command.groups {
            self.put_group(group.clone());
        }
        Ok(Reply::Done)
    }
}

fn check(command: &Bootstrap) -> Result<(), String> {
    if command.cluster == Id128::default() {
        return Err("the cluster's id is zero".to_owned());
    }
    if command.nodes.len() > NODES_MAX {
        return Err(format!("{} nodes: at most {NODES_MAX} are allowed", command.nodes.len()));
    }
    if command.groups.len() > GROUPS_MAX {
        return Err(format!("{} groups: at most {GROUPS_MAX} are allowed", command.groups.len()));
    }
    let mut nodes = BTreeSet::new();
    for node in &command.nodes {
        if node.node == 0 || node.node > NODE_ID_MAX {
            return Err(format!("node {}: numbers are 1 to {NODE_ID_MAX}", node.node));
        }
        if !nodes.insert(node.node) {
            return Err(format!("node {} is named twice", node.node));
        }
    }
    let mut groups = BTreeSet::new();
    let mut replicas = BTreeSet::new();
    for group in &command.groups {
        if !groups.insert(group.group) {
            return Err(format!("group {} is named twice", group.group));
        }
        if group.replicas.is_empty() || group.replicas.len() > REPLICAS_MAX {
            return Err(format!(
                "group {} has {} replicas: 1 to {REPLICAS_MAX} are allowed",
                group.group,
                group.replicas.len()
            ));
        }
        let mut homes = BTreeSet::new();
        for replica in &group.replicas {
            if !nodes.contains(&replica.node) {
                return Err(format!("group {} has a replica on unknown node {}", group.group, replica.node));
            }
            if !homes.insert(replica.node) {
                return Err(format!("group {} has two replicas on node {}", group.group, replica.node));
            }
            if !replicas.insert(replica.replica) {
                return Err(format!("replica {} is named twice", replica.replica));
            }
        }
    }
    if !groups.contains(&0) {
        return Err("group 0, the catalog itself, is missing".to_owned());
    }
    if groups.len() < 2 {
        return Err("there is no shard: queues need at least one group besides 0".to_owned());
    }
    Ok(())
}
