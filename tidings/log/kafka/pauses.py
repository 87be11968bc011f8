"""Paused partitions, without what a pause costs in librdkafka.

There a pause throws away what was fetched ahead: 50 ms of CPU and of waiting to have it again, for
each pause of a busy member (measured with 16 MiB ahead). So the flag is kept here, and librdkafka
is told only when records come that have to be kept back. While all is paused the member polls one
record at a time, which serves rebalances, so that short pauses never get there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from tidings.log.port import Record, Slot

_KEEP = 64  # records kept back while all is paused, before librdkafka is told


class Pauses:
    """Which partitions are paused, of those in ``held``; ``stop`` and ``go`` tell librdkafka."""

    def __init__(
        self,
        held: Set[Slot],
        stop: Callable[[Iterable[Slot]], None],
        go: Callable[[Iterable[Slot]], None],
    ) -> None:
        self._held = held
        self._stop = stop
        self._go = go
        self._paused: set[Slot] = set()
        self._stopped: set[Slot] = set()  # of these librdkafka knows that they are paused
        self._aside: dict[Slot, list[Record]] = {}  # came nevertheless; never an empty list

    def __bool__(self) -> bool:
        return bool(self._paused)

    @property
    def all(self) -> bool:
        """Whether everything held is paused."""
        return bool(self._paused) and self._paused >= self._held

    def pause(self, slots: Iterable[Slot]) -> None:
        """Keeps back what comes of ``slots``."""
        self._paused.update(slots)

    def resume(self, slots: Iterable[Slot]) -> None:
        """Lets ``slots`` through again."""
        slots = set(slots)
        self._paused -= slots
        stopped = self._stopped & slots
        if stopped:
            self._go(stopped)
            self._stopped -= stopped

    def settle(self) -> None:
        """Tells librdkafka of all pauses: somebody is about to wait in it."""
        self._tell(self._paused)

    def sift(self, records: list[Record]) -> list[Record]:
        """The records that are not paused; the others are kept back."""
        through: list[Record] = []
        for record in records:
            slot = Slot(record.topic, record.partition)
            if slot in self._paused:
                self._aside.setdefault(slot, []).append(record)
            else:
                through.append(record)
        if not self.all or sum(map(len, self._aside.values())) > _KEEP:
            self._tell(self._paused & self._aside.keys())
        return through

    def due(self, limit: int) -> list[Record]:
        """Up to ``limit`` records that were kept back and are paused no longer."""
        due: list[Record] = []
        for slot in [slot for slot in self._aside if slot not in self._paused]:
            records = self._aside.pop(slot)
            room = limit - len(due)
            due += records[:room]
            if len(records) > room:
                self._aside[slot] = records[room:]
        return due

    def forget(self, slots: Iterable[Slot]) -> None:
        """Drops what was kept back of ``slots``."""
        for slot in slots:
            self._aside.pop(slot, None)

    def drop(self, slots: Iterable[Slot]) -> None:
        """Knows nothing more of ``slots``."""
        slots = set(slots)
        self._paused -= slots
        self._stopped -= slots
        self.forget(slots)

    def _tell(self, slots: Set[Slot]) -> None:
        stopping = slots - self._stopped
        if stopping:
            self._stop(stopping)
            self._stopped |= stopping
