"""One contract for the log, whichever adapter: the same tests over SQLite and over real Kafka."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tidings.log.address import open_log
from tidings.log.port import (
    Ack,
    Append,
    Consumer,
    Log,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Reader,
    Record,
    Slot,
    TopicSettings,
)
from tidings.services.kafka import Kafka

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

    def __init__(self, address: str, stack: ExitStack) -> None:
        self.address = address
        self.log: Log = open_log(address)
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

    def member(self, group: str, topic: str, commit_below: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(MEMBER), self.address, group, topic, str(commit_below)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield World(f"sqlite:{tmp_path}", stack)
        else:
            broker: Kafka = request.getfixturevalue("kafka")
            yield World(f"kafka:{broker.bootstrap}?session.timeout.ms=3000", stack)


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


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


def _into(heard: list[object | None]) -> Ack:
    return lambda error, _: heard.append(error)


def numbered(topic: str, count: int, partition: int = 0) -> list[Append]:
    return [Append(topic, b"k", b"%d" % index, (), partition) for index in range(count)]


# -- appending and reading ---------------------------------------------------------------------


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
        producer.append([Append(topic, b"k", value)], _into(heard))
    assert producer.flush(PATIENCE)
    producer.close()
    assert acks == [None] * 3
    assert ["large" in str(error) for error in too_large] == [True]
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


# -- positions ---------------------------------------------------------------------------------


def test_positions_with_metadata_survive_the_process(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([*numbered(topic, 10, 0), *numbered(topic, 10, 1)])
    first = world.consumer(group, [topic])
    gather(first, 20)
    note = "é" + "x" * 4094
    first.commit({Slot(topic, 0): Position(4, note), Slot(topic, 1): Position(10)}, wait=True)
    first.close()

    watcher = Watcher()
    second = world.consumer(group, [topic], watcher)
    assert [record.offset for record in gather(second, 6)] == [4, 5, 6, 7, 8, 9]
    saved = {Slot(topic, 0): Position(4, note), Slot(topic, 1): Position(10, "")}
    assert watcher.positions == saved
    assert second.committed(list(saved)) == saved


def test_a_commit_that_does_not_wait_is_saved_as_well(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    consumer = world.consumer(group, [topic])
    gather(consumer, 5)
    slot = Slot(topic, 0)
    consumer.commit({slot: Position(3, "here")})
    until(
        lambda: (
            not consumer.poll(1, 0.05) and consumer.committed([slot])[slot] == Position(3, "here")
        )
    )


def test_metadata_beyond_the_limit_is_refused(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 1))
    consumer = world.consumer(group, [topic])
    gather(consumer, 1)
    with pytest.raises(LogError, match="metadata"):
        consumer.commit({Slot(topic, 0): Position(1, "x" * 4097)}, wait=True)


def test_what_was_not_committed_is_read_again(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 10))
    first = world.consumer(group, [topic])
    gather(first, 10)
    first.commit({Slot(topic, 0): Position(7)}, wait=True)
    first.close()
    second = world.consumer(group, [topic])
    assert [record.offset for record in gather(second, 3)] == [7, 8, 9]


def test_a_partition_never_committed_is_committed_at_its_start(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write(numbered(topic, 3, 1))
    consumer = world.consumer(group, [topic])
    gather(consumer, 3)
    slots = [Slot(topic, 0), Slot(topic, 1)]
    until(lambda: consumer.committed(slots) == {slot: Position(0) for slot in slots})


def test_the_listener_says_where_to_start(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([*numbered(topic, 5, 0), *numbered(topic, 5, 1)])
    watcher = Watcher({Slot(topic, 0): 3})
    read = gather(world.consumer(group, [topic], watcher), 7)
    assert sorted((r.partition, r.offset) for r in read) == [
        *((0, n) for n in (3, 4)),
        *((1, n) for n in range(5)),
    ]


@pytest.mark.parametrize(("start", "first"), [(-3, 0), (99, 0)])
def test_out_of_range_earliest(world: World, group: str, start: int, first: int) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    watcher = Watcher({Slot(topic, 0): start})
    consumer = world.consumer(group, [topic], watcher, OutOfRange.EARLIEST)
    assert gather(consumer, 5)[0].offset == first


def test_out_of_range_latest(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    watcher = Watcher({Slot(topic, 0): 99})
    consumer = world.consumer(group, [topic], watcher, OutOfRange.LATEST)
    until(lambda: not consumer.poll(10, 0.05) and bool(consumer.assignment()))
    world.write(numbered(topic, 1))
    assert gather(consumer, 1)[0].offset == 5


def test_out_of_range_is_an_error_by_default_and_stays_one(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    consumer = world.consumer(group, [topic], Watcher({Slot(topic, 0): 99}))
    with pytest.raises(OutOfRangeError, match=r"stands at 99 in .*\[0\], which holds 0 to 5"):
        gather(consumer, 1)
    with pytest.raises(OutOfRangeError):
        consumer.poll(10)


# -- pause, resume, seek -----------------------------------------------------------------------


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


# -- groups ------------------------------------------------------------------------------------


def test_closing_hands_over_in_order(world: World, group: str) -> None:
    topic = world.topic(partitions=2)
    world.write([*numbered(topic, 5, 0), *numbered(topic, 5, 1)])
    slots = [Slot(topic, 0), Slot(topic, 1)]
    watcher = Watcher()
    first = world.consumer(group, [topic], watcher)
    gather(first, 10)
    watcher.at_revocation = lambda: first.commit({s: Position(5, "bye") for s in slots}, wait=True)
    first.close()
    assert watcher.seen == [("assigned", slots), ("revoked", slots)]

    heir = Watcher()
    second = world.consumer(group, [topic], heir)
    until(lambda: not second.poll(10, 0.1) and second.assignment() == frozenset(slots))
    assert heir.positions == {slot: Position(5, "bye") for slot in slots}


def test_a_waiting_member_takes_over_from_one_that_closes(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    first, second = world.consumer(group, [topic]), world.consumer(group, [topic])
    gather(first, 5)
    assert second.poll(10, 0.2) == []
    first.commit({Slot(topic, 0): Position(2)}, wait=True)
    first.close()
    assert [record.offset for record in gather(second, 3)] == [2, 3, 4]


def test_another_member_takes_over_from_a_killed_one(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 10))
    process = world.member(group, topic, commit_below=4)
    assert process.stdout is not None
    assert "read 0 9\n" in iter(process.stdout.readline, "")
    process.kill()
    watcher = Watcher()
    heir = world.consumer(group, [topic], watcher)
    assert [record.offset for record in gather(heir, 6)] == [4, 5, 6, 7, 8, 9]
    assert watcher.positions == {Slot(topic, 0): Position(4, "noted")}


def test_groups_do_not_see_each_other(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 3))
    one, two = world.consumer(group, [topic]), world.consumer(group + "-b", [topic])
    assert len(gather(one, 3)) == len(gather(two, 3)) == 3


def test_an_error_in_the_listener_comes_out_of_poll(world: World, group: str) -> None:
    class Faulty(Watcher):
        def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
            raise ArithmeticError("a bug in the listener")

    topic = world.topic()
    consumer = world.consumer(group, [topic], Faulty())
    with pytest.raises(ArithmeticError, match="a bug in the listener"):
        until(lambda: bool(consumer.poll(10, 0.2)))


def test_several_topics_are_read_by_one_member(world: World, group: str) -> None:
    topics = [world.topic(), world.topic(partitions=2)]
    for topic in topics:
        world.write(numbered(topic, 4))
    read = gather(world.consumer(group, topics), 8)
    assert sorted(record.topic for record in read) == sorted(topics * 4)


# -- reading without a group -------------------------------------------------------------------


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


# -- topics ------------------------------------------------------------------------------------


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
