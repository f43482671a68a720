"""Producers."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Iterable, List, Optional, Type

from phalanx._core.producing import Producing
from phalanx.message import MessageLike, Sent, all_to_wire, to_wire


class Producer:
    """Sends messages to one queue, in order, many at a time, none twice. Made by ``client.producer``.

    Order of calls to :meth:`enqueue` = order in the queue, across reconnects and leader changes. ``async with`` closes
    it.
    """

    def __init__(self, core: Producing) -> None:
        self._core = core

    async def send(self, message: MessageLike) -> Sent:
        """Sends a message and waits for its confirmation."""
        return await (await self.enqueue(message))

    async def enqueue(self, message: MessageLike) -> asyncio.Future[Sent]:
        """Takes a message as soon as the window has room.

        The future it gives resolves when the message is on disk on a majority, or when it is known that it will not be,
        or at the deadline; it may be dropped, the message is sent all the same. `OutcomeUnknown` in it: the message may
        have been appended, or may still be; every other error: it was not.

        :raises Unavailable: the window stayed full until the send deadline.
        :raises Invalid: no queue takes such a message.
        :raises Closed: the producer was closed.
        """
        return await self._core.enqueue([to_wire(message)], True)

    async def enqueue_batch(self, messages: Iterable[MessageLike]) -> asyncio.Future[List[Sent]]:
        """Takes a batch that is appended as a whole or not at all: 1 to 1,024 messages, 20 MiB. As :meth:`enqueue`."""
        return await self._core.enqueue(all_to_wire(messages), False)

    async def flush(self) -> None:
        """Waits until all that was enqueued before is resolved; raises the first error of any send since the last flush,
        so that confirmations may be dropped."""
        await self._core.flush()

    async def close(self) -> None:
        """Flushes, and closes the producer."""
        await self._core.close()

    @property
    def in_window(self) -> int:
        """Messages waiting and unconfirmed."""
        return self._core.window.used_messages

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._core.abort()
