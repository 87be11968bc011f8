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
    calls = 0  # until it goes away

    def first(self, *asked: Any) -> list[str]:
        self.calls -= 1
        if self.away or self.calls == 0:
            raise Unavailable("away")
        return super().first(*asked)

    def round(self, *said: Any) -> list[Leased]:
        if self.away:
            raise Unavailable("away")
        return super().round(*said)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def shared(clock: ManualClock) -> Shared:
    return Shared(clock)


@pytest.fixture
def claims(shared: Shared, clock: ManualClock) -> ShelteredClaims:
    return ShelteredClaims(shared, LocalClaims(clock), clock)


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


def test_what_was_first_meanwhile_is_told_when_they_are_back(
    shared: Shared, claims: ShelteredClaims
) -> None:
    shared.away = True
    claims.first([("event-1", "otp:0:1"), ("event-2", "otp:0:2"), ("event-1", "otp:0:3")], DAY)
    shared.away = False
    assert claims.first([("event-1", "otp:0:4"), ("event-3", "otp:0:5")], DAY) == [
        "otp:0:1",
        "otp:0:5",
    ]
    assert shared.first([("event-2", "otp:1:1")], DAY) == ["otp:0:2"]


def test_a_claim_that_is_told_later_lives_no_longer(
    shared: Shared, claims: ShelteredClaims, clock: ManualClock
) -> None:
    shared.away = True
    claims.first([("over", "otp:0:1")], 20_000)
    claims.first([("short", "otp:0:2")], 60_000)
    clock.advance(30_000)
    claims.first([("later", "otp:0:3")], 60_000)
    shared.away = False
    claims.first([], 60_000)
    theirs = [(key, "otp:1:1") for key in ("over", "short", "later")]

    assert shared.first(theirs, 1_000) == ["otp:1:1", "otp:0:2", "otp:0:3"]
    clock.advance(30_000)
    assert shared.first(theirs, 1_000) == ["otp:1:1", "otp:1:1", "otp:0:3"]


def test_who_goes_away_in_the_middle_is_told_the_rest_later(
    shared: Shared, claims: ShelteredClaims
) -> None:
    shared.away = True
    claims.first([(f"event-{number}", f"otp:0:{number}") for number in range(2_500)], DAY)
    shared.away, shared.calls = False, 2  # it answers one call of a thousand, and no more
    assert claims.first([("event-7", "otp:0:9999")], DAY) == ["otp:0:7"]
    claims.first([("another", "otp:0:9998")], DAY)

    held = shared.first([(f"event-{number}", "otp:1:1") for number in range(2_500)], DAY)
    assert held == [f"otp:0:{number}" for number in range(2_500)]


def test_of_too_many_claims_the_oldest_are_not_told(
    shared: Shared, claims: ShelteredClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.stores.claims_sheltered._OWED", 2)
    shared.away = True
    for number in range(3):
        claims.first([(f"event-{number}", f"otp:0:{number}")], DAY)
    shared.away = False
    claims.first([], DAY)

    held = shared.first([(f"event-{number}", "otp:1:1") for number in range(3)], DAY)
    assert held == ["otp:1:1", "otp:0:1", "otp:0:2"]
