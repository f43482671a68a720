"""The consumer: keeps a stream attached, takes deliveries in, writes settles and extensions."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import List, Optional, Union

from phalanx import errors, limits
from phalanx._core import rpc, status
from phalanx._core.backoff import Backoff
from phalanx._core.bell import Bell
from phalanx._core.call import Core, random_id
from phalanx._core.desk import Action, Desk
from phalanx._core.hand import Arrived, Hand
from phalanx._core.lease import Lease
from phalanx._core.router import QueueKey
from phalanx._core.stall import Stall
from phalanx._core.status import Failure, Kind
from phalanx._core.stream import Wire, connect, first_of, open_first
from phalanx.v1 import messages_pb2 as pb

_log = logging.getLogger("phalanx")
_Wire = Wire[pb.ConsumeRequest, pb.ConsumeResponse]
_CLOSED = "closed"


@dataclass(frozen=True)
class ConsumerOptions:
    """How a consumer attaches."""

    #: 16 bytes; `None`: random.
    consumer_id: Optional[bytes] = None
    name: str = ""
    window_messages: int = limits.CONSUMER_WINDOW_MESSAGES
    window_bytes: int = limits.CONSUMER_WINDOW_BYTES
    #: Milliseconds; 0: the queue's.
    lease_ms: int = 0
    #: Seconds; `None`: leases are not extended.
    max_processing: Optional[float] = limits.MAX_PROCESSING_S
    settle_deadline: float = limits.SETTLE_DEADLINE_S


def window_of(messages: int, size: int) -> pb.Window:
    """Within the server's bounds."""
    return pb.Window(messages=min(max(messages, 1), limits.CONSUMER_WINDOW_MESSAGES_MAX), bytes=max(size, 1))


