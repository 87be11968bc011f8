"""A member of a group: ports that are away, partitions that come and go, and what is committed."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock, call

import pytest

from tests.paper_log import PaperConsumer
from tests.unit.runtime.one_flow import DELIVERIES, DIGEST, ENTRIES, STATE, OneFlow
from tests.unit.runtime.test_intake import OneIntake, event
from tidings.log.port import LogError, Slot
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.member import HELD_FOR_MS

NOTES = "\n  - limit: {at_most: 100, within: 1s}\n  - deliver: {to: push, template: t}\n"
ONE, OTHER = Slot(ENTRIES, 0), Slot(ENTRIES, 1)


def two_partitions(folder: Path) -> OneFlow:
    """A flow that passes everything on; `ana` is of partition 0, `ida` of 1."""
    flow = OneFlow(folder, NOTES, partitions=2)
    flow.settle()
    return flow


def other_process(flow: OneFlow) -> tuple[KeyedFlow, PaperConsumer]:
    """A second process of the same flow; the first stays in hand as ``flow.unit``."""
    unit, consumer, producer = flow.unit, flow.consumer, flow.producer
    flow.start()
    second = flow.unit, flow.consumer
    flow.unit, flow.consumer, flow.producer = unit, consumer, producer
    return second


# ── Ports that are away ───────────────────────────────────────────────────────────────────────


def test_a_batch_that_can_not_be_answered_is_asked_about_again_now_and_then(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.people.away = True
    flow.enter("ana", {}, id="e1")
    flow.turn(50)
    assert flow.people.asked == 1
    assert flow.unit.pause() > 0.01

    flow.clock.advance(HELD_FOR_MS)
    flow.turn(50)
    assert flow.people.asked == 2

    flow.people.away = False
    flow.clock.advance(HELD_FOR_MS)
    flow.settle()
    assert flow.members() == [("e1",)]


def test_a_clock_that_is_set_back_keeps_nothing_waiting(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.people.away = True
    flow.enter("ana", {}, id="e1")
    flow.turn(5)
    flow.people.away = False
    flow.clock.advance(-3_600_000)
    flow.settle()
    flow.turn(5)
    assert flow.members() == [("e1",)]

    flow.clock.advance(300)
    flow.turn(5)
    assert flow.committed() == 1


def test_nothing_is_read_while_a_batch_is_held_and_all_of_it_afterwards(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.people.away = True
    flow.enter("ana", {})
    flow.turn()
    for _ in range(5):
        flow.enter("ana", {})
        flow.clock.advance(HELD_FOR_MS)
        flow.turn(3)
    assert flow.consumer.places == {ONE: 1}

    flow.people.away = False
    flow.clock.advance(HELD_FOR_MS)
    flow.settle()
    assert len(flow.members()) == 6


def test_that_events_wait_is_said_once_and_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr("tidings.runtime.member._LOG", log)
    it = OneIntake(tmp_path, "  - dedupe: {by: event_id, within: 1h}\n")
    it.claims.away = True
    it.emit(event(1))
    for _ in range(5):
        it.turn()
        it.clock.advance(HELD_FOR_MS)
    it.claims.away = False
    it.settle()
    assert log.mock_calls == [
        call.warning("events wait", unit="social.intake", error="the server is away"),
        call.info("events go on", unit="social.intake"),
    ]


def test_an_intake_that_holds_a_batch_reads_no_partition_on(tmp_path: Path) -> None:
    it = OneIntake(tmp_path, "  - dedupe: {by: event_id, within: 1h}\n", partitions=3)
    it.claims.away = True
    it.emit(event(1))
    it.turn()
    for number in range(2, 12):
        it.emit(event(number), partition=number % 3)
        it.turn(5)
    assert sum(it.consumer.places.values()) == 1

    it.claims.away = False
    it.settle()
    assert len(it.entries()) == 11


def test_a_partition_that_comes_while_a_batch_is_held_waits_as_well(tmp_path: Path) -> None:
    flow = two_partitions(tmp_path)
    flow.group.share({ONE: flow.consumer})
    flow.turn()
    flow.people.away = True
    flow.enter("ana", {}, id="a")
    flow.turn(2)
    for number in range(5):
        flow.enter("ida", {}, id=f"i{number}")
    flow.group.share({ONE: flow.consumer, OTHER: flow.consumer})
    flow.turn(20)
    assert flow.consumer.places[OTHER] <= 1

    flow.people.away = False
    flow.clock.advance(HELD_FOR_MS)
    flow.settle()
    flow.pass_time(0)
    assert sorted(flow.members()) == [("a",), ("i0",), ("i1",), ("i2",), ("i3",), ("i4",)]


def test_no_markers_are_written_while_nothing_is_read(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.wait(500)
    flow.enter("ana", {"photo": "q"}, id="e2")
    flow.settle()
    flow.people.away = True
    flow.wait(600)  # p's window is due: a marker, and a batch that is held
    flow.turn()
    end = flow.log.span(ONE).end
    for _ in range(10):
        flow.wait(1_000)
    assert flow.log.span(ONE).end == end == 3

    flow.people.away = False
    flow.pass_time(1_000)
    assert flow.members() == [("e1",), ("e2",)]


def test_a_held_batch_survives_a_stop_in_the_next_process(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.settle()
    flow.people.away = True
    flow.pass_time(1_000)
    flow.stop()
    flow.people.away = False
    flow.start()
    flow.settle()

    assert flow.members() == [("e1",)]


def test_a_held_batch_whose_partitions_are_all_gone_is_let_go(tmp_path: Path) -> None:
    flow = two_partitions(tmp_path)
    flow.people.away = True
    flow.enter("ana", {}, id="a")
    flow.turn(2)
    _, consumer = other_process(flow)
    flow.group.share({ONE: consumer, OTHER: flow.consumer})
    flow.turn(2)
    flow.people.away = False
    flow.clock.advance(HELD_FOR_MS)
    flow.settle()
    assert flow.members() == []  # its next owner writes it
    flow.enter("ida", {}, id="i")
    flow.settle()
    assert flow.members() == [("i",)]


# ── Replay ────────────────────────────────────────────────────────────────────────────────────


def test_a_muted_replay_asks_nobody_and_writes_nothing(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for number in range(5):
        flow.enter("ana", {}, id=f"e{number}")
    flow.settle()
    flow.pass_time(1_000)
    assert (flow.committed(), len(flow.members())) == (5, 5)
    flow.kill()
    flow.log.clear("tidings.social.state")  # so that all of it is replayed
    asked = flow.people.asked
    flow.start()
    flow.settle()

    assert flow.task().position.offset == 5
    assert (flow.people.asked, len(flow.members())) == (asked, 5)


# ── Coming and going ──────────────────────────────────────────────────────────────────────────


def test_a_partition_that_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.settle()
    flow.group.share({})
    flow.turn(2)
    flow.enter("ana", {"photo": "p"}, id="e2")
    flow.group.share({ONE: flow.consumer})
    flow.settle()
    flow.pass_time(1_000)

    assert flow.members() == [("e1", "e2")]


def test_a_commit_that_comes_too_late_does_no_harm(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.turn()
    flow.clock.advance(300)
    flow.turn()
    flow.enter("ana", {}, id="e1")
    flow.turn()
    flow.consumer.fenced = True
    flow.group.share({})
    flow.turn()

    assert (flow.committed(), flow.unit._tasks) == (0, {})
    assert flow.members() == [("e1",)]


def test_an_output_that_can_not_be_written_stops_the_process_before_the_commit(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.log.refuses = lambda append: "disk full" if append.topic == DELIVERIES else None
    flow.enter("ana", {}, id="e1")
    with pytest.raises(LogError, match=r"tidings.social:0 was not written: disk full"):
        flow.pass_time(1_000)
    assert flow.committed() == 0


def test_state_that_can_not_be_written_stops_the_process(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.log.refuses = lambda append: "disk full" if append.topic == STATE else None
    with pytest.raises(LogError, match=r"the state of .* was not written: disk full"):
        flow.settle()


def test_a_bucket_that_can_not_be_written_stops_the_process(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    refused = b"0", b"1"
    flow.log.refuses = lambda append: "disk full" if append.key in refused else None
    flow.enter("ana", {}, id="e1")
    flow.pass_time(1_000)
    with pytest.raises(LogError, match=r"the state of .* was not written: disk full"):
        flow.pass_time(1_000)


def test_the_commit_waits_for_the_first_batch_with_an_unconfirmed_output(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.enter("ana", {}, id="e0")
    flow.settle()
    flow.clock.advance(300)
    flow.settle()
    assert flow.committed() == 1
    flow.log.stuck = {DELIVERIES}
    flow.enter("ana", {}, id="e1")
    flow.settle()
    flow.enter("ana", {}, id="e2")
    flow.settle()
    flow.clock.advance(300)
    flow.settle()
    assert flow.committed() == 1

    flow.log.stuck = ()
    flow.pass_time(300)
    assert flow.committed() == 3


def test_a_partition_that_comes_back_without_its_held_batch_is_committed_again(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path, NOTES)
    flow.people.away = True
    flow.enter("ana", {}, id="e1")
    flow.turn(2)
    flow.group.share({})
    flow.turn(2)
    flow.people.away = False
    flow.group.share({ONE: flow.consumer})
    flow.settle()
    flow.wait()

    assert (flow.members(), flow.committed()) == ([("e1",)], 1)
