"""What a cap had counted and nobody got is given back, so that the next one finds room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.lane.paper import NOW, Paper
from tidings.driver.ports import LocalCaps
from tidings.ids import cap_key
from tidings.ports import Count, Unavailable
from tidings.sender import Verdict

HOUR = 3_600_000
CAP = "push/all/1h"
KEY = cap_key("default", "person-of-n1", CAP)


class Away(LocalCaps):
    """Caps that can't be told."""

    def give_back(self, counts: Sequence[tuple[str, str]]) -> None:
        raise Unavailable("valkey is away")


def counted(**fields: Any) -> Paper:
    """A delivery that was counted against a cap of one, and is read by its lane."""
    paper = Paper()
    assert paper.caps.count([Count(KEY, "n1", 1, HOUR)], NOW) == [True]
    paper.deliver("n1", "phone", caps=(CAP,), **fields)
    return paper


def has_room(paper: Paper) -> bool:
    return paper.caps.count([Count(KEY, "next", 1, HOUR)], NOW) == [True]


@pytest.mark.parametrize(
    ("fields", "end"),
    [({"expires_at": NOW}, "expired"), ({"data": {"suppressed": True}}, "suppressed")],
)
def test_what_ends_suppressed_or_expired_is_given_back(fields: dict[str, Any], end: str) -> None:
    paper = counted(**fields)
    lane = paper.lane()
    lane.turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): [end]}
    assert has_room(paper)


@pytest.mark.parametrize(
    ("verdict", "end"),
    [(Verdict.OK, "sent"), (Verdict.DROP, "failed"), (Verdict.AMB, "unknown")],
)
def test_what_was_sent_or_tried_stays_counted(verdict: Verdict, end: str) -> None:
    paper = counted()
    lane = paper.lane()
    lane.turn()
    lane.answer(0, verdict)
    lane.turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): [end]}
    assert not has_room(paper)


def test_the_next_channel_has_a_count_of_its_own_and_the_first_one_is_given_back() -> None:
    paper = counted(data={"suppressed": True}, chain=("email",))
    paper.lane().turn(3)
    paper.confirm()

    (following,) = paper.deliveries("deliveries.email.normal")
    assert following.caps == ()
    assert has_room(paper)


def test_where_caps_can_not_be_told_the_delivery_ends_all_the_same() -> None:
    paper = counted(expires_at=NOW)
    paper.caps = Away()
    paper.lane().turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): ["expired"]}
