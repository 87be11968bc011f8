"""The state of `digest`: open windows, as they rest in the log."""

from __future__ import annotations

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
    does. ``singles`` are its events while they are fewer than ``min_items``. What is new goes to
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


State = dict[str, Window]
