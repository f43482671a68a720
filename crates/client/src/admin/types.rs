//! What administration talks about, apart from the wire.

use std::time::{Duration, SystemTime};

use phalanx_proto::v1;

use super::Mark;

use crate::id::Id;

pub(super) fn millis(duration: Option<Duration>) -> u64 {
    // Zero stands for the default on the wire: the shortest time that can be asked for is 1 ms.
    duration.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX).max(1))
}

pub(super) fn some(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

pub(crate) fn time(unix_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// How a queue behaves. `None` stands for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a delivery is its consumer's. Default 30 s; at most 12 h.
    pub lease: Option<Duration>,
    /// The whole queue is one ordering group.
    pub strict: bool,
    /// Most messages. Default 10,000,000.
    pub length_max: Option<u64>,
    /// Most payload bytes. Default 8 GiB.
    pub bytes_max: Option<u64>,
    /// How long deduplication ids are remembered. Default 5 min.
    pub dedup_window: Option<Duration>,
    /// How long the leases of a lost consumer wait for it. Default 10 s.
    pub resume: Option<Duration>,
    /// Largest body of a message, bytes. Default 1 MiB; at most 16 MiB.
    pub body_bytes_max: Option<u64>,
    /// Deleted after so long without a consumer and a receive; at most 365 days. Default: never.
    pub expires: Option<Duration>,
    /// Has one consumer: others are refused while it is there.
    pub exclusive: bool,
}

impl QueueSettings {
    pub(crate) fn into_wire(self) -> v1::QueueSettings {
        v1::QueueSettings {
            lease_ms: millis(self.lease),
            strict: self.strict,
            length_max: self.length_max.unwrap_or(0),
            bytes_max: self.bytes_max.unwrap_or(0),
            dedup_window_ms: millis(self.dedup_window),
            resume_ms: millis(self.resume),
            body_bytes_max: self.body_bytes_max.unwrap_or(0),
            expires_ms: millis(self.expires),
            exclusive: self.exclusive,
        }
    }

    pub(crate) fn from_wire(settings: v1::QueueSettings) -> Self {
        Self {
            lease: some(settings.lease_ms).map(Duration::from_millis),
            strict: settings.strict,
            length_max: some(settings.length_max),
            bytes_max: some(settings.bytes_max),
            dedup_window: some(settings.dedup_window_ms).map(Duration::from_millis),
            resume: some(settings.resume_ms).map(Duration::from_millis),
            body_bytes_max: some(settings.body_bytes_max),
            expires: some(settings.expires_ms).map(Duration::from_millis),
            exclusive: settings.exclusive,
        }
    }
}

/// A queue as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Identity of this life of the queue; a namesake created later has another.
    pub uid: u64,
    /// The group that holds it.
    pub shard: u64,
    /// Rises with each change of the settings.
    pub version: u64,
    /// How it behaves.
    pub settings: QueueSettings,
    /// When it was created.
    pub created: SystemTime,
    /// `creating`, `live` or `deleting`.
    pub state: String,
}

impl Queue {
    pub(crate) fn from_wire(queue: v1::Queue) -> Self {
        Self {
            namespace: queue.namespace,
            name: queue.name,
            uid: queue.uid,
            shard: queue.shard,
            version: queue.version,
            settings: QueueSettings::from_wire(queue.settings.unwrap_or_default()),
            created: time(queue.created_ms),
            state: queue.state,
        }
    }
}

/// A queue, its contents in numbers, and who consumes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// The queue.
    pub queue: Queue,
    /// Messages waiting, delayed ones included.
    pub ready: u64,
    /// Messages in consumers' hands.
    pub leased: u64,
    /// Of the waiting: not before some time.
    pub delayed: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Ordering groups with messages.
    pub groups: u64,
    /// Age of the oldest message; `None` when empty.
    pub oldest_age: Option<Duration>,
    /// The next message gets this place.
    pub next_sequence: u64,
    /// Idempotent producers remembered.
    pub producers: u64,
    /// Messages sent, ever.
    pub sent_total: u64,
    /// Messages acknowledged, ever.
    pub acked_total: u64,
    /// Deliveries, ever.
    pub delivered_total: u64,
    /// Of these: not the first of their message.
    pub redelivered_total: u64,
    /// Who consumes it.
    pub consumers: Vec<ConsumerInfo>,
    /// The node that leads its shard.
    pub leader_node: u64,
    /// Of a subscription that was moved back: messages of the past of which it is not known yet whether they match.
    pub unseen: u64,
    /// Of a subscription: its named places.
    pub marks: Vec<Mark>,
}

