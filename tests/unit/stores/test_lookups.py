"""Lookups on threads: an answer under way holds who needs it, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

import pytest

from tidings.ports import LookupFailed, Query, Unavailable
from tidings.stores.lookups import LEAST_LIFE, PAUSE, Key, Rows, ThreadedLookups

QUERY = Query("crm", "select …", "id", 2_000, 60_000)
SOON = 10.0  # seconds in which a thread that may go on surely has


class Clock:
    """Seconds, in the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class System:
    """Another system: answers with the key itself when it may, or fails."""

    name = "crm"

    def __init__(self, concurrency: int = 2) -> None:
        self.concurrency = concurrency
        self.may_answer = Event()
        self.may_answer.set()
        self.asked: list[list[Key]] = []
        self.failure: Exception | None = None
        self.closed = False

    def fetch(self, query: Query, keys: Sequence[Key]) -> Rows:
        self.asked.append(list(keys))
        assert self.may_answer.wait(SOON)
        if self.failure is not None:
            raise self.failure
        return {str(key): {"id": key} for key in keys if key != "nobody"}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def lookups(system: System, clock: Clock) -> ThreadedLookups:
    return ThreadedLookups({"crm": system}, clock, wait_for=SOON)


def hasty(system: System, clock: Clock) -> ThreadedLookups:
    """Waits for no answer at all."""
    return ThreadedLookups({"crm": system}, clock, wait_for=0)


def until(asked: Callable[[], object]) -> object:
    """Ask until the answer is there."""
    for _ in range(1_000_000):
        try:
            return asked()
        except Unavailable:
            continue
    raise AssertionError("no answer")


def test_rows_come_in_the_order_of_the_keys(lookups: ThreadedLookups, system: System) -> None:
    assert lookups.rows(QUERY, ["a", "nobody", 7]) == [{"id": "a"}, None, {"id": 7}]
    assert system.asked == [["a", "nobody", 7]]


def test_what_is_known_is_not_asked_again_missing_keys_included(
    lookups: ThreadedLookups, system: System, clock: Clock
) -> None:
    lookups.rows(QUERY, ["a", "nobody"])
    clock.now += 59.9
    assert lookups.rows(QUERY, ["nobody", "b", "a"]) == [None, {"id": "b"}, {"id": "a"}]
    clock.now += 0.2
    lookups.rows(QUERY, ["a", "b"])

    assert system.asked == [["a", "nobody"], ["b"], ["a"]]


def test_another_query_has_answers_of_its_own(lookups: ThreadedLookups, system: System) -> None:
    lookups.rows(QUERY, ["a"])
    lookups.rows(QUERY._replace(text="another"), ["a"])

    assert len(system.asked) == 2


def test_an_answer_under_way_is_found_by_who_asks_again(system: System, clock: Clock) -> None:
    lookups = hasty(system, clock)
    system.may_answer.clear()
    for _ in range(3):
        with pytest.raises(Unavailable, match="crm has not answered yet"):
            lookups.rows(QUERY, ["a", "b"])

    system.may_answer.set()

    assert until(lambda: lookups.rows(QUERY, ["a", "b"])) == [{"id": "a"}, {"id": "b"}]
    assert system.asked == [["a", "b"]]


def test_another_batch_waits_for_the_same_answer(system: System, clock: Clock) -> None:
    lookups = hasty(system, clock)
    system.may_answer.clear()
    for keys in (["a", "b"], ["b", "c"]):
        with pytest.raises(Unavailable):
            lookups.rows(QUERY, keys)

    system.may_answer.set()

    assert until(lambda: lookups.rows(QUERY, ["b", "c"])) == [{"id": "b"}, {"id": "c"}]
    assert until(lambda: lookups.rows(QUERY, ["a"])) == [{"id": "a"}]
    assert sorted(system.asked) == [["a", "b"], ["c"]]


