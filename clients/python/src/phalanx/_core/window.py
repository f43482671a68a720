"""What a producer holds: messages waiting to be sent, and batches not yet confirmed.

Invariants: messages leave `waiting` in the order in which they came, and `in_flight` in the order of its numbers, which
are consecutive; `used_*` covers both. A message that has a number is sent until it is answered, whatever its caller was
told at the deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Deque, Iterator, List, Optional, Tuple

from phalanx import errors, limits
from phalanx.message import Sent, size_of
from phalanx.v1 import messages_pb2 as pb


@dataclass(frozen=True)
class WindowLimits:
    """Bounds of one producer."""

    messages: int = limits.PRODUCER_WINDOW_MESSAGES
    bytes: int = limits.PRODUCER_WINDOW_BYTES
    coalesce: int = limits.COALESCE_MESSAGES
    #: Seconds.
    send_deadline: float = limits.SEND_DEADLINE_S
    #: To a topic: each message must match a subscription.
    mandatory: bool = False


def _retrieved(future: asyncio.Future[Any]) -> None:
    # A confirmation may be dropped: `flush` tells of its error. asyncio shall not complain of it.
    if not future.cancelled():
        future.exception()


@dataclass
class Item:
    """What one call of `enqueue` brought, and its caller's side."""

    messages: List[pb.Message]
    bytes: int
    #: May share a batch with others; its confirmation is one `Sent`, not a list.
    single: bool
    deadline: float
    future: asyncio.Future[Any]
    #: Place in the order of enqueuing, for `flush`.
    ordinal: int = 0

    @property
    def owed(self) -> bool:
        """Whether nobody has answered it. A caller that cancelled its future wants no answer."""
        return not self.future.done()

    def keep(self, sent: Iterator[Sent]) -> None:
        """Gives the answer: takes as many as it has messages."""
        mine = [next(sent) for _ in self.messages]
        if self.owed:
            self.future.set_result(mine[0] if self.single else mine)

    def fail(self, error: errors.Error) -> None:
        """Gives an error."""
        if self.owed:
            self.future.set_exception(error.again())


@dataclass
class Batch:
    """Messages under one number."""

    number: int
    items: List[Item] = field(default_factory=list)
    bytes: int = 0
    #: It was written to a stream that ended without an answer to it.
    maybe: bool = False

    @property
    def count(self) -> int:
        """Messages in it."""
        return sum(len(item.messages) for item in self.items)

    def add(self, item: Item) -> None:
        """Takes one more."""
        self.items.append(item)
        self.bytes += item.bytes

    def to_wire(self, mandatory: bool) -> pb.ProducerBatch:
        """As it travels."""
        messages = [message for item in self.items for message in item.messages]
        return pb.ProducerBatch(number=self.number, messages=messages, mandatory=mandatory)


def check(messages: List[pb.Message]) -> int:
    """Refuses what no queue takes, before it has a number; the bytes."""
    if not messages:
        raise errors.Invalid("a batch needs at least one message")
    if len(messages) > limits.BATCH_MESSAGES_MAX:
        raise errors.Invalid(f"a batch has at most {limits.BATCH_MESSAGES_MAX} messages, not {len(messages)}")
    size = sum(size_of(message) for message in messages)
    one = len(messages) == 1
    most = limits.MESSAGE_BYTES_MAX if one else limits.BATCH_BYTES_MAX
    if size > most:
        raise errors.Invalid(f"a {'message' if one else 'batch'} has at most {most} bytes, not {size}")
    return size


