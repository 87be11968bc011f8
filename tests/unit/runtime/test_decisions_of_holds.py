"""What is thinned out and held is a function of the log as well, through kills and restarts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings

from tests.unit.runtime.one_flow import NOW
from tests.unit.runtime.test_decisions import AT_ONCE, CUTS, LOGS, Cut, Event, by_person, play

# The log begins at 00:16:40 UTC of its first day: p waits for 00:17, q only for its delay.
QUIET_UNTIL = 17 * 60_000 - NOW
DELAY = 300
HELD = f"""
  - throttle: {{at_most: 2, within: 600ms, by: [photo]}}
  - hold: {{quiet: 00:00-00:17, zone: "'UTC' if photo == 'p' else 'Asia/Tokyo'", delay: {DELAY}ms}}
  - digest: {{window: 200ms, keep: last 0}}
  - deliver: {{to: push, template: t}}
"""
ONLY_HELD = f"""
  - hold: {{quiet: 00:00-00:17, zone: "'UTC' if photo == 'p' else 'Asia/Tokyo'", delay: {DELAY}ms}}
  - deliver: {{to: push, template: t}}
"""


@given(events=LOGS, cut=CUTS)
@settings(max_examples=40)
def test_the_same_is_decided_however_a_log_is_cut(events: list[Event], cut: Cut) -> None:
    once = {one.outcome_id: one for one in play(HELD, events, AT_ONCE)}
    assert {one.outcome_id: one for one in play(HELD, events, cut)} == once


@given(events=LOGS, cut=CUTS)
@settings(max_examples=40)
def test_what_is_held_goes_once_and_at_its_moment(events: list[Event], cut: Cut) -> None:
    outcomes = play(ONLY_HELD, events, cut)

    expected: dict[str, list[int]] = {}
    for event in events:
        goes = event.at + DELAY
        expected.setdefault(event.person, []).append(
            max(goes, QUIET_UNTIL) if event.photo == "p" else goes
        )
    assert by_person(outcomes, "queued") == {key: sorted(at) for key, at in expected.items()}
    assert len(by_person(outcomes, "deferred")) == len(expected)


@pytest.mark.parametrize(("at_most", "burst"), [(1, 1), (2, 2), (2, 1), (3, 5)])
@given(events=LOGS, cut=CUTS)
@settings(max_examples=25)
def test_a_throttle_passes_what_has_a_token_and_never_one_more(
    at_most: int, burst: int, events: list[Event], cut: Cut
) -> None:
    throttle = f"{{at_most: {at_most}, within: 600ms, by: [photo], burst: {burst}}}"
    outcomes = play(
        f"\n  - throttle: {throttle}\n  - deliver: {{to: push, template: t}}\n", events, cut
    )

    expected, tokens, last = set(), dict[tuple[str, str], Fraction](), dict[tuple[str, str], int]()
    for event in events:
        key = (event.person, event.photo)
        came_back = Fraction((event.at - last.get(key, 0)) * at_most, 600)
        tokens[key] = min(Fraction(burst), tokens.get(key, Fraction(burst)) + came_back)
        last[key] = event.at
        if tokens[key] >= 1:
            tokens[key] -= 1
            expected.add(event.id)
    assert {one.members[0] for one in outcomes if one.kind == "queued"} == expected
    assert len(outcomes) == len(events)
    for key in tokens:
        times = [e.at for e in events if e.id in expected and (e.person, e.photo) == key]
        for first, later in zip(times, times[burst + at_most - 1 :], strict=False):
            assert later - first >= 600
