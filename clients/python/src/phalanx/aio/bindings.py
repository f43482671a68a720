"""Administration of bindings: topics that feed queues and other topics."""

from __future__ import annotations

from typing import List, Optional

from phalanx import limits
from phalanx._core import rpc
from phalanx._core.call import Repeat
from phalanx._core.router import QueueKey
from phalanx.aio.lives import Lives
from phalanx.binding_types import Binding, BindingInfo, Conditions
from phalanx.topic_types import Place
from phalanx.v1 import admin_pb2 as pb


class BindingAdmin(Lives):
    """Bindings of one namespace: a part of ``client.admin``."""

    async def create_binding(
        self,
        topic: str,
        name: str,
        target: str,
        conditions: Optional[Conditions] = None,
        *,
        start: Optional[Place] = None,
    ) -> Binding:
        """Creates a binding: messages of a topic go on to a queue or a topic, each once and in order.

        :param start: where it begins. Default: with what is published from then on.
        :raises Invalid: conditions that are not understood, or messages would go round.
        """
        conditions = conditions or Conditions()
        request = pb.CreateBindingRequest(
            namespace=self._namespace,
            topic=topic,
            name=name,
            target=target,
            pattern=conditions.pattern,
            filter=conditions.filter,
            start=None if start is None else start.to_wire(),
        )
        return Binding.from_wire(await self._core.call(rpc.CREATE_BINDING, request, Repeat.SAME))

    async def update_binding(
        self, topic: str, name: str, conditions: Conditions, *, if_version: Optional[int] = None
    ) -> Binding:
        """Replaces the conditions of a binding, for what is published from then on."""
        binding = await self._update(
            "binding",
            f"{topic}/{name}",
            if_version,
            rpc.UPDATE_BINDING,
            lambda uid, version: pb.UpdateBindingRequest(
                namespace=self._namespace,
                topic=topic,
                name=name,
                pattern=conditions.pattern,
                filter=conditions.filter,
                if_version=version,
                uid=uid,
            ),
        )
        return Binding.from_wire(binding)

    async def delete_binding(self, topic: str, name: str) -> None:
        """Deletes a binding with all that waits in it. What it has carried stays where it is."""
        await self._delete(
            "binding",
            f"{topic}/{name}",
            rpc.DELETE_BINDING,
            lambda uid: pb.DeleteBindingRequest(namespace=self._namespace, topic=topic, name=name, uid=uid),
        )

    async def binding_info(self, topic: str, name: str) -> BindingInfo:
        """What a binding carries, and what waits in it. Linearizable."""
        request = pb.GetBindingRequest(namespace=self._namespace, topic=topic, name=name)
        info = await self._core.call(rpc.GET_BINDING, request, Repeat.READ, QueueKey(self._namespace, topic))
        return BindingInfo.from_wire(info)

    async def list_bindings(self, topic: str) -> List[Binding]:
        """All bindings of a topic, in the order of their names."""
        bindings: List[Binding] = []
        token = ""
        while True:
            request = pb.ListBindingsRequest(
                namespace=self._namespace, topic=topic, page_size=limits.PAGE_SIZE, page_token=token
            )
            page = await self._core.call(rpc.LIST_BINDINGS, request, Repeat.READ)
            bindings += [Binding.from_wire(one) for one in page.bindings]
            token = page.next_page_token
            if not token:
                return bindings
