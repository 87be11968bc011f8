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
from tests.unit.operators.digest_model import Event, Model, Rules, Told
from tidings.gathered import NAMED
from tidings.log.port import Record

KEPT = ("last", 20)
ARMS = {
    "like": Rules(
        "fixed", scene.LIKES, max_items=scene.MAX_ITEMS, keep=KEPT, flush=True, cancel="likes"
    ),
    "comment": Rules(
        "sliding",
        scene.COMMENTS_GAP,
        scene.COMMENTS_WAIT,
        max_items=scene.MAX_ITEMS,
        keep=KEPT,
        flush=True,
        cancel="window",
    ),
    "": Rules(
        "fixed", scene.OTHERS, max_items=scene.MAX_ITEMS, keep=KEPT, flush=True, cancel="actor"
    ),
}
"""The windows of the scene's flow, by what an event is about."""


class Decision(NamedTuple):
    """What became of events: told together, let go by the limit, or cancelled.

    ``at`` is a digest's deadline, or when it was full or a call closed it; ``text`` what is told of
    those that are.
    """

    recipient: str
    members: tuple[str, ...]
    at: int
    kind: str
    text: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is to go out."""
        return self.kind == "queued"


def text_of(data: dict[str, Any], items: str) -> str:
    """What a digest says of its events; ``items`` is what their ids are called there."""
    said = [data[name] for name in ("photo", "count", "actor_count", "opened_at", "closed_at")]
    counts = sorted(data["counts"].items())
    return json.dumps(
        [*said, data["actors"][:NAMED], counts, [one[items] for one in data["items"]]]
    )


class Person:
    """One recipient, played in the order of the log."""

    def __init__(self, recipient: str) -> None:
        self._recipient = recipient
        self._arms = {about: Model(rules) for about, rules in ARMS.items()}
        self._passed: list[int] = []
        self._seen: set[tuple[Any, ...]] = set()
        self.decided: list[Decision] = []

    def pass_time(self, now: int) -> None:
        """Close what is due by ``now``, deadline by deadline."""
        for model in self._arms.values():
            model.pass_time(now)
        self._settle()

    def enter(self, now: int, origin: tuple[Any, ...], event: dict[str, Any]) -> None:
        """One entry at partition time ``now``."""
        self.pass_time(now)
        if origin in self._seen:
            return
        self._seen.add(origin)
        about = event["about"] if event["about"] in self._arms else ""
        words = (event["event_id"], now, event["type"], event["photo_id"], event["actor_id"])
        self._arms[about].enter(Event(*words))
        self._settle()

    def _settle(self) -> None:
        """Ask the limit about what the windows have told, in the order of their deadlines."""
        found: list[Told] = []
        for model in self._arms.values():
            found += model.told
            model.told = []
        for told in sorted(found, key=lambda one: one.at):
            kind, text = told.kind, ""
            if kind == "digest":
                recent = [time for time in self._passed if time > told.at - scene.WITHIN]
                passes = len(recent) < scene.AT_MOST
                self._passed = [*recent, told.at] if passes else recent
                kind = "queued" if passes else "suppressed"
                text = text_of(told.data, "id") if passes else ""
            self.decided.append(Decision(self._recipient, told.members, told.at, kind, text))


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
