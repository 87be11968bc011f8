"""limit: never one more in any stretch of time, for each channel and category apart."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operators.one_person import START, Event, play
from tests.unit.operators.support import built, reads
from tidings.contract import Horizon, Part
from tidings.problems import ProblemsError

TYPES = {"like": "social", "comment": "social", "order": "orders"}
AT_MOST, WITHIN = 2, 600
EACH = f"limit: {{at_most: {AT_MOST}, within: {WITHIN}ms, by: [channel], per_category: true}}"


def limited(text: str) -> Any:
    return built(text, Part.KEYED, types=TYPES)


def test_each_channel_and_category_has_a_count_of_its_own() -> None:
    said = [
        ("push", "like"),
        ("push", "comment"),
        ("push", "like"),  # the third of social on push
        ("push", "order"),
        ("email", "like"),
        ("push", "visit"),  # of no category
    ]
    events: list[Event] = [
        (at, {"channel": channel, "type": kind}) for at, (channel, kind) in enumerate(said)
    ]

    played = play(limited(EACH), events)

    assert [each.members for each in played.dropped] == [("e2",)]
    assert [each.reason for each in played.dropped] == ["limit"]


@pytest.mark.parametrize("event", [{"type": "like"}, {}])
def test_an_event_that_names_no_channel_is_dead(event: dict[str, str]) -> None:
    assert [reason for reason, _ in play(limited(EACH), [(0, event)]).died] == ["expression"]


def test_without_fields_a_category_is_all_that_tells_apart() -> None:
    step = limited(f"limit: {{at_most: 1, within: {WITHIN}ms, per_category: true}}")
    events: list[Event] = [(0, {"type": "like"}), (1, {"type": "order"}), (2, {"type": "comment"})]

    assert [each.members for each in play(step, events).dropped] == [("e2",)]


def test_what_passed_exactly_within_ago_no_longer_counts() -> None:
    step = limited("limit: {at_most: 1, within: 600ms}")

    played = play(step, [(0, {}), (599, {}), (600, {}), (1_199, {}), (1_200, {})])

    assert [each.at for each in played.passed] == [0, 600, 1_200]


def test_it_is_forgotten_when_the_last_that_passed_no_longer_counts() -> None:
    step = limited("limit: {at_most: 2, within: 600ms, by: [channel]}")
    events = [(0, {"channel": "push"}), (100, {"channel": "push"}), (50, {"channel": "sms"})]

    state = play(step, sorted(events, key=lambda event: event[0])).state

    assert step.horizon(state) == Horizon(act_at=0, forget_at=START + 700)


def test_of_many_groups_those_that_still_count_are_remembered() -> None:
    step = limited("limit: {at_most: 2, within: 600ms, by: [channel]}")
    others: list[Event] = [(0, {"channel": str(number)}) for number in range(31)]
    first: list[Event] = [(0, {"channel": "a"}), (400, {"channel": "a"})]

    crowded = play(step, [*others, *first, (600, {"channel": "new"})])
    last = play(step, [*others, *first, *[(at, {"channel": "a"}) for at in (600, 601, 602)]])

    assert set(crowded.state) == {"a", "new"}  # of the others each passed exactly 600 ms ago
    assert [each.at for each in last.dropped] == [601, 602]
    assert len(last.state) == 32  # it is not yet worth while to look at all of them


def test_a_limit_over_no_time_is_refused() -> None:
    with pytest.raises(ProblemsError, match="must be at least 1ms, got 0s"):
        limited("limit: {at_most: 1, within: 0s}")


def test_it_reads_the_type_where_the_category_goes_by_it() -> None:
    assert reads(EACH) == frozenset({"channel", "type"})
    assert reads("limit: {at_most: 1, within: 1h}") == frozenset()


@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 199, 200, 300, 599, 600, 601]),
            st.sampled_from(["push", "email"]),
            st.sampled_from([*TYPES, "visit"]),
        ),
        max_size=60,
    ),
    restarts=st.frozensets(st.integers(0, 60), max_size=5),
)
def test_it_is_exact_for_each_channel_and_category(
    drawn: list[tuple[int, str, str]], restarts: frozenset[int]
) -> None:
    at, events = 0, []
    passed: dict[tuple[str, str], list[int]] = defaultdict(list)
    expected = []
    for number, (after, channel, kind) in enumerate(drawn):
        at += after
        events.append((at, {"channel": channel, "type": kind}))
        times = passed[channel, TYPES.get(kind, "")]
        if sum(time > at - WITHIN for time in times) < AT_MOST:
            times.append(at)
            expected.append((f"e{number}",))

    played = play(limited(EACH), events, restarts=restarts)

    assert [each.members for each in played.passed] == expected
