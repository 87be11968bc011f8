"""What every Claims adapter must answer: memory, sheltered, SQLite, Valkey."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tidings.ports import Claims, End, Lease, Leased, Mark, Unavailable, Verdict
from tidings.services.process import wait_for
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.claims_sqlite import SqliteClaims
from tidings.stores.claims_valkey import ValkeyClaims
from tidings.stores.clock import ManualClock
from tidings.stores.valkey import Valkey

DAY = 86_400_000
NOW = 1_760_000_000_000
LEASE = 30_000

LEASED = Leased(Verdict.LEASED)
BUSY = Leased(Verdict.BUSY, "lane-a")
THEIRS = Leased(Verdict.BUSY, "lane-b")


class Place(NamedTuple):
    """An adapter, and how to wait for its memories to end."""

    claims: Claims
    clock: ManualClock

    def lease(self, *leases: Lease, now: int = NOW) -> list[Leased]:
        return self.round(leases=leases, now=now)

    def round(
        self,
        *,
        leases: Sequence[Lease] = (),
        marks: Sequence[Mark] = (),
        done: Sequence[str] = (),
        released: Sequence[tuple[str, str]] = (),
        ends: Sequence[End] = (),
        now: int = NOW,
        keep_ms: int = DAY,
    ) -> list[Leased]:
        return self.claims.round(leases, marks, done, released, now, LEASE, keep_ms, ends)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits; a clock that is moved by hand is moved, a server's own clock runs."""

        def asked_later() -> bool:
            self.clock.advance(20)
            return condition()

        wait_for(asked_later, timeout=10, what=what)


class Away:
    """Claims that can't be asked."""

    def first(self, *asked: object) -> list[str]:
        raise Unavailable("away")

    def round(self, *said: object) -> list[Leased]:
        raise Unavailable("away")


