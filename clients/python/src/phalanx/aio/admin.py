"""Administration: queues, and the cluster itself."""

from __future__ import annotations

from typing import List, Optional, Tuple

from phalanx import limits
from phalanx._core import rpc
from phalanx._core.call import Core, Repeat
from phalanx._core.router import QueueKey
from phalanx.aio.bindings import BindingAdmin
from phalanx.aio.topics import TopicAdmin
from phalanx.admin_types import ClusterStatus, Queue, QueueInfo, QueueSettings, Topology
from phalanx.v1 import admin_pb2 as pb


class Admin(TopicAdmin, BindingAdmin):
    """Queues of one namespace, and the cluster. Made by ``client.admin``."""

    def __init__(self, core: Core, namespace: str) -> None:
        self._core = core
        self._namespace = namespace

    async def create_queue(self, name: str, settings: Optional[QueueSettings] = None) -> Queue:
        """Creates a queue, or answers with the one of that name if its settings are the same.

        :raises AlreadyExists: when its settings are others.
        """
        wire = (settings or QueueSettings()).to_wire()
        request = pb.CreateQueueRequest(namespace=self._namespace, name=name, settings=wire)
        return Queue.from_wire(await self._core.call(rpc.CREATE_QUEUE, request, Repeat.SAME))

    async def update_queue(self, name: str, settings: QueueSettings, *, if_version: Optional[int] = None) -> Queue:
        """Replaces all settings of a queue; with `if_version` only if it has that version.

        :raises VersionMismatch: somebody else changed them.
        :raises OutcomeUnknown: also when another version is found after an attempt of this call that may have made it.
        """
        wire = settings.to_wire()
        queue = await self._update(
            "queue",
            name,
            if_version,
            rpc.UPDATE_QUEUE,
            lambda uid, version: pb.UpdateQueueRequest(
                namespace=self._namespace, name=name, settings=wire, if_version=version, uid=uid
            ),
        )
        return Queue.from_wire(queue)

    async def delete_queue(self, name: str) -> None:
        """Deletes a queue with its messages; answers when the name is free again.

        It is the queue that there is when the call begins: one that is created under its name meanwhile stays.

        :raises QueueNotFound: when there is none.
        """
        await self._delete(
            "queue",
            name,
            rpc.DELETE_QUEUE,
            lambda uid: pb.DeleteQueueRequest(namespace=self._namespace, name=name, uid=uid),
        )

    async def purge_queue(self, name: str) -> int:
        """Removes all messages of a queue, those in consumers' hands included; answers how many.

        Not repeated when the answer is lost: it would remove what was sent since.
        """
        request = pb.PurgeQueueRequest(namespace=self._namespace, name=name)
        response = await self._core.call(rpc.PURGE_QUEUE, request, Repeat.NEVER, QueueKey(self._namespace, name))
        return response.removed

    async def queue_info(self, name: str) -> QueueInfo:
        """Settings, depth and consumers of a queue. Linearizable."""
        request = pb.GetQueueRequest(namespace=self._namespace, name=name)
        info = await self._core.call(rpc.GET_QUEUE, request, Repeat.READ, QueueKey(self._namespace, name))
        return QueueInfo.from_wire(info)

    async def list_queues_page(self, page_size: int = 100, page_token: str = "") -> Tuple[List[Queue], str]:
        """A page of the queues, in the order of their names, and the token of the next (empty: that was the last)."""
        request = pb.ListQueuesRequest(namespace=self._namespace, page_size=page_size, page_token=page_token)
        response = await self._core.call(rpc.LIST_QUEUES, request, Repeat.READ)
        return [Queue.from_wire(queue) for queue in response.queues], response.next_page_token

    async def list_queues(self) -> List[Queue]:
        """All queues of the namespace, in the order of their names."""
        queues, token = await self.list_queues_page(limits.PAGE_SIZE)
        while token:
            page, token = await self.list_queues_page(limits.PAGE_SIZE, token)
            queues += page
        return queues

    async def status(self, address: Optional[str] = None) -> ClusterStatus:
        """Nodes, groups and their leaders, as one node sees them: the one at `address`, or whichever answers."""
        only = None if address is None else self._core.router.at(address)
        return ClusterStatus.from_wire(await self._core.call(rpc.STATUS, pb.StatusRequest(), Repeat.READ, only=only))

    async def topology(self, queue: str) -> Topology:
        """Which node leads the shard of a queue, and where the nodes are."""
        request = pb.TopologyRequest(namespace=self._namespace, queue=queue)
        return Topology.from_wire(await self._core.call(rpc.TOPOLOGY, request, Repeat.READ))
