"""hold: a person's own quiet hours, and that nobody is woken in any as the clocks jump."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operators.holding import AUCKLAND, QUIET, held, passed
from tests.unit.operators.one_person import START, Event, Played, play
from tests.unit.operators.support import HOUR
from tidings.quiet_hours import QuietHours

OWN = f"{QUIET}, own_quiet: hours"


@pytest.mark.parametrize(
    ("hours", "goes"),
    [
        ("23:00-01:30", 1.5),  # in Auckland it is midnight
        ("10:00-12:00", 0),
        ("none", 0),
        ("22:00-08:00", 8),
        # what is no hours: the flow's go
        (None, 8),
        ("", 8),
        ("at night", 8),
        ("25:00-08:00", 8),
        ("8:00-8:00", 8),
        (7, 8),
        (["22:00-08:00"], 8),
    ],
)
def test_a_persons_own_hours_take_the_place_of_the_flows(hours: Any, goes: float) -> None:
    event = {**AUCKLAND, "hours": hours}

    assert passed(OWN, (0, event)) == [(goes * HOUR, "e0")]
    if hours is None:
        assert passed(OWN, (0, AUCKLAND)) == [(goes * HOUR, "e0")]


def test_without_hours_of_the_flow_only_those_who_have_their_own_are_left_alone() -> None:
    step = "own_quiet: hours, zone: zone"

    assert passed(step, (0, AUCKLAND)) == [(0, "e0")]
    assert passed(step, (0, {**AUCKLAND, "hours": "23:00-07:00"})) == [(7 * HOUR, "e0")]


def test_for_one_who_has_no_quiet_hours_the_zone_does_not_matter() -> None:
    step = f"{OWN}, no_zone: drop"

    assert passed(step, (0, {"hours": "none"})) == [(0, "e0")]
    played = play(held(step), [(0, {"hours": "23:00-07:00"})])
    assert [(each.kind, each.reason) for each in played.dropped] == [("suppressed", "no_zone")]


@pytest.mark.parametrize("hours", ["08:00-07:00", "00:30-00:00", "12:00-11:59"])
def test_jitter_stays_within_what_a_persons_own_hours_leave(hours: str) -> None:
    step = held(f"{OWN}, jitter: 2h")
    quiet = QuietHours.parse(hours)

    for person in range(50):
        event = {**AUCKLAND, "hours": hours}
        played = play(step, [(HOUR, event)], 48 * HOUR, fields={"recipient_id": f"p{person}"})
        (goes,) = [each.at for each in played.passed]
        assert quiet.until(START + goes, "Pacific/Auckland") == 0
        assert goes < 25 * HOUR


@pytest.mark.parametrize(
    ("came", "hours", "zone", "goes"),
    [
        # the night of the jump in Berlin: 02:30 is skipped, and is over at the jump
        ("2026-03-29T00:30", "22:00-02:30", "Europe/Berlin", "2026-03-29T01:00"),
        ("2026-03-28T21:30", "22:00-08:00", "Europe/Berlin", "2026-03-29T06:00"),
        ("2026-03-08T05:00", "22:00-02:30", "America/New_York", "2026-03-08T07:00"),
        # 02:30 comes twice in Berlin, 01:30 in New York: the first one counts
        ("2026-10-24T23:30", "22:00-02:30", "Europe/Berlin", "2026-10-25T00:30"),
        ("2026-11-01T05:00", "22:00-01:30", "America/New_York", "2026-11-01T05:30"),
        # half an hour on Lord Howe Island, forth and back
        ("2026-04-04T14:00", "23:00-01:45", "Australia/Lord_Howe", "2026-04-04T14:45"),
        ("2026-10-03T15:00", "23:00-02:15", "Australia/Lord_Howe", "2026-10-03T15:30"),
    ],
)
def test_a_persons_own_hours_end_rightly_where_the_clock_jumps(
    came: str, hours: str, zone: str, goes: str
) -> None:
    def after_start(text: str) -> int:
        return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1_000) - START

    event = {"zone": zone, "hours": hours}
    found = passed(OWN, (after_start(came), event), until=after_start(goes))

    assert found == [(after_start(goes), "e0")]


# ── As a property ─────────────────────────────────────────────────────────────────────────────

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
JUMPS = [  # hours after the start at which one of the clocks jumps
    int((datetime.fromisoformat(f"{moment}+00:00").timestamp() * 1_000 - START) / HOUR)
    for moment in ("2026-10-25T01:00", "2026-11-01T06:00", "2026-10-03T15:30", "2027-03-14T07:00")
]
EVENTS = st.lists(
    st.tuples(
        st.builds(int.__add__, st.sampled_from(JUMPS), st.integers(-40, 40)),
        st.integers(0, 59),
        st.sampled_from(ZONES),
        st.none() | st.integers(-5, 60),
        st.sampled_from([None, "none", "at night", "21:15-09:45", "02:10-02:50", "01:00-00:00"]),
    ),
    max_size=12,
)


@given(
    drawn=EVENTS,
    hours=st.sampled_from(["22:00-08:00", "23:30-02:30", "09:00-17:00"]),
    jitter=st.sampled_from([0, 1_800_000]),
    restarts=st.frozensets(st.integers(0, 12), max_size=4),
)
def test_each_goes_once_never_early_and_never_in_quiet_hours(
    drawn: list[tuple[int, int, str, int | None, str | None]],
    hours: str,
    jitter: int,
    restarts: frozenset[int],
) -> None:
    events: list[Event] = []
    for hour, minute, zone, ahead, own in sorted(drawn, key=lambda each: each[:2]):
        came = hour * HOUR + minute * 60_000
        when = None if ahead is None else START + came + ahead * HOUR
        events.append((came, {"zone": zone, "when": when, "hours": own}))
    text = f"quiet: {hours}, own_quiet: hours, zone: zone, send_at: when, jitter: {jitter}ms"

    played: Played = play(held(text), events, until=400 * 24 * HOUR, restarts=restarts)

    assert sorted(each.members for each in played.passed) == sorted(
        (f"e{n}",) for n in range(len(events))
    )
    assert played.died == []
    for each in played.passed:
        came, data = events[int(each.members[0][1:])]
        wished = max(came, (data["when"] or START) - START)
        assert each.at >= wished
        own = data["hours"]
        if own == "none":
            assert each.at == wished or jitter
            continue
        quiet = QuietHours.parse(hours if own in (None, "at night") else own)
        assert quiet.until(START + each.at, data["zone"]) == 0
        if each.at != wished and not jitter:
            assert START + each.at == quiet.until(START + wished, data["zone"])
