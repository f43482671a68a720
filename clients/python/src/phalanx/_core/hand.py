"""What a consumer holds: deliveries waiting to be taken by the application, and those it works on.

Invariant: every delivery that came and is neither settled nor lost is in `held`, so that a reconnect can name it; those
of them that the application has not taken yet are also in `ready`, in the order in which they came.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Deque, Dict, Iterable, List, Optional, Tuple

from phalanx import errors, limits
from phalanx._core.bell import Bell
from phalanx._core.desk import Answer
from phalanx._core.lease import Lease, ReturnReason
from phalanx.v1 import messages_pb2 as pb

#: Deliveries held that are taken at most, and not for a broken server's: the largest window, since a consumer that was
#: started anew gets what its earlier self had in hand, and what settles on their way have made room for.
_HELD_MAX = 2 * limits.CONSUMER_WINDOW_MESSAGES_MAX
#: Bounds of the pause between two looks at the leases, seconds.
_SWEEP_MIN_S, _SWEEP_MAX_S = 0.01, 5.0

#: A delivery, and its lease.
Arrived = Tuple[pb.Delivery, Lease]


@dataclass
class _Held:
    lease: Lease
    #: Extended by itself until then; `None`: never.
    extend_until: Optional[float]
    #: An extension is on its way.
    extending: bool = False


class Hand:
    """The deliveries of one consumer."""

    def __init__(self, window: pb.Window, max_processing: Optional[float]) -> None:
        self.window = window
        self.window_changed = False
        #: In force, seconds.
        self.lease_s = 0.0
        self.closing = False
        #: Why there will be no more; `None` with `over`: the application wanted it so.
        self.error: Optional[errors.Error] = None
        self.over = False
        self.arrived = Bell()
        self._held: Dict[int, _Held] = {}
        self._ready: Deque[Arrived] = deque()
        self._max_processing = max_processing

    def next(self) -> Optional[Arrived]:
        """The next delivery for the application, if one is here. Also from another thread: taking is atomic."""
        now = time.monotonic()
        while True:
            try:
                delivery, lease = self._ready.popleft()
            except IndexError:
                return None
            if lease.lost_reason is not None:
                lease.let_go = True
                continue
            held = self._held.get(lease.token)
            if held is not None:
                held.extend_until = self._until(now)
            return delivery, lease

    def _until(self, now: float) -> Optional[float]:
        return None if self._max_processing is None else now + self._max_processing

    def attached(self, attached: pb.ConsumerAttached) -> None:
        """A stream is attached: the leases that were lost meanwhile, unless a settle of them is still to be answered."""
        self.lease_s = attached.lease_ms / 1000
        for token in attached.lost:
            held = self._held.get(token)
            if held is not None and not held.lease.settling:
                self._lose(token, ReturnReason.CONSUMER_LOST)

    def take(self, deliveries: Iterable[pb.Delivery]) -> bool:
        """Takes deliveries in; `False`: they are more than any window allows."""
        now = time.monotonic()
        for delivery in deliveries:
            deadline = now + delivery.lease_left_ms / 1000
            held = self._held.get(delivery.token)
            if held is not None:
                # Sent again after a reconnect, and still in hand.
                held.lease.set_deadline(deadline)
                continue
            if len(self._held) >= _HELD_MAX:
                return False
            lease = Lease(delivery.token, deadline)
            self._held[delivery.token] = _Held(lease, self._until(now))
            self._ready.append((delivery, lease))
        self.arrived.ring()
        return True

    def _lose(self, token: int, reason: ReturnReason) -> None:
        held = self._held.pop(token, None)
        if held is not None:
            held.lease.lose(reason)

    def ended(self, ended: pb.LeaseEnded) -> None:
        """The server took a lease away."""
        self._lose(ended.token, ReturnReason.from_wire(ended.reason))

    def answered(self, answers: Iterable[Answer]) -> None:
        """Books what was said about settles and extensions."""
        for answer in answers:
            held = self._held.get(answer.token)
            if held is None:
                continue
            if answer.extended_from is not None:
                lease_s = answer.lease_ms / 1000 if answer.lease_ms else self.lease_s
                held.extending = False
                held.lease.set_deadline(answer.extended_from + lease_s)
            elif answer.lost:
                self._lose(answer.token, ReturnReason.EXPIRED)
            else:
                del self._held[answer.token]

    def tokens(self) -> List[pb.TokenRange]:
        """Tokens to name to the server, as ranges without a foreign token in between."""
        ranges: List[pb.TokenRange] = []
        for token in sorted(self._held):
            if ranges and ranges[-1].last + 1 == token:
                ranges[-1].last = token
            else:
                ranges.append(pb.TokenRange(first=token, last=token))
        return ranges

    def sweep_interval(self) -> float:
        """How often to look for leases that need an extension, seconds."""
        return min(max(self.lease_s / 6, _SWEEP_MIN_S), _SWEEP_MAX_S)

    def sweep(self) -> List[Lease]:
        """Leases to be extended now: those past half of their time. Forgets those that ended and nobody holds."""
        now = time.monotonic()
        due: List[Lease] = []
        for token, held in list(self._held.items()):
            lease = held.lease
            if not lease.wanted and not lease.settling and lease.deadline <= now:
                del self._held[token]
                continue
            allowed = held.extend_until is not None and now < held.extend_until
            if allowed and not held.extending and lease.wanted and lease.deadline <= now + self.lease_s / 2:
                held.extending = True
                due.append(lease)
        return due

    def set_window(self, window: pb.Window) -> None:
        """Changes the window; the task tells the server."""
        self.window = window
        self.window_changed = True

    def changed_window(self) -> Optional[pb.Window]:
        """The window, if the server does not know it; then it is taken to know it."""
        changed, self.window_changed = self.window_changed, False
        return self.window if changed else None

    def close(self) -> None:
        """The application wants no more."""
        self.closing = True
        self._ready.clear()
        self.arrived.ring()

    def end(self, error: Optional[errors.Error]) -> None:
        """There will be no more deliveries, and those in hand are lost. `None`: the application wanted it so."""
        if not self.over:
            self.over = True
            self.error = error
        for token in list(self._held):
            self._lose(token, ReturnReason.CONSUMER_CLOSED)
        self.arrived.ring()
