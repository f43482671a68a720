"""The producer: keeps a stream open while there is something to send, and repeats what is unconfirmed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, List, Optional, Union

from phalanx import errors
from phalanx._core import rpc, status, verdict
from phalanx._core.backoff import Backoff
from phalanx._core.bell import Bell
from phalanx._core.call import Core, random_id
from phalanx._core.router import QueueKey
from phalanx._core.stall import Stall
from phalanx._core.status import Failure
from phalanx._core.stream import Wire, connect, first_of, open_first
from phalanx._core.verdict import End
from phalanx._core.window import Window, WindowLimits, not_sent
from phalanx.v1 import messages_pb2 as pb

_log = logging.getLogger("phalanx")
_Wire = Wire[pb.SendStreamRequest, pb.SendStreamResponse]
#: What a stream's tasks say when the producer was closed and all is answered.
_OVER = "over"


class Producing:
    """One producer and its task."""

    def __init__(self, core: Core, queue: QueueKey, bounds: WindowLimits) -> None:
        self._core = core
        self._queue = queue
        self.window = Window(bounds, random_id())
        #: Callers of `enqueue`, first come first served.
        self._line = asyncio.Lock()
        #: Something left the window, entered it, was resolved.
        self._room, self._work, self._progress = Bell(), Bell(), Bell()
        self._backoff = Backoff()
        self._tasks: List[asyncio.Future[None]] = []

    async def open(self, deadline: float) -> None:
        """Opens the first stream."""
        first = await open_first(self._connect, deadline)
        self._tasks = [asyncio.ensure_future(self._run(first)), asyncio.ensure_future(self._expire())]

    async def enqueue(self, messages: List[pb.Message], single: bool) -> asyncio.Future[Any]:
        """Takes messages as soon as there is room; their confirmation."""
        window = self.window
        item = window.item(messages, single)
        if self._line.locked() or not window.has_room(len(messages), item.bytes):
            # Whoever is first in line waits no longer than its deadline, so that the line moves.
            async with self._line:
                while not window.has_room(len(messages), item.bytes) and not window.closed:
                    if not await self._room.wait(max(item.deadline - time.monotonic(), 0)):
                        raise not_sent()
        if window.closed:
            raise errors.Closed("the producer was closed")
        window.push(item)
        self._work.ring()
        return item.future

    def take(self, messages: List[pb.Message], single: bool, size: int) -> asyncio.Future[Any]:
        """Takes messages for which somebody else has seen that there is room; their confirmation."""
        item = self.window.item(messages, single, size)
        if self.window.closed:
            item.fail(errors.Closed("the producer was closed"))
        else:
            self.window.push(item)
            self._work.ring()
        return item.future

    async def flush(self) -> None:
        """Waits until all that was enqueued before is resolved; raises the first error since the last time."""
        target = self.window.next_ordinal
        while True:
            oldest = self.window.oldest_owed()
            if oldest is None or oldest.ordinal >= target:
                break
            await self._progress.wait()
        error, self.window.first_error = self.window.first_error, None
        if error is not None:
            raise error

    async def close(self) -> None:
        """Takes no more, flushes, and ends the task."""
        self.window.closed = True
        self._work.ring()
        self._room.ring()
        try:
            await self.flush()
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Ends at once; what is not confirmed has an unknown outcome."""
        self.window.closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._drop_all(errors.OutcomeUnknown("the producer was closed before the confirmation came"))

    def _drop_all(self, error: errors.Error) -> None:
        """Answers all that is left: `error` for what has a number; the rest was not sent."""
        window = self.window
        for batch in window.in_flight:
            for item in batch.items:
                item.fail(error)
            window.note_error(error)
        for item in window.waiting:
            item.fail(errors.Closed("the producer was closed before the message could be sent"))
        window.in_flight.clear()
        window.waiting.clear()
        self._moved_on()
        self._work.ring()

    def _moved_on(self) -> None:
        self._room.ring()
        self._progress.ring()

    async def _expire(self) -> None:
        while True:
            now = time.monotonic()
            if self.window.expire(now):
                self._moved_on()
            oldest = self.window.oldest_owed()
            # Deadlines rise in the order of enqueuing, but for callers that waited for room.
            until = oldest.deadline if oldest is not None else now + self.window.bounds.send_deadline
            await asyncio.sleep(max(until - now, 0.001))

    async def _connect(self) -> Union[_Wire, Failure]:
        greeting = pb.ProducerOpen(
            namespace=self._queue.namespace, queue=self._queue.name, producer_id=self.window.producer_id
        )

        async def greet(wire: _Wire) -> Optional[Failure]:
            await wire.write(pb.SendStreamRequest(open=greeting))
            return await wire.refusal()

        return await connect(self._core, self._queue, rpc.SEND_STREAM, greet)

    async def _run(self, first: _Wire) -> None:
        try:
            await self._drive(first)
        except Exception as error:
            # A defect of the client. Whoever waits for a confirmation must learn that none will come.
            _log.exception("the producer of %s failed", self._queue.name)
            self.window.closed = True
            self._drop_all(errors.OutcomeUnknown(f"the client failed: {error!r}"))

    async def _drive(self, first: _Wire) -> None:
        stream: Union[_Wire, Failure] = first
        while True:
            if isinstance(stream, Wire):
                end = await self._pump(stream)
                if end is None:
                    return
            else:
                end = End(stream)
            verdict.stream_ended(self.window, end)
            self._moved_on()
            _log.debug("stream of sends to %s ended: %s", self._queue.name, end.failure.error)
            await asyncio.sleep(self._backoff.next(end.failure.retry_after))
            while not self.window.has_work:
                if self.window.closed:
                    return
                await self._work.wait()
            stream = await self._connect()

    async def _pump(self, wire: _Wire) -> Optional[End]:
        """Writes and reads until the stream ends; `None`: closed, and all is answered."""
        limit = self._core.settings.stall_timeout
        stall = Stall(limit)

        async def watch() -> End:
            await stall.elapsed()
            return End(status.stalled(wire.target.address, limit))

        try:
            end = await first_of(self._read(wire, stall), self._write(wire, stall), watch())
        finally:
            wire.end()
        if end == _OVER:
            return None
        assert isinstance(end, End), "reading ends with a reason"
        self._core.note(self._queue, wire.target, end.failure)
        return end

    async def _read(self, wire: _Wire, stall: Stall) -> Union[End, str]:
        while True:
            frame = await wire.read()
            if frame is None:
                return End(status.ended(wire.target.address))
            if isinstance(frame, Failure):
                return End(frame)
            for confirmation in frame.confirmations:
                end = verdict.confirm(self.window, confirmation, wire.target.address)
                if end is not None:
                    return end
            stall.progress(self.window.written > 0)
            self._backoff.reset()
            self._moved_on()
            self._work.ring()
            if self.window.is_over:
                return _OVER

    async def _write(self, wire: _Wire, stall: Stall) -> Optional[str]:
        """`None`: the stream is over; reading tells why."""
        while True:
            while not self.window.has_unwritten:
                if self.window.is_over:
                    return _OVER
                await self._work.wait()
            frame = self.window.next_frame()
            stall.watch(owed=True)
            if not await wire.write(frame):
                return None
