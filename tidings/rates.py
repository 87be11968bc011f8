"""Rates as people write them: `100/s`, `600000/min`, `50000/day`.

    100/s    = {at_most: 100, within: 1s}

A rate is a promise to a provider: no stretch of `within` sees more than `at_most`, wherever it
begins. How many may go at once is `burst`; the more, the longer the pause behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.durations import LONGEST_MS, UNITS, format_duration, parse_duration
from tidings.problems import ValueProblem

GREATEST = 10_000_000  # of `at_most`
_SHARE = 50  # a burst is what comes in a fiftieth of `within`, by default
_LONGEST = 100  # ms; and in no more than this
_COARSE = 50  # ms apart: two at once make good for a lane's rounds

_TEXT = re.compile(r"([0-9]{1,8}) ?/ ?([a-z]+|[0-9]+[a-z]+)")
_PER = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d"}
_EXAMPLE = "a rate is written like 100/s, 600000/min or {at_most: 100, within: 1s, burst: 20}"
_FIELDS = ("at_most", "within", "burst")


@dataclass(frozen=True, slots=True)
class Rate:
    """``at_most`` in any stretch of ``within`` (ms), ``burst`` of them at once."""

    at_most: int
    within: int
    burst: int

    def __str__(self) -> str:
        within = format_duration(self.within)
        return f"{self.at_most}/{within[1:] if within[1:] in UNITS else within}"

    @property
    def apart(self) -> float:
        """Milliseconds between two, when many wait."""
        return self.within / (self.at_most - self.burst + 1)


def rate(at_most: int, within: int, burst: int = 0) -> Rate:
    """A rate; ``burst`` 0 for as many as come in a fiftieth of ``within``, a tenth of a second at
    the most: so a provider's limit is used to 95 % and more."""
    if not burst:
        least = 2 if within < _COARSE * at_most else 1
        burst = max(least, at_most * min(within // _SHARE, _LONGEST) // within)
    return Rate(at_most, within, min(burst, at_most))


def parse_rate(text: str) -> Rate:
    """The rate of a text.

    >>> parse_rate("600000/min")
    Rate(at_most=600000, within=60000, burst=1000)
    >>> parse_rate("1/10s")
    Rate(at_most=1, within=10000, burst=1)

    Raises `ValueProblem` (`bad-rate`).
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueProblem("bad-rate", f"`{text}` is not a rate", _EXAMPLE)
    count, per = match.groups()
    unit = _PER.get(per, per)
    if not (unit in UNITS or unit[0].isdigit()):
        raise ValueProblem("bad-rate", f"`{text}` has an unknown unit `{per}`", _EXAMPLE)
    return _checked(int(count), parse_duration(unit if unit[0].isdigit() else f"1{unit}"), 0)


def _checked(at_most: int, within: int, burst: int) -> Rate:
    if not 1 <= at_most <= GREATEST:
        raise ValueProblem("bad-rate", f"`at_most` is from 1 to {GREATEST}, got {at_most}")
    if not 1 <= within <= LONGEST_MS:
        raise ValueProblem("bad-rate", "`within` is longer than nothing", _EXAMPLE)
    if not 0 <= burst <= at_most:
        raise ValueProblem("bad-rate", f"`burst` is from 1 to `at_most`, {at_most}; got {burst}")
    return rate(at_most, within, burst)


class RateType:
    """The schema of a rate: text, or a map of its fields."""

    def validate(self, value: Any) -> Rate:
        """The rate that was written."""
        if isinstance(value, Rate):
            return value
        if isinstance(value, str):
            return parse_rate(value)
        if not isinstance(value, Mapping) or not {"at_most", "within"} <= value.keys():
            raise ValueProblem("bad-rate", "expected a rate such as 100/s", _EXAMPLE)
        if unknown := sorted(map(str, value.keys() - {*_FIELDS})):
            raise ValueProblem("bad-rate", f"a rate has no `{unknown[0]}`", _EXAMPLE)
        within = value["within"]
        counts = [value["at_most"], value.get("burst", 0)]
        if not all(type(count) is int for count in counts):
            raise ValueProblem("bad-rate", "`at_most` and `burst` are whole numbers", _EXAMPLE)
        ms = parse_duration(within) if isinstance(within, str) else within
        if type(ms) is not int:
            raise ValueProblem("bad-rate", "`within` is a duration such as 1s", _EXAMPLE)
        return _checked(counts[0], ms, counts[1])

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = {"type": "string", "pattern": "^[0-9]+ ?/ ?[a-z0-9]+$", "examples": ["100/s"]}
        count = {"type": "integer", "minimum": 1}
        fields = {"at_most": count, "within": {"type": "string"}, "burst": count}
        map_ = {
            "type": "object",
            "properties": fields,
            "required": ["at_most", "within"],
            "additionalProperties": False,
        }
        return {"anyOf": [text, map_]}


RateText = Annotated[Rate, RateType()]
"""A rate, written `100/s`, `600000/min` or with its parts."""
