"""Positions, rebalances and the end of a process."""

from __future__ import annotations

import pytest

from tests.unit.lane.paper import SPEC, TOPIC, Paper, PaperLane, id_of
from tidings.log.port import LogError, Position, Slot
from tidings.operators.send import Retry, SendSpec
from tidings.records import decode_delivery
from tidings.sender import Verdict

FIRST = Slot(TOPIC, 0)
RUNG = Slot(f"{TOPIC}.retry.30s", 0)
QUICK = SendSpec(default="sandbox", retry=Retry(in_place=()))


def settle(paper: Paper, lane: PaperLane) -> None:
    """Everything that was said is confirmed and committed."""
    lane.turn()
    paper.confirm()
    paper.clock.advance(300)
    lane.turn(2)


def test_a_partition_that_was_never_committed_gets_its_first_offset() -> None:
    paper = Paper(partitions=2)
    paper.lane().turn()
    assert paper.committed == {slot: Position(0) for slot in paper.slots()}


def test_the_position_stays_below_the_oldest_open_delivery_and_names_the_settled_above() -> None:
    paper = Paper()
    lane = paper.lane()
    for name in ("slow", "b", "c"):
        paper.deliver(name, "phone")
    lane.turn()
    lane.answer(1, Verdict.OK)
    settle(paper, lane)
    assert paper.committed[FIRST].offset == 0
    assert [paper.settled()(offset) for offset in range(3)] == [False, True, False]

    second = paper.lane()  # the first is dead: its lease on the others runs out
    paper.clock.advance(20_000)
    second.turn()
    assert [send.send_id for send in second.in_flight] == [
        id_of("slow", "phone"),
        id_of("c", "phone"),
    ]


def test_a_span_that_grows_too_wide_is_not_read_on_and_then_is() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=5), max_span=40)
    for number in range(200):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    slow = lane.in_flight[0]
    for _ in range(50):
        for send in [one for one in lane.in_flight if one is not slow]:
            lane.answer(send, Verdict.OK)
        lane.turn()
        paper.confirm()
    assert lane.consumer.next[FIRST] <= 40 + 110
    assert FIRST in lane.consumer.paused
    while len(paper.accepted) < 200:
        lane.answer_all()
        lane.turn()
        paper.confirm()
    assert FIRST not in lane.consumer.paused


def test_in_a_crowded_partition_a_retry_takes_the_ladder_rather_than_wait_in_the_lane() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=30), max_span=40)
    for number in range(30):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    settle(paper, lane)
    assert len(paper.of(RUNG.topic)) == 1


def test_a_partition_that_goes_takes_along_what_was_not_in_flight() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=2))
    for number in range(5):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY)  # it rests, one is in flight, the others wait
    lane.turn()
    other = paper.lane(take=[])
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST]))
    other.consumer.pending.append(lambda: other.consumer.take([FIRST]))
    lane.turn(200)
    sent = {send.send_id for send in lane.in_flight}
    other.turn(2)
    again = {send.send_id for send in other.in_flight}
    assert sent == {id_of("n1", "phone"), id_of("n2", "phone")}
    assert again == {id_of(name, "phone") for name in ("n0", "n3", "n4")}


def test_what_is_in_flight_when_its_partition_goes_is_marked_and_told_and_not_sent_again() -> None:
    paper = Paper()
    lane, other = paper.lane(), paper.lane(take=[])
    paper.deliver("n1", "phone")
    lane.turn()
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST]))
    lane.turn()
    other.consumer.pending.append(lambda: other.consumer.take([FIRST]))
    other.turn()
    assert not other.in_flight, "leased"
    lane.answer_all()
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    settle(paper, lane)
    paper.clock.advance(500)
    settle(paper, other)
    assert not other.in_flight
    assert paper.settled()(0)
    assert dict(paper.accepted) == {id_of("n1", "phone"): 1}
    assert not lane.lane._tracker.open


@pytest.mark.parametrize("spec", [SPEC, QUICK], ids=["in place", "ladder"])
def test_a_transient_error_of_an_orphan_is_its_new_owners_to_try_again(spec: SendSpec) -> None:
    paper = Paper()
    lane, other = paper.lane(spec), paper.lane(spec, take=[])
    paper.deliver("n1", "phone")
    lane.turn()
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST]))
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    assert not lane.lane._tracker.open, "it waits for nothing"
    assert not paper.of(RUNG.topic)
    other.consumer.pending.append(lambda: other.consumer.take([FIRST]))
    other.turn(2)
    assert [send.send_id for send in other.in_flight] == [id_of("n1", "phone")]


