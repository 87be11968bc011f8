"""Reads topics outside any group: all of them once, or what is new since the last look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from heapq import merge
from itertools import chain

from tidings.log.port import Admin, Log, Reader, Record, Slot


def merged(log: Log, starts: Mapping[Slot, int]) -> Iterator[Record]:
    """The records from ``starts`` up to what each partition holds now, in order of time.

    A batch of each partition is held at a time, so each has a reader of its own.
    """
    with ExitStack() as stack:
        streams = []
        for slot, start in starts.items():
            reader = stack.enter_context(closing(log.reader()))
            batches = reader.read(slot, start, reader.span(slot).end)
            streams.append(chain.from_iterable(batches))
        yield from merge(*streams, key=_in_time)


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
        found.sort(key=_in_time)
        return found


def _in_time(record: Record) -> tuple[int, str, int, int]:
    return record.time, record.topic, record.partition, record.offset


def slots_of(admin: Admin, topics: Iterable[str]) -> list[Slot]:
    """All partitions of those of ``topics`` that exist."""
    there = admin.topics()
    return [
        Slot(topic, partition)
        for topic in topics
        if topic in there
        for partition in range(there[topic].partitions)
    ]
