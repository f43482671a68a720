"""Where a call goes: to the leader of its queue when that is known and reachable, otherwise to any node, which forwards.

Invariant: there is always a target. Addresses that failed are only avoided for a while, and when all are avoided, the
one whose time ends first is tried.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence

import asyncio

import grpc
import grpc.aio

from phalanx import errors, limits
from phalanx._core import rpc, status
from phalanx._core.rpc import Settings, Target
from phalanx.v1 import admin_pb2 as admin


class QueueKey(NamedTuple):
    """A queue, by name."""

    namespace: str
    name: str


@dataclass
class _Node:
    target: Target
    avoid_until: float = 0.0
    #: The next penalty, seconds.
    penalty: float = limits.PENALTY_MIN_S

    def avoided(self, now: float) -> bool:
        return now < self.avoid_until


@dataclass
class _Leader:
    address: str
    learnt: float
    #: 0: not known.
    term: int = 0
    #: When another node was last asked whether it leads still.
    doubted: float = 0.0

    def fresh(self, now: float) -> bool:
        return now - self.learnt <= limits.TOPOLOGY_AGE_MAX_S


def _normal(address: str) -> str:
    """`host:port` of an address that may be written as `http://host:port`."""
    scheme, found, rest = address.partition("://")
    bare = rest.rstrip("/") if found else address
    host, _, port = bare.rpartition(":")
    if (found and scheme != "http") or not host or not port.isdigit() or "/" in bare:
        raise errors.Invalid(f"address {address!r}: expected http://host:port or host:port")
    return bare


class Router:
    """Knows the nodes, and which of them leads which queue."""

    def __init__(self, addresses: Sequence[str], settings: Settings) -> None:
        self._settings = settings
        #: The configured ones first.
        self._nodes: List[_Node] = []
        #: The one to ask next for a leader.
        self._preferred = 0
        self._leaders: Dict[QueueKey, _Leader] = {}
        for address in addresses:
            self.at(address)
        if not self._nodes:
            raise errors.Invalid("at least one address is needed")

    def _node(self, address: str) -> Optional[Target]:
        """The target for `address`, made if need be; `None` when too many are known."""
        bare = _normal(address)
        for node in self._nodes:
            if node.target.address == bare:
                return node.target
        if len(self._nodes) >= limits.ADDRESSES_MAX:
            return None
        self._nodes.append(_Node(Target(bare, self._settings)))
        return self._nodes[-1].target

    def any(self) -> Target:
        """Any node: a preferred one, unless it is to be avoided."""
        now = time.monotonic()
        count = len(self._nodes)
        order = [self._nodes[(self._preferred + step) % count] for step in range(count)]
        return min(order, key=lambda node: node.avoid_until if node.avoided(now) else 0.0).target

    def at(self, address: str) -> Target:
        """The node at this address."""
        target = self._node(address)
        if target is None:
            raise errors.Invalid(f"more than {limits.ADDRESSES_MAX} addresses")
        return target

    async def target(self, queue: QueueKey) -> Target:
        """The best node for this queue."""
        if not self._settings.go_to_leader:
            return self.any()
        known = self._known_leader(queue)
        if known is not None:
            return known
        seed = self.any()
        request = admin.TopologyRequest(namespace=queue.namespace, queue=queue.name)
        try:
            topology = await seed.unary(rpc.TOPOLOGY, request, self._settings.stall_timeout)
        except grpc.aio.AioRpcError as error:
            # A node that answers with an error of its own (the queue may be too new for it) can still forward.
            if status.from_rpc(error).transport:
                self.failed(seed)
            return seed
        except (rpc.NotConnected, asyncio.TimeoutError):
            self.failed(seed)
            return seed
        return self._learn(queue, topology) or seed

    def _known_leader(self, queue: QueueKey) -> Optional[Target]:
        now = time.monotonic()
        leader = self._leaders.get(queue)
        if leader is None or not leader.fresh(now):
            return None
        return self._usable(leader.address, now)

    def _usable(self, address: str, now: float) -> Optional[Target]:
        for node in self._nodes:
            if node.target.address == address:
                return None if node.avoided(now) else node.target
        return None

    def _learn(self, queue: QueueKey, topology: admin.TopologyResponse) -> Optional[Target]:
        """Remembers the answer; the leader's node, unless it is unknown or to be avoided."""
        leader: Optional[Target] = None
        for node in topology.nodes:
            try:
                target = self._node(node.client_address)
            except errors.Invalid:
                continue  # an address that nobody can use is passed over: there is always the seed
            if node.node == topology.leader_node and node.node != 0:
                leader = target
        if leader is None:
            return None
        now = time.monotonic()
        known = self._leaders.get(queue)
        if known is not None and known.fresh(now) and known.term > topology.leader_term:
            return None  # by a node that has not heard of the newer one
        doubted = known.doubted if known is not None else 0.0
        if len(self._leaders) >= limits.TOPOLOGY_QUEUES_MAX:
            young = {key: old for key, old in self._leaders.items() if old.fresh(now)}
            self._leaders = young if len(young) < limits.TOPOLOGY_QUEUES_MAX else {}
        self._leaders[queue] = _Leader(leader.address, now, topology.leader_term, doubted)
        return self._usable(leader.address, now)

    def leads(self, queue: QueueKey, target: Target) -> bool:
        """Whether that node is thought to lead the queue."""
        leader = self._leaders.get(queue)
        return leader is not None and leader.address == target.address

    async def has_moved(self, queue: QueueKey, silent: Target) -> bool:
        """Whether another node leads a queue than the silent one that did.

        Asks one of the others, unless somebody has just done so.
        """
        other = self._witness(queue, silent)
        if other is not None:
            request = admin.TopologyRequest(namespace=queue.namespace, queue=queue.name)
            try:
                self._learn(queue, await other.unary(rpc.TOPOLOGY, request, limits.DOUBT_AFTER_S))
            except (grpc.aio.AioRpcError, rpc.NotConnected, asyncio.TimeoutError):
                pass  # the next one is asked next
        known = self._known_leader(queue)
        return known is not None and known.address != silent.address

    def _witness(self, queue: QueueKey, silent: Target) -> Optional[Target]:
        """The node to ask about a silent one, if it is time to ask. A different one each time."""
        now = time.monotonic()
        leader = self._leaders.get(queue)
        # Without a leader it is being looked for by whoever found out.
        if leader is None or leader.address != silent.address or now - leader.doubted < limits.DOUBT_AFTER_S / 2:
            return None
        leader.doubted = now
        for _ in self._nodes:
            self._rotate()
            other = self.any()
            if other is not silent:
                return other
        return None

    def failed(self, target: Target) -> None:
        """The node, or the way to it, failed: others first, for a while."""
        now = time.monotonic()
        self._leaders = {key: leader for key, leader in self._leaders.items() if leader.address != target.address}
        for node in self._nodes:
            if node.target is target and not node.avoided(now):
                node.avoid_until = now + node.penalty
                node.penalty = min(node.penalty * 2, limits.PENALTY_MAX_S)
        self._rotate()

    def worked(self, target: Target) -> None:
        """The node answered."""
        for node in self._nodes:
            if node.target is target:
                node.avoid_until = 0.0
                node.penalty = limits.PENALTY_MIN_S

    def moved(self, queue: QueueKey) -> None:
        """The queue's leader is not where it was thought to be; the next question goes to another node."""
        self._leaders.pop(queue, None)
        self._rotate()

    def _rotate(self) -> None:
        self._preferred = (self._preferred + 1) % len(self._nodes)

    async def close(self) -> None:
        """Ends all connections."""
        await asyncio.gather(*(node.target.close() for node in self._nodes))
