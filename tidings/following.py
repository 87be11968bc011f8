"""Follows topics outside any group: what is new since the last look, in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidings.log.port import Admin, Reader, Record, Slot


class Follower:
    """Where some partitions have been read to. ``starts`` moves along."""

    def __init__(self, reader: Reader, starts: Mapping[Slot, int]) -> None:
        self._reader = reader
        self._starts = dict(starts)

    def poll(self) -> list[Record]:
        """What has come since the last poll, ordered by time as far as it is there."""
        found: list[Record] = []
        for slot, start in self._starts.items():
            end = self._reader.span(slot).end
            if end <= start:
                continue
            for batch in self._reader.read(slot, start, end):
                found += batch
            self._starts[slot] = end
        found.sort(key=lambda record: (record.time, record.topic, record.partition, record.offset))
        return found


def slots_of(admin: Admin, topics: Iterable[str]) -> list[Slot]:
    """All partitions of those of ``topics`` that exist."""
    there = admin.topics()
    return [
        Slot(topic, partition)
        for topic in topics
        if topic in there
        for partition in range(there[topic].partitions)
    ]
