"""What every log promises of positions and of groups, over SQLite and over real Kafka alike."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.contract.log_world import Watcher, World, gather, numbered, until
from tidings.log.port import LogError, OutOfRange, OutOfRangeError, Position, Slot


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


@pytest.mark.parametrize(
    "world", ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True
)
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


def test_a_position_is_saved_by_who_holds_the_partition_alone(world: World, group: str) -> None:
    topic = world.topic()
    world.write(numbered(topic, 5))
    slot = Slot(topic, 0)
    consumer = world.consumer(group, [topic])
    gather(consumer, 5)
    bystander = world.consumer(group, [topic])
    consumer.commit({slot: Position(3)}, wait=True)
    bystander.commit({slot: Position(1)})
    with pytest.raises(LogError, match=rf"{topic}\[0\] is not held here"):
        bystander.commit({slot: Position(1)}, wait=True)
    assert consumer.committed([slot]) == {slot: Position(3)}
