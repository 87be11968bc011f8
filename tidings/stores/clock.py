"""Clocks: the system's, and one that is moved by hand (part of the public API, for tests)."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time of this machine."""

    def now(self) -> int:
        """Epoch ms."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved.

    >>> clock = ManualClock(1_000)
    >>> clock.advance(500)
    1500
    """

    def __init__(self, now: int = 0) -> None:
        self._now = now

    def now(self) -> int:
        """Epoch ms, as last set."""
        return self._now

    def set(self, now: int) -> None:
        """Jump to ``now``, epoch ms; backwards too, as real clocks do."""
        self._now = now

    def advance(self, ms: int) -> int:
        """Move on by ``ms`` and tell the time."""
        self._now += ms
        return self._now
