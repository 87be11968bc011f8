"""Letters that a provider was to blame for are sent once more when it takes sends again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.lane.paper import NOW, TOPIC, Paper, PaperLane, a_delivery, id_of
from tidings.ids import send_id
from tidings.log.port import Append, Record, Slot
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address
from tidings.records import DeadLetter, Origin, decode_delivery, encode
from tidings.runtime.letters import dead_letter, read_letter
from tidings.runtime.signals import AGAIN
from tidings.sender import Verdict

DEAD, RELEASED = "notif_dlq.push", "notif_dlq.released"
SPEC = SendSpec(default="sandbox", breaker=BreakerSpec(volume=4, pause=5_000, probes=2))
PHONE = Address(kind="device", value="phone")
LETTERS = Slot(DEAD, 0)


def letter(paper: Paper, name: str, ago: int = 60_000, **changes: Any) -> None:
    """A letter of a delivery to somebody's phone; fields of `DeadLetter` go there."""
    of_letter = {key: changes.pop(key) for key in ("cause", "provider") if key in changes}
    delivery = a_delivery(name, **{"attempt": 9, "answers": {"s": "retry"}, **changes})
    paper.people.addresses[delivery.recipient_id] = (PHONE,)
    record = Record(TOPIC, 0, 41, NOW, delivery.recipient_id.encode(), encode(delivery), ())
    given = {"cause": "provider_down", "provider": "sandbox", **of_letter}
    dead = DeadLetter(
        reason="retries_exhausted",
        error="503",
        step="push.send",
        flow="social",
        origin=Origin(TOPIC, 0, 41),
        at=paper.clock.now() - ago,
        **given,
    )
    paper.write(dead_letter(record, dead, "push"))


def reading(paper: Paper, spec: SendSpec = SPEC) -> PaperLane:
    """A process of the lane, which has joined."""
    lane = paper.lane(spec)
    lane.turn()
    return lane


def proof(paper: Paper, lane: PaperLane, name: str = "proof") -> None:
    """The provider takes a send of somebody else's."""
    paper.deliver(name, "other")
    lane.turn(2)
    [send] = [one for one in lane.in_flight if one.address.value == "other"]
    lane.answer(send, Verdict.OK)
    lane.turn()


def again(name: str) -> str:
    return send_id(name, "push", "phone", AGAIN)


def sent(lane: PaperLane) -> list[str]:
    return [send.delivery.notif_id for send in lane.in_flight if send.delivery is not None]


def test_a_letter_waits_until_its_provider_has_taken_a_send_since() -> None:
    paper = Paper()
    letter(paper, "n1")
    lane = reading(paper)
    lane.turn(200)
    assert not lane.in_flight, "nothing tells that the provider is back"
    proof(paper, lane)
    lane.turn(2)
    [send] = lane.in_flight
    assert (send.send_id, send.attempt) == (again("n1"), 1)
    lane.answer(send, Verdict.OK)
    lane.turn()
    paper.confirm()
    [end] = [one for one in paper.outcomes("end") if one.notif_id == "n1"]
    assert (end.kind, end.round) == ("sent", AGAIN)
    assert len(paper.of(RELEASED)) == 1
    paper.clock.advance(300)
    lane.turn(2)
    assert paper.settled(LETTERS)(0)


def test_after_an_outage_letters_come_slowly_and_oldest_first() -> None:
    paper = Paper()
    lane = reading(paper)
    for number in range(4):
        paper.deliver(f"lost{number}", "phone")
    lane.turn(2)
    lane.answer_all(Verdict.RETRY, code="503")
    lane.turn()  # its breaker opens
    for number in range(40):
        letter(paper, f"n{number:02d}", ago=0)
    went: list[list[str]] = []
    for _ in range(1_200):
        lane.turn()
        if fresh := [name for name in sent(lane) if name.startswith("n")]:
            went.append(fresh)
        lane.answer_all()
        paper.confirm()
    names = [name for batch in went for name in batch]
    assert names == sorted(names)
    assert len(names) == len(set(names)) == 40
    assert len(went[0]) <= 4, "as many as a provider gets that is just back"
    assert set(paper.accepted.values()) == {1}


@pytest.mark.parametrize(
    "changes",
    [
        {"cause": ""},
        {"provider": "other"},
        {"priority": "high"},
        {"round": 3 * AGAIN},
        {"ago": 86_400_000},
    ],
    ids=["the message's own fault", "another provider's", "another lane's", "often", "long ago"],
)
def test_other_letters_are_passed_over(changes: dict[str, Any]) -> None:
    paper = Paper()
    letter(paper, "n1", **changes)
    lane = reading(paper)
    proof(paper, lane)
    lane.turn(100)
    assert not lane.in_flight
    assert not paper.of(RELEASED)


