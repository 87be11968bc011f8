"""Durations and sizes as people write them: `30s`, `1h30m`, `4KiB`.

A duration is an int of milliseconds everywhere in the engine; only its text has units. Specs say
`window: Duration`; narrower ones say `Annotated[int, DurationType(at_least="1s")]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.problems import ValueProblem

UNITS = {
    "w": 7 * 24 * 3_600_000,
    "d": 24 * 3_600_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}

LONGEST_MS = 520 * UNITS["w"]
"""Ten years; longer is a slip of the pen, and would overflow what brokers take."""

SIZES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
SIZES |= {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

_PART = re.compile(r"([0-9]{1,15})(ms|[wdhms])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
_SIZE = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")
_LOOSE_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([a-z]+)\.?[\s,]*(?:and\s+)?", re.I)
_ISO = re.compile(r"P(?=.)(?:[0-9]{1,9}[WD])*(?:T(?:[0-9]{1,9}[HMS])+)?", re.I)

_LOOSE_UNITS = {
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
}

_EXAMPLE = "a duration is written like 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m"


def parse_duration(text: str) -> int:
    """Milliseconds of `30s`, `5m`, `1h30m`: each unit once, the greatest first.

    Raises `ValueProblem` (`bad-duration`) that says what is wrong and what was likely meant.
    """
    if not _WHOLE.fullmatch(text):
        raise _not_a_duration(text)
    parts = [(int(number), UNITS[unit]) for number, unit in _PART.findall(text)]
    factors = [factor for _, factor in parts]
    total = sum(number * factor for number, factor in parts)
    if total > LONGEST_MS:
        longest = format_duration(LONGEST_MS)
        raise ValueProblem("bad-duration", f"`{text}` is longer than {longest}, the longest taken")
    if len(set(factors)) < len(factors) or factors != sorted(factors, reverse=True):
        raise ValueProblem(
            "bad-duration",
            f"`{text}` has its units twice or out of order",
            f"did you mean {format_duration(total)}?",
        )
    return total


def format_duration(ms: int) -> str:
    """The shortest text that `parse_duration` reads back as `ms`: 5400000 is `1h30m`."""
    if ms < 0:
        raise ValueError(f"a duration is never negative: {ms} ms")
    text = ""
    for unit, factor in UNITS.items():
        count, ms = divmod(ms, factor)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def parse_size(text: str) -> int:
    """Bytes of `4096`, `4KiB`, `1MB`: Ki, Mi and Gi count in 1024, K, M and G in 1000.

    Raises `ValueProblem` (`bad-size`).
    """
    hint = "a size is written like 4096, 4KiB or 1MB"
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueProblem("bad-size", f"`{text}` is not a size in bytes", hint)
    number, unit = match.groups()
    by_lower = {known.lower(): known for known in SIZES} | {"k": "KiB", "m": "MiB", "g": "GiB"}
    known = by_lower.get(unit.lower(), unit)
    if unit and unit not in SIZES:
        if known in SIZES:
            hint = f"did you mean {number}{known}?"
        raise ValueProblem("bad-size", f"`{text}` has an unknown unit `{unit}`", hint)
    return int(number) * SIZES.get(unit, 1)


@dataclass(frozen=True, slots=True)
class DurationType:
    """The schema of a duration field: text or milliseconds in, milliseconds out.

    `at_least` and `at_most` are durations as text, both inclusive.
    """

    at_least: str = "0s"
    at_most: str = "520w"

    def validate(self, value: Any) -> int:
        """Milliseconds of a text, or of an int that is milliseconds already."""
        if isinstance(value, str):
            ms = parse_duration(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            ms = value
        else:
            raise ValueProblem("wrong-kind", "expected a duration such as 30s", _EXAMPLE)
        if ms < parse_duration(self.at_least):
            shown = format_duration(ms) if ms >= 0 else f"{ms}ms"
            raise ValueProblem("out-of-range", f"must be at least {self.at_least}, got {shown}")
        if ms > parse_duration(self.at_most):
            shown = format_duration(ms)
            raise ValueProblem("out-of-range", f"must be at most {self.at_most}, got {shown}")
        return ms

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                format_duration, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": "^([0-9]+(ms|[wdhms]))+$", "examples": ["30s"]}


@dataclass(frozen=True, slots=True)
class SizeType:
    """The schema of a field in bytes: text or bytes in, bytes out."""

    def validate(self, value: Any) -> int:
        """Bytes of a text, or of an int that is bytes already."""
        if isinstance(value, str):
            return parse_size(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise ValueProblem("wrong-kind", "expected a size such as 4KiB")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9]+ ?[KMG]?i?B?$", "examples": ["4KiB"]}


Duration = Annotated[int, DurationType()]
"""Milliseconds, written `30s`, `5m`, `1h30m`."""

PositiveDuration = Annotated[int, DurationType(at_least="1ms")]
"""Milliseconds, at least one."""

ByteSize = Annotated[int, SizeType()]
"""Bytes, written `4096` or `4KiB`."""


def _not_a_duration(text: str) -> ValueProblem:
    """What is wrong with a text that is no duration, and what it was likely meant to be."""
    message, hint = f"`{text}` is not a duration", _EXAMPLE
    if not text:
        message = "expected a duration such as 30s, got an empty text"
    elif re.fullmatch(r"[0-9]{1,15}", text):
        message, hint = f"`{text}` needs a unit", f"did you mean {text}s, {text}m or {text}h?"
    elif _TIME_OF_DAY.fullmatch(text):
        message = f"`{text}` is a time of day, not a duration"
    elif text.startswith("-"):
        message = f"`{text}` is negative; a duration is not"
    elif re.fullmatch(r"[0-9]+ *(M|mo|months?|y|yrs?|years?)", text):
        message = f"`{text}`: months and years have no fixed length"
        hint = "write days: 30d, 365d"
        if text.endswith("M"):
            hint = f"did you mean {text[:-1].strip()}m (minutes)? For months write days: 30d"
    elif (meant := _meant(text)) is not None:
        hint = f"did you mean {meant}?"
    return ValueProblem("bad-duration", message, hint)


def _meant(text: str) -> str | None:
    """The duration that a loosely written one (`30 sec`, `1.5h`, `PT30S`) stands for."""
    if _ISO.fullmatch(text):
        text = text.upper().removeprefix("P").replace("T", "").lower()
    total, end = 0, 0
    for match in _LOOSE_PART.finditer(text):
        unit = _LOOSE_UNITS.get(match[2].lower())
        if match.start() != end or unit is None:
            return None
        # In thousandths, for 1.001s must not become 1000.9999 ms.
        whole, _, thousandths = match[1].partition(".")
        total += (int(whole) * 1000 + int(thousandths.ljust(3, "0"))) * UNITS[unit] // 1000
        end = match.end()
    return format_duration(total) if end == len(text) and 0 < total <= LONGEST_MS else None
