"""What all deliveries tell, however they are settled."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Optional, Protocol

import asyncio

from phalanx._core.desk import Action
from phalanx._core.lease import Lease, ReturnReason
from phalanx.admin_types import time_of
from phalanx.message import Message, from_wire
from phalanx.v1 import messages_pb2 as pb


class Settling(Protocol):
    """Takes settles: a consumer or a receiver."""

    def ask(self, lease: Lease, action: Action, wanted: bool = True) -> asyncio.Future[None]:
        """Settles or extends; how it went."""


class BaseDelivery:
    """A message in hand, under a lease.

    One that is dropped without being settled is left alone: its lease is no longer extended, and when it ends the
    message is delivered again. While a delivery of a consumer is held its lease is extended by itself, up to
    ``max_processing``. Work that must not be done twice at once watches :attr:`is_lost`, and hands the :attr:`token`
    to whatever it changes: a later delivery of the message has a higher one.
    """

    def __init__(self, delivery: pb.Delivery, lease: Lease, settling: Settling) -> None:
        #: The message; body, group and header values are bytes.
        self.message: Message = from_wire(delivery.message)
        #: Fencing token: rises strictly with every delivery of the queue.
        self.token: int = delivery.token
        #: Place of the message in its queue.
        self.sequence: int = delivery.sequence
        #: From 1.
        self.attempt: int = delivery.attempt
        #: When it was sent, by the cluster's time.
        self.enqueued: datetime = time_of(delivery.enqueued_ms)
        #: Why the attempt before this one ended; `None` for a first delivery.
        self.redelivery: Optional[ReturnReason] = (
            ReturnReason.from_wire(delivery.redelivery) if delivery.redelivery else None
        )
        self._lease = lease
        self._settling = settling

    @property
    def body(self) -> bytes:
        """The body of the message."""
        body = self.message.body
        return body if isinstance(body, bytes) else body.encode()

    @property
    def lease_left(self) -> float:
        """What is left of the lease, seconds."""
        return max(0.0, self._lease.deadline - time.monotonic())

    @property
    def is_lost(self) -> bool:
        """Whether the lease is over: the message is, or will be, delivered to someone. Stop working on it."""
        return self._lease.lost_reason is not None

    @property
    def lost_reason(self) -> Optional[ReturnReason]:
        """Why the lease is over; `None`: it is not."""
        return self._lease.lost_reason

    def __repr__(self) -> str:
        return f"<{type(self).__name__} token={self.token} sequence={self.sequence} attempt={self.attempt}>"

    def __del__(self) -> None:
        lease = getattr(self, "_lease", None)
        if lease is not None:
            lease.let_go = True


def nack_action(delay: float) -> Action:
    """Back to its place, after `delay` seconds."""
    return Action(pb.SETTLE_ACTION_NACK, delay_ms=max(0, round(delay * 1000)))


def extend_action(lease: Optional[float]) -> Action:
    """For `lease` seconds from now; `None`: as long as it was given for."""
    return Action(pb.SETTLE_ACTION_EXTEND, lease_ms=0 if lease is None else max(1, round(lease * 1000)))
