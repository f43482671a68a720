"""Pauses between attempts."""

from __future__ import annotations

import random
from typing import Optional

from phalanx import limits

#: Doubling further would change nothing.
_DOUBLINGS_MAX = 16


class Backoff:
    """Exponential back-off with jitter."""

    def __init__(self) -> None:
        self._attempts = 0

    def next(self, asked: Optional[float]) -> float:
        """The next pause, seconds: the exponential one, or the server's if that is longer."""
        doubled: float = limits.BACKOFF_MIN_S * 2 ** min(self._attempts, _DOUBLINGS_MAX)
        self._attempts += 1
        span = max(min(doubled, limits.BACKOFF_MAX_S), min(asked or 0.0, limits.RETRY_AFTER_MAX_S))
        return span * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Something worked."""
        self._attempts = 0