@pytest.fixture(params=["local", "sheltered", "sheltered, away", "sqlite", "valkey"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    clock = ManualClock(NOW)
    if request.param == "local":
        yield Place(LocalClaims(clock), clock)
    elif request.param == "sheltered":
        yield Place(ShelteredClaims(LocalClaims(clock), LocalClaims(clock), clock), clock)
    elif request.param == "sheltered, away":
        yield Place(ShelteredClaims(Away(), LocalClaims(clock), clock), clock)
    elif request.param == "sqlite":
        claims = SqliteClaims(tmp_path / "claims.db", clock)
        yield Place(claims, clock)
        claims.close()
    else:
        valkey = Valkey(request.getfixturevalue("valkey").url, timeout_ms=5_000)
        yield Place(ValkeyClaims(valkey), clock)
        valkey.close()


def mine(send_id: str = "s1", origin: str = "push:0:7", holder: str = "lane-a") -> Lease:
    return Lease(send_id, origin, holder)


def theirs(send_id: str = "s1") -> Lease:
    return Lease(send_id, "push:0:9", "lane-b")


class TestFirst:
    def test_the_first_origin_gets_the_key(self, place: Place) -> None:
        assert place.claims.first([("event-1", "likes:0:1")], DAY) == ["likes:0:1"]

    def test_another_origin_is_told_who_has_it(self, place: Place) -> None:
        place.claims.first([("event-1", "likes:0:1")], DAY)
        assert place.claims.first([("event-1", "likes:0:2")], DAY) == ["likes:0:1"]

    def test_a_replay_of_the_first_passes_again(self, place: Place) -> None:
        place.claims.first([("event-1", "likes:0:1")], DAY)
        place.claims.first([("event-1", "likes:0:2")], DAY)
        assert place.claims.first([("event-1", "likes:0:1")], DAY) == ["likes:0:1"]

    def test_inside_a_batch_the_first_in_order_wins(self, place: Place) -> None:
        batch = [("a", "o1"), ("b", "o2"), ("a", "o3"), ("b", "o2"), ("c", "o4")]
        assert place.claims.first(batch, DAY) == ["o1", "o2", "o1", "o2", "o4"]

    def test_a_claim_ends_after_its_life(self, place: Place) -> None:
        place.claims.first([("event-1", "likes:0:1")], 40)
        place.until(
            lambda: place.claims.first([("event-1", "likes:0:2")], 40) == ["likes:0:2"],
            "the claim to end",
        )

    def test_what_is_forgotten_is_free_again_for_those_who_ask_in_the_same_call(
        self, place: Place
    ) -> None:
        place.claims.first([("event-1", "likes:0:1"), ("event-2", "likes:0:2")], DAY)
        asked = [("event-1", "likes:0:7"), ("event-2", "likes:0:8")]
        forgotten = ["event-1", "nobody's"]
        assert place.claims.first(asked, DAY, forgotten) == ["likes:0:7", "likes:0:2"]
        assert place.claims.first([], DAY, ["event-2"]) == []
        assert place.claims.first(asked, DAY) == ["likes:0:7", "likes:0:8"]

    def test_keys_may_hold_any_text(self, place: Place) -> None:
        keys = ["", "ключ", "a\x00b", "a", "a\x1fb", 'q"\\', "\n"]
        assert place.claims.first([(key, "o1") for key in keys], DAY) == ["o1"] * 7
        assert place.claims.first([(key, f"o2{key}") for key in keys], DAY) == ["o1"] * 7

    def test_nothing_asked_is_nothing_answered(self, place: Place) -> None:
        assert place.claims.first([], DAY) == []


class TestLease:
    def test_a_free_send_is_leased(self, place: Place) -> None:
        assert place.lease(mine()) == [LEASED]

    def test_the_same_origin_and_holder_may_ask_before_each_attempt(self, place: Place) -> None:
        place.lease(mine())
        assert place.lease(mine()) == [LEASED]

    def test_asking_again_prolongs_the_lease(self, place: Place) -> None:
        place.lease(mine(), now=NOW)
        place.lease(mine(), now=NOW + LEASE - 1)
        assert place.lease(theirs(), now=NOW + LEASE + 1) == [BUSY]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(Lease("s1", "push:0:9", "lane-b"), id="a stranger"),
            pytest.param(Lease("s1", "push:0:9", "lane-a"), id="the holder, another record"),
            pytest.param(Lease("s1", "push:0:7", "lane-b"), id="the record, its holder died"),
        ],
    )
    def test_another_is_busy_until_the_lease_ends(self, place: Place, other: Lease) -> None:
        place.lease(mine(), now=NOW)
        assert place.lease(other, now=NOW + LEASE - 1) == [BUSY]
        assert place.lease(other, now=NOW + LEASE) == [LEASED]

    def test_after_a_take_over_the_former_holder_is_busy(self, place: Place) -> None:
        place.lease(mine(), now=NOW)
        place.lease(theirs(), now=NOW + LEASE)
        assert place.lease(mine(), now=NOW + LEASE + 1) == [THEIRS]

    def test_each_send_is_answered_for_itself_and_in_order(self, place: Place) -> None:
        place.round(leases=[theirs("b")], marks=[Mark("c", "lane-b", "{}")])
        assert place.lease(*map(mine, "abcd")) == [
            LEASED,
            THEIRS,
            Leased(Verdict.SENT, "{}"),
            LEASED,
        ]

    def test_inside_a_batch_the_first_in_order_gets_it(self, place: Place) -> None:
        assert place.lease(mine(), theirs(), mine()) == [LEASED, BUSY, LEASED]

    def test_a_clock_that_is_behind_takes_nothing_over(self, place: Place) -> None:
        place.lease(mine(), now=NOW)
        assert place.lease(theirs(), now=NOW - 5_000) == [BUSY]

    def test_nothing_said_is_nothing_answered(self, place: Place) -> None:
        assert place.round() == []


