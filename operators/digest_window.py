"""The state of `digest`: open windows, as they rest in the log."""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import Any

import msgspec

from tidings.gathered import Gathered
from tidings.operators.digest_spec import Keep


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
    scores of what is kept, negated so that they ascend, ``known`` what is known of each of its
    members where they are told apart; ``known.items`` is in the order of ``kept``. What is new goes
    to the end, with a default: windows at rest are read by place.
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
    known: Gathered | None = None


State = dict[str, Window]


def keep(window: Window, kept: Any, rule: Keep, score: float = 0.0) -> None:
    """Keep the newest event of a window, as it is counted there, if it is among those to be kept.

    Of equal scores the earlier is higher.
    """
    at, most = len(window.kept), rule.most
    if rule.which == "top":
        if window.ranks is None:  # what a version without scores has kept comes last
            window.ranks = [inf] * len(window.kept)
        at = bisect_right(window.ranks, -score)
        window.ranks.insert(at, -score)
        del window.ranks[most:]
    window.kept.insert(at, kept)
    over = slice(max(0, len(window.kept) - most)) if rule.which == "last" else slice(most, None)
    del window.kept[over]
    if window.known is not None:
        window.known.items.insert(at, window.count - 1)
        del window.known.items[over]


def group_of(by: tuple[Any, ...]) -> str:
    """The values of the ``by`` fields as one key."""
    try:
        return "\x1f".join(by)
    except TypeError:
        return "\x1f".join(map(str, by))
