"""Leases of those who are gone: taken over at once, and by one alone."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.ports import End, Lease, Leased, Mark, Unavailable, Verdict
from tidings.records import Priority
from tidings.runtime.lane.leases import Leases
from tidings.runtime.lane.settings import LaneSettings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock

NOW = 1_782_907_200_000
LIVES = (NOW, 15_000, 86_400_000)
LEASED = Leased(Verdict.LEASED)


class Watched(LocalClaims):
    """Claims in memory; what is asked in vain is not answered a second time while ``away``."""

    def __init__(self) -> None:
        super().__init__(ManualClock(NOW))
        self.rounds = 0
        self.away_after = 1_000

    def round(self, *said: Any) -> list[Leased]:
        self.rounds += 1
        if self.rounds > self.away_after:
            raise Unavailable("away")
        return super().round(*said)


@pytest.fixture
def claims() -> Watched:
    claims = Watched()
    held = [Lease("s1", "push:0:1", "dead"), Lease("s2", "push:0:2", "alive")]
    claims.round([*held, Lease("s4", "push:0:4", "dead")], [], [], [], *LIVES)
    claims.round([], [Mark("s4", "dead", "{}")], [], [], *LIVES)
    claims.rounds = 0
    return claims


def leases_of(claims: Watched) -> Leases:
    settings = LaneSettings("push", "push", Priority.HIGH, "me")
    return Leases(settings, claims, ManualClock(NOW), gone=lambda holder: holder == "dead")


def mine(*send_ids: str) -> list[Lease]:
    return [Lease(send_id, "push:0:9", "me") for send_id in send_ids]


def test_what_one_who_is_gone_holds_is_taken_over_at_once(claims: Watched) -> None:
    answers = leases_of(claims).round(mine("s1", "s2", "s3", "s4"), [], NOW)

    assert answers == [LEASED, Leased(Verdict.BUSY, "alive"), LEASED, Leased(Verdict.SENT, "{}")]
    assert claims.rounds == 2
    other = claims.round([Lease("s1", "push:0:1", "other")], [], [], [], *LIVES)
    assert other == [Leased(Verdict.BUSY, "me")]


def test_what_one_who_is_gone_had_in_flight_ends_at_once(claims: Watched) -> None:
    going = [
        Lease("s5", "push:0:5", "dead", turn="t5"),
        Lease("s6", "push:0:6", "alive", turn="t6"),
    ]
    claims.round(going, [], [], [], *LIVES)
    claims.rounds = 0

    ends = [End("t6", "by mail then", "me"), End("t5", "by mail then", "me")]
    answers = leases_of(claims).round(mine("s1", "s2"), [], NOW, ends)

    busy = Leased(Verdict.BUSY, "alive")
    assert answers == [LEASED, busy, busy, LEASED]
    assert claims.rounds == 2
    late = claims.round([], [], [], [], *LIVES, [End("t5", "by text then", "other")])
    assert late == [Leased(Verdict.OVER, "by mail then")]


def test_where_nobody_is_gone_one_round_is_enough(claims: Watched) -> None:
    assert leases_of(claims).round(mine("s2", "s3"), [], NOW) == [
        Leased(Verdict.BUSY, "alive"),
        LEASED,
    ]
    assert claims.rounds == 1


def test_claims_that_go_away_in_between_have_given_nothing(claims: Watched) -> None:
    leases, claims.away_after = leases_of(claims), 1

    assert leases.round(mine("s1"), [], NOW) is None
