"""How long an answer has been owed."""

from __future__ import annotations

import asyncio
import time
from typing import Optional


class Stall:
    """Measures without arming a timer for every question."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: Optional[float] = None

    def watch(self, owed: bool) -> None:
        """Says whether an answer is owed now."""
        if not owed:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()

    def progress(self, owed: bool) -> None:
        """An answer came; if another is owed, its time begins now."""
        self._since = time.monotonic() if owed else None

    async def elapsed(self) -> None:
        """Returns when an answer has been owed for the limit."""
        while True:
            now = time.monotonic()
            # Nothing owed now cannot become overdue before the limit has passed.
            left = self._limit if self._since is None else self._since + self._limit - now
            if left <= 0:
                return
            await asyncio.sleep(left)