def test_an_answer_lives_until_who_was_held_for_it_comes_back(
    lookups: ThreadedLookups, system: System, clock: Clock
) -> None:
    short = QUERY._replace(keep_ms=1)
    lookups.rows(short, ["a"])
    clock.now += LEAST_LIFE - 0.1

    assert lookups.rows(short, ["a"]) == [{"id": "a"}]
    assert len(system.asked) == 1


def test_an_answer_that_comes_too_late_is_a_failure(system: System, clock: Clock) -> None:
    lookups = hasty(system, clock)
    system.may_answer.clear()
    with pytest.raises(Unavailable):
        lookups.rows(QUERY, ["a"])
    clock.now += 2.0

    with pytest.raises(LookupFailed, match="crm: no answer within 2000 ms"):
        lookups.rows(QUERY, ["a"])

    system.may_answer.set()


def test_a_system_that_failed_is_left_alone_for_a_moment(
    lookups: ThreadedLookups, system: System, clock: Clock
) -> None:
    system.failure = LookupFailed("connection refused")
    for keys in (["a"], ["a"], ["b"]):
        with pytest.raises(LookupFailed, match="crm: connection refused"):
            lookups.rows(QUERY, keys)
    assert system.asked == [["a"]]

    system.failure = None
    clock.now += PAUSE

    assert lookups.rows(QUERY, ["a"]) == [{"id": "a"}]


def test_what_is_known_serves_while_the_system_fails(
    lookups: ThreadedLookups, system: System
) -> None:
    lookups.rows(QUERY, ["a"])
    system.failure = LookupFailed("connection refused")
    with pytest.raises(LookupFailed):
        lookups.rows(QUERY, ["b"])

    assert lookups.rows(QUERY, ["a"]) == [{"id": "a"}]


def test_only_so_many_questions_are_under_way_at_a_time(system: System, clock: Clock) -> None:
    lookups = hasty(system, clock)
    system.may_answer.clear()
    for key in ("a", "b"):
        with pytest.raises(Unavailable):
            lookups.rows(QUERY, [key])

    with pytest.raises(LookupFailed, match="crm: 2 questions are under way"):
        lookups.rows(QUERY, ["c"])

    system.may_answer.set()
    until(lambda: lookups.rows(QUERY, ["a", "b"]))
    assert lookups_soon(lookups, "c") == [{"id": "c"}]


def lookups_soon(lookups: ThreadedLookups, key: str) -> object:
    """The row, when one of the questions has made room."""
    for _ in range(1_000_000):
        try:
            return lookups.rows(QUERY, [key])
        except (LookupFailed, Unavailable):
            continue
    raise AssertionError("no answer")


def test_one_system_that_hangs_keeps_nobody_from_another(clock: Clock) -> None:
    slow, quick = System(), System()
    lookups = ThreadedLookups({"crm": slow, "api": quick}, clock, wait_for=0)
    slow.may_answer.clear()
    with pytest.raises(Unavailable):
        lookups.rows(QUERY, ["a"])

    assert until(lambda: lookups.rows(QUERY._replace(connection="api"), ["a"])) == [{"id": "a"}]
    slow.may_answer.set()


def test_only_so_much_is_remembered(system: System, clock: Clock) -> None:
    lookups = ThreadedLookups({"crm": system}, clock, wait_for=SOON, remembered=3)
    for key in ("a", "b", "c", "d"):
        lookups.rows(QUERY, [key])
    lookups.rows(QUERY, ["b", "c", "d"])
    assert len(system.asked) == 4

    lookups.rows(QUERY, ["a"])

    assert len(system.asked) == 5


def test_a_mistake_of_ours_comes_out_as_it_is(lookups: ThreadedLookups, system: System) -> None:
    system.failure = KeyError("a bug")

    with pytest.raises(KeyError):
        lookups.rows(QUERY, ["a"])


def test_a_connection_that_is_not_there_is_a_failure(lookups: ThreadedLookups) -> None:
    with pytest.raises(LookupFailed, match="there is no connection billing"):
        lookups.rows(QUERY._replace(connection="billing"), ["a"])


def test_closing_closes_the_connections(lookups: ThreadedLookups, system: System) -> None:
    lookups.close()

    assert system.closed
