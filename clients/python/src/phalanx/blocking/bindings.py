"""Administration of bindings: topics that feed queues and other topics."""

from __future__ import annotations

from typing import List, Optional

from phalanx import aio
from phalanx.binding_types import Binding, BindingInfo, Conditions
from phalanx.blocking import loop
from phalanx.topic_types import Place


class BindingAdmin:
    """Bindings of one namespace: a part of ``client.admin``. As :class:`phalanx.aio.Admin`."""

    _aio: aio.Admin

    def create_binding(
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
        return loop.run(self._aio.create_binding(topic, name, target, conditions, start=start))

    def update_binding(
        self, topic: str, name: str, conditions: Conditions, *, if_version: Optional[int] = None
    ) -> Binding:
        """Replaces the conditions of a binding, for what is published from then on."""
        return loop.run(self._aio.update_binding(topic, name, conditions, if_version=if_version))

    def delete_binding(self, topic: str, name: str) -> None:
        """Deletes a binding with all that waits in it. What it has carried stays where it is."""
        loop.run(self._aio.delete_binding(topic, name))

    def binding_info(self, topic: str, name: str) -> BindingInfo:
        """What a binding carries, and what waits in it. Linearizable."""
        return loop.run(self._aio.binding_info(topic, name))

    def list_bindings(self, topic: str) -> List[Binding]:
        """All bindings of a topic, in the order of their names."""
        return loop.run(self._aio.list_bindings(topic))
