"""Caps in Valkey or Redis: one script for each of the two calls, one round trip for a batch.

A cap's key is a sorted set under ``tidings:cap:<key>``; it goes by itself two windows after the
last count. Caps do not outlive the server unless it persists: then more pass once, never less.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidings.ports import Count
from tidings.stores.valkey import Valkey
from tidings.stores.valkey_script import Script

_COUNT, _GIVE_BACK = Script("count"), Script("give_back")

_pack = msgspec.msgpack.Encoder().encode


class ValkeyCaps:
    """Counts shared by all processes that know the server."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    def count(self, counts: Sequence[Count], now: int) -> list[bool]:
        """Whether each may pass; see ``ports.Caps``."""
        if not counts:
            return []
        passes = [True] * len(counts)
        for place in self._valkey.run(_COUNT, now, _pack(counts)):
            passes[place - 1] = False
        return passes

    def give_back(self, counts: Sequence[tuple[str, str]]) -> None:
        """Uncount (key, notif_id)."""
        if counts:
            self._valkey.run(_GIVE_BACK, _pack(counts))
