"""The SQLite log's parts, by the folder that holds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from tidings.log.port import LogError, OutOfRange, Record, Slot, Span, TopicSettings
from tidings.log.sqlite.consumer import SqliteConsumer
from tidings.log.sqlite.producer import SqliteProducer
from tidings.log.sqlite.topic import TopicFile, create_topic

_BLOCK = 1_000  # records in a batch of a reader's


def epoch_ms() -> int:
    """This machine's time."""
    return time.time_ns() // 1_000_000


class SqliteLog:
    """A log in ``folder``, made where it is missing; ``clock`` gives append times in epoch ms."""

    def __init__(self, folder: Path, clock: Callable[[], int] = epoch_ms) -> None:
        self.folder = folder
        self._clock = clock
        try:
            (folder / "topics").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"the log's folder {folder} can't be made: {error.strerror}") from error

    def consumer(
        self, group: str, *, on_out_of_range: OutOfRange = OutOfRange.FAIL
    ) -> SqliteConsumer:
        """A member of ``group``."""
        return SqliteConsumer(self.folder, group, on_out_of_range)

    def producer(self, *, linger_ms: int = 2) -> SqliteProducer:
        """A producer that gathers for ``linger_ms``."""
        return SqliteProducer(self.folder, linger_ms=linger_ms, clock=self._clock)

    def reader(self) -> SqliteReader:
        """A reader of whole partitions."""
        return SqliteReader(self.folder)

    def admin(self) -> SqliteAdmin:
        """Looks at topics and makes them."""
        return SqliteAdmin(self.folder)


class SqliteReader:
    """Reads partitions from any offset, outside any group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, TopicFile] = {}

    def read(self, slot: Slot, first: int, end: int) -> Iterator[list[Record]]:
        """The records from ``first`` up to, not including, ``end``; in batches."""
        file = self._file(slot.topic)
        while first < end:
            records = file.read(slot.partition, first, _BLOCK)
            if not records:
                return
            first = records[-1].offset + 1
            if first > end:
                records = [record for record in records if record.offset < end]
            if records:
                yield records

    def span(self, slot: Slot) -> Span:
        """What the partition holds."""
        return self._file(slot.topic).span(slot.partition)

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _file(self, topic: str) -> TopicFile:
        if topic not in self._files:
            self._files[topic] = TopicFile(self._folder, topic)
        return self._files[topic]


class SqliteAdmin:
    """Looks at the topics' files and makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def topics(self) -> dict[str, TopicSettings]:
        """All topics, by name."""
        names = sorted(path.stem for path in (self._folder / "topics").glob("*.db"))
        return {name: self._settings(name) for name in names}

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Makes topics; raises LogError for one that exists."""
        for topic in topics:
            create_topic(self._folder, topic)

    def alter(self, topic: TopicSettings) -> None:
        """Brings retention and record size to ``topic``'s."""
        with closing(TopicFile(self._folder, topic.name)) as file:
            file.alter(
                msgspec.structs.replace(
                    file.settings(),
                    retention_ms=topic.retention_ms,
                    max_record_bytes=topic.max_record_bytes,
                )
            )

    def close(self) -> None:
        """Nothing is held between two questions."""

    def _settings(self, name: str) -> TopicSettings:
        with closing(TopicFile(self._folder, name)) as file:
            return file.settings()
