"""One topic in memory: records per partition, in the order of their writing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import count

from tidings.log.partitioner import partition_of
from tidings.log.port import Append, LogError, Record, Span, TopicSettings

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class MemoryTopic:
    """A topic. ``clock`` gives append times; in a partition they never fall.

    Raises LogError for a name that no log takes.
    """

    def __init__(self, settings: TopicSettings, clock: Callable[[Append], int]) -> None:
        if not _NAME.fullmatch(settings.name):
            raise LogError(
                f"{settings.name!r} can't be a topic's name: use up to 200 letters, digits, "
                "'.', '_', '-'"
            )
        self.settings = settings
        self.clock = clock
        self.written = 0  # appends so far: whoever reads sees at a glance that nothing is new
        self._partitions = [_Partition() for _ in range(settings.partitions)]
        self._turns = count()

    def append(self, append: Append) -> LogError | None:
        """Write one; gives the error of one that can't be written."""
        key, value, headers = append.key, append.value, append.headers
        settings, number = self.settings, append.partition
        size = len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name) + len(content or b"") for name, content in headers)
        if size > settings.max_record_bytes:
            return LogError(
                f"a record of {size:,} bytes is larger than {settings.name} takes "
                f"({settings.max_record_bytes:,}, max_record_bytes in the table of topics)"
            )
        if settings.partitions == 1:
            number = 0
        elif number < 0 and key is None:
            number = next(self._turns) % settings.partitions
        elif number < 0 and key is not None:
            number = partition_of(key, settings.partitions)
        held = self._partitions[number]
        records, time = held.records, self.clock(append)
        if time > held.time:
            held.time = time
        offset = held.first + len(records)
        records.append(Record(settings.name, number, offset, held.time, key, value, headers))
        self.written += 1
        return None

    def replay(self, records: Iterable[Record]) -> None:
        """Write records of another log to the first partition, each at its own time."""
        held, name = self._partitions[0], self.settings.name
        offset, last = held.first + len(held.records), held.time
        written = [
            Record(name, 0, number, last := max(last, one.time), one.key, one.value, one.headers)
            for number, one in enumerate(records, offset)
        ]
        held.records += written
        held.time = last
        self.written += len(written)

    def read(self, partition: int, first: int, end: int) -> list[Record]:
        """The records from ``first`` up to, not including, ``end``."""
        held = self._partitions[partition]
        low = max(first - held.first, 0)
        return held.records[low : max(end - held.first, low)]

    def span(self, partition: int) -> Span:
        """What the partition holds."""
        held = self._partitions[partition]
        return Span(held.first, held.first + len(held.records))

    def forget(self) -> None:
        """Let all records go; offsets go on."""
        for held in self._partitions:
            held.first += len(held.records)
            held.records = []


class _Partition:
    """Records from offset ``first`` on, and the time of the last one."""

    __slots__ = ("first", "records", "time")

    def __init__(self) -> None:
        self.first = 0
        self.records: list[Record] = []
        self.time = 0
