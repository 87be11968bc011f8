"""A topic's pulse: changes with each append, and only tells when to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.log.port import Append, Record, Slot, TopicSettings
from tidings.log.sqlite import SqliteLog
from tidings.log.sqlite.pulse import Pulse


class Everything:
    """A listener that starts at the beginning."""

    def assigned(self, positions: object) -> dict[Slot, int]:
        return {}

    def revoked(self, slots: object) -> None: ...

    def lost(self, slots: object) -> None: ...


def append(log: SqliteLog, value: bytes) -> None:
    producer = log.producer(linger_ms=0)
    producer.append([Append("a", b"k", value)], lambda error, receipt: None)
    assert producer.flush(5.0)


def test_all_that_have_it_open_feel_a_beat(tmp_path: Path) -> None:
    one, other = Pulse(tmp_path / "a.pulse"), Pulse(tmp_path / "a.pulse")
    before = other.last()
    one.beat()
    assert other.last() != before
    assert other.last() == one.last()


def test_an_append_whose_beat_was_lost_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path)
    log.admin().create([TopicSettings(name="a", partitions=1)])
    consumer = log.consumer("g")
    consumer.subscribe(["a"], Everything())
    assert consumer.poll(10) == []
    monkeypatch.setattr(Pulse, "beat", lambda self: None)
    append(log, b"one")
    found: list[Record] = consumer.poll(10, timeout=10.0)
    assert [record.value for record in found] == [b"one"]
    consumer.close()