class Window:
    """The books of one producer. It does no I/O and waits for nothing."""

    def __init__(self, bounds: WindowLimits, producer_id: bytes) -> None:
        self.bounds = bounds
        self.producer_id = producer_id
        self.next_number = 1
        self.waiting: Deque[Item] = deque()
        self.in_flight: Deque[Batch] = deque()
        #: Batches of `in_flight` that are written to the present stream.
        self.written = 0
        self.coalesce = bounds.coalesce
        #: Streams in a row that ended with a gap in the numbers.
        self.gaps = 0
        self.used_messages = 0
        self.used_bytes = 0
        self.next_ordinal = 0
        self.first_error: Optional[errors.Error] = None
        self.closed = False

    def item(self, messages: List[pb.Message], single: bool, size: Optional[int] = None) -> Item:
        """What is to be enqueued; `size` if it was checked before. Must be called on the event loop."""
        size = check(messages) if size is None else size
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieved)
        return Item(messages, size, single, time.monotonic() + self.bounds.send_deadline, future)

    def has_room(self, messages: int, size: int, ahead: Tuple[int, int] = (0, 0)) -> bool:
        """Whether the window takes so much now, behind what is `ahead` of it (messages, bytes): one item is always
        allowed. Also from another thread."""
        used_messages, used_bytes = self.used_messages + ahead[0], self.used_bytes + ahead[1]
        if used_messages and used_messages + messages > self.bounds.messages:
            return False
        return used_bytes == 0 or used_bytes + size <= self.bounds.bytes

    def push(self, item: Item) -> None:
        """Takes it."""
        item.ordinal = self.next_ordinal
        self.next_ordinal += 1
        self.used_messages += len(item.messages)
        self.used_bytes += item.bytes
        self.waiting.append(item)

    @property
    def is_over(self) -> bool:
        """Whether the owner closed it and all is answered."""
        return self.closed and not self.has_work

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do for a stream at all."""
        return bool(self.in_flight or self.waiting)

    @property
    def has_unwritten(self) -> bool:
        """Whether there is something to write to the present stream now."""
        if self.written < len(self.in_flight):
            return self._may_follow(self.in_flight[self.written].bytes)
        if len(self.in_flight) >= limits.BATCHES_IN_FLIGHT_MAX or not self.waiting:
            return False
        return self._may_follow(self.waiting[0].bytes)

    def _may_follow(self, size: int) -> bool:
        """Whether a batch of this size may be written after those that are: large ones travel alone."""
        if self.written == 0:
            return True
        return max(self.in_flight[self.written - 1].bytes, size) <= limits.SOLO_BYTES

    def next_frame(self) -> pb.SendStreamRequest:
        """Batches of earlier streams first, then all that waits, up to the size of a frame."""
        batches: List[pb.ProducerBatch] = []
        size = 0
        while size < limits.FRAME_BYTES and self.has_unwritten:
            if self.written == len(self.in_flight):
                self._number_next()
            batch = self.in_flight[self.written]
            size += batch.bytes
            batches.append(batch.to_wire(self.bounds.mandatory))
            self.written += 1
        return pb.SendStreamRequest(batches=batches)

    def _number_next(self) -> None:
        """Makes a batch of what waits."""
        batch = Batch(self.next_number)
        batch.add(self.waiting.popleft())
        most = limits.COALESCE_MESSAGE_BYTES_MAX
        if batch.items[0].single and batch.bytes <= most:
            while self.waiting and len(batch.items) < self.coalesce:
                item = self.waiting[0]
                if not item.single or item.bytes > most or batch.bytes + item.bytes > limits.COALESCE_BYTES:
                    break
                batch.add(self.waiting.popleft())
        self.next_number += 1
        self.in_flight.append(batch)

    def release(self, messages: int, size: int) -> None:
        """Something left the window."""
        self.used_messages -= messages
        self.used_bytes -= size

    def note_error(self, error: errors.Error) -> None:
        """For the next `flush`: the first one counts."""
        if self.first_error is None:
            self.first_error = error.again()

    def oldest_owed(self) -> Optional[Item]:
        """The first that is not answered."""
        for batch in self.in_flight:
            for item in batch.items:
                if item.owed:
                    return item
        return self.waiting[0] if self.waiting else None

    def expire(self, now: float) -> bool:
        """Answers what is overdue: unknown if it may have been sent. Whether there was any."""
        resolved = False
        unknown = errors.OutcomeUnknown("no confirmation before the deadline")
        for batch in self.in_flight:
            for item in batch.items:
                if item.owed and item.deadline <= now:
                    item.fail(unknown)
                    self.note_error(unknown)
                    resolved = True
        while self.waiting and self.waiting[0].deadline <= now:
            item = self.waiting.popleft()
            self.release(len(item.messages), item.bytes)
            item.fail(not_sent())
            self.note_error(not_sent())
            resolved = True
        return resolved


def not_sent() -> errors.Error:
    """The deadline passed first."""
    return errors.Unavailable("the deadline passed before the message could be sent")
