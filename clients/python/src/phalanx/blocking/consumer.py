"""Consumers, receivers, and what they give."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from types import TracebackType
from typing import List, Optional, Type

from phalanx._core.consuming import Consuming
from phalanx._core.desk import ACK, REJECT, Action
from phalanx._core.lease import ReturnReason
from phalanx._core.receiving import Receiving
from phalanx.blocking import loop
from phalanx.delivery import BaseDelivery, extend_action, nack_action


class Delivery(BaseDelivery):
    """A message in hand, under a lease. Settle it with :meth:`ack`, :meth:`nack` or :meth:`reject`.

    They wait for the server's answer. The ``_nowait`` forms do not: the settle is on its way when they return, and the
    future that they give may be dropped. Any thread may settle it.
    """

    def ack(self) -> None:
        """Done: the message is gone for good.

        :raises LeaseOver: the lease had ended before, nothing was changed.
        :raises OutcomeUnknown: no answer came in time; it is repeated all the same while the consumer lives.
        """
        self.ack_nowait().result()

    def nack(self, delay: float = 0.0) -> None:
        """Not done: back to its own place, to be offered again after `delay` seconds (at most 12 h). As :meth:`ack`."""
        self.nack_nowait(delay).result()

    def reject(self) -> None:
        """Never to be done: dropped, or dead-lettered where the queue names a target. As :meth:`ack`."""
        self.reject_nowait().result()

    def extend(self, lease: Optional[float] = None) -> None:
        """Still at it: the lease lasts `lease` seconds from now; `None`: as long as it was given for.

        Deliveries of a consumer need this only beyond ``max_processing``.
        """
        self._ask(extend_action(lease)).result()

    def ack_nowait(self) -> concurrent.futures.Future[None]:
        """As :meth:`ack`, without waiting for the answer."""
        return self._ask(ACK)

    def nack_nowait(self, delay: float = 0.0) -> concurrent.futures.Future[None]:
        """As :meth:`nack`, without waiting for the answer."""
        return self._ask(nack_action(delay))

    def reject_nowait(self) -> concurrent.futures.Future[None]:
        """As :meth:`reject`, without waiting for the answer."""
        return self._ask(REJECT)

    def wait_lost(self, timeout: Optional[float] = None) -> Optional[ReturnReason]:
        """Waits until the lease is over, at most `timeout` seconds; the reason, `None`: it is not over."""

        async def lost() -> Optional[ReturnReason]:
            try:
                return await asyncio.wait_for(self._lease.lost(), timeout)
            except asyncio.TimeoutError:
                return None

        return loop.run(lost())

    def _ask(self, action: Action) -> concurrent.futures.Future[None]:
        settling, lease = self._settling, self._lease
        return loop.ask(lambda: settling.ask(lease, action))


class Consumer:
    """A stream of deliveries of one queue. Made by ``client.consumer``; iterate over it.

    It ends after :meth:`close`, or with an error when the server refuses it for good: the queue was deleted, or another
    consumer took over its identity. Lost connections and leader changes it gets through by itself. ``with`` closes it;
    another thread may, too.
    """

    def __init__(self, core: Consuming) -> None:
        self._core = core
        self._lock = threading.Lock()

    @property
    def id(self) -> bytes:
        """Its identity, 16 bytes."""
        return self._core.consumer_id

    @property
    def is_over(self) -> bool:
        """Whether there will be no more deliveries."""
        return self._core.hand.over or self._core.hand.closing

    def next(self, timeout: Optional[float] = None) -> Optional[Delivery]:
        """The next delivery; `None`: none came within `timeout` seconds, or there will be no more."""
        with self._lock:
            arrived = self._core.hand.next()
        if arrived is None:
            arrived = loop.run(self._core.next(timeout))
        return None if arrived is None else Delivery(*arrived, self._core)

    def set_window(self, messages: int, size: int) -> None:
        """Changes the window: messages, and payload bytes. A smaller one takes nothing back: it fills less."""
        loop.on_loop(lambda: self._core.set_window(messages, size))

    def close(self) -> None:
        """Says goodbye: waits until all settles are answered, then gives back at once what was not settled, whether
        taken or still waiting in the client.

        :raises OutcomeUnknown: that did not succeed within 5 s.
        """
        loop.run(self._core.close())

    def __iter__(self) -> Consumer:
        return self

    def __next__(self) -> Delivery:
        delivery = self.next()
        if delivery is None:
            raise StopIteration
        return delivery

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


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

    def receive(self, max_messages: int = 1, wait: float = 0.0) -> List[Delivery]:
        """Leases up to `max_messages` (1 to 1,024), waiting up to `wait` seconds for the first. Empty when none came.

        Retried under one request id: an answer that got lost is had again.

        :raises OutcomeUnknown: no answer came: messages may be leased that nobody holds; they are delivered again when
            their leases end.
        """
        return [Delivery(*arrived, self._core) for arrived in loop.run(self._core.receive(max_messages, wait))]

    def close(self) -> None:
        """Waits until all settles are answered."""
        loop.run(self._core.close())

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
