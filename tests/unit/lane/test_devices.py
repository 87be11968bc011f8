"""What a lane tells the people's store of their devices: who took a message, whose token is new."""

from __future__ import annotations

import pytest

from tests.unit.lane.paper import NOW, Paper
from tidings.ports import A_DAY, Address, Person, Success
from tidings.sender import Verdict

GATHERED = 5_000  # ms


def known(value: str, last_success_at: int) -> Address:
    return Address(kind="device", value=value, last_success_at=last_success_at)


def told(paper: Paper) -> list[list[tuple[str, str]]]:
    """Each time it was told something: whose, and which device."""
    return [[(one.person.recipient_id, one.value) for one in batch] for batch in paper.people.noted]


def test_devices_that_took_a_message_are_told_together_and_once() -> None:
    paper = Paper()
    lane = paper.lane()
    for number in (1, 2):
        paper.deliver(f"n{number}", "phone", "tablet")
        lane.serve()
    assert told(paper) == []
    lane.turn(2, pass_ms=GATHERED)
    assert told(paper) == [
        [
            ("person-of-n1", "phone"),
            ("person-of-n1", "tablet"),
            ("person-of-n2", "phone"),
            ("person-of-n2", "tablet"),
        ]
    ]
    [success, *_] = paper.people.noted[0]
    assert success == Success(Person("default", "person-of-n1"), "device", "phone", success.at)
    assert NOW < success.at < NOW + 1_000
    lane.turn(2, pass_ms=GATHERED)
    assert len(told(paper)) == 1


@pytest.mark.parametrize(("age", "is_told"), [(A_DAY - 1_000, False), (A_DAY, True)])
def test_a_device_is_told_of_once_a_day(age: int, is_told: bool) -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", known("phone", NOW - age))
    lane.turn()
    lane.answer_all()
    lane.turn(3, pass_ms=GATHERED)
    assert told(paper) == ([[("person-of-n1", "phone")]] if is_told else [])


@pytest.mark.parametrize("verdict", [Verdict.AMB, Verdict.DROP, Verdict.RETRY, Verdict.INV])
def test_what_was_not_accepted_is_no_success(verdict: Verdict) -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer_all(verdict)
    lane.turn(1)
    lane.turn(2, pass_ms=GATHERED)
    assert told(paper) == []


def test_mailboxes_and_phones_are_no_devices() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", Address(kind="email", value="ana@example.com"))
    lane.turn()
    lane.answer_all()
    lane.turn(3, pass_ms=GATHERED)
    assert told(paper) == []


def test_while_the_store_is_away_successes_wait() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.serve()
    paper.people.away = True
    lane.turn(3, pass_ms=GATHERED)
    assert told(paper) == []
    paper.people.away = False
    lane.turn(2, pass_ms=GATHERED)
    assert told(paper) == [[("person-of-n1", "phone")]]


def test_many_are_told_some_hundreds_at_a_time() -> None:
    paper = Paper()
    lane = paper.lane()
    for number in range(1_500):
        paper.deliver(f"n{number}", "phone")
    for _ in range(30):
        lane.turn()
        lane.answer_all()
    assert told(paper) == []
    lane.turn(pass_ms=GATHERED)
    lane.turn(3)
    assert [len(batch) for batch in told(paper)] == [500, 500, 500]


@pytest.mark.parametrize("verdict", [Verdict.OK, Verdict.INV])
def test_a_token_that_the_provider_calls_replaced_gives_its_place_to_the_new_one(
    verdict: Verdict,
) -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", known("old", NOW), "tablet")
    lane.turn()
    lane.answer(0, verdict, replacement="new")
    lane.answer(0, Verdict.OK)
    lane.turn(2)
    phone, tablet = paper.people.addresses["person-of-n1"]
    assert (phone.value, tablet.value) == ("new", "tablet")
    assert phone.registered_at > NOW
    assert phone.last_success_at == 0
    assert paper.people.removed == []
