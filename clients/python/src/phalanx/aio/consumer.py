"""Consumers, and what they give."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Optional, Type

from phalanx._core.consuming import Consuming
from phalanx._core.desk import ACK, REJECT, Action
from phalanx._core.lease import ReturnReason
from phalanx.delivery import BaseDelivery, extend_action, nack_action


class Delivery(BaseDelivery):
    """A message in hand, under a lease. Settle it with :meth:`ack`, :meth:`nack` or :meth:`reject`.

    They wait for the server's answer. The ``_nowait`` forms do not: the settle is on its way when they return, and the
    future that they give may be dropped.
    """

    async def ack(self) -> None:
        """Done: the message is gone for good.

        :raises LeaseOver: the lease had ended before, nothing was changed.
        :raises OutcomeUnknown: no answer came in time; it is repeated all the same while the consumer lives.
        """
        await self.ack_nowait()

    async def nack(self, delay: float = 0.0) -> None:
        """Not done: back to its own place, to be offered again after `delay` seconds (at most 12 h). As :meth:`ack`."""
        await self.nack_nowait(delay)

    async def reject(self) -> None:
        """Never to be done: dropped, or dead-lettered where the queue names a target. As :meth:`ack`."""
        await self.reject_nowait()

    async def extend(self, lease: Optional[float] = None) -> None:
        """Still at it: the lease lasts `lease` seconds from now; `None`: as long as it was given for.

        Deliveries of a consumer need this only beyond ``max_processing``.
        """
        await self._ask(extend_action(lease))

    def ack_nowait(self) -> asyncio.Future[None]:
        """As :meth:`ack`, without waiting for the answer."""
        return self._ask(ACK)

    def nack_nowait(self, delay: float = 0.0) -> asyncio.Future[None]:
        """As :meth:`nack`, without waiting for the answer."""
        return self._ask(nack_action(delay))

    def reject_nowait(self) -> asyncio.Future[None]:
        """As :meth:`reject`, without waiting for the answer."""
        return self._ask(REJECT)

    async def lost(self) -> ReturnReason:
        """Returns when the lease is over, with the reason."""
        return await self._lease.lost()

    def _ask(self, action: Action) -> asyncio.Future[None]:
        return self._settling.ask(self._lease, action)


class Consumer:
    """A stream of deliveries of one queue. Made by ``client.consumer``; iterate over it.

    It ends after :meth:`close`, or with an error when the server refuses it for good: the queue was deleted, or another
    consumer took over its identity. Lost connections and leader changes it gets through by itself. ``async with``
    closes it.
    """

    def __init__(self, core: Consuming) -> None:
        self._core = core

    @property
    def id(self) -> bytes:
        """Its identity, 16 bytes."""
        return self._core.consumer_id

    @property
    def is_over(self) -> bool:
        """Whether there will be no more deliveries."""
        return self._core.hand.over or self._core.hand.closing

    async def next(self, timeout: Optional[float] = None) -> Optional[Delivery]:
        """The next delivery; `None`: none came within `timeout` seconds, or there will be no more."""
        arrived = await self._core.next(timeout)
        return None if arrived is None else Delivery(*arrived, self._core)

    def set_window(self, messages: int, size: int) -> None:
        """Changes the window: messages, and payload bytes. A smaller one takes nothing back: it fills less."""
        self._core.set_window(messages, size)

    async def close(self) -> None:
        """Says goodbye: waits until all settles are answered, then gives back at once what was not settled, whether
        taken or still waiting in the client.

        :raises OutcomeUnknown: that did not succeed within 5 s.
        """
        await self._core.close()

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Delivery:
        delivery = await self.next()
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()