impl QueueInfo {
    pub(crate) fn from_wire(info: v1::QueueInfo) -> Self {
        Self {
            queue: Queue::from_wire(info.queue.unwrap_or_default()),
            ready: info.ready,
            leased: info.leased,
            delayed: info.delayed,
            bytes: info.bytes,
            groups: info.groups,
            oldest_age: some(info.oldest_age_ms).map(Duration::from_millis),
            next_sequence: info.next_sequence,
            producers: info.producers,
            sent_total: info.sent_total,
            acked_total: info.acked_total,
            delivered_total: info.delivered_total,
            redelivered_total: info.redelivered_total,
            consumers: info.consumers.into_iter().map(ConsumerInfo::from_wire).collect(),
            leader_node: info.leader_node,
            unseen: info.unseen,
            marks: info
                .marks
                .into_iter()
                .map(|mark| Mark { name: mark.name, sequence: mark.sequence })
                .collect(),
        }
    }
}

/// A consumer of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its identity; `None` when the server sent none that can be read.
    pub consumer_id: Option<Id>,
    /// For people.
    pub name: String,
    /// Its stream is there.
    pub attached: bool,
    /// Deliveries it holds.
    pub in_hand: u32,
    /// Most deliveries it may hold.
    pub window_messages: u32,
}

impl ConsumerInfo {
    fn from_wire(info: v1::ConsumerInfo) -> Self {
        Self {
            consumer_id: Id::from_slice(&info.consumer_id),
            name: info.name,
            attached: info.attached,
            in_hand: info.in_hand,
            window_messages: info.window_messages,
        }
    }
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Identity of the cluster; `None` while the node knows none.
    pub cluster_id: Option<Id>,
    /// The node that answered.
    pub node: u64,
    /// Its version.
    pub version: String,
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// The catalog (0) and all shards.
    pub groups: Vec<GroupStatus>,
}

impl ClusterStatus {
    pub(crate) fn from_wire(status: v1::StatusResponse) -> Self {
        Self {
            cluster_id: Id::from_slice(&status.cluster_id),
            node: status.node,
            version: status.version,
            nodes: status.nodes.into_iter().map(NodeStatus::from_wire).collect(),
            groups: status.groups.into_iter().map(GroupStatus::from_wire).collect(),
        }
    }
}

/// A node as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its number.
    pub node: u64,
    /// Where clients reach it.
    pub client_address: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Its failure domain.
    pub zone: String,
    /// The answering node reaches it.
    pub reachable: bool,
}

impl NodeStatus {
    fn from_wire(node: v1::NodeStatus) -> Self {
        Self {
            node: node.node,
            client_address: node.client_address,
            peer_address: node.peer_address,
            zone: node.zone,
            reachable: node.reachable,
        }
    }
}

/// A Raft group as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// 0: the catalog.
    pub group: u64,
    /// `None`: none known.
    pub leader_node: Option<u64>,
    /// The latest known term.
    pub term: u64,
    /// Nodes whose replicas vote.
    pub voter_nodes: Vec<u64>,
    /// Of the answering node's replica.
    pub applied_index: u64,
    /// Of the answering node's replica.
    pub last_index: u64,
    /// Of the answering node's replica, at `applied_index`.
    pub digest: u64,
    /// `healthy`, or why not.
    pub state: String,
}

impl GroupStatus {
    fn from_wire(group: v1::GroupStatus) -> Self {
        Self {
            group: group.group,
            leader_node: some(group.leader_node),
            term: group.term,
            voter_nodes: group.voter_nodes,
            applied_index: group.applied_index,
            last_index: group.last_index,
            digest: group.digest,
            state: group.state,
        }
    }
}

/// Where the nodes are, and which of them leads the shard of the queue that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// All nodes.
    pub nodes: Vec<NodeAddress>,
    /// `None`: none known now.
    pub leader_node: Option<u64>,
}

impl Topology {
    pub(crate) fn from_wire(topology: v1::TopologyResponse) -> Self {
        let address =
            |node: v1::NodeAddress| NodeAddress { node: node.node, client_address: node.client_address };
        Self {
            nodes: topology.nodes.into_iter().map(address).collect(),
            leader_node: some(topology.leader_node),
        }
    }
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its number.
    pub node: u64,
    /// `host:port`.
    pub client_address: String,
}
