"""Plays events of one person through a keyed step, with the log's time in hand.

played = play(built("throttle: {within: 1h}", Part.KEYED), [(0, {"a": 1}), (5_000, {"a": 2})])
played.passed    # [(0, ("e0",), {"a": 1})]
played.dropped   # [(5_000, ("e1",), "suppressed", "throttle", "")]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tests.unit.operators.support import item
from tidings.contract import Item, Who
from tidings.records import Kind

START = 1_782_907_200_000
"""2026-07-01T12:00:00Z: where the times of events begin."""


class Passed(NamedTuple):
    """What a step let on, ms after the start."""

    at: int
    members: tuple[str, ...]
    data: Any


class LetGo(NamedTuple):
    """What a step let go, ms after the start."""

    at: int
    members: tuple[str, ...]
    kind: str
    reason: str
    detail: str


class Played:
    """The ports of a keyed step, and its state at the end."""

    def __init__(self) -> None:
        self.now = 0
        self.items: list[Item] = []
        self.passed: list[Passed] = []
        self.dropped: list[LetGo] = []
        self.died: list[tuple[str, str]] = []
        self.woken: list[int] = []
        self.state: Any = None

    def down(self, passed: Item) -> None:
        self.items.append(passed)
        self.passed.append(Passed(self.now - START, passed.covers(), passed.data))

    def drop(self, let_go: Item, kind: Kind, reason: str, detail: str = "") -> None:
        at = self.now - START
        self.dropped.append(LetGo(at, let_go.covers(), str(kind), reason, detail))

    def dead(self, broken: Item, reason: str, error: BaseException | str) -> None:
        self.died.append((reason, str(error)))

    def wake(self, at: int) -> None:
        self.woken.append(at)


Event = tuple[int, Mapping[str, Any]]


def play(
    step: Any,
    events: Sequence[Event],
    until: int = 0,
    restarts: frozenset[int] = frozenset(),
    fields: Mapping[str, Any] | None = None,
) -> Played:
    """Play (ms after the start, data), then time up to ``until``; ids are e0, e1, ….

    Before the events in ``restarts`` the state goes to rest and comes back, as from the log.
    ``fields`` are set on every item.
    """
    out = Played()
    for number, (after, data) in enumerate(events):
        if number in restarts:
            at_rest = msgspec.msgpack.encode(out.state)
            out.state = msgspec.msgpack.decode(at_rest, type=step.state | None)
        pass_time(step, out, START + after)
        out.now = START + after
        one = item(
            data,
            number,
            **{"event_id": f"e{number}", "time": out.now, "recipient_id": "ana", **(fields or {})},
        )
        out.state = step.on_item(out.state, one, out.now, out)
    pass_time(step, out, START + until)
    return out


def pass_time(step: Any, out: Played, now: int) -> None:
    """Let deadlines up to ``now`` act."""
    who = Who("default", "ana", "tidings.f", 0)
    while out.state is not None and 0 < (due := step.horizon(out.state).act_at) <= now:
        out.now = due
        out.state = step.on_time(out.state, who, due, out)
