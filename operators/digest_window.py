"""The state of `digest`: open windows, as they rest in the log."""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import Any

import msgspec


class Single(msgspec.Struct, array_like=True, gc=False):
    """One event of a window that may close with too few: what makes it a digest of one."""

    event_id: str
    offset: int
    actor: str | None
    name: Any
    kept: Any
    expires_at: int


class Window(msgspec.Struct, array_like=True, gc=False):
    """An open window. ``by`` and ``kept`` hold values of fields in the order of the spec.

    ``expires`` is when the last of its events does, 0 for never; ``soonest`` when the first of them
    does. ``singles`` are its events while they are fewer than ``min_items``, ``ranks`` the
    scores of what is kept, negated so that they ascend. What is new goes to
    the end, with a default: windows at rest are read by place.
    """

    opened: int
    deadline: int
    first: int  # the offset of its first event
    by: list[Any]
    count: int = 0
    members: list[str] = []
    actors: dict[str, Any] = {}
    kept: list[Any] = []
    expires: int = 0
    soonest: int = 0
    singles: list[Single] | None = None
    ranks: list[float] | None = None


State = dict[str, Window]


def rank(window: Window, score: float, kept: Any, most: int) -> None:
    """Keep an event if it is among the ``most`` highest; of equal ones the earlier is higher."""
    if window.ranks is None:  # what a version without scores has kept comes last
        window.ranks = [inf] * len(window.kept)
    place = bisect_right(window.ranks, -score)
    window.ranks.insert(place, -score)
    window.kept.insert(place, kept)
    del window.ranks[most:], window.kept[most:]


def group_of(by: tuple[Any, ...]) -> str:
    """The values of the ``by`` fields as one key."""
    try:
        return "\x1f".join(by)
    except TypeError:
        return "\x1f".join(map(str, by))
