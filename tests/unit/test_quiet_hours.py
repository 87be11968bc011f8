"""Quiet hours on days on which the clock jumps, in zones that jump differently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tidings.problems import ValueProblem
from tidings.quiet_hours import MINUTE, QuietHours, is_zone

NEW_YORK, BERLIN, LORD_HOWE, SANTIAGO, ST_JOHNS = (
    "America/New_York",  # jumps at 02:00
    "Europe/Berlin",  # jumps at 01:00 UTC
    "Australia/Lord_Howe",  # by half an hour
    "America/Santiago",  # at midnight
    "America/St_Johns",  # in 2010 at a minute past midnight
)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def until(hours: str, at: str, zone: str) -> str:
    """When the quiet ends, in UTC; empty where it is not quiet."""
    end = QuietHours.parse(hours).until(utc(at), zone)
    return datetime.fromtimestamp(end / 1_000, UTC).strftime("%m-%d %H:%M") if end else ""


@pytest.mark.parametrize(
    ("hours", "at", "zone", "end"),
    [
        # over midnight, in summer
        ("22:00-08:00", "2026-07-01T19:59:59", BERLIN, ""),
        ("22:00-08:00", "2026-07-01T20:00:00", BERLIN, "07-02 06:00"),
        ("22:00-08:00", "2026-07-02T05:59:59", BERLIN, "07-02 06:00"),
        ("22:00-08:00", "2026-07-02T06:00:00", BERLIN, ""),
        # within a day, and up to its end
        ("13:00-15:00", "2026-07-01T17:30:00", NEW_YORK, "07-01 19:00"),
        ("20:00-24:00", "2026-07-01T00:30:00", NEW_YORK, "07-01 04:00"),
        # spring: the night of the jump is an hour shorter
        ("22:00-08:00", "2026-03-28T21:30:00", BERLIN, "03-29 06:00"),
        ("22:00-08:00", "2026-03-08T03:30:00", NEW_YORK, "03-08 12:00"),
        # spring: an end that the clock skips is at the jump, and so is a beginning
        ("22:00-02:30", "2026-03-29T00:30:00", BERLIN, "03-29 01:00"),
        ("22:00-02:30", "2026-03-29T01:00:00", BERLIN, ""),
        ("02:30-05:00", "2026-03-29T01:00:00", BERLIN, "03-29 03:00"),
        ("02:30-05:00", "2026-03-29T00:59:59", BERLIN, ""),
        ("02:10-02:50", "2026-03-29T01:00:00", BERLIN, ""),
        ("22:00-00:30", "2026-09-06T03:59:59", SANTIAGO, "09-06 04:00"),
        ("23:00-02:15", "2026-10-03T15:00:00", LORD_HOWE, "10-03 15:30"),
        # autumn: the first of the two
        ("22:00-01:30", "2026-11-01T05:29:59", NEW_YORK, "11-01 05:30"),
        ("22:00-01:30", "2026-11-01T05:30:00", NEW_YORK, ""),
        ("22:00-01:30", "2026-11-01T06:10:00", NEW_YORK, ""),  # 01:10 once more
        ("01:30-03:00", "2026-11-01T06:10:00", NEW_YORK, "11-01 08:00"),  # it has begun already
        ("22:00-08:00", "2026-11-01T05:30:00", NEW_YORK, "11-01 13:00"),  # an hour longer
        ("00:00-06:00", "2026-04-05T03:30:00", SANTIAGO, ""),  # 23:30 again, midnight is to come
        ("00:00-06:00", "2010-11-07T02:40:00", ST_JOHNS, "11-07 09:30"),  # midnight has been
    ],
)
def test_the_end_of_the_quiet(hours: str, at: str, zone: str, end: str) -> None:
    assert until(hours, at, zone) == end


def first_shown(zone: str, day: datetime, minute: int) -> int:
    """The first minute at which the clock shows this time of the day or a later one, by looking at
    the clock minute after minute."""
    wall = day + timedelta(minutes=minute)
    moment = wall.replace(tzinfo=UTC) - timedelta(hours=12)
    here = ZoneInfo(zone)
    while moment.astimezone(here).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    return int(moment.timestamp() * 1_000)


DAYS = st.sampled_from(  # around the jumps
    [
        *("2010-11-07", "2026-03-08", "2026-03-29", "2026-04-05", "2026-07-01", "2026-09-06"),
        *("2026-10-04", "2026-10-25", "2026-11-01"),
    ]
)
TIMES = st.integers(0, 24 * 60 - 1) | st.sampled_from([0, 30, 60, 90, 120, 135, 150, 180])


@settings(max_examples=60)
@given(
    zone=st.sampled_from([NEW_YORK, BERLIN, LORD_HOWE, SANTIAGO, ST_JOHNS]),
    day=DAYS,
    start=TIMES,
    end=TIMES,
    after=st.integers(-16 * 60, 40 * 60),
)
def test_it_is_quiet_from_the_first_showing_of_the_beginning_to_that_of_the_end(
    zone: str, day: str, start: int, end: int, after: int
) -> None:
    assume(start != end)
    date = datetime.fromisoformat(day)
    at = utc(day) + after * MINUTE
    windows = []
    for number in range(-2, 3):
        morning = date + timedelta(days=number)
        evening = morning + timedelta(days=start > end)
        windows.append((first_shown(zone, morning, start), first_shown(zone, evening, end)))
    expected = next((last for first, last in windows if first <= at < last), 0)

    assert QuietHours(start, end).until(at, zone) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("22:00", "`22:00` are no hours of the day"),
        ("10pm-8am", "`10pm-8am` are no hours of the day"),
        ("22:00-25:00", "`22:00-25:00` are no hours of the day"),
        ("22:00-24:30", "`22:00-24:30`: a day ends at 24:00"),
        ("08:00-08:00", "`08:00-08:00` begin and end at the same time"),
        ("00:00-24:00", "`00:00-24:00` begin and end at the same time"),
    ],
)
def test_what_are_no_quiet_hours(text: str, message: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        QuietHours.parse(text)
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Europe/Madrid", True),
        ("UTC", True),
        ("Europe/Atlantis", False),
        ("", False),
        ("../../etc/passwd", False),
        ("/etc/localtime", False),
        ("Europe", False),
        ("a\x00b", False),
    ],
)
def test_zones_go_by_their_names(name: str, known: bool) -> None:
    assert is_zone(name) is known


def test_hours_are_written_as_they_are_read() -> None:
    assert str(QuietHours.parse("22:00-8:05")) == "22:00-08:05"
    assert QuietHours.parse("22:00-8:05").length() == (10 * 60 + 5) * MINUTE
