"""Sends that wait for a time: a retry in place, or another process's lease to run out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush

from tidings.runtime.lane.quota import Quota
from tidings.sender import Send


class Resting:
    """A heap by time; each provider's quota counts its own."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        self._quotas = quotas
        self._heap: list[tuple[int, int, Send]] = []
        self._rested = 0  # breaks ties: first come, first served

    def add(self, send: Send, at: int) -> None:
        """Let it rest until ``at`` (epoch ms)."""
        self._rested += 1
        self._quotas[send.provider].resting += 1
        heappush(self._heap, (at, self._rested, send))

    def due(self, now: int) -> bool:
        """Whether the time of one has come."""
        return bool(self._heap) and self._heap[0][0] <= now

    def deadline(self) -> int:
        """When the first of them is due, 0 for none."""
        return self._heap[0][0] if self._heap else 0

    def woken(self, now: int) -> Iterator[Send]:
        """Those whose time has come."""
        while self.due(now):
            yield self._pop()

    def all(self) -> Iterator[Send]:
        """All of them, whatever their time."""
        while self._heap:
            yield self._pop()

    def _pop(self) -> Send:
        send = heappop(self._heap)[2]
        self._quotas[send.provider].resting -= 1
        return send
