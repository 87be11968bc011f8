"""Durations and sizes: what is read, what is refused, and with which words."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from tidings.durations import (
    LONGEST_MS,
    ByteSize,
    Duration,
    PositiveDuration,
    format_duration,
    parse_duration,
    parse_size,
)
from tidings.problems import ValueProblem


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
        ("1h30m", 5_400_000),
        ("1d1ms", 86_400_001),
        ("90m", 5_400_000),
        ("0s", 0),
        ("520w", LONGEST_MS),
    ],
)
def test_a_duration_is_read_as_milliseconds(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


EXAMPLES = "a duration is written like 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("30", "`30` needs a unit", "did you mean 30s, 30m or 30h?"),
        ("30 sec", "`30 sec` is not a duration", "did you mean 30s?"),
        ("5 Minutes", "`5 Minutes` is not a duration", "did you mean 5m?"),
        ("1h 30m", "`1h 30m` is not a duration", "did you mean 1h30m?"),
        ("1 hour and 5 min", "`1 hour and 5 min` is not a duration", "did you mean 1h5m?"),
        ("1.5h", "`1.5h` is not a duration", "did you mean 1h30m?"),
        ("1.001s", "`1.001s` is not a duration", "did you mean 1s1ms?"),
        ("PT1H30M", "`PT1H30M` is not a duration", "did you mean 1h30m?"),
        ("30m1h", "`30m1h` has its units twice or out of order", "did you mean 1h30m?"),
        ("1h1h", "`1h1h` has its units twice or out of order", "did you mean 2h?"),
        ("22:00", "`22:00` is a time of day, not a duration", EXAMPLES),
        ("-5s", "`-5s` is negative; a duration is not", EXAMPLES),
        ("3 months", "`3 months`: months and years have no fixed length", "write days: 30d, 365d"),
        (
            "1M",
            "`1M`: months and years have no fixed length",
            "did you mean 1m (minutes)? For months write days: 30d",
        ),
        ("soon", "`soon` is not a duration", EXAMPLES),
        ("", "expected a duration such as 30s, got an empty text", EXAMPLES),
        ("\u0663s", "`\u0663s` is not a duration", EXAMPLES),
        ("521w", "`521w` is longer than 520w, the longest taken", None),
    ],
)
def test_what_is_no_duration_is_told_what_it_likely_meant(
    text: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ValueProblem) as raised:
        parse_duration(text)
    assert (raised.value.code, raised.value.message, raised.value.hint) == (
        "bad-duration",
        message,
        hint,
    )


@settings(deadline=None)
@given(st.integers(0, LONGEST_MS))
def test_a_formatted_duration_is_read_back_as_itself(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


def test_a_duration_is_formatted_with_its_greatest_units() -> None:
    durations = [0, 1, 30_000, 5_400_000, 604_800_000]
    assert [format_duration(ms) for ms in durations] == ["0s", "1ms", "30s", "1h30m", "1w"]


def test_a_negative_duration_has_no_text() -> None:
    with pytest.raises(ValueError, match="never negative: -1 ms"):
        format_duration(-1)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_duration_or_a_value_problem(text: str) -> None:
    with contextlib.suppress(ValueProblem):
        assert 0 <= parse_duration(text) <= LONGEST_MS


class Window(BaseModel):
    """A spec with each of the types."""

    length: Duration = 30_000
    gap: PositiveDuration = 1
    size: ByteSize = 4096


def test_specs_take_text_or_milliseconds_and_hold_milliseconds() -> None:
    assert Window.model_validate({"length": "1m", "gap": 5, "size": "4KiB"}) == Window(
        length=60_000, gap=5, size=4096
    )


def test_specs_are_written_to_json_as_people_write_durations() -> None:
    assert (
        Window(length=5_400_000).model_dump_json() == '{"length":"1h30m","gap":"1ms","size":4096}'
    )


def test_the_json_schema_shows_a_default_as_text() -> None:
    schema = TypeAdapter(Window).json_schema(mode="serialization")
    assert schema["properties"]["length"]["default"] == "30s"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gap", "0s", "must be at least 1ms, got 0s"),
        ("length", -1, "must be at least 0s, got -1ms"),
        ("length", LONGEST_MS + 1, "must be at most 520w, got 520w1ms"),
        ("length", True, "expected a duration such as 30s"),
        ("length", ["30s"], "expected a duration such as 30s"),
        ("size", None, "expected a size such as 4KiB"),
    ],
)
def test_a_value_outside_of_the_field_s_bounds_is_refused(
    field: str, value: object, message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        Window.model_validate({field: value})
    assert str(raised.value.errors()[0]["ctx"]["error"]) == message


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("4KiB", 4096), ("4 KiB", 4096), ("1MB", 1_000_000)]
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("4k", "`4k` has an unknown unit `k`", "did you mean 4KiB?"),
        ("4kb", "`4kb` has an unknown unit `kb`", "did you mean 4KB?"),
        (
            "4 pages",
            "`4 pages` has an unknown unit `pages`",
            "a size is written like 4096, 4KiB or 1MB",
        ),
        ("big", "`big` is not a size in bytes", "a size is written like 4096, 4KiB or 1MB"),
    ],
)
def test_what_is_no_size_is_told_what_it_likely_meant(text: str, message: str, hint: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        parse_size(text)
    assert (raised.value.message, raised.value.hint) == (message, hint)
