//! The cluster as all its nodes see it: each is asked, as each knows its own replicas best.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use phalanx_client::{Admin, ClusterStatus, Error, GroupStatus};

/// A node that has not told its view within this time counts as silent.
const VIEW_DEADLINE: Duration = Duration::from_secs(3);

/// What one node says, and what all of them say.
pub struct Survey {
    /// As the node that answered first sees it.
    pub status: ClusterStatus,
    /// As each node that answered sees it, by its number.
    pub views: BTreeMap<u64, ClusterStatus>,
}

/// A Raft group, put together from all views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// 0: the catalog.
    pub group: u64,
    /// Who leads, by the latest term that any node knows; `None`: nobody.
    pub leader_node: Option<u64>,
    /// That term.
    pub term: u64,
    /// Of the leader's replica, or of the furthest one.
    pub last_index: u64,
    /// Entries that the replica furthest behind has not applied.
    pub lag: u64,
    /// Replicas that are not healthy: node and what it says.
    pub unsound: Vec<(u64, String)>,
    /// Nodes that have a replica and did not answer.
    pub silent: Vec<u64>,
}

impl Survey {
    /// Asks one node, then all that it knows.
    ///
    /// # Errors
    /// When no node answered at all.
    pub async fn take(admin: &Admin) -> Result<Self, Error> {
        let status = admin.status().await?;
        let asked = status.nodes.iter().filter(|node| node.node != status.node).map(|node| async move {
            let view = tokio::time::timeout(VIEW_DEADLINE, admin.status_at(&node.client_address)).await;
            // One that does not answer is silent, whatever the reason: that is what is reported.
            view.ok().and_then(Result::ok).filter(|view| view.node == node.node)
        });
        let mut views: BTreeMap<u64, ClusterStatus> =
            join_all(asked).await.into_iter().flatten().map(|view| (view.node, view)).collect();
        views.insert(status.node, status.clone());
        Ok(Self { status, views })
    }

    /// Nodes that did not answer, and that nobody who did reaches.
    pub fn lost_nodes(&self) -> Vec<u64> {
        let reached = |node: u64| {
            self.views.contains_key(&node)
                || self
                    .views
                    .values()
                    .any(|view| view.nodes.iter().any(|seen| seen.node == node && seen.reachable))
        };
        self.status.nodes.iter().map(|node| node.node).filter(|node| !reached(*node)).collect()
    }

    /// All groups.
    pub fn groups(&self) -> Vec<GroupView> {
        let mut rows: BTreeMap<u64, Vec<(u64, &GroupStatus)>> = BTreeMap::new();
        for (node, view) in &self.views {
            for group in &view.groups {
                rows.entry(group.group).or_default().push((*node, group));
            }
        }
        rows.into_iter().map(|(group, rows)| self.group(group, &rows)).collect()
    }

    fn group(&self, group: u64, rows: &[(u64, &GroupStatus)]) -> GroupView {
        let newest = rows.iter().map(|(_, row)| row.term).max().unwrap_or(0);
        let leader_node =
            rows.iter().filter(|(_, row)| row.term == newest).find_map(|(_, row)| row.leader_node);
        let led = rows.iter().find(|(node, _)| Some(*node) == leader_node);
        let last_index = led.map_or_else(
            || rows.iter().map(|(_, row)| row.last_index).max().unwrap_or(0),
            |(_, row)| row.last_index,
        );
        let lag = rows.iter().map(|(_, row)| last_index.saturating_sub(row.applied_index)).max().unwrap_or(0);
        let voters = rows.iter().flat_map(|(_, row)| &row.voter_nodes).copied();
        let mut silent: Vec<u64> = voters.filter(|node| !self.views.contains_key(node)).collect();
        silent.sort_unstable();
        silent.dedup();
        let unsound = rows.iter().filter(|(_, row)| row.state != "healthy");
        GroupView {
            group,
            leader_node,
            term: newest,
            last_index,
            lag,
            unsound: unsound.map(|(node, row)| (*node, row.state.clone())).collect(),
            silent,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use phalanx_client::NodeStatus;

    use super::*;

    pub fn group(group: u64, leader_node: Option<u64>, term: u64, applied_index: u64) -> GroupStatus {
        GroupStatus {
            group,
            leader_node,
            term,
            voter_nodes: vec![1, 2, 3],
            applied_index,
            last_index: applied_index,
            digest: 0,
            state: "healthy".into(),
        }
    }

    /// A view of three nodes.
    pub fn view(node: u64, reachable: [bool; 3], groups: Vec<GroupStatus>) -> ClusterStatus {
        let seen = |(node, reachable): (u64, bool)| NodeStatus {
            node,
            client_address: format!("127.0.0.1:742{}", node - 1),
            peer_address: String::new(),
            zone: "zone-a".into(),
            reachable,
        };
        ClusterStatus {
            cluster_id: None,
            node,
            version: "0.1.0".into(),
            nodes: (1..).zip(reachable).map(seen).collect(),
            groups,
        }
    }

    pub fn survey(views: Vec<ClusterStatus>) -> Survey {
        Survey { status: views[0].clone(), views: views.into_iter().map(|view| (view.node, view)).collect() }
    }

    #[test]
    fn the_latest_term_says_who_leads_and_the_slowest_replica_how_far_behind() {
        let mut odd = group(1, Some(1), 7, 90);
        odd.state = "catching up".into();
        let survey =
            survey(vec![view(1, [true; 3], vec![odd]), view(2, [true; 3], vec![group(1, Some(2), 8, 100)])]);
        let expected = GroupView {
            group: 1,
            leader_node: Some(2),
            term: 8,
            last_index: 100,
            lag: 10,
            unsound: vec![(1, "catching up".into())],
            silent: vec![3],
        };
        assert_eq!(survey.groups(), [expected]);
        assert!(survey.lost_nodes().is_empty(), "node 3 is reached by others");
    }

    #[test]
    fn a_node_that_nobody_reaches_is_lost() {
        let reach = [true, true, false];
        let survey = survey(vec![view(1, reach, vec![]), view(2, reach, vec![])]);
        assert_eq!(survey.lost_nodes(), [3]);
    }
}
