"""What administration talks about, apart from the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional, Tuple

from phalanx.v1 import admin_pb2 as pb


def millis(seconds: Optional[float]) -> int:
    """Of a time span. Zero stands for the default on the wire: the shortest time that can be asked for is 1 ms."""
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _seconds(value_ms: int) -> Optional[float]:
    return value_ms / 1000 if value_ms else None


def time_of(unix_ms: int) -> datetime:
    """A point in time, UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, tz=timezone.utc)


@dataclass(frozen=True)
class QueueSettings:
    """How a queue behaves. `None` stands for the default. Time spans are seconds."""

    #: How long a delivery is its consumer's. Default 30 s; at most 12 h.
    lease: Optional[float] = None
    #: The whole queue is one ordering group.
    strict: bool = False
    #: Most messages. Default 10,000,000.
    length_max: Optional[int] = None
    #: Most payload bytes. Default 8 GiB.
    bytes_max: Optional[int] = None
    #: How long deduplication ids are remembered. Default 5 min.
    dedup_window: Optional[float] = None
    #: How long the leases of a lost consumer wait for it. Default 10 s.
    resume: Optional[float] = None
    #: Largest body of a message, bytes. Default 1 MiB; at most 16 MiB.
    body_bytes_max: Optional[int] = None
    #: Deleted after so long without a consumer and a receive; at most 365 days. Default: never.
    expires: Optional[float] = None
    #: Has one consumer: others are refused while it is there.
    exclusive: bool = False

    def to_wire(self) -> pb.QueueSettings:
        """As they travel."""
        return pb.QueueSettings(
            lease_ms=millis(self.lease),
            strict=self.strict,
            length_max=self.length_max or 0,
            bytes_max=self.bytes_max or 0,
            dedup_window_ms=millis(self.dedup_window),
            resume_ms=millis(self.resume),
            body_bytes_max=self.body_bytes_max or 0,
            expires_ms=millis(self.expires),
            exclusive=self.exclusive,
        )

    @classmethod
    def from_wire(cls, settings: pb.QueueSettings) -> QueueSettings:
        """As they came."""
        return cls(
            lease=_seconds(settings.lease_ms),
            strict=settings.strict,
            length_max=settings.length_max or None,
            bytes_max=settings.bytes_max or None,
            dedup_window=_seconds(settings.dedup_window_ms),
            resume=_seconds(settings.resume_ms),
            body_bytes_max=settings.body_bytes_max or None,
            expires=_seconds(settings.expires_ms),
            exclusive=settings.exclusive,
        )


@dataclass(frozen=True)
class Queue:
    """A queue as the catalog knows it."""

    #: Where it lives.
    namespace: str
    #: Its name.
    name: str
    #: Identity of this life of the queue; a namesake created later has another.
    uid: int
    #: The group that holds it.
    shard: int
    #: Rises with each change of the settings.
    version: int
    #: How it behaves.
    settings: QueueSettings
    #: When it was created, by the cluster's time.
    created: datetime
    #: ``creating``, ``live`` or ``deleting``.
    state: str

    @classmethod
    def from_wire(cls, queue: pb.Queue) -> Queue:
        """As it came."""
        return cls(
            namespace=queue.namespace,
            name=queue.name,
            uid=queue.uid,
            shard=queue.shard,
            version=queue.version,
            settings=QueueSettings.from_wire(queue.settings),
            created=time_of(queue.created_ms),
            state=queue.state,
        )


@dataclass(frozen=True)
class ConsumerInfo:
    """A consumer of a queue."""

    #: Its identity, 16 bytes.
    consumer_id: bytes
    #: For people.
    name: str
    #: Its stream is there.
    attached: bool
    #: Deliveries it holds.
    in_hand: int
    #: Most deliveries it may hold.
    window_messages: int


