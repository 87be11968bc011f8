"""The circuit breaker: when it opens, how it is tried again, when it closes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.lane.paper import NOW
from tidings.operators.send import BreakerSpec
from tidings.runtime.alerts import Alerts
from tidings.runtime.lane.breaker import Breaker, State
from tidings.runtime.lane.quota import Quota
from tidings.sender import Answer, Verdict

SPEC = BreakerSpec(share=0.5, volume=20, window=10_000, pause=5_000, longest=20_000, probes=3)
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


def test_half_of_twenty_answers_open_it() -> None:
    breaker = Breaker(SPEC)
    assert breaker.answered(10, 9, NOW) is None
    assert breaker.answered(0, 1, NOW + 100) is OPEN


def test_fewer_than_the_volume_do_not() -> None:
    breaker = Breaker(SPEC)
    assert breaker.answered(0, 19, NOW) is None
    assert breaker.answered(0, 1, NOW) is OPEN


def test_nor_does_less_than_the_share() -> None:
    breaker = Breaker(SPEC)
    for second in range(60):
        assert breaker.answered(51, 49, NOW + second * 1_000) is None


def test_what_is_older_than_the_window_is_forgotten() -> None:
    breaker = Breaker(SPEC)
    assert breaker.answered(0, 19, NOW) is None
    assert breaker.answered(0, 1, NOW + 10_000) is None
    assert breaker.answered(0, 18, NOW + 10_000) is None
    assert breaker.answered(0, 1, NOW + 10_000) is OPEN


def opened() -> Breaker:
    breaker = Breaker(SPEC)
    assert breaker.answered(0, 20, NOW) is OPEN
    return breaker


def test_while_open_nothing_goes_and_then_the_probes() -> None:
    breaker = opened()
    assert [breaker.probes(0, NOW + after) for after in (0, 4_999, 5_000)] == [0, 0, 3]
    assert breaker.state is HALF_OPEN
    assert breaker.probes(2, NOW + 5_001) == 1
    assert breaker.probes(7, NOW + 5_001) == 0


def test_good_probes_close_it_together_or_one_after_the_other() -> None:
    for answers in ([3], [1, 1, 1], [2, 1]):
        breaker = opened()
        breaker.probes(0, NOW + 5_000)
        said = [breaker.answered(good, 0, NOW + 5_100) for good in answers]
        assert said == [None] * (len(answers) - 1) + [CLOSED]


def test_of_the_probes_that_have_proved_good_no_more_are_tried() -> None:
    breaker = opened()
    assert breaker.probes(0, NOW + 5_000) == 3
    breaker.answered(2, 0, NOW + 5_100)
    assert breaker.probes(0, NOW + 5_100) == 1


def test_what_failed_before_it_opened_does_not_count_when_it_has_closed() -> None:
    breaker = opened()
    breaker.probes(0, NOW + 5_000)
    assert breaker.answered(3, 0, NOW + 5_100) is CLOSED
    assert breaker.answered(0, 1, NOW + 5_200) is None, "the 20 are of the same ten seconds"


def test_a_bad_probe_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    breaker, now, pauses = opened(), NOW, []
    for _ in range(4):
        pauses.append(breaker.until - now)
        now = breaker.until
        breaker.probes(0, now)
        assert breaker.answered(2, 1, now) is OPEN
    assert pauses == [5_000, 10_000, 20_000, 20_000]


def test_when_it_has_closed_its_pause_is_the_first_again() -> None:
    breaker = opened()
    breaker.probes(0, NOW + 5_000)
    breaker.answered(0, 1, NOW + 5_000)
    breaker.probes(0, NOW + 15_000)
    assert breaker.answered(3, 0, NOW + 15_000) is CLOSED
    assert breaker.answered(0, 20, NOW + 16_000) is OPEN
    assert breaker.until == NOW + 21_000


def test_answers_to_sends_from_before_tell_nothing_of_now() -> None:
    breaker = opened()
    assert breaker.since > NOW + 10**9, "while it is open: no answer does"
    breaker.probes(0, NOW + 5_000)
    assert breaker.since == NOW + 5_000
    breaker.answered(3, 0, NOW + 5_100)
    assert breaker.since == NOW + 5_000, "one that times out late does not count either"


def test_a_time_out_of_before_it_opened_does_not_open_it_again() -> None:
    quota = Quota(
        "apns", 100, 1_000, spills=False, breaker=SPEC, alerts=Alerts("push.normal", "host")
    )
    failed = Answer(verdict=Verdict.AMB)
    for _ in range(20):
        quota.refused(failed, NOW)
    quota.heard(NOW + 1)
    assert quota.breaker.state is OPEN
    assert quota.free(NOW + 5_001) == 3
    for _ in range(20):
        quota.refused(failed, NOW)  # they left before, and time out now
    quota.heard(NOW + 5_100)
    assert quota.breaker.state is HALF_OPEN
    quota.refused(failed, NOW + 5_002)  # a probe
    quota.heard(NOW + 5_200)
    assert quota.breaker.state is OPEN


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 30), st.integers(0, 30))))
def test_it_opens_exactly_when_the_last_window_says_so(rounds: list[tuple[int, int, int]]) -> None:
    """An oracle that keeps every answer; a window ends with the slice of a second in hand."""
    breaker, now, history = Breaker(SPEC), NOW, []
    for pause, good, bad in rounds:
        now += pause
        history.append((now // 1_000, good, bad))
        recent = [one for one in history if one[0] > now // 1_000 - 10]
        failed, total = sum(one[2] for one in recent), sum(one[1] + one[2] for one in recent)
        opens = bad > 0 and total >= 20 and failed * 2 >= total
        assert breaker.answered(good, bad, now) is (OPEN if opens else None)
        if opens:
            break


class Life(RuleBasedStateMachine):
    """Whatever comes, in whatever order: it follows its table of states."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now, self.in_flight = Breaker(SPEC), NOW, 0

    @rule(ms=st.integers(0, 30_000))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule()
    def probes_leave(self) -> None:
        before, until = self.breaker.state, self.breaker.until
        count = self.breaker.probes(self.in_flight, self.now)
        assert (count == 0) or self.breaker.state is HALF_OPEN
        assert self.in_flight + count <= max(self.in_flight, SPEC.probes)
        if before is OPEN:
            assert (self.breaker.state is HALF_OPEN) == (self.now >= until)
        self.in_flight += count

    @precondition(lambda self: self.in_flight and self.breaker.state is HALF_OPEN)
    @rule(good=st.booleans())
    def a_probe_is_answered(self, good: bool) -> None:
        self.in_flight -= 1
        turned = self.breaker.answered(int(good), int(not good), self.now)
        assert turned in ((None, CLOSED) if good else (OPEN,))
        if turned is OPEN:
            self.in_flight = 0  # the others are answered and do not count

    @rule(good=st.integers(0, 50), bad=st.integers(0, 50))
    def answers_come(self, good: int, bad: int) -> None:
        before = self.breaker.state
        if before is HALF_OPEN:
            return
        turned = self.breaker.answered(good, bad, self.now)
        assert turned in ((None, OPEN) if before is CLOSED else (None,))
        if turned is OPEN:
            self.in_flight = 0

    @invariant()
    def a_pause_is_never_longer_than_the_longest(self) -> None:
        assert self.breaker.until <= self.now + SPEC.longest


TestLife = Life.TestCase
