"""What time does to a connection: late answers, and silence.

Times are seconds on the clock of whoever calls; nothing here reads one.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from tidings.http2.limits import Limits


class Life(StrEnum):
    """What a look at a connection's silence says."""

    WELL = "well"
    ASK = "ask"  # it has been silent for long: send a PING
    DEAD = "dead"  # it did not answer one


class Watch:
    """Late streams and signs of life of one connection.

    Streams are numbered in the order in which they are opened: a note of the next number, once it
    is as old as the time-out, says that every stream below it is late.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.heard = False  # set by whoever hears the server
        self._limits = limits
        self._heard_at = now
        self._asked_at: float | None = None
        self._notes: deque[tuple[float, int]] = deque()

    def late(self, now: float, next_stream: int) -> int:
        """The stream below which all are late; to be called at each tick."""
        notes = self._notes
        notes.append((now, next_stream))
        below = 0
        while notes and notes[0][0] <= now - self._limits.timeout:
            below = notes.popleft()[1]
        return below

    def life(self, now: float, *, busy: bool) -> Life:
        """Whether the server is there; ``busy``: it owes an answer. Asks at most once a silence."""
        if self.heard:
            self.heard = False
            self._heard_at = now
            self._asked_at = None
            return Life.WELL
        patience = self._limits.timeout / 2
        if self._asked_at is not None:
            return Life.DEAD if now - self._asked_at >= patience else Life.WELL
        if now - self._heard_at >= (patience if busy else self._limits.keep_alive):
            self._asked_at = now
            return Life.ASK
        return Life.WELL
