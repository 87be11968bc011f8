"""throttle: a token bucket; what it lets pass in a stretch of time, and what it forgets."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operators.one_person import START, play
from tests.unit.operators.support import HOUR, built, reads
from tidings.contract import Horizon, Part
from tidings.problems import ProblemsError

MINUTE = 60_000


def passed(step: str, *times: int) -> list[int]:
    """Of events at these times, in ms, those that pass."""
    played = play(built(step, Part.KEYED), [(at, {}) for at in times])
    return [each.at for each in played.passed]


def test_with_one_the_first_passes_and_nothing_more_until_the_time_is_over() -> None:
    step = "throttle: {within: 10m}"

    assert passed(step, 0, 1, 10 * MINUTE - 1, 10 * MINUTE, 11 * MINUTE) == [0, 10 * MINUTE]


def test_what_is_dropped_does_not_put_off_what_comes_next() -> None:
    assert passed("throttle: {within: 1s}", *range(0, 3_001, 100)) == [0, 1_000, 2_000, 3_000]


def test_after_a_burst_tokens_come_back_one_at_a_time() -> None:
    step = "throttle: {at_most: 4, within: 1h}"
    events = [0, 0, 0, 0, 0, 14 * MINUTE, 15 * MINUTE, 16 * MINUTE, 30 * MINUTE]

    assert passed(step, *events) == [0, 0, 0, 0, 15 * MINUTE, 30 * MINUTE]


def test_a_burst_of_one_spaces_them_evenly() -> None:
    step = "throttle: {at_most: 4, within: 1h, burst: 1}"

    assert passed(step, 0, 0, 14 * MINUTE, 15 * MINUTE) == [0, 15 * MINUTE]


@pytest.mark.parametrize(
    ("step", "within", "most"),
    [
        ("throttle: {at_most: 1700, within: 3s, burst: 2}", 3_000, 1_701),  # every 1.7647 ms
        ("throttle: {at_most: 5, within: 5ms}", 5, 5),  # one a millisecond, the most there is
    ],
)
def test_a_rate_finer_than_the_time_in_the_log_is_never_exceeded(
    step: str, within: int, most: int
) -> None:
    assert len(passed(step, *range(within))) == most


def test_each_value_of_by_has_a_bucket_of_its_own() -> None:
    step = built("throttle: {within: 1h, by: [sensor, room.floor]}", Part.KEYED)
    door, window = {"sensor": "door", "room": {"floor": 1}}, {"sensor": "w", "room": {"floor": 1}}

    played = play(step, [(0, door), (1, window), (2, door)])

    assert [each.members for each in played.passed] == [("e0",), ("e1",)]
    assert played.dropped == [(2, ("e2",), "suppressed", "throttle", "")]


def test_the_reason_may_be_named() -> None:
    played = play(built("throttle: {within: 1h, reason: chatter}", Part.KEYED), [(0, {}), (1, {})])

    assert [each.reason for each in played.dropped] == ["chatter"]


def test_an_event_without_the_field_is_dead_and_takes_no_token() -> None:
    step = built("throttle: {within: 1h, by: [sensor]}", Part.KEYED)

    played = play(step, [(0, {}), (1, {"sensor": "door"})])

    assert [reason for reason, _ in played.died] == ["expression"]
    assert [each.members for each in played.passed] == [("e1",)]


def test_it_is_forgotten_when_its_buckets_are_full_again() -> None:
    step = built("throttle: {at_most: 3, within: 10s}", Part.KEYED)

    state = play(step, [(0, {}), (0, {})]).state

    assert step.horizon(state) == Horizon(act_at=0, forget_at=START + 6_667)


def test_of_several_buckets_the_last_to_be_full_is_waited_for() -> None:
    step = built("throttle: {within: 1s, by: [sensor]}", Part.KEYED)

    state = play(step, [(0, {"sensor": "door"}), (400, {"sensor": "window"})]).state

    assert step.horizon(state) == Horizon(act_at=0, forget_at=START + 1_400)


def test_a_person_of_many_keys_is_remembered_by_those_that_are_not_full() -> None:
    step = built("throttle: {within: 1s, by: [sensor]}", Part.KEYED)
    many = [(n * 100, {"sensor": str(n)}) for n in range(1_000)]
    at_once = [(0, {"sensor": str(n)}) for n in range(33)]

    assert len(play(step, many).state) <= 33
    assert set(play(step, at_once).state) == {str(n) for n in range(33)}
    assert set(play(step, [*at_once, (1_000, {"sensor": "new"})]).state) == {"new"}


def test_it_reads_the_fields_of_by() -> None:
    assert reads("throttle: {within: 1h, by: [sensor, room.floor]}") == frozenset(
        {"sensor", "room"}
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{at_most: 2}", "`throttle` needs `within`"),
        ("{within: 0s}", "must be at least 1ms, got 0s"),
        ("{within: 1h, at_most: 0}", "must be at least 1"),
        ("{within: 1h, burst: 0}", "must be at least 1"),
        ("{within: 5ms, at_most: 6}", "6 in 5ms is more than one a millisecond"),
        ("{within: 1h, by: [sensor + 1]}", "a field of the event is expected here"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        built(f"throttle: {fields}", Part.KEYED)

    assert message in str(raised.value)


TIMES = st.lists(st.sampled_from([0, 1, 7, 50, 99, 100, 333]) | st.integers(0, 400), max_size=80)


@given(
    after=TIMES,
    at_most=st.integers(1, 7),
    burst=st.integers(1, 9),
    within=st.sampled_from([100, 250, 999, HOUR]),
    restarts=st.frozensets(st.integers(1, 80), max_size=5),
)
def test_no_stretch_of_time_sees_more_than_the_burst_and_what_trickles_in(
    after: list[int], at_most: int, burst: int, within: int, restarts: frozenset[int]
) -> None:
    text = f"throttle: {{at_most: {at_most}, within: {within}ms, burst: {burst}}}"
    events = [(at, dict[str, int]()) for at in accumulate(after)]

    played = play(built(text, Part.KEYED), events, restarts=restarts)

    times = [each.at for each in played.passed]
    assert len(times) + len(played.dropped) == len(events)
    for first, last in zip(times, times[burst + at_most - 1 :], strict=False):
        assert last - first >= within
    for each in played.dropped:  # nothing is dropped below what a stretch may see
        assert sum(each.at - within * burst // at_most <= at <= each.at for at in times) >= burst