def test_an_orphan_with_a_device_left_to_try_is_told_whole_by_its_new_owner() -> None:
    paper = Paper()
    lane, other = paper.lane(QUICK), paper.lane(QUICK, take=[])
    paper.deliver("n1", "phone", "tablet")
    lane.turn()
    lane.answer(1, Verdict.RETRY)
    lane.turn()
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST]))
    lane.turn()
    lane.answer(0, Verdict.OK)
    settle(paper, lane)
    assert not lane.lane._tracker.open
    assert not paper.of(RUNG.topic), "the new owner hands it on, not both"
    assert not paper.ends()
    other.consumer.pending.append(lambda: other.consumer.take([FIRST]))
    other.turn(2)
    assert [send.address.value for send in other.in_flight] == ["tablet"]
    other.answer(0, Verdict.INV)
    settle(paper, other)
    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_a_partition_that_comes_back_while_its_send_is_in_flight_is_not_sent_twice() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST]))
    lane.consumer.pending.append(lambda: lane.consumer.take([FIRST]))
    lane.turn(3)
    assert len(lane.in_flight) == 1
    lane.answer_all()
    lane.turn()
    paper.confirm()
    paper.clock.advance(500)
    settle(paper, lane)
    assert not lane.in_flight
    assert paper.settled()(0)
    assert dict(paper.accepted) == {id_of("n1", "phone"): 1}


def test_partitions_that_are_lost_are_not_committed() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.serve()
    paper.confirm()
    before = dict(paper.committed)
    lane.consumer.pending.append(lambda: lane.consumer.give_up([FIRST], lost=True))
    lane.turn()
    paper.clock.advance(300)
    lane.turn(2)
    assert paper.committed == before


def test_a_stop_leaves_the_group_first_and_then_finishes_what_is_in_flight() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=2))
    for number in range(4):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    lane.lane.stop()
    assert not lane.consumer.next
    assert not lane.lane.drained()
    lane.turn(10)
    assert len(lane.in_flight) == 2, "nothing new"
    lane.answer_all()
    lane.turn()
    assert not lane.lane.drained(), "not confirmed"
    paper.confirm()
    assert not lane.lane.drained(), "Claims have not heard that it is done"
    lane.turn()
    assert lane.lane.drained()
    lane.lane.close()
    assert lane.courier.closed

    other = paper.lane()
    other.turn(3)
    other.answer_all()
    settle(paper, other)
    assert set(paper.accepted.values()) == {1}
    assert len(paper.ends()) == 4


def test_a_stop_that_can_not_save_its_positions_still_finishes_what_is_in_flight() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("done", "phone")
    lane.serve()
    paper.confirm()
    paper.deliver("in flight", "phone")
    lane.turn()

    def refuse(slot: Slot, position: Position) -> None:
        raise LogError("the coordinator is away")

    paper.on_commit = refuse
    lane.lane.stop()
    lane.answer_all()
    settle(paper, lane)
    assert lane.lane.drained()

    paper.on_commit = lambda slot, position: None
    other = paper.lane()
    settle(paper, other)
    assert not other.in_flight
    assert paper.settled()(1)
    assert set(paper.accepted.values()) == {1}


def test_closing_without_a_drain_still_marks_and_tells_what_was_answered() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer_all()
    lane.lane.close()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    other = paper.lane()
    settle(paper, other)
    assert not other.in_flight


def test_a_rung_is_read_in_due_order_and_held_in_between() -> None:
    paper = Paper()
    lane = paper.lane(QUICK)
    for name in ("n1", "n2"):
        paper.deliver(name, "phone")
        lane.turn()
        lane.answer(0, Verdict.RETRY)
        lane.turn()
        paper.confirm()
        paper.clock.advance(10_000)
    lane.turn()
    assert not lane.in_flight
    paper.clock.advance(10_000)
    lane.turn(2)
    assert [send.send_id for send in lane.in_flight] == [id_of("n1", "phone")]
    paper.clock.advance(10_000)
    lane.turn(2)
    assert len(lane.in_flight) == 2
    assert [decode_delivery(one.value or b"").notif_id for one in paper.of(RUNG.topic)] == [
        "n1",
        "n2",
    ]


def test_a_rung_of_which_five_hundred_are_held_is_paused_until_half_of_them_are_due() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=5_000, retry=Retry(in_place=())))
    for number in range(550):
        paper.deliver(f"n{number}", "phone")
        if number == 300:
            lane.turn(2)
            lane.answer_all(Verdict.RETRY, limited=True, retry_after_ms=31_000)
            lane.turn(2)
            paper.confirm()
            paper.clock.advance(10_000)
    lane.turn(2)
    lane.answer_all(Verdict.RETRY, limited=True, retry_after_ms=31_000)
    lane.turn(2)
    paper.confirm()
    assert RUNG not in lane.consumer.paused
    lane.turn(2)
    assert RUNG in lane.consumer.paused
    assert FIRST not in lane.consumer.paused
    paper.clock.advance(21_000)
    lane.turn(4)
    assert len(lane.in_flight) == 301
    assert RUNG not in lane.consumer.paused


def test_a_rung_that_goes_and_comes_back_is_held_anew() -> None:
    paper = Paper()
    lane = paper.lane(QUICK)
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    settle(paper, lane)
    lane.consumer.pending.append(lambda: lane.consumer.give_up([RUNG]))
    lane.consumer.pending.append(lambda: lane.consumer.take([RUNG]))
    lane.turn(3)
    assert not lane.in_flight
    paper.clock.advance(30_000)
    lane.turn(2)
    assert [send.attempt for send in lane.in_flight] == [2]
