"""Receiving by single calls."""

from __future__ import annotations

from types import TracebackType
from typing import List, Optional, Type

from phalanx._core.receiving import Receiving
from phalanx.aio.consumer import Delivery


class Receiver:
    """Receives messages by single calls. Made by ``client.receiver``.

    Leases of its deliveries are *not* extended by themselves; :meth:`Delivery.extend` does.
    """

    def __init__(self, core: Receiving) -> None:
        self._core = core

    @property
    def id(self) -> bytes:
        """Its identity, the holder of the leases, 16 bytes."""
        return self._core.consumer_id

    async def receive(self, max_messages: int = 1, wait: float = 0.0) -> List[Delivery]:
        """Leases up to `max_messages` (1 to 1,024), waiting up to `wait` seconds for the first. Empty when none came.

        Retried under one request id: an answer that got lost is had again.

        :raises OutcomeUnknown: no answer came: messages may be leased that nobody holds; they are delivered again when
            their leases end.
        """
        arrived = await self._core.receive(max_messages, wait)
        return [Delivery(delivery, lease, self._core) for delivery, lease in arrived]

    async def close(self) -> None:
        """Waits until all settles are answered."""
        await self._core.close()

    async def __aenter__(self) -> Receiver:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()
