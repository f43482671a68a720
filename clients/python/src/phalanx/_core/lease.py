"""The lease of one delivery, as its holder and its consumer's task share it."""

from __future__ import annotations

import enum
import time
from typing import Optional

from phalanx._core.bell import Bell
from phalanx.v1 import messages_pb2 as pb


class ReturnReason(enum.Enum):
    """Why an earlier lease of a message ended, or this one."""

    #: Not told.
    UNSPECIFIED = 0
    #: The consumer returned it.
    NACKED = 1
    #: The deadline passed.
    EXPIRED = 2
    #: The consumer went away and did not come back in time.
    CONSUMER_LOST = 3
    #: An earlier message of its group was returned.
    GROUP_RETURNED = 4
    #: The consumer was closed with the message in hand.
    CONSUMER_CLOSED = 5

    @classmethod
    def from_wire(cls, reason: int) -> ReturnReason:
        """A reason of a newer server is not told."""
        return cls(reason) if reason in pb.ReturnReason.values() and reason <= 5 else cls.UNSPECIFIED


class Lease:
    """Until when a delivery is ours."""

    def __init__(self, token: int, deadline: float) -> None:
        self.token = token
        #: By the local clock: the server's is never earlier than the time it told was left.
        self.deadline = deadline
        #: How long it was given for, seconds, as far as was left when the delivery came.
        self.given_s = deadline - time.monotonic()
        self._reason: Optional[ReturnReason] = None
        #: Nobody holds the delivery any more. Set by whatever thread drops it.
        self.let_go = False
        #: It is on its way to be settled.
        self.settling = False
        self._changed = Bell()

    def set_deadline(self, deadline: float) -> None:
        """It lasts longer, or shorter."""
        self.deadline = deadline
        self._changed.ring()

    def lose(self, reason: ReturnReason) -> None:
        """It is over. The first reason stands."""
        if self._reason is None:
            self._reason = reason
        self._changed.ring()

    @property
    def lost_reason(self) -> Optional[ReturnReason]:
        """Why it is over; `None`: it is not."""
        if self._reason is not None:
            return self._reason
        return ReturnReason.EXPIRED if self.deadline <= time.monotonic() else None

    @property
    def wanted(self) -> bool:
        """Whether somebody works on it, or will."""
        return not self.let_go and not self.settling

    async def lost(self) -> ReturnReason:
        """Returns when it is over."""
        while True:
            reason = self.lost_reason
            if reason is not None:
                return reason
            await self._changed.wait(self.deadline - time.monotonic())
