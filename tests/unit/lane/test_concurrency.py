"""How many sends a provider gets at once: less where it suffers, soon all again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lane.paper import NOW
from tidings.runtime.lane.concurrency import Concurrency


class Provider:
    """Answers a round each 100 ms; all places are taken."""

    def __init__(self, most: int) -> None:
        self.concurrency = Concurrency(most)
        self.now = NOW

    def rounds(self, count: int, *, latency: int = 50, limited: float = 0.0) -> list[int]:
        """The limit behind each round."""
        limits = []
        for _ in range(count):
            self.now += max(100, latency)
            self.concurrency.answered(100, round(100 * limited), latency, True, self.now)
            limits.append(self.concurrency.limit(self.now))
        return limits


def test_a_provider_that_is_well_gets_all_places() -> None:
    assert set(Provider(400).rounds(100)) == {400}


def test_latencies_that_jump_about_within_reason_change_nothing() -> None:
    provider = Provider(400)
    for latency in [20, 80, 45, 200, 20, 150, 80] * 20:
        assert provider.rounds(1, latency=latency) == [400]


def test_where_a_tenth_is_refused_as_too_many_there_are_fewer_down_to_one() -> None:
    provider = Provider(400)
    assert provider.rounds(3, limited=0.11) == [300, 225, 168]
    assert provider.rounds(30, limited=1.0)[-1] == 1
    assert provider.rounds(30, limited=1.0) == [1] * 30


def test_a_few_that_are_refused_are_about_single_devices() -> None:
    assert set(Provider(400).rounds(50, limited=0.1)) == {400}


def test_from_one_it_is_back_at_all_within_six_rounds() -> None:
    provider = Provider(400)
    provider.rounds(40, limited=1.0)
    assert provider.rounds(6) == [13, 38, 88, 188, 388, 400]


def test_at_a_providers_limit_it_keeps_close_to_what_that_takes() -> None:
    """It takes 100 at once, and refuses what is beyond."""
    provider = Provider(400)
    seen = []
    for _ in range(300):
        limit = provider.concurrency.limit(provider.now)
        seen += provider.rounds(1, limited=max(0.0, 1 - 100 / limit))
    assert 75 <= sum(seen[50:]) / 250 <= 125


def test_answers_that_take_ever_longer_cost_places_but_an_eighth_stays() -> None:
    provider = Provider(400)
    provider.rounds(50)
    assert provider.rounds(1, latency=400) == [200]
    assert min(provider.rounds(20, latency=10_000)) == 50


def test_it_gets_used_to_a_slower_pace() -> None:
    provider = Provider(400)
    provider.rounds(50)
    assert provider.rounds(60, latency=2_000)[-1] == 400


def test_it_gets_used_to_a_slower_pace_slowly_and_to_a_faster_one_fast() -> None:
    provider = Provider(400)
    provider.rounds(50)
    assert provider.rounds(3, latency=400) == [200, 100, 50]
    provider.rounds(100, latency=2_000)
    provider.rounds(200)
    assert provider.rounds(1, latency=400) == [200], "what it was used to is forgotten"


def test_a_limit_of_few_places_never_falls_below_one() -> None:
    provider = Provider(1)
    assert provider.rounds(50, latency=10_000, limited=1.0) == [1] * 50


def test_places_that_nobody_takes_do_not_make_more_of_them() -> None:
    provider = Provider(400)
    provider.rounds(40, limited=1.0)
    for _ in range(50):
        provider.now += 100
        provider.concurrency.answered(1, 0, 50, False, provider.now)
    assert provider.concurrency.limit(provider.now) == 1


def test_after_an_outage_it_begins_with_four_and_doubles_from_second_to_second() -> None:
    concurrency = Concurrency(400)
    concurrency.restart(NOW)
    limits = [concurrency.limit(NOW + second * 1_000) for second in range(9)]
    assert limits == [4, 8, 16, 32, 64, 128, 256, 400, 400]


def test_after_an_outage_it_gets_no_more_than_it_had() -> None:
    provider = Provider(400)
    provider.rounds(12, limited=1.0)
    had = provider.concurrency.limit(provider.now)
    provider.concurrency.restart(provider.now)
    assert provider.concurrency.limit(provider.now + 60_000) == had


@given(
    st.integers(1, 1_000),
    st.lists(
        st.tuples(st.integers(0, 20_000), st.integers(1, 500), st.integers(0, 500), st.booleans())
    ),
)
def test_whatever_comes_it_is_from_one_to_the_most(
    most: int, rounds: list[tuple[int, int, int, bool]]
) -> None:
    concurrency, now = Concurrency(most), NOW
    for latency, answers, limited, full in rounds:
        now += latency // 10
        concurrency.answered(answers, min(limited, answers), latency, full, now)
        if latency % 7 == 0:
            concurrency.restart(now)
        assert 1 <= concurrency.limit(now) <= most
