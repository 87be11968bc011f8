"""Caps that keep what they were asked, and may be away."""

from __future__ import annotations

from collections.abc import Sequence

from tidings.driver.ports import LocalCaps
from tidings.ports import Count, Unavailable


class CountingCaps(LocalCaps):
    """Local ones; ``calls`` holds the counts of each call that was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Count]] = []
        self.away = False

    def count(self, counts: Sequence[Count], now: int) -> list[bool]:
        if self.away:
            raise Unavailable("valkey is away")
        self.calls.append(list(counts))
        return super().count(counts, now)