def test_a_letter_that_waits_too_long_is_left_to_people() -> None:
    paper = Paper()
    letter(paper, "n1")
    lane = reading(paper)
    paper.clock.advance(86_400_000)
    lane.turn(50)
    paper.confirm()
    paper.clock.advance(300)
    lane.turn(2)
    assert paper.settled(LETTERS)(0)
    proof(paper, lane)
    lane.turn(50)
    assert not lane.in_flight


def test_what_has_expired_is_told_so_and_not_sent() -> None:
    paper = Paper()
    letter(paper, "n1", expires_at=paper.clock.now() + 1_000)
    lane = reading(paper)
    paper.clock.advance(2_000)
    proof(paper, lane)
    lane.turn(2)
    paper.confirm()
    [end] = [one for one in paper.outcomes("end") if one.notif_id == "n1"]
    assert (end.kind, end.reason, end.round) == ("expired", "expired", AGAIN)
    assert not lane.in_flight


def test_a_lane_may_leave_them_to_people() -> None:
    paper = Paper()
    letter(paper, "n1")
    spec = SendSpec(default="sandbox", retry=Retry(release=0))
    lane = paper.lane(spec)
    lane.turn()
    assert DEAD not in lane.consumer.topics


@pytest.mark.parametrize("instant", ["taken up", "in flight", "accepted", "marked", "told"])
def test_a_kill_at_any_instant_of_a_release_loses_no_letter_and_sends_none_twice(
    instant: str,
) -> None:
    paper = Paper()
    letter(paper, "n1")
    first = reading(paper)
    proof(paper, first)
    first.turn(1 if instant == "taken up" else 2)
    if instant in ("accepted", "marked", "told"):
        first.answer(0, Verdict.OK)
    if instant in ("marked", "told"):
        first.turn()
    if instant == "told":
        first.confirm()
    paper.clock.advance(20_000)

    second = reading(paper)
    proof(paper, second, "later")
    for _ in range(100):
        second.turn()
        second.answer_all()
        second.confirm()
    # What was accepted and not yet marked is the one repeat that there is.
    assert paper.accepted[again("n1")] == (2 if instant == "accepted" else 1)
    ends = {one.outcome_id for one in paper.outcomes("end") if one.notif_id == "n1"}
    assert len(ends) == 1
    paper.clock.advance(300)
    second.turn(2)
    assert paper.settled(LETTERS)(0)


def test_what_was_released_by_hand_as_well_is_sent_once() -> None:
    paper = Paper()
    letter(paper, "n1")
    lane = reading(paper)
    released = a_delivery("n1", round=AGAIN)
    paper.write(Append(TOPIC, b"person-of-n1", encode(released)))
    proof(paper, lane)
    for _ in range(200):
        lane.turn()
        lane.answer_all()
        paper.confirm()
    assert paper.accepted[again("n1")] == 1


def test_a_message_that_makes_its_provider_fail_comes_back_three_times_and_no_more() -> None:
    paper = Paper()
    spec = SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=()))
    letter(paper, "n1")
    lane = reading(paper, spec)
    tries = 0
    for number in range(30):
        paper.deliver(f"proof{number}", "other")
        for _ in range(4):
            lane.turn()
            for send in [*lane.in_flight]:
                bad = send.address.value == "phone"
                tries += bad
                lane.answer(send, Verdict.RETRY if bad else Verdict.OK)
            paper.confirm()
    assert tries == 3
    last = [decode_delivery(one.value or b"").round for one in paper.of(DEAD)]
    assert last == [0, AGAIN, 2 * AGAIN, 3 * AGAIN]


@pytest.mark.parametrize(
    "fields", [{}, {"reply_to": "tidings.social", "wait": "w1"}], ids=["alone", "a flow waits"]
)
@pytest.mark.parametrize("instant", ["failed", "marked", "told", "half told"])
def test_a_kill_between_a_letter_and_its_delivery_s_position_sends_one_of_the_two(
    instant: str, fields: dict[str, Any]
) -> None:
    paper = Paper()
    spec = SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=()))
    paper.deliver("n1", "phone", **fields)
    first = reading(paper, spec)
    first.turn(2)
    first.answer(0, Verdict.RETRY, code="503")
    if instant != "failed":
        first.turn()
    if instant == "half told":
        first.confirm(1)
    if instant == "told":
        first.confirm()
    assert len(paper.of(DEAD)) == (instant in ("told", "half told"))
    paper.clock.advance(20_000)  # it was killed; its lease has run out

    second = reading(paper, spec)
    proof(paper, second, "later")
    for _ in range(200):
        second.turn()
        second.answer_all()
        second.confirm()
    taken = {key: times for key, times in paper.accepted.items() if key != id_of("later", "other")}
    assert taken == {id_of("n1", "phone") if instant == "failed" else again("n1"): 1}
    letters = [read_letter(one) for one in paper.of(DEAD)]
    assert {(one.cause, one.provider) for one in letters if one} <= {("provider_down", "sandbox")}
    paper.clock.advance(300)
    second.turn(2)
    assert paper.settled()(0)
