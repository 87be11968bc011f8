"""What every Caps adapter must answer: SQLite, Valkey."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.driver.ports import LocalCaps
from tidings.ports import Caps, Count
from tidings.services.valkey import Valkey as Server
from tidings.stores.caps_sqlite import SqliteCaps
from tidings.stores.caps_valkey import ValkeyCaps
from tidings.stores.valkey import Valkey

NOW = 1_760_000_000_000
HOUR = 3_600_000


@pytest.fixture(params=["local", "sqlite", "valkey"])
def caps(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caps]:
    if request.param == "local":
        yield LocalCaps()
    elif request.param == "sqlite":
        with closing(SqliteCaps(tmp_path / "caps.db")) as file:
            yield file
    else:
        with closing(Valkey(request.getfixturevalue("valkey").url, timeout_ms=5_000)) as valkey:
            yield ValkeyCaps(valkey)


def push(notif_id: str, key: str = "ana/push", exempt: bool = False) -> Count:
    """At most two an hour."""
    return Count(key, notif_id, 2, HOUR, exempt)


def day(notif_id: str, key: str = "ana/day") -> Count:
    """Tied to the one before it: at most three a day."""
    return Count(key, notif_id, 3, 24 * HOUR, together=True)


def test_as_many_pass_as_the_cap_says(caps: Caps) -> None:
    assert caps.count([push("n1")], NOW) == [True]
    assert caps.count([push("n2")], NOW) == [True]
    assert caps.count([push("n3")], NOW) == [False]


def test_inside_a_batch_the_first_in_order_pass(caps: Caps) -> None:
    batch = [push("n1"), push("m1", key="bob/push"), push("n2"), push("n3"), push("n1")]
    assert caps.count(batch, NOW) == [True, True, True, False, True]


def test_what_was_counted_passes_again_and_counts_once(caps: Caps) -> None:
    assert caps.count([push("n1"), push("n1")], NOW) == [True, True]
    assert caps.count([push("n1"), push("n2")], NOW + 1) == [True, True]
    assert caps.count([push("n3"), push("n2")], NOW + 2) == [False, True]


def test_what_did_not_pass_is_not_counted(caps: Caps) -> None:
    caps.count([push("n1"), push("n2"), push("n3"), push("n4")], NOW)
    assert caps.count([push("n3"), push("n4"), push("n5")], NOW + HOUR) == [True, True, False]


def test_a_count_leaves_the_window_when_it_is_as_old_as_the_window(caps: Caps) -> None:
    caps.count([push("n1")], NOW)
    caps.count([push("n2")], NOW + HOUR // 2)
    assert caps.count([push("n3")], NOW + HOUR - 1) == [False]
    assert caps.count([push("n3")], NOW + HOUR) == [True]
    assert caps.count([push("n4")], NOW + HOUR) == [False]


def test_a_clock_that_is_a_window_behind_lets_no_more_pass(caps: Caps) -> None:
    caps.count([push("n1"), push("n2")], NOW)
    assert caps.count([push("n3")], NOW + HOUR) == [True]
    assert caps.count([push("n4")], NOW + HOUR // 2) == [False]


def test_two_windows_later_it_counts_anew(caps: Caps) -> None:
    caps.count([push("n1")], NOW)
    caps.count([push("m1", key="bob/push")], NOW + 2 * HOUR - 1)
    caps.count([push("n1"), push("n2")], NOW + 2 * HOUR)
    assert caps.count([push("n3")], NOW + 2 * HOUR) == [False]


def test_asking_again_does_not_make_a_count_younger(caps: Caps) -> None:
    caps.count([push("n1"), push("n2")], NOW)
    caps.count([push("n1"), push("n2")], NOW + HOUR // 2)
    assert caps.count([push("n3")], NOW + HOUR) == [True]


def test_exempt_ones_pass_and_still_count(caps: Caps) -> None:
    exempt = [push(f"e{n}", exempt=True) for n in range(3)]
    assert caps.count([*exempt, push("n1")], NOW) == [True, True, True, False]
    assert caps.count([push("e4", exempt=True)], NOW) == [True]


def test_a_cap_of_none_lets_only_exempt_ones_pass(caps: Caps) -> None:
    counts = [Count("ana/push", "n1", 0, HOUR), Count("ana/push", "n2", 0, HOUR, True)]
    assert caps.count(counts, NOW) == [False, True]


def test_what_is_given_back_makes_room(caps: Caps) -> None:
    caps.count([push("n1"), push("n2"), push("m1", key="bob/push")], NOW)
    caps.give_back([("ana/push", "n1"), ("ana/push", "unheard of"), ("nobody/push", "n2")])
    assert caps.count([push("n3"), push("n4")], NOW) == [True, False]


@pytest.mark.parametrize("after", [0, HOUR - 1, HOUR, 2 * HOUR - 1])
def test_for_two_windows_what_was_counted_passes_again_and_takes_no_room(
    caps: Caps, after: int
) -> None:
    caps.count([push("n1"), push("n2")], NOW)

    assert caps.count([push("n1"), push("n2")], NOW + after) == [True, True]
    again = [push(f"m{n}") for n in range(3)]
    assert caps.count(again, NOW + 2 * HOUR - 1) == [True, True, False]


def test_what_is_tied_is_counted_all_or_not_at_all(caps: Caps) -> None:
    batch = [each for n in range(4) for each in (push(f"n{n}"), day(f"n{n}"))]

    batch += [push("b", key="bob/push"), day("b", key="bob/day")]

    # of the third there is no room in the hour, so it takes none of the day's: one is left there
    verdicts = [True, True, True, True, False, True, False, True, True, True]
    assert caps.count(batch, NOW) == verdicts
    assert caps.count([push(f"b{n}", key="bob/push") for n in range(2)], NOW) == [True, False]
    assert caps.count([push("m0"), day("m0")], NOW + HOUR) == [True, True]
    # no room in the day: it takes none of the hour's
    assert caps.count([push("m1"), day("m1")], NOW + HOUR) == [True, False]
    assert caps.count([push("m2")], NOW + HOUR) == [True]


def test_a_replay_of_what_is_tied_leaves_as_it_is_what_was_counted_before(caps: Caps) -> None:
    one = [push("n1"), day("n1")]
    caps.count(one, NOW)
    caps.count([push("m1"), push("m2")], NOW + 3 * HOUR)

    # The hour has forgotten it and has no room; of the day it is one still.
    assert caps.count(one, NOW + 3 * HOUR) == [False, True]
    of_the_day = [Count("ana/day", f"d{n}", 3, 24 * HOUR) for n in range(3)]
    assert caps.count(of_the_day, NOW + 3 * HOUR) == [True, True, False]


def test_a_tie_at_the_head_of_a_batch_ties_to_nothing(caps: Caps) -> None:
    assert caps.count([day("n1"), push("n1")], NOW) == [True, True]


def test_a_window_far_longer_than_a_day_counts(caps: Caps) -> None:
    month = 30 * 24 * HOUR
    for n in range(3):
        caps.count([Count("ana/promo", f"n{n}", 3, month)], NOW + n * 9 * 24 * HOUR)
    assert caps.count([Count("ana/promo", "n3", 3, month)], NOW + month - 1) == [False]
    assert caps.count([Count("ana/promo", "n3", 3, month)], NOW + month) == [True]


def test_nothing_asked_is_nothing_answered(caps: Caps) -> None:
    assert caps.count([], NOW) == []
    caps.give_back([])
    assert caps.count([push("n1")], NOW) == [True]


# Each step: how far the clock moves on, how far behind this asker's clock is, what it asks. An id
# is asked in two steps at most: what is two windows old is counted anew.
steps = st.lists(
    st.tuples(
        st.integers(0, HOUR // 2),
        st.integers(0, HOUR),
        st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=5),
    ),
    max_size=15,
)


@settings(max_examples=80, deadline=None)
@given(at_most=st.integers(0, 3), played=steps)
def check_windows(
    caps: Caps, at_most: int, played: list[tuple[int, int, list[tuple[int, bool]]]]
) -> None:
    key, now = uuid.uuid4().hex, NOW
    times: dict[str, int] = {}  # of what has passed
    exempted: set[str] = set()
    for step, (passed, behind, asked) in enumerate(played):
        now += passed
        at = now - behind
        counts = [Count(key, f"n{step // 2}-{n}", at_most, HOUR, exempt) for n, exempt in asked]
        for count, passes in zip(counts, caps.count(counts, at), strict=True):
            if passes and count.notif_id not in times:
                times[count.notif_id] = at
                if count.exempt:
                    exempted.add(count.notif_id)
            if not passes:
                assert not count.exempt
                in_window = [t for t in times.values() if at - HOUR < t]
                assert len(in_window) >= at_most
    for end in times.values():
        window = [n for n, t in times.items() if end - HOUR < t <= end]
        if not any(n in exempted for n in window):
            assert len(window) <= at_most


def test_no_window_ever_holds_one_too_many_and_none_is_refused_for_nothing(caps: Caps) -> None:
    check_windows(caps)


def test_a_batch_is_one_round_trip_and_no_batch_none(valkey: Server) -> None:
    caps = ValkeyCaps(Valkey(valkey.url, timeout_ms=5_000))
    with redis.from_url(valkey.url) as client:
        caps.count([push("n1")], NOW)
        caps.give_back([("ana/push", "n1")])
        client.config_resetstat()
        caps.count([push(f"n{n}", key=f"p{n % 100}") for n in range(1_000)], NOW)
        caps.give_back([(f"p{n}", f"n{n}") for n in range(100)])
        caps.count([], NOW)
        caps.give_back([])
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 2


def test_counts_that_are_two_windows_old_leave_the_file(tmp_path: Path) -> None:
    with closing(SqliteCaps(tmp_path / "caps.db")) as caps:
        caps.count([push("n1")], NOW)
        caps.count([push("n2")], NOW + 2 * HOUR)
        with caps._database.transaction() as connection:
            assert connection.execute("SELECT notif_id FROM counts").fetchall() == [("n2",)]


def test_a_count_that_has_left_the_window_long_ago_leaves_valkey(valkey: Server) -> None:
    caps = ValkeyCaps(Valkey(valkey.url, timeout_ms=5_000))
    caps.count([push("n1")], NOW)
    caps.count([push("n2")], NOW + 2 * HOUR)
    with redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.zrange("tidings:cap:ana/push", 0, -1) == ["n2"]
        assert 2 * HOUR < client.pttl("tidings:cap:ana/push") <= 2 * HOUR + 60_000
