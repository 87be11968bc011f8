"""What is Kafka's own: its group tool, rebalances among several members, brokers that die."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka import Producer as Transactions

from tests.contract import raw_producer
from tests.contract.log_world import PATIENCE, Watcher, World, gather, into, numbered, until
from tidings.log.address import open_log
from tidings.log.kafka import admin, client
from tidings.log.kafka.client import librdkafka_log
from tidings.log.kafka.consumer import KafkaConsumer
from tidings.log.port import (
    Append,
    Consumer,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Position,
    Record,
    Slot,
    Span,
)
from tidings.services.kafka import Kafka
from tidings.services.process import free_port

PROTOCOLS = ["session.timeout.ms=3000", "group.protocol=consumer"]


@pytest.fixture(params=PROTOCOLS)
def world(request: pytest.FixtureRequest, kafka: Kafka) -> Iterator[World]:
    """Kafka with either group protocol."""
    with ExitStack() as stack:
        yield World(f"kafka:{kafka.bootstrap}?{request.param}", stack)


@pytest.fixture
def classic(kafka: Kafka) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(f"kafka:{kafka.bootstrap}?{PROTOCOLS[0]}", stack)


def slots(topic: str, count: int) -> list[Slot]:
    return [Slot(topic, partition) for partition in range(count)]


def poll_all(*consumers: Consumer) -> list[Record]:
    return [record for consumer in consumers for record in consumer.poll(1000, 0.02)]


def test_kafkas_own_group_tool_shows_the_true_lag(classic: World, kafka: Kafka, group: str) -> None:
    topic = classic.topic(partitions=3)
    classic.write([*numbered(topic, 10, 0), *numbered(topic, 5, 1)])
    consumer = classic.consumer(group, [topic])
    gather(consumer, 15)
    consumer.commit({Slot(topic, 0): Position(4, "note")}, wait=True)
    until(lambda: None not in consumer.committed(slots(topic, 3)).values())
    rows = kafka.describe_group(group)
    assert [(row.partition, row.current, row.end, row.lag) for row in rows] == [
        (0, 4, 10, 6),
        (1, 0, 5, 5),
        (2, 0, 0, 0),
    ]


def test_a_header_whose_name_is_no_text_stops_nobody(
    classic: World, kafka: Kafka, group: str
) -> None:
    """Names are bytes on the wire; the client gives no header at all where one is no UTF-8."""
    topic = classic.topic(partitions=1)
    raw_producer.write(kafka.bootstrap, topic, [b"bad"] * 100, (b"\xff\xfe", b"x"))
    classic.write([Append(topic, None, b"good", (("h", b"\xff"),), 0)])

    read = gather(classic.consumer(group, [topic]), 101)
    looked = [*classic.reader().read(Slot(topic, 0), 0, 101)]

    assert {(one.value, one.headers) for one in read[:100]} == {(b"bad", ())}
    assert (read[100].value, read[100].headers) == (b"good", (("h", b"\xff"),))
    assert [one for batch in looked for one in batch] == read


def test_members_share_the_partitions_and_the_last_one_has_them_all(
    world: World, group: str
) -> None:
    topic = world.topic(partitions=4)
    watchers = [Watcher() for _ in range(3)]
    members: list[Consumer] = []

    def settled() -> bool:
        poll_all(*members)
        held = sorted(slot for member in members for slot in member.assignment())
        return held == slots(topic, 4) and all(member.assignment() for member in members)

    for watcher in watchers:
        members.append(world.consumer(group, [topic], watcher))
        until(settled)
    for _ in range(2):
        members.pop(0).close()
        until(settled)
    for watcher in watchers[:2]:
        given = [slot for what, held in watcher.seen if what == "assigned" for slot in held]
        taken = [slot for what, held in watcher.seen if what == "revoked" for slot in held]
        assert sorted(given) == sorted(taken)


def test_nothing_is_lost_or_read_twice_when_members_come_and_go(world: World, group: str) -> None:
    topic = world.topic(partitions=4)
    producer = world.log.producer()
    written, read = 0, list[tuple[int, int]]()
    members: list[Consumer] = []

    def step() -> None:
        nonlocal written
        producer.append([Append(topic, b"%d" % (written + n), b"") for n in range(10)], into([]))
        producer.poll()
        written += 10
        for member in members:
            records = member.poll(50, 0.02)
            read.extend((record.partition, record.offset) for record in records)
            last = {Slot(topic, r.partition): Position(r.offset + 1) for r in records}
            member.commit(last, wait=True)

    def spread() -> bool:
        step()
        held = [member.assignment() for member in members]
        return all(held) and sum(map(len, held)) == 4

    for _ in range(3):
        members.append(world.consumer(group, [topic]))
        until(spread)
    for _ in range(2):
        members.pop(0).close()
        until(spread)
    assert producer.flush(PATIENCE)
    producer.close()
    read += [(r.partition, r.offset) for r in gather(members[0], written - len(read))]
    reader = world.reader()
    ends = [reader.span(slot).end for slot in slots(topic, 4)]
    assert sorted(read) == [(p, offset) for p in range(4) for offset in range(ends[p])]


def test_commits_that_do_not_wait_outlive_a_rebalance(classic: World, group: str) -> None:
    topic = classic.topic(partitions=4)
    classic.write([record for p in range(4) for record in numbered(topic, 10, p)])
    first = classic.consumer(group, [topic])
    gather(first, 40)
    second = classic.consumer(group, [topic])
    last: dict[Slot, Position] = {}

    def commits_until_shared() -> bool:
        note = f"{len(last)}.{next(steps)}"
        last.update({slot: Position(7, note) for slot in first.assignment()})
        first.commit(last)
        poll_all(first, second)
        return len(first.assignment()) == 2

    steps = count()
    until(commits_until_shared)
    kept = {slot: last[slot] for slot in first.assignment()}
    until(lambda: poll_all(first, second) == [] and first.committed(list(kept)) == kept)


def test_a_frozen_process_that_lost_its_partitions_does_no_harm(classic: World, group: str) -> None:
    topic = classic.topic(partitions=2)
    classic.write(numbered(topic, 5))
    frozen = classic.member(group, topic, commit_below=0)
    assert frozen.stdout is not None
    assert "read 0 4\n" in iter(frozen.stdout.readline, "")
    frozen.send_signal(signal.SIGSTOP)
    heir = classic.consumer(group, [topic])
    assert len(gather(heir, 5)) == 5
    frozen.send_signal(signal.SIGCONT)
    assert "lost 2\n" in iter(frozen.stdout.readline, "")
    heir.commit({Slot(topic, 0): Position(5, "mine")}, wait=True)
    assert heir.committed([Slot(topic, 0)]) == {Slot(topic, 0): Position(5, "mine")}


@pytest.fixture
def patient(kafka: Kafka) -> Iterator[World]:
    """Members that may be silent for longer than any test."""
    with ExitStack() as stack:
        yield World(f"kafka:{kafka.bootstrap}?session.timeout.ms=120000", stack)


def test_a_killed_process_that_has_a_name_gets_its_partitions_back_before_its_session_is_over(
    patient: World, group: str
) -> None:
    topic = patient.topic(partitions=2)
    patient.write(numbered(topic, 5))
    first = patient.member(group, topic, commit_below=3, instance="a")
    assert first.stdout is not None
    assert "read 0 4\n" in iter(first.stdout.readline, "")
    first.kill()
    again = patient.member(group, topic, commit_below=0, instance="a")
    assert again.stdout is not None
    assert [again.stdout.readline() for _ in range(3)] == [
        "assigned 2\n",
        "read 0 3\n",
        "read 0 4\n",
    ]


def test_of_two_processes_with_one_name_the_older_is_told_so(classic: World, group: str) -> None:
    topic = classic.topic()
    older = open_log(classic.address, instance="a").consumer(group)
    younger = open_log(classic.address, instance="a").consumer(group)
    older.subscribe([topic], Watcher())
    until(lambda: poll_all(older) == [] and bool(older.assignment()))
    younger.subscribe([topic], Watcher())

    def told() -> bool:
        poll_all(younger, older)
        return False

    with pytest.raises(LogError, match="another process runs under the same instance name"):
        until(told)
    younger.close()
    older.close()


def rival(world: World, group: str, topic: str) -> None:
    """Somebody joins under the name ``a``, and is not heard of again."""
    other = open_log(world.address, instance="a").consumer(group)
    other.subscribe([topic], Watcher())
    until(lambda: poll_all(other) == [] and bool(other.assignment()))
    other.close()


def test_who_is_fenced_after_a_broker_was_away_joins_anew_and_reads_on(
    classic: World, group: str
) -> None:
    topic = classic.topic()
    classic.write(numbered(topic, 5))
    watcher = Watcher()
    member = open_log(classic.address, instance="a").consumer(group)
    assert isinstance(member, KafkaConsumer)
    member.subscribe([topic], watcher)
    assert len(gather(member, 5)) == 5
    member.commit({Slot(topic, 0): Position(3)}, wait=True)
    member._on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    rival(classic, group, topic)

    assert [record.offset for record in gather(member, 2)] == [3, 4]
    assert [what for what, _ in watcher.seen] == ["assigned", "lost", "assigned"]
    member.commit({Slot(topic, 0): Position(5)}, wait=True)

    rival(classic, group, topic)
    with pytest.raises(LogError, match="another process runs under the same instance name"):
        until(lambda: len(poll_all(member)) > 1_000)
    member.close()


def test_brokers_that_are_down_are_named_and_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    monkeypatch.setattr(client, "ANSWER", 0.2)
    monkeypatch.setattr(admin, "ANSWER", 0.2)
    brokers = f"127.0.0.1:{free_port()}"
    with pytest.raises(LogError, match=f"the topics of {brokers} can't be listed: .*broker run"):
        open_log(f"kafka:{brokers}").admin().topics()
    waits = [each.getMessage() for each in caplog.records if "nobody answers yet" in each.msg]
    assert len(waits) == 1


def test_a_name_does_not_go_with_the_brokers_own_protocol() -> None:
    with pytest.raises(LogError, match="leave out one"):
        open_log("kafka:b:1?group.protocol=consumer", instance="a")


def test_a_position_that_retention_overtakes_is_an_error(
    classic: World, kafka: Kafka, group: str
) -> None:
    topic, consumer = _overtaken(classic, kafka, group, OutOfRange.FAIL)
    with pytest.raises(OutOfRangeError, match=rf"stands at 2 in {topic}\[0\], which holds 8 to 20"):
        gather(consumer, 1)


def test_a_member_that_retention_overtakes_goes_on_from_the_earliest(
    classic: World, kafka: Kafka, group: str
) -> None:
    _, consumer = _overtaken(classic, kafka, group, OutOfRange.EARLIEST)
    assert [record.offset for record in gather(consumer, 12)] == list(range(8, 20))


def test_a_member_that_retention_overtakes_goes_on_from_the_latest(
    classic: World, kafka: Kafka, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic, consumer = _overtaken(classic, kafka, group, OutOfRange.LATEST)
    until(lambda: consumer.poll(10, 0.05) == [] and "from the latest record" in caplog.text)
    classic.write(numbered(topic, 1))
    assert [record.offset for record in gather(consumer, 1)] == [20]


def _overtaken(world: World, kafka: Kafka, group: str, policy: OutOfRange) -> tuple[str, Consumer]:
    """A member that reads on from 2 where the partition holds 8 to 20."""
    topic = world.topic()
    world.write(numbered(topic, 20))
    consumer = world.consumer(group, [topic], policy=policy)
    gather(consumer, 20)
    [deleted] = kafka.admin.delete_records([TopicPartition(topic, 0, 8)]).values()
    deleted.result()
    assert consumer.span(Slot(topic, 0)) == Span(8, 20)
    consumer.seek(Slot(topic, 0), 2)
    return topic, consumer


def test_what_transactions_leave_between_records_is_no_gap_to_wait_for(
    classic: World, kafka: Kafka, group: str
) -> None:
    topic = classic.topic()
    producer = Transactions(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"of-{topic}"},
        logger=librdkafka_log(),
    )
    producer.init_transactions(30)
    for turn in range(4):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % turn)
        if turn == 2:
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    reader = classic.reader()
    span = reader.span(Slot(topic, 0))
    assert span == Span(0, 8)
    read = [r for batch in reader.read(Slot(topic, 0), span.first, span.end) for r in batch]
    assert [(record.offset, record.value) for record in read] == [(0, b"0"), (2, b"1"), (6, b"3")]
    consumed = gather(classic.consumer(group, [topic]), 3)
    assert [record.offset for record in consumed] == [0, 2, 6]


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(
    start_kafka: Callable[..., Kafka], group: str
) -> None:
    with ExitStack() as stack:
        broker = start_kafka()
        world = World(f"kafka:{broker.bootstrap}?session.timeout.ms=3000", stack)
        topic = world.topic(partitions=2)
        consumer = world.consumer(group, [topic])
        producer = world.log.producer()
        stack.callback(producer.close)
        acks: list[object | None] = []
        read: list[Record] = []

        def write(first: int) -> None:
            producer.append(
                [Append(topic, b"%d" % n, b"%d" % n) for n in range(first, first + 500)], into(acks)
            )

        def all_read(count: int) -> bool:
            producer.poll()
            records = consumer.poll(1000, 0.02)
            read.extend(records)
            last = {Slot(topic, r.partition): Position(r.offset + 1) for r in records}
            consumer.commit(last)
            return len(acks) == count and len(read) == count

        write(0)
        until(lambda: all_read(500))
        held = slots(topic, 2)
        ends = {slot: Position(consumer.span(slot).end) for slot in held}
        until(lambda: all_read(500) and consumer.committed(held) == ends)
        broker.kill()
        write(500)
        broker.start()
        write(1000)
        until(lambda: all_read(1500))
        assert acks == [None] * 1500
        assert sorted(int(record.value or b"") for record in read) == list(range(1500))


def test_a_partition_that_does_not_exist_is_acked_as_an_error(classic: World) -> None:
    topic = classic.topic(partitions=2)
    [error] = classic.write([Append(topic, b"k", b"v", (), 7)])
    assert error is not None


def test_librdkafkas_messages_are_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    logger = librdkafka_log()
    with caplog.at_level(logging.INFO, logger="tidings.kafka"):
        for n in range(100):
            logger.warning("%s [%s] %s", f"KIND-A-{id(caplog)}", "consumer", f"refused {n}")
        logger.warning("%s [%s] %s", f"KIND-B-{id(caplog)}", "consumer", "another")
    assert [record.getMessage().split("] ")[1] for record in caplog.records] == [
        "refused 0",
        "another",
    ]