SUPERSEDED = Leased(Verdict.SUPERSEDED)


def code(thing: str, since: int, send_id: str = "", holder: str = "lane-a") -> Lease:
    """A lease for a person's code; 0 only asks."""
    return Lease(send_id or f"send-of-{thing}", "sms:0:1", holder, "ana's code", thing, since)


class TestNewest:
    def test_the_newest_is_leased_and_the_older_superseded(self, place: Place) -> None:
        assert place.lease(code("c1", 1)) == [LEASED]
        assert place.lease(code("c2", 2)) == [LEASED]
        assert place.lease(code("c1", 1)) == [SUPERSEDED]
        assert place.lease(code("c2", 2)) == [LEASED]

    def test_whoever_comes_later_the_newer_is_newer(self, place: Place) -> None:
        assert place.lease(code("c2", 2), code("c1", 1)) == [LEASED, SUPERSEDED]

    def test_of_one_instant_the_name_decides(self, place: Place) -> None:
        assert place.lease(code("c2", 1), code("c1", 1), code("c3", 1)) == [
            LEASED,
            SUPERSEDED,
            LEASED,
        ]

    def test_what_only_asks_passes_while_its_thing_is_the_newest(self, place: Place) -> None:
        asks = code("c1", 0, "second-of-c1")
        assert place.lease(asks) == [LEASED]  # nothing is known
        assert place.lease(code("c1", 1), asks) == [LEASED, LEASED]
        assert place.lease(code("c2", 2), asks) == [LEASED, SUPERSEDED]

    def test_asking_makes_nothing_newest(self, place: Place) -> None:
        place.lease(code("c9", 0))
        assert place.lease(code("c1", 1)) == [LEASED]

    def test_what_was_sent_stays_sent(self, place: Place) -> None:
        place.round(leases=[code("c1", 1)])
        place.round(marks=[Mark("send-of-c1", "lane-a", "{}")], leases=[code("c2", 2)])
        assert place.lease(code("c1", 1)) == [Leased(Verdict.SENT, "{}")]

    def test_what_another_has_in_flight_is_busy(self, place: Place) -> None:
        place.lease(code("c1", 1), code("c2", 2))
        assert place.lease(code("c1", 1, holder="lane-b")) == [BUSY]
        assert place.lease(code("c1", 1, holder="lane-b"), now=NOW + LEASE) == [SUPERSEDED]

    def test_each_name_has_a_newest_of_its_own(self, place: Place) -> None:
        place.lease(code("c2", 2))
        assert place.lease(replace(code("c1", 1), newest="bob's code")) == [LEASED]

    def test_it_is_remembered_for_a_time(self, place: Place) -> None:
        place.round(leases=[code("c2", 2)], keep_ms=40)
        if isinstance(place.claims, ValkeyClaims):
            place.until(
                lambda: place.lease(code("c1", 1)) == [LEASED], "the newest to be forgotten"
            )
        else:
            assert place.lease(code("c1", 1), now=NOW + 40) == [LEASED]


