"""A log under test, and what its tests do with it again and again."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tidings.log.address import open_log
from tidings.log.port import (
    Ack,
    Append,
    Consumer,
    Log,
    OutOfRange,
    Position,
    Reader,
    Record,
    Slot,
    TopicSettings,
)

MEMBER = Path(__file__).with_name("log_member.py")
PATIENCE = 30.0  # seconds until something that should happen is called missing


class Watcher:
    """A listener that remembers; starts where it is told."""

    def __init__(self, starts: Mapping[Slot, int] | None = None) -> None:
        self.starts = dict(starts or {})
        self.seen: list[tuple[str, list[Slot]]] = []
        self.positions: dict[Slot, Position | None] = {}
        self.at_revocation: Callable[[], None] = lambda: None

    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        self.seen.append(("assigned", sorted(positions)))
        self.positions.update(positions)
        return {slot: start for slot, start in self.starts.items() if slot in positions}

    def revoked(self, slots: Sequence[Slot]) -> None:
        self.seen.append(("revoked", sorted(slots)))
        self.at_revocation()

    def lost(self, slots: Sequence[Slot]) -> None:
        self.seen.append(("lost", sorted(slots)))


class World:
    """A log under test, and what the tests do with it again and again."""

    def __init__(self, address: str, stack: ExitStack, log: Log | None = None) -> None:
        self.address = address
        self.log: Log = open_log(address) if log is None else log
        self._stack = stack
        self.admin = self.log.admin()
        stack.callback(self.admin.close)

    def topic(
        self, partitions: int = 1, *, compacted: bool = False, max_bytes: int = 1 << 20
    ) -> str:
        name = f"contract.{uuid.uuid4().hex[:12]}"
        topic = TopicSettings(
            name=name, partitions=partitions, compacted=compacted, max_record_bytes=max_bytes
        )
        self.admin.create([topic])
        return name

    def write(self, records: Sequence[Append]) -> list[object | None]:
        """Appends, and waits for the confirmations: None or the error, in order of arrival."""
        producer = self.log.producer()
        acks: list[object | None] = []
        producer.append(records, lambda error, _: acks.append(error))
        assert producer.flush(PATIENCE)
        producer.close()
        return acks

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        watcher: Watcher | None = None,
        policy: OutOfRange = OutOfRange.FAIL,
    ) -> Consumer:
        consumer = self.log.consumer(group, on_out_of_range=policy)
        self._stack.callback(consumer.close)
        consumer.subscribe(topics, watcher or Watcher())
        return consumer

    def reader(self) -> Reader:
        reader = self.log.reader()
        self._stack.callback(reader.close)
        return reader

    def member(
        self, group: str, topic: str, commit_below: int, instance: str = ""
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(MEMBER), self.address, group, topic, str(commit_below), instance],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process


def gather(consumer: Consumer, count: int, limit: int = 1000) -> list[Record]:
    """Polls until ``count`` records have come."""
    records: list[Record] = []

    def enough() -> bool:
        records.extend(consumer.poll(limit, 0.2))
        return len(records) >= count

    until(enough)
    return records


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"


def into(heard: list[object | None]) -> Ack:
    return lambda error, _: heard.append(error)


def numbered(topic: str, count: int, partition: int = 0) -> list[Append]:
    return [Append(topic, b"k", b"%d" % index, (), partition) for index in range(count)]
