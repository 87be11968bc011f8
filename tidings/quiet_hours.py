"""Quiet hours: a stretch of each day, by the clock on a person's wall.

The clock on the wall jumps. An hour that it skips in spring counts as over at the jump, and of an
hour that it shows twice in autumn the first one counts: both are "the first instant at which the
clock shows this time of this day, or a later one".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.problems import ValueProblem

DAY = 86_400_000  # ms
MINUTE = 60_000  # ms
NEVER = "none"
"""What a person says who wants no quiet hours at all."""

_FORM = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9]) ?[-–] ?([01]?[0-9]|2[0-4]):([0-5][0-9])")
_HINT = "quiet hours are written like 22:00-08:00"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day up to another, in minutes after midnight; over midnight if need be."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Raises ValueProblem (`bad-hours`)."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueProblem("bad-hours", f"`{text}` are no hours of the day", _HINT)
        numbers = [int(number) for number in match.groups()]
        start, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
        if max(start, end) > 24 * 60:
            raise ValueProblem("bad-hours", f"`{text}`: a day ends at 24:00", _HINT)
        if start % (24 * 60) == end % (24 * 60):
            raise ValueProblem(
                "bad-hours", f"`{text}` begin and end at the same time", "drop the step, or a part"
            )
        return cls(start % (24 * 60), end % (24 * 60))

    def length(self) -> int:
        """How long they last on a day without a change of clocks, in ms."""
        return (self.end - self.start) % (24 * 60) * MINUTE

    def open_for(self) -> int:
        """How much of the shortest day they leave, in ms: an hour may be skipped."""
        return max(DAY - self.length() - 60 * MINUTE, 0)

    def until(self, at: int, zone: str) -> int:
        """When the quiet hours end in which the instant ``at`` lies; 0 where it lies in none.

        Both in epoch ms. ``zone`` is one for which ``is_zone`` holds.
        """
        today = datetime.fromtimestamp(at / 1_000, _zone(zone)).toordinal()
        overnight = self.end < self.start
        # Tomorrow's may have begun: the clock may be set back over midnight.
        for day in (today - 1, today, today + 1):
            if _first(zone, day, self.start) <= at:
                end = _first(zone, day + overnight, self.end)
                if at < end:
                    return end
        return 0

    def __str__(self) -> str:
        return "-".join(f"{each // 60:02}:{each % 60:02}" for each in (self.start, self.end))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        time = "([01]?[0-9]|2[0-4]):[0-5][0-9]"
        return {"type": "string", "pattern": f"^{time}-{time}$", "examples": ["22:00-08:00"]}

    @classmethod
    def _validate(cls, value: Any) -> QuietHours:
        if isinstance(value, QuietHours):
            return value
        if not isinstance(value, str):
            raise ValueProblem("wrong-kind", "expected hours of the day", _HINT)
        return cls.parse(value)


@lru_cache(maxsize=4_096)
def readable(text: str) -> QuietHours | None:
    """The hours that somebody wrote down; None where these are none.

    >>> readable("21:30-7:00"), readable("at night")
    (QuietHours(start=1290, end=420), None)
    """
    try:
        return QuietHours.parse(text)
    except ValueProblem:
        return None


@lru_cache(maxsize=4_096)
def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name, such as Europe/Madrid."""
    try:
        return bool(_zone(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=16_384)
def _first(zone: str, day: int, minute: int) -> int:
    """The first instant at which the clock shows this minute of this day or a later one; ms."""
    wall = datetime.fromordinal(day) + timedelta(minutes=minute)
    here = _zone(zone)
    moment = wall.replace(tzinfo=here)
    again = moment.replace(fold=1)
    late, early = int(moment.timestamp()), int(again.timestamp())
    if early < late:  # skipped: what the clock would have shown lies beside the jump
        while late - early > 1:
            middle = (early + late) // 2
            shown = datetime.fromtimestamp(middle, UTC).astimezone(here).replace(tzinfo=None)
            early, late = (early, middle) if shown >= wall else (middle, late)
    return late * 1_000