class TestMark:
    def test_a_marked_send_is_sent_for_everybody(self, place: Place) -> None:
        place.lease(mine())
        place.round(marks=[Mark("s1", "lane-a", '{"id":"p-1"}')])
        assert (
            place.lease(mine()) == place.lease(theirs()) == [Leased(Verdict.SENT, '{"id":"p-1"}')]
        )

    def test_a_mark_outlives_the_lease(self, place: Place) -> None:
        place.lease(mine(), now=NOW)
        place.round(marks=[Mark("s1", "lane-a", "{}")], now=NOW)
        assert place.lease(theirs(), now=NOW + DAY - 1) == [Leased(Verdict.SENT, "{}")]

    def test_a_mark_after_a_take_over_is_recorded(self, place: Place) -> None:
        place.lease(mine(), now=NOW)
        place.lease(theirs(), now=NOW + LEASE)
        place.round(marks=[Mark("s1", "lane-a", "by a")], now=NOW + LEASE + 1)
        assert place.lease(theirs(), now=NOW + LEASE + 2) == [Leased(Verdict.SENT, "by a")]

    def test_the_first_answer_stands(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "by a")])
        place.round(marks=[Mark("s1", "lane-b", "by b")])
        assert place.lease(theirs()) == [Leased(Verdict.SENT, "by a")]

    def test_a_mark_whose_lease_was_forgotten_is_recorded(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "{}")])
        assert place.lease(theirs()) == [Leased(Verdict.SENT, "{}")]

    def test_a_mark_ends_after_its_life(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "{}")], keep_ms=40)
        place.until(
            lambda: place.lease(mine(), now=place.clock.now()) == [LEASED], "the mark to end"
        )

    def test_an_answer_may_be_any_text(self, place: Place) -> None:
        answers = ["", "B", "L1\x1fx\x1fy", "ответ\x00", "D"]
        marks = [Mark(f"s{place}", "lane-a", answer) for place, answer in enumerate(answers)]
        place.round(marks=marks)
        assert [held.answer for held in place.lease(*(mine(mark.send_id) for mark in marks))] == (
            answers
        )


class TestDone:
    def test_a_sent_one_is_done_and_keeps_its_answer(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "by a")])
        place.round(done=["s1"])
        assert place.lease(mine()) == [Leased(Verdict.DONE, "by a")]

    def test_without_a_mark_it_is_done_all_the_same(self, place: Place) -> None:
        place.lease(mine("leased"))
        place.round(done=["leased", "unheard of"])
        assert place.lease(mine("leased"), mine("unheard of")) == [Leased(Verdict.DONE)] * 2

    def test_it_stays_done_whatever_comes_later(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "by a")], done=["s1"])
        place.round(marks=[Mark("s1", "lane-b", "by b")], done=["s1"], released=[("s1", "lane-a")])
        assert place.lease(mine()) == [Leased(Verdict.DONE, "by a")]

    def test_it_is_forgotten_after_the_life_of_the_mark(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "")], done=["s1", "s2"], keep_ms=40)
        place.until(
            lambda: place.lease(mine("s1"), mine("s2"), now=place.clock.now()) == [LEASED] * 2,
            "both to end",
        )


class TestRelease:
    def test_a_released_send_is_free(self, place: Place) -> None:
        place.lease(mine())
        place.round(released=[("s1", "lane-a")])
        assert place.lease(theirs()) == [LEASED]

    def test_who_does_not_hold_it_releases_nothing(self, place: Place) -> None:
        place.lease(mine())
        place.round(released=[("s1", "lane-b"), ("unheard of", "lane-b")])
        assert place.lease(theirs()) == [BUSY]

    def test_what_was_sent_is_not_released(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "{}")], released=[("s1", "lane-a")])
        assert place.lease(theirs()) == [Leased(Verdict.SENT, "{}")]

    def test_release_comes_before_lease_in_a_round(self, place: Place) -> None:
        place.lease(mine())
        assert place.round(leases=[theirs()], released=[("s1", "lane-a")]) == [LEASED]

    def test_of_two_who_take_over_from_one_who_is_gone_the_second_is_told_of_the_first(
        self, place: Place
    ) -> None:
        place.lease(mine())
        gone = [("s1", "lane-a")]
        assert place.round(leases=[theirs()], released=gone) == [LEASED]
        assert place.round(leases=[mine(holder="lane-c")], released=gone) == [THEIRS]
        place.round(marks=[Mark("s1", "lane-b", "{}")])
        assert place.round(leases=[mine(holder="lane-c")], released=[("s1", "lane-b")]) == [
            Leased(Verdict.SENT, "{}")
        ]

    def test_a_holders_name_may_be_any_text(self, place: Place) -> None:
        names = ["", "B", "a/b/1/2", "имя", "a b"]
        place.lease(*(mine(f"s{number}", holder=name) for number, name in enumerate(names)))
        asked = place.lease(*(theirs(f"s{number}") for number in range(len(names))))
        assert asked == [Leased(Verdict.BUSY, name) for name in names]


