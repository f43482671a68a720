//! `phalanx cluster status`.

use phalanx_client::{ClusterStatus, GroupStatus, NodeStatus};
use serde::Serialize;

use crate::args::{ClusterCommand, Common};
use crate::command::connect;
use crate::output::{Outcome, show, table, thousands};

/// As `--output json` shows it.
#[derive(Serialize)]
struct StatusJson {
    cluster_id: Option<String>,
    /// The node that answered: what follows is how it sees the cluster.
    node: u64,
    version: String,
    nodes: Vec<NodeJson>,
    groups: Vec<GroupJson>,
}

#[derive(Serialize)]
struct NodeJson {
    node: u64,
    client_address: String,
    peer_address: String,
    zone: String,
    reachable: bool,
}

#[derive(Serialize)]
struct GroupJson {
    group: u64,
    leader_node: Option<u64>,
    term: u64,
    voter_nodes: Vec<u64>,
    applied_index: u64,
    last_index: u64,
    digest: String,
    state: String,
}

/// Runs `phalanx cluster ...`.
pub async fn run(command: ClusterCommand, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    match command {
        ClusterCommand::Status => {
            let status = admin.status().await?;
            show(common.output, &json(&status), || text(&status))
        }
    }
}

fn text(status: &ClusterStatus) -> String {
    let node = |node: &NodeStatus| {
        let leads = status.groups.iter().filter(|group| group.leader_node == Some(node.node)).count();
        vec![
            node.node.to_string(),
            node.client_address.clone(),
            node.peer_address.clone(),
            node.zone.clone(),
            if node.reachable { "yes" } else { "NO" }.to_owned(),
            leads.to_string(),
        ]
    };
    let group = |group: &GroupStatus| {
        let voters: Vec<String> = group.voter_nodes.iter().map(ToString::to_string).collect();
        vec![
            if group.group == 0 { "0 (catalog)".to_owned() } else { group.group.to_string() },
            group.leader_node.map_or("none".to_owned(), |leader| leader.to_string()),
            group.term.to_string(),
            voters.join(" "),
            format!("{} / {}", thousands(group.applied_index), thousands(group.last_index)),
            group.state.clone(),
        ]
    };
    let id = status.cluster_id.map(|id| id.to_string()).unwrap_or_default();
    format!(
        "cluster {id}, as node {} (version {}) sees it\n{}\n{}",
        status.node,
        status.version,
        table(
            &["node", "clients", "peers", "zone", "reachable", "leads"],
            status.nodes.iter().map(node).collect()
        ),
        table(
            &["group", "leader", "term", "on nodes", "applied / last index", "state"],
            status.groups.iter().map(group).collect()
        ),
    )
}

fn json(status: &ClusterStatus) -> StatusJson {
    let node = |node: &NodeStatus| NodeJson {
        node: node.node,
        client_address: node.client_address.clone(),
        peer_address: node.peer_address.clone(),
        zone: node.zone.clone(),
        reachable: node.reachable,
    };
    let group = |group: &GroupStatus| GroupJson {
        group: group.group,
        leader_node: group.leader_node,
        term: group.term,
        voter_nodes: group.voter_nodes.clone(),
        applied_index: group.applied_index,
        last_index: group.last_index,
        // JSON numbers lose bits beyond 2^53.
        digest: format!("{:016x}", group.digest),
        state: group.state.clone(),
    };
    StatusJson {
        cluster_id: status.cluster_id.map(|id| id.to_string()),
        node: status.node,
        version: status.version.clone(),
        nodes: status.nodes.iter().map(node).collect(),
        groups: status.groups.iter().map(group).collect(),
    }
}
