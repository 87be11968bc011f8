"""When devices last took a message: told in one go, and again where the people are away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tests.unit.lane.paper import NOW
from tidings.ports import Address, People, Success, Unavailable
from tidings.runtime.lane.successes import Successes

GATHERED = NOW + 5_000


class Told:
    """People that are away for a while, and then listen."""

    def __init__(self, away: int = 0) -> None:
        self._away = away
        self.heard: list[list[str]] = []

    def note_successes(self, successes: Sequence[Success]) -> None:
        if self._away:
            self._away -= 1
            raise Unavailable("people")
        self.heard.append([one.value for one in successes])


def a_device(value: str, **changes: Any) -> Address:
    return Address(**{"kind": "device", "value": value, **changes})


def test_what_gathers_for_some_seconds_is_told_in_one_go_and_once() -> None:
    people = Told()
    successes = Successes(cast(People, people))
    for at, value in enumerate(("phone", "tablet", "phone")):
        successes.add("default", "ana", a_device(value), NOW + at)
    successes.add("default", "ana", a_device("ana@example.com", kind="email"), NOW)
    successes.tell(GATHERED - 1)
    assert people.heard == []
    successes.tell(GATHERED)
    successes.tell(GATHERED + 5_000)
    assert people.heard == [["phone", "tablet"]], "and mailboxes are no devices"


def test_while_the_people_are_away_it_waits_and_is_told_later() -> None:
    people = Told(away=1)
    successes = Successes(cast(People, people))
    successes.add("default", "ana", a_device("phone"), NOW)
    successes.tell(GATHERED)
    assert not successes.due(GATHERED + 4_999)
    successes.tell(GATHERED + 5_000)
    assert people.heard == [["phone"]]


def test_a_round_tells_no_more_than_500_and_the_next_one_the_rest() -> None:
    people = Told()
    successes = Successes(cast(People, people))
    for number in range(600):
        successes.add("default", f"person-{number}", a_device("phone"), NOW)
    successes.tell(GATHERED)
    successes.tell(GATHERED)
    assert [len(told) for told in people.heard] == [500, 100]
