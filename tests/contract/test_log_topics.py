"""What every log promises of topics and of reading them whole."""

from __future__ import annotations

import uuid

import pytest

from tests.contract.log_world import World, numbered, until
from tidings.log.port import Append, LogError, Slot, TopicSettings


def test_a_reader_gives_a_part_of_a_partition(world: World) -> None:
    topic = world.topic(partitions=2)
    world.write(numbered(topic, 5_000, 1))
    reader = world.reader()
    slot = Slot(topic, 1)
    assert reader.span(slot) == (0, 5_000)
    read = [record.offset for batch in reader.read(slot, 1_234, 4_321) for record in batch]
    assert read == list(range(1_234, 4_321))
    again = [record.offset for batch in reader.read(slot, 0, 5_000) for record in batch]
    assert again == list(range(5_000))


def test_a_reader_of_nothing_gives_nothing(world: World) -> None:
    topic = world.topic()
    reader = world.reader()
    assert reader.span(Slot(topic, 0)) == (0, 0)
    assert list(reader.read(Slot(topic, 0), 0, 0)) == []


def test_a_reader_of_a_compacted_topic_gets_the_latest_of_each_key(world: World) -> None:
    topic = world.topic(compacted=True, max_bytes=8 << 20)
    slot = Slot(topic, 0)
    for turn in range(3):
        world.write([Append(topic, b"%d" % key, b"%d" % turn, (), 0) for key in range(50)])
    world.write([Append(topic, b"49", None, (), 0)])
    reader = world.reader()
    span = reader.span(slot)
    assert span.end == 151
    read = [record for batch in reader.read(slot, span.first, span.end) for record in batch]
    latest = {record.key: record.value for record in read}
    assert latest == {**{b"%d" % key: b"2" for key in range(49)}, b"49": None}


def test_topics_are_as_they_were_made_and_altered(world: World) -> None:
    made = TopicSettings(
        name=f"contract.{uuid.uuid4().hex[:12]}",
        partitions=3,
        retention_ms=123_456,
        max_record_bytes=2 << 20,
    )
    compacted = TopicSettings(
        name=f"{made.name}.state", partitions=2, compacted=True, retention_ms=-1
    )
    world.admin.create([made, compacted])
    found = world.admin.topics()
    assert (found[made.name], found[compacted.name]) == (made, compacted)
    altered = TopicSettings(
        name=made.name, partitions=3, retention_ms=9_999_999, max_record_bytes=3 << 20
    )
    world.admin.alter(altered)
    until(lambda: world.admin.topics()[made.name] == altered)


def test_making_a_topic_twice_is_an_error(world: World) -> None:
    topic = world.topic()
    with pytest.raises(LogError, match=f"{topic} exists already"):
        world.admin.create([TopicSettings(name=topic, partitions=1)])


def test_a_topic_with_a_bad_name_is_an_error(world: World) -> None:
    with pytest.raises(LogError, match="a/b"):
        world.admin.create([TopicSettings(name="a/b", partitions=1)])
