"""Waking whoever waits for a change."""

from __future__ import annotations

import asyncio
from typing import Optional


class Bell:
    """Wakes everyone who waits now; it remembers nothing.

    Look at the state, then wait, with no `await` in between: nothing is missed.
    """

    def __init__(self) -> None:
        self._next: Optional[asyncio.Future[None]] = None

    def ring(self) -> None:
        """Wakes those who wait."""
        if self._next is not None:
            if not self._next.done():
                self._next.set_result(None)
            self._next = None

    async def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the next ring; `False`: it did not come in time."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        # `wait` leaves the future alone when its caller is cancelled: others wait for it too.
        done, _ = await asyncio.wait([self._next], timeout=timeout)
        return bool(done)
