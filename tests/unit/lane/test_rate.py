"""The token bucket: no stretch of time sees more than the rate; what is given back; shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lane.paper import NOW
from tidings.rates import parse_rate, rate
from tidings.runtime.lane.rate import Bucket


def spent(bucket: Bucket, wishes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(pause in ms, tokens wished for) one after the other → (when, tokens got)."""
    now, got = NOW, []
    for pause, wish in wishes:
        now += pause
        count = min(wish, bucket.free(now))
        if count:
            bucket.take(count, now)
            got.append((now, count))
    return got


def most_within(taken: list[tuple[int, int]], within: int) -> int:
    """The most that any stretch of ``within``, its end left out, has seen."""
    return max(
        (sum(count for at, count in taken if start <= at < start + within) for start, _ in taken),
        default=0,
    )


RATES = st.integers(1, 200).flatmap(
    lambda at_most: st.builds(
        rate, st.just(at_most), st.integers(10, 5_000), st.integers(1, at_most)
    )
)
WISHES = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 100)), max_size=60)


@given(RATES, WISHES)
def test_no_stretch_of_time_sees_more_than_the_rate(one, wishes) -> None:  # type: ignore[no-untyped-def]
    assert most_within(spent(Bucket(one), wishes), one.within) <= one.at_most


@given(RATES, WISHES, st.data())
def test_nor_does_it_of_what_the_provider_counts(one, wishes, data) -> None:  # type: ignore[no-untyped-def]
    """Some sends are refused as too many, and not counted; their tokens come back later."""
    bucket, now = Bucket(one, counts_limited=False), NOW
    counted: list[list[int]] = []
    under_way: list[list[int]] = []
    for pause, wish in wishes:
        now += pause
        count = min(wish, bucket.free(now))
        if count:
            bucket.take(count, now)
            counted.append([now, count])
            under_way.append(counted[-1])
        if under_way and data.draw(st.booleans()):
            answered = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            refused = data.draw(st.integers(0, answered[1]))
            answered[1] -= refused
            bucket.give_back(refused, answered[0])
    assert most_within([(at, count) for at, count in counted], one.within) <= one.at_most


@given(RATES, st.integers(2, 4), WISHES)
def test_nor_do_the_parts_of_several_processes_together(one, processes, wishes) -> None:  # type: ignore[no-untyped-def]
    """Where each part is one send in ``within`` at least."""
    if one.at_most < processes:
        return
    buckets = [Bucket(one, share=1 / processes) for _ in range(processes)]
    taken = [each for bucket in buckets for each in spent(bucket, wishes)]
    assert most_within(taken, one.within) <= one.at_most


def test_a_burst_then_one_after_the_other() -> None:
    bucket = Bucket(rate(5, 1_000, 2))
    assert spent(bucket, [(0, 9)] + [(50, 9)] * 21) == [
        (NOW, 2),
        (NOW + 250, 1),
        (NOW + 500, 1),
        (NOW + 750, 1),
        (NOW + 1_000, 1),
    ]


def test_when_there_is_a_token_again() -> None:
    bucket = Bucket(rate(10, 1_000, 1))
    assert bucket.next_at() <= NOW
    bucket.take(1, NOW)
    assert (bucket.free(NOW + 99), bucket.next_at(), bucket.free(NOW + 100)) == (0, NOW + 100, 1)


def test_fcms_minute_is_used_up_and_no_more() -> None:
    """Asked each 5 ms for all there is: 600,000 in a minute, but for the first burst's share."""
    bucket = Bucket(parse_rate("600000/min"))
    first = spent(bucket, [(5, 500)] * 12_000)
    assert 597_000 <= sum(count for _, count in first) <= 600_000


def test_what_was_refused_as_too_many_is_given_back_where_it_is_not_counted() -> None:
    for counts, free in ((True, 0), (False, 7)):
        bucket = Bucket(rate(10, 1_000, 10), counts_limited=counts)
        bucket.take(10, NOW)
        bucket.give_back(7, NOW)
        assert bucket.free(NOW) == free


def test_a_process_with_a_quarter_of_the_partitions_has_a_quarter_of_the_rate() -> None:
    bucket = Bucket(parse_rate("1000/s"), share=0.25)
    assert sum(count for _, count in spent(bucket, [(5, 500)] * 200)) == pytest.approx(250, abs=5)


def test_a_part_of_less_than_one_is_one_in_a_longer_time() -> None:
    bucket = Bucket(parse_rate("1/s"), share=0.25)
    assert [at - NOW for at, _ in spent(bucket, [(0, 1)] + [(500, 1)] * 20)] == [0, 4_000, 8_000]


def test_a_clock_that_is_set_back_costs_a_burst_at_the_most() -> None:
    bucket = Bucket(rate(10, 1_000, 2))
    bucket.take(2, NOW)
    an_hour_ago = NOW - 3_600_000
    assert bucket.free(an_hour_ago) == 0
    bucket.take(0, an_hour_ago)
    assert bucket.free(an_hour_ago + 250) == 2