class Consuming:
    """One consumer and its task."""

    def __init__(self, core: Core, queue: QueueKey, options: ConsumerOptions) -> None:
        self._core = core
        self._queue = queue
        self._options = options
        self.consumer_id = options.consumer_id or random_id()
        if len(self.consumer_id) != 16:
            raise errors.Invalid(f"a consumer id has 16 bytes, not {len(self.consumer_id)}")
        # An identity of old may have been attached before, by a process that counted from an earlier time.
        self._incarnation = 1 if options.consumer_id is None else int(time.time() * 1000)
        self.hand = Hand(window_of(options.window_messages, options.window_bytes), options.max_processing)
        self._desk = Desk(options.settle_deadline)
        self._work = Bell()
        #: The first frame of a stream that was just attached.
        self._first: Optional[pb.ConsumeResponse] = None
        self._tasks: List[asyncio.Future[None]] = []

    async def open(self, deadline: float) -> None:
        """Attaches for the first time."""
        first = await open_first(self._attach, deadline)
        self._tasks = [asyncio.ensure_future(self._run(first)), asyncio.ensure_future(self._sweep())]

    async def next(self, timeout: Optional[float]) -> Optional[Arrived]:
        """The next delivery; `None`: none came in time, or there will be no more. Raises why, once."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            arrived = self.hand.next()
            if arrived is not None or self.hand.closing:
                return arrived
            if self.hand.over:
                error, self.hand.error = self.hand.error, None
                if error is not None:
                    raise error
                return None
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            await self.hand.arrived.wait(left)

    def ask(self, lease: Lease, action: Action, wanted: bool = True) -> asyncio.Future[None]:
        """Settles or extends."""
        promise = self._desk.ask(lease, action, wanted)
        self._work.ring()
        return promise

    def set_window(self, messages: int, size: int) -> None:
        """A smaller one takes nothing back: it fills less."""
        self.hand.set_window(window_of(messages, size))
        self._work.ring()

    async def close(self) -> None:
        """Waits until all settles are answered, then gives back what was not settled."""
        self.hand.close()
        self._work.ring()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks[:1], timeout=limits.CLOSE_DEADLINE_S)
            await self.abort()
            if late:
                raise errors.OutcomeUnknown("no answer to the goodbye in time")

    async def abort(self) -> None:
        """Ends at once: leases in hand run out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end(None)

    def _end(self, error: Optional[errors.Error]) -> None:
        self._desk.close(error or errors.Closed("the consumer was closed"))
        self.hand.end(error)

    async def _run(self, first: _Wire) -> None:
        try:
            self._end(await self._drive(first))
        except Exception as error:
            # A defect of the client. Whoever waits for a delivery must learn that none will come.
            _log.exception("the consumer of %s failed", self._queue.name)
            self._end(errors.OutcomeUnknown(f"the client failed: {error!r}"))

    async def _sweep(self) -> None:
        """Extends leases, and reports settles that are overdue."""
        while not self.hand.over:
            await asyncio.sleep(self.hand.sweep_interval())
            for lease in self.hand.sweep():
                self.ask(lease, Action(pb.SETTLE_ACTION_EXTEND), wanted=False)
            self._desk.expire(time.monotonic())

    async def _attach(self) -> Union[_Wire, Failure]:
        window = self.hand.window
        self.hand.window_changed = False
        attach = pb.ConsumerAttach(
            namespace=self._queue.namespace,
            queue=self._queue.name,
            consumer_id=self.consumer_id,
            incarnation=self._incarnation,
            name=self._options.name,
            window=window,
            lease_ms=self._options.lease_ms,
            held=self.hand.tokens(),
        )
        self._incarnation += 1

        async def greet(wire: _Wire) -> Optional[Failure]:
            await wire.write(pb.ConsumeRequest(attach=attach))
            first = await wire.read()
            if first is None:
                return status.ended(wire.target.address)
            if isinstance(first, Failure):
                return first
            if not first.HasField("attached"):
                return status.broken_protocol(wire.target.address, "the first frame is not `attached`")
            self._first = first
            return None

        return await connect(self._core, self._queue, rpc.CONSUME, greet)

    async def _drive(self, first: _Wire) -> Optional[errors.Error]:
        """Runs until the consumer is closed (`None`) or refused for good."""
        stream: Union[_Wire, Failure] = first
        backoff = Backoff()
        while True:
            if isinstance(stream, Wire):
                backoff.reset()
                failure = await self._pump(stream)
                if failure is None:
                    return None
            else:
                failure = stream
            self.hand.answered(self._desk.rewind())
            _log.debug("stream of deliveries of %s ended: %s", self._queue.name, failure.error)
            if failure.kind is Kind.REFUSED and not failure.error.retryable:
                return failure.error
            if self.hand.closing and not len(self._desk):
                return None  # nothing left to say: the leases that are open end by themselves
            await asyncio.sleep(backoff.next(failure.retry_after))
            stream = await self._attach()

    async def _pump(self, wire: _Wire) -> Optional[Failure]:
        """Reads and writes until the stream ends; `None`: the owner wanted it, and all settles are answered."""
        limit = self._core.settings.stall_timeout
        stall = Stall(limit)

        async def watch() -> Failure:
            await stall.elapsed()
            return status.stalled(wire.target.address, limit)

        goodbye = asyncio.Event()
        try:
            end = await first_of(self._read(wire, stall, goodbye), self._write(wire, stall, goodbye), watch())
        finally:
            wire.end()
        if end == _CLOSED or goodbye.is_set():
            return None  # all was answered before, and the server ends leases of a broken stream by itself
        assert isinstance(end, Failure), "reading ends with a reason"
        self._core.note(self._queue, wire.target, end)
        return end

    async def _read(self, wire: _Wire, stall: Stall, goodbye: asyncio.Event) -> Union[Failure, str]:
        frame: Union[pb.ConsumeResponse, Failure, None]
        frame, self._first = self._first, None
        while True:
            if isinstance(frame, Failure):
                return frame
            if frame is None:
                return _CLOSED if goodbye.is_set() else status.ended(wire.target.address)
            if not self._book(frame):
                return status.broken_protocol(wire.target.address, "more deliveries than the window allows")
            stall.progress(self._desk.owed or goodbye.is_set())
            self._work.ring()
            frame = await wire.read()

    def _book(self, frame: pb.ConsumeResponse) -> bool:
        if frame.HasField("attached"):
            self.hand.attached(frame.attached)
        for outcome in frame.settled:
            self.hand.answered(self._desk.answer(outcome))
        # A lease is delivered before it ends.
        if frame.deliveries and not self.hand.take(frame.deliveries):
            return False
        for ended in frame.ended:
            self.hand.ended(ended)
            self._desk.lease_ended(ended.token)
        return True

    async def _write(self, wire: _Wire, stall: Stall, goodbye: asyncio.Event) -> None:
        """Ends when the stream is over; reading tells why."""
        while True:
            if self._desk.has_unwritten or self.hand.window_changed:
                frame = pb.ConsumeRequest(settle=self._desk.next_frame(), window=self.hand.changed_window())
            elif self.hand.closing and not self._desk.owed and not goodbye.is_set():
                frame = pb.ConsumeRequest(close=True)
                goodbye.set()
            else:
                await self._work.wait()
                continue
            stall.watch(self._desk.owed or goodbye.is_set())
            if not await wire.write(frame):
                return
