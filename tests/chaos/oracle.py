"""What the flow must decide: computed from its topic alone, by code that shares nothing with it.

Input are the entries of ``tidings.social``: partition, offset, append time, and who and what. The
time of a partition is the running maximum of the append times in it. A window takes what comes
before its deadline, closes at its deadline, and then asks the limit, *at* the deadline. An entry
whose source record was seen before counts for nothing: that is an intake that died and repeated
itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.chaos import scene
from tidings.log.port import Record


class Decision(NamedTuple):
    """What became of one digest: ``at`` is its deadline, or when it was full."""

    recipient: str
    members: tuple[str, ...]
    at: int
    passed: bool


class Window:
    """An open digest."""

    __slots__ = ("deadline", "members", "opened")

    def __init__(self, opened: int, deadline: int) -> None:
        self.opened = opened
        self.deadline = deadline
        self.members: list[str] = []


class Person:
    """One recipient, played in the order of the log."""

    def __init__(self, recipient: str) -> None:
        self._recipient = recipient
        self._windows: dict[tuple[int, str], Window] = {}
        self._passed: list[int] = []
        self._seen: set[tuple[Any, ...]] = set()
        self.decided: list[Decision] = []

    def pass_time(self, now: int) -> None:
        """Close what is due by ``now``, deadline by deadline."""
        due = sorted((w.deadline, key) for key, w in self._windows.items() if w.deadline <= now)
        for deadline, key in due:
            self._close(key, deadline)

    def enter(self, now: int, origin: tuple[Any, ...], event: dict[str, Any]) -> None:
        """One entry at partition time ``now``."""
        self.pass_time(now)
        if origin in self._seen:
            return
        self._seen.add(origin)
        step = {"like": 0, "comment": 1}.get(event["type"], 2)
        key = (step, f"{event['type']}\x1f{event['photo_id']}")
        window = self._windows.get(key)
        if window is None:
            length = (scene.LIKES, scene.COMMENTS_GAP, scene.OTHERS)[step]
            window = self._windows[key] = Window(now, now + length)
        elif step == 1:
            window.deadline = min(now + scene.COMMENTS_GAP, window.opened + scene.COMMENTS_WAIT)
        window.members.append(event["event_id"])
        if len(window.members) == scene.MAX_ITEMS:
            self._close(key, now)

    def _close(self, key: tuple[int, str], at: int) -> None:
        members = tuple(self._windows.pop(key).members)
        recent = [time for time in self._passed if time > at - scene.WITHIN]
        passes = len(recent) < scene.AT_MOST
        self._passed = [*recent, at] if passes else recent
        self.decided.append(Decision(self._recipient, members, at, passes))


class Expected(NamedTuple):
    """What the topic implies."""

    decisions: set[Decision]
    open: set[str]  # events whose window has not been closed yet
    entries: dict[str, set[tuple[Any, ...]]]  # event id → the source records that it came from
    entries_written: int
    markers: int


def expected(entries: Iterable[Record]) -> Expected:
    """Play the records of the topic; they come partition by partition, in order."""
    people: dict[str, Person] = {}
    times: dict[int, int] = defaultdict(int)
    homes: dict[str, int] = {}
    sources: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    written = markers = 0
    for record in entries:
        now = times[record.partition] = max(times[record.partition], record.time)
        if record.value is None:
            markers += 1
            continue
        written += 1
        entry = json.loads(record.value)
        recipient = entry["recipient_id"]
        person = people.get(recipient)
        if person is None:
            person = people[recipient] = Person(recipient)
        assert homes.setdefault(recipient, record.partition) == record.partition
        origin = tuple(entry["origin"])
        sources[entry["event_id"]].add(origin)
        person.enter(now, origin, entry["event"])
    for recipient, person in people.items():
        person.pass_time(times[homes[recipient]])
    decisions = {decision for person in people.values() for decision in person.decided}
    decided = {member for decision in decisions for member in decision.members}
    return Expected(decisions, set(sources) - decided, sources, written, markers)