@dataclass(frozen=True)
class QueueInfo:
    """A queue, its contents in numbers, and who consumes it."""

    #: The queue.
    queue: Queue
    #: Messages waiting, delayed ones included.
    ready: int
    #: Messages in consumers' hands.
    leased: int
    #: Of the waiting: not before some time.
    delayed: int
    #: Payload bytes.
    bytes: int
    #: Ordering groups with messages.
    groups: int
    #: Age of the oldest message, seconds; `None` when empty.
    oldest_age: Optional[float]
    #: The next message gets this place.
    next_sequence: int
    #: Idempotent producers remembered.
    producers: int
    #: Messages sent, ever.
    sent_total: int
    #: Messages acknowledged, ever.
    acked_total: int
    #: Deliveries, ever.
    delivered_total: int
    #: Of these: not the first of their message.
    redelivered_total: int
    #: Who consumes it.
    consumers: Tuple[ConsumerInfo, ...]
    #: The node that leads its shard.
    leader_node: int
    #: Of a subscription that was moved back: messages of the past of which it is not known yet whether they match.
    unseen: int
    #: Of a subscription: its named places, each with its sequence.
    marks: Tuple[Tuple[str, int], ...]

    @classmethod
    def from_wire(cls, info: pb.QueueInfo) -> QueueInfo:
        """As it came."""
        consumers = tuple(
            ConsumerInfo(c.consumer_id, c.name, c.attached, c.in_hand, c.window_messages) for c in info.consumers
        )
        return cls(
            queue=Queue.from_wire(info.queue),
            ready=info.ready,
            leased=info.leased,
            delayed=info.delayed,
            bytes=info.bytes,
            groups=info.groups,
            oldest_age=_seconds(info.oldest_age_ms),
            next_sequence=info.next_sequence,
            producers=info.producers,
            sent_total=info.sent_total,
            acked_total=info.acked_total,
            delivered_total=info.delivered_total,
            redelivered_total=info.redelivered_total,
            consumers=consumers,
            leader_node=info.leader_node,
            unseen=info.unseen,
            marks=tuple((mark.name, mark.sequence) for mark in info.marks),
        )


@dataclass(frozen=True)
class NodeStatus:
    """A node as another one sees it."""

    #: Its number.
    node: int
    #: Where clients reach it.
    client_address: str
    #: Where its peers reach it.
    peer_address: str
    #: Its failure domain.
    zone: str
    #: The answering node reaches it.
    reachable: bool


@dataclass(frozen=True)
class GroupStatus:
    """A Raft group as one node sees it."""

    #: 0: the catalog.
    group: int
    #: `None`: none known.
    leader_node: Optional[int]
    #: The latest known term.
    term: int
    #: Nodes whose replicas vote.
    voter_nodes: Tuple[int, ...]
    #: Of the answering node's replica.
    applied_index: int
    #: Of the answering node's replica.
    last_index: int
    #: Of the answering node's replica, at `applied_index`.
    digest: int
    #: ``healthy``, or why not.
    state: str


@dataclass(frozen=True)
class ClusterStatus:
    """The cluster as one node sees it."""

    #: Identity of the cluster, 16 bytes; empty while the node knows none.
    cluster_id: bytes
    #: The node that answered.
    node: int
    #: Its version.
    version: str
    #: All nodes.
    nodes: Tuple[NodeStatus, ...]
    #: The catalog (0) and all shards.
    groups: Tuple[GroupStatus, ...]

    @classmethod
    def from_wire(cls, status: pb.StatusResponse) -> ClusterStatus:
        """As it came."""
        nodes = tuple(NodeStatus(n.node, n.client_address, n.peer_address, n.zone, n.reachable) for n in status.nodes)
        groups = tuple(
            GroupStatus(
                group=g.group,
                leader_node=g.leader_node or None,
                term=g.term,
                voter_nodes=tuple(g.voter_nodes),
                applied_index=g.applied_index,
                last_index=g.last_index,
                digest=g.digest,
                state=g.state,
            )
            for g in status.groups
        )
        return cls(status.cluster_id, status.node, status.version, nodes, groups)


@dataclass(frozen=True)
class Topology:
    """Where the nodes are, and which of them leads the shard of the queue that was asked for."""

    #: `host:port` of each node, by its number.
    nodes: Tuple[Tuple[int, str], ...]
    #: `None`: none known now.
    leader_node: Optional[int]

    @classmethod
    def from_wire(cls, topology: pb.TopologyResponse) -> Topology:
        """As it came."""
        nodes = tuple((node.node, node.client_address) for node in topology.nodes)
        return cls(nodes, topology.leader_node or None)
