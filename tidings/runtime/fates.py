"""The fate of each event in a flow of one hop: claimed before it goes out, the first one stands.

    steps ──► what they have said of an event ──► Claims: the first that is said of it ──► the log

Such a flow has no state of its own, and its steps ask the world: who can be reached, what is
consented to, how many a person has had. A replay would find another world and decide otherwise
about what has gone out. So the words are claimed under the event's name, and what an earlier run
has claimed is said again, word for word. It is let go some seconds after the event's position was
committed: only a replay asks again.

A kill before the claim leaves nothing; one behind it is made good by the replay, which is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec
from xxhash import xxh3_128_hexdigest

from tidings.contract import Item
from tidings.log.port import Append, Record, Slot
from tidings.ports import Claims
from tidings.runtime.batch import FlowBatch
from tidings.runtime.flight import Flight, Label

LONGEST = 1 << 18  # bytes of what is claimed of one event: what says more is a letter, or rare
_KEEP_MS = 86_400_000  # where nobody lets it go: the process was killed, or lost the partition
_CERTAIN_MS = 10_000  # a commit that was asked for is made by then, or the process has ended
_MOST_AT_ONCE = 2_000  # that are let go in one call

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Append]).decode


class HopBatch(FlowBatch):
    """A batch of a flow of one hop: ``causes`` has for each append the item that it is about.

    What follows it by ``more`` is none: too much comes of one record to be kept twice.
    """

    __slots__ = ("causes",)

    def __init__(
        self, items: list[Item], now: int, flight: Flight, labels: Mapping[Slot, Label]
    ) -> None:
        super().__init__(items, now, flight, labels)
        self.causes: list[Item] = []

    def unsay(self, written: int) -> None:
        """Take back all but the first ``written`` appends."""
        super().unsay(written)
        del self.causes[written:]

    def _say(self, item: Item, append: Append) -> None:
        self.appends.append(append)
        self.causes.append(item)


class Fates:
    """Those of one flow. ``apart`` tells that it makes several events of one."""

    def __init__(self, flow: str, version: str, claims: Claims, *, apart: bool) -> None:
        self._scope = f"f\x1f{flow}\x1f{version}\x1f"
        self._claims = claims
        self._apart = apart
        self._open: dict[Slot, deque[tuple[int, str]]] = {}  # offset, name
        self._settled: deque[tuple[int, str]] = deque()  # since when, name

    def claim(self, batch: HopBatch, now: int) -> None:
        """See that the batch says what the first run has said. Raises Unavailable, with nothing
        changed."""
        said: dict[str, list[Append]] = {}
        where: dict[str, Record] = {}
        for item, append in zip(batch.causes, batch.appends, strict=True):
            record = item.record
            name = "" if record is None else self._name(record, item)
            if record is not None:
                where[name] = record
            said.setdefault(name, []).append(append)
        claims = []
        for name in [*where]:
            words = _encode(said[name])
            if len(words) <= LONGEST:
                claims.append((name, words.decode()))
            else:
                del where[name]
        old = self._old(now)
        holders = self._claims.first(claims, _KEEP_MS, old)
        for _ in old:
            self._settled.popleft()
        for name, record in where.items():
            slot = Slot(record.topic, record.partition)
            self._open.setdefault(slot, deque()).append((record.offset, name))
        others = [
            (name, words)
            for (name, own), words in zip(claims, holders, strict=True)
            if words != own
        ]
        if others:
            said.update((name, _decode(words)) for name, words in others)
            batch.appends = [append for appends in said.values() for append in appends]

    def committed(self, positions: Mapping[Slot, int], now: int) -> None:
        """All below these offsets will not be replayed."""
        for slot, names in self._open.items():
            below = positions.get(slot, 0)
            while names and names[0][0] < below:
                self._settled.append((now, names.popleft()[1]))

    def lost(self, slots: Iterable[Slot]) -> None:
        """These partitions are another process's: what is claimed of them ends by itself."""
        for slot in slots:
            self._open.pop(slot, None)

    def _old(self, now: int) -> list[str]:
        """What nobody asks about any more."""
        old: list[str] = []
        for at, name in self._settled:
            if at + _CERTAIN_MS > now or len(old) == _MOST_AT_ONCE:
                break
            old.append(name)
        return old

    def _name(self, record: Record, item: Item) -> str:
        """What tells an event from all others, also where its topic is made anew."""
        part = f"{item.origin.index}\x1f{item.way}" if self._apart else ""
        place = f"{record.topic}\x1f{record.partition}\x1f{record.offset}\x1f{record.time}"
        text = f"{self._scope}{place}\x1f{part}\x1f".encode()
        return xxh3_128_hexdigest(text + (record.value or b""))