OVER = Leased(Verdict.OVER)
ENDS = End("n1 by push", "by mail then", "lane-a")


def of_turn(send_id: str, turn: str = "n1 by push") -> Lease:
    """A lease for a send on whose turn's end something hangs."""
    return Lease(send_id, "push:0:7", "lane-a", turn=turn)


class TestTurn:
    def test_the_first_end_stands_and_is_told_to_all_that_come_later(self, place: Place) -> None:
        other = End("n1 by push", "by text then", "lane-b")
        assert place.round(ends=[ENDS, other]) == [LEASED, Leased(Verdict.OVER, "by mail then")]
        assert place.round(ends=[other]) == [Leased(Verdict.OVER, "by mail then")]

    def test_nothing_of_a_turn_that_has_ended_is_leased(self, place: Place) -> None:
        assert place.round(ends=[ENDS], leases=[of_turn("s1")]) == [OVER, LEASED]
        assert place.lease(of_turn("s2"), of_turn("s2", "n2 by push"), mine("s3")) == [
            OVER,
            LEASED,
            LEASED,
        ]

    def test_a_turn_of_which_something_went_out_does_not_end_otherwise(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", '{"id":"p-1"}', "n1 by push")])
        assert place.round(ends=[ENDS]) == [Leased(Verdict.SENT, '{"id":"p-1"}', "s1")]
        place.round(done=["s1"])
        assert place.round(ends=[ENDS]) == [Leased(Verdict.DONE, '{"id":"p-1"}', "s1")]

    def test_of_several_sends_the_first_that_went_out_is_told(self, place: Place) -> None:
        marks = [Mark(send_id, "lane-a", f"of {send_id}", "n1 by push") for send_id in ("s1", "s2")]
        place.round(marks=marks)
        assert place.round(ends=[ENDS]) == [Leased(Verdict.SENT, "of s1", "s1")]

    def test_the_others_of_a_turn_go_on_when_one_went_out(self, place: Place) -> None:
        place.round(marks=[Mark("s1", "lane-a", "{}", "n1 by push")], ends=[ENDS])
        assert place.lease(of_turn("s1"), of_turn("s2")) == [Leased(Verdict.SENT, "{}"), LEASED]

    def test_what_went_out_all_the_same_is_told_so(self, place: Place) -> None:
        place.round(leases=[of_turn("s1")])
        place.round(ends=[ENDS])
        place.round(marks=[Mark("s1", "lane-a", "{}", "n1 by push")])
        assert place.lease(of_turn("s1")) == [Leased(Verdict.SENT, "{}")]
        assert place.round(ends=[ENDS]) == [Leased(Verdict.OVER, "by mail then")]

    def test_what_another_has_in_flight_is_busy(self, place: Place) -> None:
        place.round(leases=[theirs("s1")], ends=[ENDS])
        assert place.lease(of_turn("s1")) == [THEIRS]
        assert place.lease(of_turn("s1"), now=NOW + LEASE) == [OVER]

    def test_what_another_may_have_in_flight_does_not_end_while_its_lease_lives(
        self, place: Place
    ) -> None:
        place.round(leases=[of_turn("s1")])
        held = replace(ENDS, holder="lane-b")
        assert place.round(ends=[held]) == [BUSY]
        assert place.round(ends=[replace(held, turn="n2 by push")]) == [LEASED]
        place.round(released=[("s1", "lane-a")])
        assert place.round(ends=[held], now=NOW + LEASE - 1) == [BUSY]
        assert place.round(ends=[held], now=NOW + LEASE) == [LEASED]

    def test_it_ends_for_the_holder_and_for_who_speaks_for_the_one_that_is_gone(
        self, place: Place
    ) -> None:
        place.round(leases=[of_turn("s1")])
        assert place.round(ends=[replace(ENDS, holder="lane-a")]) == [LEASED]
        assert place.round(ends=[replace(ENDS, holder="lane-b")]) == [
            Leased(Verdict.OVER, "by mail then")
        ]

    def test_what_has_gone_out_meanwhile_is_told_to_who_waits_to_end_it(self, place: Place) -> None:
        place.round(leases=[of_turn("s1")])
        place.round(marks=[Mark("s1", "lane-a", "{}", "n1 by push")])
        assert place.round(ends=[replace(ENDS, holder="lane-b")]) == [
            Leased(Verdict.SENT, "{}", "s1")
        ]

    def test_the_latest_lease_of_a_turn_says_who_has_it_in_flight(self, place: Place) -> None:
        place.round(leases=[of_turn("s1")])
        place.lease(replace(of_turn("s2"), holder="lane-b"), now=NOW + 1)
        assert place.round(ends=[replace(ENDS, holder="lane-a")], now=NOW + LEASE) == [THEIRS]
        assert place.round(ends=[replace(ENDS, holder="lane-b")], now=NOW + LEASE) == [LEASED]

    def test_leases_are_answered_before_ends_and_each_at_its_place(self, place: Place) -> None:
        place.round(leases=[theirs("a")], marks=[Mark("b", "lane-b", "B", "n2 by push")])
        ends = [ENDS, End("n2 by push", "by mail then"), ENDS]
        assert place.round(leases=[mine("a"), mine("c")], ends=ends) == [
            THEIRS,
            LEASED,
            LEASED,
            Leased(Verdict.SENT, "B", "b"),
            Leased(Verdict.OVER, "by mail then"),
        ]

    def test_it_is_remembered_for_a_time(self, place: Place) -> None:
        place.round(ends=[ENDS], keep_ms=40)
        if isinstance(place.claims, ValkeyClaims):
            place.until(lambda: place.lease(of_turn("s1")) == [LEASED], "the end to be forgotten")
        else:
            assert place.lease(of_turn("s1"), now=NOW + 40) == [LEASED]

    def test_that_it_was_sent_is_remembered_for_the_twelfth_of_a_marks_life(
        self, place: Place
    ) -> None:
        place.round(marks=[Mark("s1", "lane-a", "{}", "n1 by push")], keep_ms=1_200)
        if isinstance(place.claims, ValkeyClaims):
            place.until(lambda: place.round(ends=[ENDS]) == [LEASED], "the turn to be forgotten")
        else:
            assert place.round(ends=[ENDS], now=NOW + 99) == [Leased(Verdict.SENT, "{}", "s1")]
            assert place.round(ends=[ENDS], now=NOW + 100) == [LEASED]

    def test_words_and_names_may_be_any_text(self, place: Place) -> None:
        words = ["", "S", "O", "слово\x1e\x1f", "\x00"]
        ends = [End(f"turn {text}", text) for text in words]
        assert place.round(ends=ends) == [LEASED] * len(words)
        assert place.round(ends=ends) == [Leased(Verdict.OVER, text) for text in words]


class Model:
    """Claims as one would explain them, for a single memory and a clock that only goes on."""

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        self.leases: dict[str, tuple[str, str, int]] = {}
        self.sent: dict[str, str] = {}
        self.done: set[str] = set()
        self.newest: dict[str, tuple[int, str]] = {}
        self.turns: dict[str, Mark | End] = {}
        self.going: dict[str, tuple[str, int]] = {}

    def first(self, claims: Sequence[tuple[str, str]]) -> list[str]:
        return [self.origins.setdefault(key, origin) for key, origin in claims]

    def round(
        self,
        leases: Sequence[Lease],
        marks: Sequence[Mark],
        done: Sequence[str],
        released: Sequence[tuple[str, str]],
        ends: Sequence[End],
        now: int,
    ) -> list[Leased]:
        for mark in marks:
            self.sent.setdefault(mark.send_id, mark.answer)
            if mark.turn:
                self.turns.setdefault(mark.turn, mark)
        for send_id in done:
            self.sent.setdefault(send_id, "")
            self.done.add(send_id)
        for send_id, holder in released:
            if send_id in self.leases and self.leases[send_id][1] == holder:
                del self.leases[send_id]
        ended = [self.end(end, now) for end in ends]
        return [self.lease(lease, now) for lease in leases] + ended

    def end(self, end: End, now: int) -> Leased:
        holder, until = self.going.get(end.turn, ("", 0))
        if end.turn not in self.turns and holder != end.holder and until > now:
            return Leased(Verdict.BUSY, holder)
        held = self.turns.setdefault(end.turn, end)
        if held is end:
            return LEASED
        if isinstance(held, End):
            return Leased(Verdict.OVER, held.words)
        verdict = Verdict.DONE if held.send_id in self.done else Verdict.SENT
        return Leased(verdict, self.sent[held.send_id], held.send_id)

    def lease(self, lease: Lease, now: int) -> Leased:
        send_id, origin, holder = lease.send_id, lease.origin, lease.holder
        name, thing, since = lease.newest, lease.thing, lease.since
        if name and since:
            self.newest[name] = max(self.newest.get(name, (0, "")), (since, thing))
        if send_id in self.sent:
            verdict = Verdict.DONE if send_id in self.done else Verdict.SENT
            return Leased(verdict, self.sent[send_id])
        had = self.leases.get(send_id)
        if had and had[:2] != (origin, holder) and had[2] > now:
            return Leased(Verdict.BUSY, had[1])
        if lease.turn and isinstance(self.turns.get(lease.turn), End):
            return OVER
        if name and self.newest.get(name, (0, thing))[1] != thing:
            return SUPERSEDED
        self.leases[send_id] = (origin, holder, now + LEASE)
        if lease.turn:
            self.going[lease.turn] = holder, now + LEASE
        return LEASED


ids = st.sampled_from(["s1", "s2", "s3"])
origins = st.sampled_from(["push:0:7", "push:1:8"])
holders = st.sampled_from(["lane-a", "lane-b"])
names = st.sampled_from(["", "", "code", "offer"])
things = st.sampled_from(["c1", "c2", "c3"])
sinces = st.sampled_from([0, 1, 2, NOW])
turns = st.sampled_from(["", "t1", "t2"])
texts = st.sampled_from(["one", "two"])
rounds = st.tuples(
    st.lists(st.builds(Lease, ids, origins, holders, names, things, sinces, turns), max_size=4),
    st.lists(st.builds(Mark, ids, holders, texts, turns), max_size=1),
    st.lists(ids, max_size=1),
    st.lists(st.tuples(ids, holders), max_size=2),
    st.lists(st.builds(End, st.sampled_from(["t1", "t2"]), texts, holders), max_size=2),
    st.sampled_from([0, 1, LEASE // 2, LEASE - 1, LEASE]),  # ms since the round before
)


@settings(max_examples=60, deadline=None)
@given(played=st.lists(rounds, max_size=12))
def check_rounds(
    place: Place,
    played: list[tuple[list[Lease], list[Mark], list[str], list[tuple[str, str]], list[End], int]],
) -> None:
    model, run, now = Model(), uuid.uuid4().hex, NOW

    def own(name: str) -> str:
        return name and run + name

    for leases, marks, done, released, ends, passed in played:
        now += passed
        answers = place.claims.round(
            [
                replace(
                    lease,
                    send_id=own(lease.send_id),
                    newest=own(lease.newest),
                    turn=own(lease.turn),
                )
                for lease in leases
            ],
            [replace(mark, send_id=own(mark.send_id), turn=own(mark.turn)) for mark in marks],
            [own(send_id) for send_id in done],
            [(own(send_id), holder) for send_id, holder in released],
            now,
            LEASE,
            10 * DAY,
            [replace(end, turn=own(end.turn)) for end in ends],
        )
        told = model.round(leases, marks, done, released, ends, now)
        assert answers == [one._replace(send_id=own(one.send_id)) for one in told]


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), origins), max_size=6)))
def check_firsts(place: Place, batches: list[list[tuple[str, str]]]) -> None:
    model, run = Model(), uuid.uuid4().hex
    for batch in batches:
        answers = place.claims.first([(run + key, origin) for key, origin in batch], DAY)
        assert answers == model.first(batch)


