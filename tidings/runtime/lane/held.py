"""Records of a rung's partition that were read before their time.

They are due in the order in which they stand: append time + the rung's delay. Those that wait for
a provider's sake alone may be released before, in their order too.
"""

from __future__ import annotations

from collections import deque

import msgspec

from tidings.log.port import Record
from tidings.records import UNDECODABLE

_LOOK_MS = 50  # between two looks at a rung: each makes the consumer fetch anew


class _Awaiting(msgspec.Struct, gc=False):
    """The one field of a delivery that is looked at before its time."""

    awaits: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Awaiting).decode


class Held:
    """What is held of one partition; never empty for long. Times are epoch ms."""

    __slots__ = ("_awaits", "_delay", "_records", "look_at")

    def __init__(self, delay: int) -> None:
        self.look_at = 0
        self._delay = delay
        self._records: deque[Record] = deque()
        self._awaits: dict[int, tuple[str, ...]] = {}  # offset → providers, where it waits for such

    def __len__(self) -> int:
        return len(self._records)

    @property
    def since(self) -> int:
        """When the first of them was written."""
        return self._records[0].time

    @property
    def awaits(self) -> bool:
        """Whether one waits for a provider's sake alone."""
        return bool(self._awaits)

    def add(self, record: Record) -> None:
        """Hold it, behind the others."""
        self._records.append(record)
        try:
            awaits = _decode(record.value or b"").awaits
        except UNDECODABLE:
            return  # it is told of when its time has come
        if awaits:
            self._awaits[record.offset] = awaits

    def due(self, now: int) -> bool:
        """Whether the first of them may be worked on."""
        return bool(self._records) and self._records[0].time + self._delay <= now

    def take(self) -> Record:
        """The first of them."""
        record = self._records.popleft()
        self._awaits.pop(record.offset, None)
        return record

    def release(self, openings: dict[str, int], most: int) -> list[Record]:
        """Up to ``most`` of those that wait for a provider, as far as there is room; it takes that
        room from ``openings`` (provider → sends)."""
        offsets: set[int] = set()
        for offset, awaits in self._awaits.items():
            if len(offsets) >= most or not openings:
                break
            name = next((name for name in awaits if name in openings), "")
            if name:
                offsets.add(offset)
                openings[name] -= 1
                if not openings[name]:
                    del openings[name]
        if not offsets:
            return []
        released = [record for record in self._records if record.offset in offsets]
        self._records = deque(one for one in self._records if one.offset not in offsets)
        for offset in offsets:
            del self._awaits[offset]
        return released

    def look(self, now: int) -> None:
        """Set when to look again."""
        self.look_at = max(self._records[0].time + self._delay, now + _LOOK_MS)
