"""What every log promises of writing and reading, over SQLite and over real Kafka alike."""

from __future__ import annotations

import random
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.log_world import PATIENCE, Watcher, World, gather, into, numbered
from tidings.log.port import Append, LogError, Slot
from tidings.services.kafka import Kafka


def test_every_append_is_confirmed_once(world: World) -> None:
    topic = world.topic(partitions=4)
    records = [Append(topic, b"key-%d" % (n % 50), b"%d" % n) for n in range(2_000)]
    assert world.write(records) == [None] * 2_000


def test_a_record_comes_back_as_it_was(world: World, group: str) -> None:
    topic = world.topic()
    written = [
        Append(topic, b"k", b"v", (("a", b"1"), ("b", b"\x00\xff"), ("a", b"2"))),
        Append(topic, None, b"\x00", ()),
        Append(topic, b"k", None, ()),
        Append(topic, b"", b"", (("empty", b""),)),
    ]
    assert world.write(written) == [None] * 4
    read = gather(world.consumer(group, [topic]), 4)
    assert [(r.topic, r.partition, r.offset) for r in read] == [(topic, 0, n) for n in range(4)]
    assert [(r.key, r.value, r.headers) for r in read] == [
        (w.key, w.value, w.headers) for w in written
    ]


@pytest.mark.kafka
def test_a_key_goes_to_the_same_partition_in_both_logs(kafka: Kafka, tmp_path: Path) -> None:
    keys = [b"", b"21", b"foobar", "Grüße".encode(), *(b"recipient-%d" % n for n in range(500))]
    found: list[dict[bytes | None, int]] = []
    with ExitStack() as stack:
        for address in (f"sqlite:{tmp_path}", f"kafka:{kafka.bootstrap}"):
            world = World(address, stack)
            topic = world.topic(partitions=7)
            assert world.write([Append(topic, key, b"") for key in keys]) == [None] * len(keys)
            records = gather(world.consumer(f"keys-{uuid.uuid4()}", [topic]), len(keys))
            found.append({record.key: record.partition for record in records})
    assert found[0] == found[1]
    assert set(found[0].values()) == set(range(7))


def test_an_explicit_partition_is_obeyed(world: World, group: str) -> None:
    topic = world.topic(partitions=3)
    world.write([Append(topic, b"same", b"%d" % n, (), n) for n in (2, 0, 1)])
    read = gather(world.consumer(group, [topic]), 3)
    assert {record.partition: record.value for record in read} == {0: b"0", 1: b"1", 2: b"2"}


def test_records_without_a_key_find_a_partition(world: World) -> None:
    topic = world.topic(partitions=2)
    assert world.write([Append(topic, None, b"x")] * 20) == [None] * 20
    reader = world.reader()
    assert sum(reader.span(Slot(topic, partition)).end for partition in (0, 1)) == 20


def test_a_partition_is_read_in_the_order_of_its_writing(world: World, group: str) -> None:
    topic = world.topic(partitions=3)
    world.write([Append(topic, b"%d" % (n % 10), b"%d" % n) for n in range(5_000)])
    read = gather(world.consumer(group, [topic]), 5_000, limit=137)
    for partition in range(3):
        mine = [record for record in read if record.partition == partition]
        assert [record.offset for record in mine] == list(range(len(mine)))
        for key in {record.key for record in mine}:
            values = [int(record.value or b"") for record in mine if record.key == key]
            assert values == sorted(values)


