"""Appends to topics of the SQLite log: gathered, committed together, acked after the commit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from tidings.log.partitioner import partition_of
from tidings.log.port import Ack, Append, LogError, TopicSettings
from tidings.log.sqlite.topic import Body, Busy, TopicFile

_FULL = 5_000  # records gathered for one topic that are committed without waiting for a poll


class SqliteProducer:
    """Commits what was gathered at the first poll after ``linger_ms``, one transaction per topic.

    ``clock`` gives the append time in epoch ms.
    """

    def __init__(self, folder: Path, *, linger_ms: int, clock: Callable[[], int]) -> None:
        self._folder = folder
        self._linger = linger_ms / 1000
        self._clock = clock
        self._files: dict[str, TopicFile] = {}
        self._open: dict[str, list[tuple[Append, Ack]]] = {}
        self._since = 0.0  # when the oldest record that is open was handed over, monotonic
        self._due: deque[tuple[Ack, LogError | None]] = deque()
        self._turns = count()

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        """Gathers records; commits a topic's here only where very many came together."""
        if not self._open:
            self._since = time.monotonic()
        for record in records:
            gathered = self._open.setdefault(record.topic, [])
            gathered.append((record, ack))
            if len(gathered) >= _FULL:
                self._commit(record.topic)

    def poll(self) -> None:
        """Commits what has lingered, and serves acks.

        A topic to which another process is appending is left for the next poll.
        """
        if self._open and time.monotonic() - self._since >= self._linger:
            self._commit_all()
        self._serve()

    def flush(self, timeout: float) -> bool:
        """Commits all and serves all acks, as far as other processes let it in time."""
        deadline = time.monotonic() + timeout
        while True:
            self._commit_all()
            self._serve()
            if not self._open:
                return True
            if time.monotonic() >= deadline:
                return False

    def close(self) -> None:
        """Flushes for up to 5 s and closes the files."""
        self.flush(5.0)
        for file in self._files.values():
            file.close()

    def _serve(self) -> None:
        while self._due:
            ack, error = self._due.popleft()
            ack(error, None)

    def _commit_all(self) -> None:
        for topic in list(self._open):
            self._commit(topic)

    def _commit(self, topic: str) -> None:
        gathered = self._open.pop(topic)
        try:
            file = self._file(topic)
            settings = file.settings()
            batches: dict[int, list[Body]] = {}
            outcomes: list[tuple[Ack, LogError | None]] = []
            for record, ack in gathered:
                error = self._place(record, settings, batches)
                outcomes.append((ack, error))
            if batches:
                file.append(batches, settings, self._clock())
        except Busy:
            self._open[topic] = gathered
        except LogError as error:
            self._due.extend((ack, error) for _, ack in gathered)
        else:
            self._due.extend(outcomes)

    def _place(
        self, record: Append, settings: TopicSettings, batches: dict[int, list[Body]]
    ) -> LogError | None:
        key, value, headers, partition = record.key, record.value, record.headers, record.partition
        size = len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name) + len(content or b"") for name, content in headers)
        if size > settings.max_record_bytes:
            return LogError(
                f"a record of {size:,} bytes is larger than {record.topic} takes "
                f"({settings.max_record_bytes:,}, max_record_bytes in the table of topics)"
            )
        if partition < 0:
            turn = partition_of(key, settings.partitions) if key is not None else next(self._turns)
            partition = turn % settings.partitions
        elif partition >= settings.partitions:
            return LogError(
                f"{record.topic} has no partition {partition}, only {settings.partitions}"
            )
        batches.setdefault(partition, []).append((key, value, headers))
        return None

    def _file(self, topic: str) -> TopicFile:
        file = self._files.get(topic)
        if file is None:
            file = self._files[topic] = TopicFile(self._folder, topic)
        return file
