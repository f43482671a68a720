"""Producers."""

from __future__ import annotations

import concurrent.futures
from types import TracebackType
from typing import Any, Iterable, List, Optional, Type

from phalanx._core.producing import Producing
from phalanx.blocking import loop
from phalanx.message import MessageLike, Sent, all_to_wire, to_wire
from phalanx.v1 import messages_pb2 as pb


class Producer:
    """Sends messages to one queue, in order, many at a time, none twice. Made by ``client.producer``.

    Order of calls to :meth:`enqueue` = order in the queue, across reconnects and leader changes; threads may share it.
    ``with`` closes it.
    """

    def __init__(self, core: Producing) -> None:
        self._core = core

    def send(self, message: MessageLike) -> Sent:
        """Sends a message and waits for its confirmation."""
        return self.enqueue(message).result()

    def enqueue(self, message: MessageLike) -> concurrent.futures.Future[Sent]:
        """Takes a message as soon as the window has room.

        The future it gives resolves when the message is on disk on a majority, or when it is known that it will not be,
        or at the deadline; it may be dropped, the message is sent all the same. `OutcomeUnknown` in it: the message may
        have been appended, or may still be; every other error: it was not.

        :raises Unavailable: the window stayed full until the send deadline.
        :raises Invalid: no queue takes such a message.
        :raises Closed: the producer was closed.
        """
        return self._enqueue([to_wire(message)], True)

    def enqueue_batch(self, messages: Iterable[MessageLike]) -> concurrent.futures.Future[List[Sent]]:
        """Takes a batch that is appended as a whole or not at all: 1 to 1,024 messages, 20 MiB. As :meth:`enqueue`."""
        return self._enqueue(all_to_wire(messages), False)

    def _enqueue(self, messages: List[pb.Message], single: bool) -> concurrent.futures.Future[Any]:
        async def enqueue() -> concurrent.futures.Future[Any]:
            confirmation: concurrent.futures.Future[Any] = concurrent.futures.Future()
            loop.bridge(await self._core.enqueue(messages, single), confirmation)
            return confirmation

        return loop.run(enqueue())

    def flush(self) -> None:
        """Waits until all that was enqueued before is resolved; raises the first error of any send since the last flush,
        so that confirmations may be dropped."""
        loop.run(self._core.flush())

    def close(self) -> None:
        """Flushes, and closes the producer."""
        loop.run(self._core.close())

    @property
    def in_window(self) -> int:
        """Messages waiting and unconfirmed."""
        return self._core.window.used_messages

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            self.close()
        else:
            loop.run(self._core.abort())
