"""What a flow decides is a function of its log: the same for any size of batches and any restarts.

Each property plays one log cut up in some way, and looks at what was decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import engine
from tests.unit.runtime.one_flow import ENTRIES, NOW, SOURCE, OneFlow
from tests.unit.runtime.played import alike
from tidings.log.port import Append
from tidings.plan import FlowPlan
from tidings.records import Outcome
from tidings.runtime import keyed, member

WINDOW, GAP, MAX_WAIT, MAX_ITEMS = 500, 200, 700, 4  # ms, and events
AT_MOST, WITHIN = 2, 600
DIGEST = f"""
  - digest: {{by: [photo], window: {WINDOW}ms, max_items: {MAX_ITEMS}, keep: last 2}}
  - deliver: {{to: push, template: t}}
"""
SLIDING = f"""
  - digest: {{by: [photo], gap: {GAP}ms, max_wait: {MAX_WAIT}ms, keep: first 1}}
  - deliver: {{to: push, template: t}}
"""
LIMIT = f"""
  - limit: {{at_most: {AT_MOST}, within: {WITHIN}ms}}
  - deliver: {{to: push, template: t}}
"""
ALL = f"""
  - expire: {{at: until}}
  - fan_out:
      - name: photos
        steps:
          - digest: {{by: [photo], window: {WINDOW}ms, keep: last 2}}
      - name: all
        when: photo == 'p'
        steps:
          - digest: {{gap: {GAP}ms, max_wait: {MAX_WAIT}ms, keep: first 1}}
  - limit: {{at_most: {AT_MOST}, within: {WITHIN}ms}}
  - digest: {{window: 2s, keep: last 0}}
  - deliver: {{to: push, template: t, expires: 1h}}
"""


class Event(NamedTuple):
    """One entry of a log, at so many ms after its beginning."""

    id: str
    person: str
    photo: str
    at: int
    more: Mapping[str, Any] = {}


class Cut(NamedTuple):
    """How a log is played: so many records a pull, so much work a batch (a deadline is several),
    kills and stops before these turns."""

    batch: int
    work: int
    kills: frozenset[int]
    stops: frozenset[int]


def timed(events: list[tuple[str, str, int]]) -> list[Event]:
    """Each comes so many ms after the one before."""
    at, found = 0, []
    for number, (person, photo, after) in enumerate(events):
        at += after
        found.append(Event(f"e{number}", person, photo, at))
    return found


LOGS = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bob", "eve"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from([0, 1, 99, 100, 200, 300, 499, 500, 600]) | st.integers(0, 700),
    ),
    min_size=1,
    max_size=50,
).map(timed)
TURNS = st.frozensets(st.integers(1, 40), max_size=3)
CUTS = st.builds(Cut, st.integers(1, 12), st.integers(1, 12), TURNS, TURNS)
AT_ONCE = Cut(1_000, 10_000, frozenset(), frozenset())


@cache
def plan_of(steps: str) -> FlowPlan:
    """A plan, made once."""
    with TemporaryDirectory() as folder:
        text = f"flow: social\nsource: {SOURCE}\nsteps:{steps}"
        plan = engine.plan_of(Path(folder), text)
    assert isinstance(plan, FlowPlan)
    return plan


def play(steps: str, events: list[Event], cut: Cut) -> list[Outcome]:
    """What is decided on a log of these events and, at its end, a marker: each outcome once."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "BATCH", cut.batch)
        patch.setattr(keyed, "WORK", cut.work)
        flow = OneFlow(Path(folder), plan=plan_of(steps))
        for event in events:
            flow.clock.set(NOW + event.at)
            until = NOW + event.at // 100 * 100 + 150
            data = {"photo": event.photo, "until": until, **event.more}
            flow.enter(event.person, data, id=event.id)
        flow.clock.advance(100_000)
        flow.log.write(Append(ENTRIES, None, None, (), 0))
        for turn in range(len(events) + 60):
            if turn in cut.kills:
                flow.kill()
                flow.start()
            if turn in cut.stops:
                flow.stop()
                flow.start()
            flow.turn()
            flow.clock.advance(150)
        flow.settle()
        assert flow.letters() == []
        return list({one.outcome_id: one for one in alike(flow.log)}.values())


def by_person(outcomes: list[Outcome], kind: str) -> dict[str, list[int]]:
    """When each person got such an outcome, in order; ms from the beginning of the log."""
    found = defaultdict(list)
    for one in outcomes:
        if one.kind == kind:
            found[one.recipient_id].append(one.at - NOW)
    return {person: sorted(times) for person, times in found.items()}


@pytest.mark.parametrize("steps", [DIGEST, SLIDING, LIMIT, ALL])
@given(events=LOGS, cut=CUTS)
@settings(max_examples=40)
def test_the_same_is_decided_however_a_log_is_cut(
    steps: str, events: list[Event], cut: Cut
) -> None:
    once = {one.outcome_id: one for one in play(steps, events, AT_ONCE)}
    assert {one.outcome_id: one for one in play(steps, events, cut)} == once


@given(events=LOGS, cut=CUTS)
@settings(max_examples=60)
def test_no_stretch_of_time_sees_more_than_a_limit_allows_and_none_is_dropped_below_it(
    events: list[Event], cut: Cut
) -> None:
    outcomes = play(LIMIT, events, cut)
    passed, dropped = by_person(outcomes, "queued"), by_person(outcomes, "suppressed")

    assert len(outcomes) == len(events)
    for times in passed.values():
        for first, last in zip(times, times[AT_MOST:], strict=False):
            assert last - first >= WITHIN
    for person, times in dropped.items():
        for at in times:
            assert sum(at - WITHIN < time <= at for time in passed[person]) == AT_MOST


@given(events=LOGS, cut=CUTS)
@settings(max_examples=60)
def test_every_event_is_in_one_digest_that_closes_at_its_deadline_or_full(
    events: list[Event], cut: Cut
) -> None:
    outcomes = play(DIGEST, events, cut)
    known = {event.id: event for event in events}

    assert sorted(each for one in outcomes for each in one.members) == sorted(known)
    for one in outcomes:
        members = [known[each] for each in one.members]
        assert len({(member.person, member.photo) for member in members}) == 1
        full = len(members) == MAX_ITEMS and one.at - NOW == members[-1].at
        assert full or one.at - NOW == members[0].at + WINDOW
        assert all(member.at - members[0].at < WINDOW for member in members)


@given(events=LOGS, cut=CUTS)
@settings(max_examples=60)
def test_every_event_is_in_one_sliding_digest_that_closes_when_nothing_came(
    events: list[Event], cut: Cut
) -> None:
    outcomes = play(SLIDING, events, cut)
    known = {event.id: event for event in events}

    assert sorted(each for one in outcomes for each in one.members) == sorted(known)
    for one in outcomes:
        times = [known[each].at for each in one.members]
        assert one.at - NOW == min(times[-1] + GAP, times[0] + MAX_WAIT)
        assert all(later - time < GAP for time, later in pairwise(times))