def test_rounds_agree_with_the_model(place: Place) -> None:
    check_rounds(place)


def test_firsts_agree_with_the_model(place: Place) -> None:
    check_firsts(place)


@pytest.fixture(params=["sqlite", "valkey"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Claims, Claims]]:
    """Two processes' adapters over one memory."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            clock, path = ManualClock(NOW), tmp_path / "claims.db"
            files = [stack.enter_context(closing(SqliteClaims(path, clock))) for _ in range(2)]
            yield files[0], files[1]
        else:
            url = request.getfixturevalue("valkey").url
            links = [stack.enter_context(closing(Valkey(url))) for _ in range(2)]
            yield ValkeyClaims(links[0]), ValkeyClaims(links[1])


def test_what_one_process_claims_another_sees(two: tuple[Claims, Claims]) -> None:
    one, other = two
    one.first([("event-1", "likes:0:1")], DAY)
    one.round([mine("a")], [Mark("b", "lane-a", "{}")], ["c"], [], NOW, LEASE, DAY)
    assert other.first([("event-1", "likes:0:2")], DAY) == ["likes:0:1"]
    assert other.round([theirs("a"), theirs("b"), theirs("c")], [], [], [], NOW, LEASE, DAY) == [
        BUSY,
        Leased(Verdict.SENT, "{}"),
        Leased(Verdict.DONE),
    ]


@pytest.mark.parametrize("kind", ["local", "sqlite"])
def test_a_claim_ends_at_its_time(tmp_path: Path, kind: str) -> None:
    clock = ManualClock(NOW)
    claims: Claims = LocalClaims(clock)
    if kind == "sqlite":
        claims = SqliteClaims(tmp_path / "claims.db", clock)
    claims.first([("event-1", "likes:0:1")], 1_000)
    clock.advance(999)
    assert claims.first([("event-1", "likes:0:2")], 1_000) == ["likes:0:1"]
    clock.advance(1)
    assert claims.first([("event-1", "likes:0:2")], 1_000) == ["likes:0:2"]


def test_local_claims_forget_the_oldest_beyond_their_capacity() -> None:
    claims = LocalClaims(ManualClock(NOW), capacity=2)
    claims.first([("a", "o1"), ("b", "o1"), ("c", "o1")], DAY)
    assert claims.first([("c", "o2"), ("b", "o2"), ("a", "o2")], DAY) == ["o1", "o1", "o2"]
    claims.round([mine("a"), mine("b"), mine("c")], [], [], [], NOW, LEASE, DAY)
    assert claims.round([theirs("c"), theirs("b")], [], [], [], NOW, LEASE, DAY) == [BUSY, BUSY]
    assert claims.round([theirs("a")], [], [], [], NOW, LEASE, DAY) == [LEASED]


def test_sqlite_claims_that_have_ended_leave_the_file(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    claims = SqliteClaims(tmp_path / "claims.db", clock)
    claims.first([(f"event-{n}", "likes:0:1") for n in range(50)], 1_000)
    clock.advance(61_000)
    claims.first([("event-new", "likes:0:2")], 1_000)
    with claims._database.transaction() as connection:
        assert connection.execute("SELECT key FROM firsts").fetchall() == [("event-new",)]
