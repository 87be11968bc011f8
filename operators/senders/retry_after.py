"""Retry-After, as providers write it: seconds, or the date of the day when they will be well."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_LONGEST = 86_400_000  # ms; who asks for more is asked again tomorrow


def wait_ms(value: bytes, now: int) -> int:
    """How long it asks us to wait from ``now`` (epoch ms), in ms; -1 where it says nothing."""
    text = value.strip()
    if text.isdigit():
        return min(int(text[:9]) * 1000, _LONGEST)
    try:
        until = parsedate_to_datetime(text.decode("ascii"))
    except (ValueError, TypeError, IndexError, OverflowError):
        return -1
    if until.tzinfo is None:  # "-0000": the standard's other way of saying GMT
        return -1
    return min(max(int(until.timestamp() * 1000) - now, 0), _LONGEST)
