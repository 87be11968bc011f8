"""Claims of the high class while the shared ones go away and come back."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.ports import Lease, Leased, Mark, Unavailable, Verdict
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.clock import ManualClock

NOW = 1_760_000_000_000
DAY = 86_400_000
LIVES: tuple[int, int, int] = (NOW, 30_000, DAY)  # now, of a lease, of a mark
LEASED, BUSY = Leased(Verdict.LEASED), Leased(Verdict.BUSY, "lane-a")


class Shared(LocalClaims):
    """Shared claims that can be taken away."""

    away = False

    def first(self, *asked: Any) -> list[str]:
        if self.away:
            raise Unavailable("away")
        return super().first(*asked)

    def round(self, *said: Any) -> list[Leased]:
        if self.away:
            raise Unavailable("away")
        return super().round(*said)


@pytest.fixture
def shared() -> Shared:
    return Shared(ManualClock(NOW))


@pytest.fixture
def claims(shared: Shared) -> ShelteredClaims:
    return ShelteredClaims(shared, LocalClaims(ManualClock(NOW)))


def mine(send_id: str) -> Lease:
    return Lease(send_id, "otp:0:7", "lane-a")


def theirs(send_id: str) -> Lease:
    return Lease(send_id, "otp:0:9", "lane-b")


def test_a_duplicate_of_what_the_shared_claims_had_is_known_while_they_are_away(
    shared: Shared, claims: ShelteredClaims
) -> None:
    shared.first([("event-2", "otp:1:1")], DAY)
    claims.first([("event-1", "otp:0:1"), ("event-2", "otp:0:2")], DAY)
    shared.away = True
    asked = [("event-1", "otp:0:5"), ("event-2", "otp:0:6"), ("event-3", "otp:0:7")]
    assert claims.first(asked, DAY) == ["otp:0:1", "otp:1:1", "otp:0:7"]


def test_what_was_sent_is_known_while_they_are_away(
    shared: Shared, claims: ShelteredClaims
) -> None:
    shared.round([], [Mark("seen", "lane-b", "by b")], ["finished"], [], *LIVES)
    claims.round([mine("seen"), mine("finished"), mine("held")], [], [], [], *LIVES)
    claims.round([], [Mark("sent", "lane-a", "by a")], [], [], *LIVES)
    shared.away = True
    asked = [mine("seen"), mine("finished"), mine("sent"), theirs("held"), mine("new")]
    assert claims.round(asked, [], [], [], *LIVES) == [
        Leased(Verdict.SENT, "by b"),
        Leased(Verdict.DONE),
        Leased(Verdict.SENT, "by a"),
        BUSY,
        LEASED,
    ]


def test_what_was_sent_meanwhile_is_told_when_they_are_back(
    shared: Shared, claims: ShelteredClaims
) -> None:
    shared.away = True
    claims.round([mine("sent")], [], [], [], *LIVES)
    claims.round([], [Mark("sent", "lane-a", "by a"), Mark("done", "lane-a", "x")], [], [], *LIVES)
    claims.round([], [], ["done"], [], *LIVES)
    shared.away = False
    claims.round([mine("next")], [], [], [], *LIVES)
    assert shared.round([theirs("sent"), theirs("done"), theirs("next")], [], [], [], *LIVES) == [
        Leased(Verdict.SENT, "by a"),
        Leased(Verdict.DONE, "x"),
        BUSY,
    ]


def test_it_is_told_once(shared: Shared, claims: ShelteredClaims) -> None:
    shared.away = True
    claims.round([], [Mark("sent", "lane-a", "by a")], ["sent"], [], *LIVES)
    shared.away = False
    claims.round([mine("next")], [], [], [], *LIVES)
    shared._sends.clear()
    claims.round([mine("another")], [], [], [], *LIVES)
    assert shared.round([theirs("sent")], [], [], [], *LIVES) == [LEASED]
