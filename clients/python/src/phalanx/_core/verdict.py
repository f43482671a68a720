"""What the server's answers and a stream's end mean for the batches in flight.

Invariant: a message is only reported as not appended if the server said so of its number, or if it never left under a
number that might have been taken. In all other cases its outcome is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from phalanx import errors
from phalanx._core import status
from phalanx._core.call import random_id
from phalanx._core.status import Failure, Kind
from phalanx._core.window import Batch, Window
from phalanx.message import sent_of
from phalanx.v1 import messages_pb2 as pb

#: Streams in a row that may end with a gap and no confirmation before the server is taken to have forgotten us.
GAPS_MAX = 2
#: No message of this producer can be sent now.
_ABOUT_THE_QUEUE = (errors.QueueGone, errors.QueueNotFound, errors.Denied)


@dataclass(frozen=True)
class End:
    """How a stream ended."""

    failure: Failure
    #: The server refused the first batch in flight with this, rather than the stream.
    refused_front: bool = False


def confirm(window: Window, confirmation: pb.Confirmation, address: str) -> Optional[End]:
    """Books one confirmation. An answer: the stream is over, because of it."""
    if not window.in_flight or confirmation.number < window.in_flight[0].number:
        return None
    if confirmation.number > window.in_flight[0].number or window.written == 0:
        return End(status.broken_protocol(address, "a confirmation out of order"))
    result = confirmation.WhichOneof("result")
    if result is None:
        return End(status.broken_protocol(address, "a confirmation without a result"))
    if result == "failure":
        verdict = status.from_stream(confirmation.failure)
        if not confirmation.failure.consumed:
            return End(verdict, refused_front=True)
        _fail_front(window, verdict.error)
    else:
        batch = _take_front(window)
        sent = sent_of(confirmation.sent, batch.count)
        for item in batch.items:
            item.keep(sent)
    window.gaps = 0
    return None


def _take_front(window: Window) -> Batch:
    batch = window.in_flight.popleft()
    window.written = max(0, window.written - 1)
    window.release(batch.count, batch.bytes)
    return batch


def _fail_front(window: Window, error: errors.Error) -> None:
    """The first batch in flight was not appended, for certain."""
    batch = _take_front(window)
    if isinstance(error, (errors.Invalid, errors.Unroutable)) and len(batch.items) > 1:
        # An error of a batch that several callers share is nobody's in particular. One bad message shall not spoil
        # the company of others twice: from here on each goes alone.
        window.coalesce = 1
        error = errors.BatchRefused(f"one of {batch.count} messages: {error.message}")
    _fail(window, batch, error)


def _fail(window: Window, batch: Batch, error: errors.Error) -> None:
    window.note_error(error)
    for item in batch.items:
        item.fail(error)


def stream_ended(window: Window, end: End) -> None:
    """The stream is over, or did not come about. Prepares for the next one."""
    written, window.written = window.written, 0
    error, kind = end.failure.error, end.failure.kind
    # A frame that was refused as such carried the one batch that was unconfirmed, if there was only one.
    refused_front = end.refused_front or (written == 1 and isinstance(error, errors.Invalid))
    # What the server refused is the first that it did not confirm, and what follows it would have left a gap: nothing
    # is open. Unless the first was given up in front of the log, and an earlier stream had brought it in: then there
    # was no gap. Otherwise anything written may have been taken.
    front_is_in = bool(window.in_flight) and window.in_flight[0].maybe
    gapless = kind is Kind.AGAIN and front_is_in
    if not refused_front or gapless or kind is Kind.MAYBE:
        for place in range(min(written, len(window.in_flight))):
            window.in_flight[place].maybe = True
    if kind is not Kind.REFUSED:
        return
    if isinstance(error, errors.SequenceGap) and window.gaps < GAPS_MAX:
        # A batch got lost between two nodes: the next stream repeats it all. If that does not help, it is not that.
        window.gaps += 1
    elif isinstance(error, (errors.SequenceGap, errors.ProducerForgotten)):
        _start_over(window, error)
    elif not refused_front or isinstance(error, _ABOUT_THE_QUEUE):
        _abandon(window, error)
    else:
        _refuse_front(window, error)


def _refuse_front(window: Window, error: errors.Error) -> None:
    """The first batch in flight was refused before its number was used up."""
    if not window.in_flight:
        return
    front = window.in_flight[0]
    if front.maybe:
        # An earlier stream may have brought it in after all: the number cannot be used for another batch.
        _start_over(window, error)
        return
    window.next_number = front.number
    _fail_front(window, error)
    _renumber(window)


def _renumber(window: Window) -> None:
    for batch in window.in_flight:
        batch.number = window.next_number
        window.next_number += 1


def _start_over(window: Window, error: errors.Error) -> None:
    """The server no longer knows this producer. What may have been taken is unknown for ever; the rest goes out under
    a new identity."""
    while window.in_flight and window.in_flight[0].maybe:
        batch = window.in_flight.popleft()
        window.release(batch.count, batch.bytes)
        _fail(window, batch, error.unknown())
    window.producer_id = random_id()
    window.next_number = 1
    _renumber(window)


def _abandon(window: Window, error: errors.Error) -> None:
    """Nothing that is here now can be sent."""
    while window.in_flight:
        batch = window.in_flight.popleft()
        window.release(batch.count, batch.bytes)
        _fail(window, batch, error.unknown() if batch.maybe else error)
    while window.waiting:
        item = window.waiting.popleft()
        window.release(len(item.messages), item.bytes)
        window.note_error(error)
        item.fail(error)
    window.producer_id = random_id()
    window.next_number = 1
