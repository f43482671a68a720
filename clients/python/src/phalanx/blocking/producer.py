"""Producers."""

from __future__ import annotations

import concurrent.futures
import threading
from types import TracebackType
from typing import Any, Iterable, List, Optional, Type

from phalanx._core.producing import Producing
from phalanx._core.window import check
from phalanx.blocking import loop
from phalanx.message import MessageLike, Sent, all_to_wire, to_wire
from phalanx.v1 import messages_pb2 as pb


class _Taken:
    def __init__(self, messages: List[pb.Message], single: bool, size: int) -> None:
        self.messages = messages
        self.single = single
        self.size = size
        self.confirmation: concurrent.futures.Future[Any] = concurrent.futures.Future()


class Producer:
    """Sends messages to one queue, in order, many at a time, none twice. Made by ``client.producer``.

    Order of calls to :meth:`enqueue` = order in the queue, across reconnects and leader changes; threads may share it.
    ``with`` closes it.
    """

    def __init__(self, core: Producing) -> None:
        self._core = core
        self._lock = threading.Lock()
        #: Found room, and not yet handed over to the loop: many calls cost one visit of the loop.
        self._taken: List[_Taken] = []
        #: Their messages and bytes.
        self._ahead = (0, 0)
        #: Callers that wait for room.
        self._waiting = 0

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
        taken = _Taken(messages, single, check(messages))
        with self._lock:
            if self._has_room(taken):
                self._taken.append(taken)
                self._ahead = (self._ahead[0] + len(messages), self._ahead[1] + taken.size)
                if len(self._taken) == 1:
                    loop.soon(self._hand_over)
                return taken.confirmation
            self._waiting += 1
        try:
            loop.run(self._wait_and_take(taken))
        finally:
            with self._lock:
                self._waiting -= 1
        return taken.confirmation

    def _has_room(self, taken: _Taken) -> bool:
        """Whether the window has room now. Who waits for room comes first, and says why it gets none."""
        if self._waiting or self._core.window.closed:
            return False
        return self._core.window.has_room(len(taken.messages), taken.size, self._ahead)

    def _hand_over(self) -> None:
        """On the loop. Under the lock, so that a message is always counted: here, or in the window."""
        with self._lock:
            for one in self._taken:
                loop.bridge(self._core.take(one.messages, one.single, one.size), one.confirmation)
            self._taken.clear()
            self._ahead = (0, 0)

    async def _wait_and_take(self, taken: _Taken) -> None:
        loop.bridge(await self._core.enqueue(taken.messages, taken.single), taken.confirmation)

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