def test_a_poll_gives_no_more_than_its_limit(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([Append(topic, b"%d" % n, b"") for n in range(100)])
    consumer = world.consumer(group, [topic])
    sizes = [0]
    while sum(sizes) < 100:
        sizes.append(len(consumer.poll(7, 0.2)))
    assert max(sizes) == 7


def test_append_times_do_not_fall(world: World, group: str) -> None:
    topic = world.topic()
    before = time.time_ns() // 1_000_000
    for _ in range(5):
        world.write(numbered(topic, 20))
    times = [record.time for record in gather(world.consumer(group, [topic]), 100)]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= time.time_ns() // 1_000_000


def test_two_producers_write_to_one_partition_at_once(world: World, group: str) -> None:
    topic = world.topic()
    producers = [world.log.producer(linger_ms=0), world.log.producer(linger_ms=0)]
    acks: list[object | None] = []
    for n in range(100):
        for name, producer in enumerate(producers):
            producer.append([Append(topic, b"%d" % name, b"%d" % n)], lambda e, _: acks.append(e))
            producer.poll()
    assert all(producer.flush(PATIENCE) for producer in producers)
    for producer in producers:
        producer.close()
    assert acks == [None] * 200
    read = gather(world.consumer(group, [topic]), 200)
    assert [record.offset for record in read] == list(range(200))
    for key in (b"0", b"1"):
        values = [int(record.value or b"") for record in read if record.key == key]
        assert values == list(range(100))


def test_a_record_too_large_is_acked_with_an_error_and_its_neighbours_are_written(
    world: World, group: str
) -> None:
    topic = world.topic()
    noise = random.Random(1).randbytes(3 << 20)  # compression makes it no smaller
    acks: list[object | None] = []
    too_large: list[object | None] = []
    producer = world.log.producer()
    for value in (b"before", noise, b"after", b"x" * 50_000):
        heard = too_large if value is noise else acks
        producer.append([Append(topic, b"k", value)], into(heard))
    assert producer.flush(PATIENCE)
    producer.close()
    assert acks == [None] * 3
    assert [(type(error), "large" in str(error)) for error in too_large] == [(LogError, True)]
    read = gather(world.consumer(group, [topic]), 3)
    assert [len(record.value or b"") for record in read] == [6, 5, 50_000]


def test_a_record_of_16_mib_fits_where_the_topic_says_so(world: World, group: str) -> None:
    topic = world.topic(max_bytes=16 << 20)
    value = bytes(16 * 1024 * 1000)
    assert world.write([Append(topic, b"k", value)]) == [None]
    assert gather(world.consumer(group, [topic]), 1)[0].value == value


def test_a_topic_that_does_not_exist_is_an_error_when_it_is_subscribed_to(
    world: World, group: str
) -> None:
    consumer = world.log.consumer(group)
    with pytest.raises(LogError, match=r"no topic contract\.nowhere.*tidings topics apply"):
        consumer.subscribe(["contract.nowhere"], Watcher())
    consumer.close()


def test_a_poll_returns_as_soon_as_something_is_there(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 1))
    consumer = world.consumer(group, [topic])
    # A poll that waited its whole time-out would not come back before the test is stopped.
    assert [record.offset for record in consumer.poll(1000, 3600.0)] == [0]


def test_a_paused_partition_is_not_read_until_resumed(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([*numbered(topic, 50, 0), *numbered(topic, 50, 1)])
    consumer = world.consumer(group, [topic])
    first = gather(consumer, 1, limit=1)
    held = Slot(topic, first[0].partition)
    consumer.pause([held])
    rest = gather(consumer, 50)
    assert {record.partition for record in rest} == {1 - held.partition}
    assert consumer.poll(100, 0.2) == []
    consumer.resume([held])
    assert [record.offset for record in gather(consumer, 49)] == list(range(1, 50))


def test_polls_while_all_is_paused_lose_nothing(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([*numbered(topic, 500, 0), *numbered(topic, 500, 1)])
    held = [Slot(topic, 0), Slot(topic, 1)]
    consumer = world.consumer(group, [topic])
    read = gather(consumer, 10, limit=10)
    for _ in range(3):
        consumer.pause(held)
        assert [record for _ in range(100) for record in consumer.poll(1)] == []
        consumer.resume(held[:1])
        first = gather(consumer, 50, limit=50)
        assert {record.partition for record in first} == {0}
        consumer.resume(held[1:])
        read += first + gather(consumer, 50, limit=7)
    read += gather(consumer, 1000 - len(read))
    for partition in (0, 1):
        assert [r.offset for r in read if r.partition == partition] == list(range(500))


def test_seek_while_paused_is_where_reading_goes_on(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 500))
    slot = Slot(topic, 0)
    consumer = world.consumer(group, [topic])
    gather(consumer, 5, limit=5)
    for polls, target in ((5, 100), (100, 50)):
        consumer.pause([slot])
        for _ in range(polls):
            assert consumer.poll(1) == []
        consumer.seek(slot, target)
        assert consumer.poll(1, 0.1) == []
        consumer.resume([slot])
        assert [record.offset for record in gather(consumer, 3, limit=3)][:3] == [
            target,
            target + 1,
            target + 2,
        ]


def test_seek_drops_what_was_read_ahead(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 100))
    consumer = world.consumer(group, [topic])
    assert [record.offset for record in gather(consumer, 3, limit=3)] == [0, 1, 2]
    consumer.seek(Slot(topic, 0), 40)
    assert [record.offset for record in gather(consumer, 60)] == list(range(40, 100))
    consumer.seek(Slot(topic, 0), 0)
    assert [record.offset for record in gather(consumer, 100)] == list(range(100))


def test_the_pause_flag_does_not_survive_a_rebalance(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    first = world.consumer(group, [topic])
    gather(first, 5)
    first.pause([Slot(topic, 0)])
    first.close()
    assert len(gather(world.consumer(group, [topic]), 5)) == 5


def test_an_error_in_an_ack_comes_out_of_the_call_that_serves_it(world: World) -> None:
    def refuse(error: object | None, _message: object) -> None:
        raise ArithmeticError("a bug in an ack")

    producer = world.log.producer()
    producer.append(numbered(world.topic(), 1), refuse)
    with pytest.raises(ArithmeticError, match="a bug in an ack"):
        producer.flush(PATIENCE)
    assert producer.flush(PATIENCE)
    producer.close()
