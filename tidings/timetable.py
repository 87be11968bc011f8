"""Times of day at which something happens, by the clock on a person's wall: `0 9 * * 1-5`.

Five cron fields: minute, hour, day of the month, month, day of the week. A time that the clock
skips in spring is at the jump, and of one that it shows twice in autumn the first counts; what runs
every hour, or more often, goes by the hours that pass.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.problems import ValueProblem

_HINT = "five fields as in cron, such as 0 9 * * 1-5: nine o'clock from Monday to Friday"


class Timetable:
    """The instants that a cron expression names, in any zone; equal to another of the same text."""

    __slots__ = ("_spans", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueProblem (`bad-timetable`) for what is no timetable, or never comes."""
        self.text = " ".join(text.split())
        self._spans: dict[str, tuple[int, int]] = {}
        if len(self.text.split()) != 5:
            raise ValueProblem(
                "bad-timetable", f"`{text}` has not five fields", _daily(text) or _HINT
            )
        try:
            next(CronSim(self.text, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueProblem("bad-timetable", f"`{text}`: {error}", _HINT) from None
        except StopIteration:
            raise ValueProblem("bad-timetable", f"`{text}` never comes", _HINT) from None

    def after(self, at: int, zone: str) -> int:
        """The first instant of it after ``at``, both in epoch ms.

        ``zone`` is one for which ``quiet_hours.is_zone`` holds.
        """
        known = self._spans.get(zone)
        if known is not None and known[0] <= at < known[1]:
            return known[1]
        # A time that the clock shows twice may be given once more in the hour that comes again.
        for each in CronSim(self.text, datetime.fromtimestamp(at // 1_000, ZoneInfo(zone))):
            moment = int(each.timestamp()) * 1_000
            if moment > at:
                self._spans[zone] = (at, moment)
                return moment
        raise ValueError(f"{self.text} does not come within fifty years")

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Timetable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "examples": ["0 9 * * *"]}

    @classmethod
    def _validate(cls, value: Any) -> Timetable:
        if isinstance(value, Timetable):
            return value
        if not isinstance(value, str):
            raise ValueProblem("wrong-kind", "expected a timetable", _HINT)
        return cls(value)


def _daily(text: str) -> str | None:
    """What a time of day, such as ``9:30``, was meant to be."""
    clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    return f"daily at that time is {int(clock[2])} {int(clock[1])} * * *" if clock else None
