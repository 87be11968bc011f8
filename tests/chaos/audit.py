"""Counts what was lost, what was repeated and what was decided wrongly: from the log and from the
provider's file, against the ids that the upstream wrote and the oracle of the flow's topic.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import scene
from tests.chaos.oracle import Decision, Expected, expected, text_of
from tests.chaos.upstream import Upstream
from tidings.log.port import Log, Record, Slot
from tidings.operators.senders.sandbox import Received, received


def records(log: Log, topic: str) -> Iterator[Record]:
    """All that a topic holds, partition by partition."""
    reader = log.reader()
    try:
        for number in range(log.admin().topics()[topic].partitions):
            slot = Slot(topic, number)
            span = reader.span(slot)
            for batch in reader.read(slot, span.first, span.end):
                yield from batch
    finally:
        reader.close()


Due = tuple[str, frozenset[str]]  # a device, and the events that its push is to name


@dataclass
class Flow:
    """How the intake and the flow did. What should be empty, says so."""

    events: int = 0
    digests: int = 0
    passed: int = 0
    cancelled: int = 0
    lost: list[str] = field(default_factory=list)  # no trace of them: empty
    split: list[str] = field(default_factory=list)  # in two digests: empty
    unknown: list[Decision] = field(default_factory=list)  # the oracle has none such: empty
    missing: list[Decision] = field(default_factory=list)  # only the oracle has it: empty
    twice_through: list[str] = field(default_factory=list)  # dedupe let both pass: empty
    differing: list[str] = field(default_factory=list)  # same id, other content: empty
    letters: int = 0  # dead letters: none
    repeated_entries: int = 0
    repeated_outcomes: int = 0
    repeated_deliveries: int = 0
    markers: int = 0

    def faults(self) -> dict[str, Any]:
        """What is not as it must be."""
        names = ("lost", "split", "unknown", "missing", "twice_through", "differing", "letters")
        return {name: value for name in names if (value := getattr(self, name))}

    def figures(self) -> dict[str, int]:
        """Everything as numbers."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name, value in self.__dict__.items()
        }


def audit_flow(log: Log, upstream: Upstream) -> tuple[Flow, Expected]:
    """Hold what the flow has said against what it should have."""
    truth = expected(records(log, scene.ENTRIES))
    found = Flow(events=len(upstream.written), markers=truth.markers)
    texts = {
        delivery["notif_id"]: text_of(
            {**delivery["data"], "photo": delivery["data"]["photo_id"]}, "event_id"
        )
        for delivery in (json.loads(one.value or b"") for one in records(log, scene.DELIVERIES))
    }
    said: set[Decision] = set()
    bodies: dict[str, bytes] = {}
    filtered: set[str] = set()
    queued: set[str] = set()
    membership: Counter[str] = Counter()
    for record in records(log, scene.OUTCOMES):
        value = record.value or b""
        outcome = json.loads(value)
        if outcome["stage"] != "decision":
            continue
        known = bodies.setdefault(outcome["outcome_id"], value)
        if known is not value:
            found.repeated_outcomes += 1
            if known != value:
                found.differing.append(outcome["outcome_id"])
            continue
        members = tuple(outcome["members"])
        if outcome.get("reason") in ("own_action", "duplicate"):
            filtered.update(members)
            continue
        membership.update(members)
        queued.update([outcome["notif_id"]] if outcome["kind"] == "queued" else [])
        text = texts.get(outcome.get("notif_id", ""), "")
        said.add(Decision(outcome["recipient_id"], members, outcome["at"], outcome["kind"], text))
    deliveries: dict[str, bytes] = {}
    for record in records(log, scene.DELIVERIES):
        value = record.value or b""
        notif_id = json.loads(value)["notif_id"]
        known = deliveries.setdefault(notif_id, value)
        if known is not value:
            found.repeated_deliveries += 1
            if known != value:
                found.differing.append(notif_id)
    found.cancelled = sum(one.kind == "cancelled" for one in said)
    found.digests = len(said) - found.cancelled
    found.passed = len(deliveries)
    found.unknown = sorted(said - truth.decisions)
    found.missing = sorted(truth.decisions - said)
    found.split = sorted(event for event, count in membership.items() if count > 1)
    written = upstream.written.keys()
    found.lost = sorted(
        (written - membership.keys() - filtered)
        | (written - upstream.own - truth.entries.keys())
        | (queued ^ deliveries.keys())
    )
    found.twice_through = sorted(
        event for event, origins in truth.entries.items() if len(origins) > 1
    )
    found.repeated_entries = truth.entries_written - sum(map(len, truth.entries.values()))
    found.letters = sum(1 for name in scene.LETTERS for _ in records(log, name))
    return found, truth


@dataclass
class Sends:
    """How the lane did, by the provider's own file."""

    due: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)  # never accepted: empty
    uncalled: list[str] = field(
        default_factory=list
    )  # accepted, and no digest stands for it: empty
    repeats: list[Received] = field(default_factory=list)  # second and later acceptances
    endless: list[str] = field(default_factory=list)  # deliveries without an end as sent: empty
    two_ends: list[str] = field(default_factory=list)  # more than one kind of end: empty

    def faults(self) -> dict[str, Any]:
        """What is not as it must be."""
        names = ("lost", "uncalled", "endless", "two_ends")
        return {name: value for name in names if (value := getattr(self, name))}

    def figures(self) -> dict[str, int]:
        """Everything as numbers."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name, value in self.__dict__.items()
        }


def due_of(truth: Expected) -> set[Due]:
    """What the digests that passed should make of it."""
    return {
        (device, frozenset(decision.members))
        for decision in truth.decisions
        if decision.passed
        for device in scene.devices(decision.recipient)
    }


def audit_sends(log: Log, due: set[Due], stage: scene.Scene) -> Sends:
    """Hold the provider's file against what should have gone out."""
    found = Sends(due=len(due))
    taken: set[Due] = set()
    for line in received(stage.sandbox):
        if not line.accepted:
            continue
        found.accepted += 1
        key = (line.address, frozenset(line.parts["body"].split()))
        if key in taken:
            found.repeats.append(line)
        taken.add(key)
    found.lost = sorted(f"{device} {sorted(members)}" for device, members in due - taken)
    found.uncalled = sorted(f"{device} {sorted(members)}" for device, members in taken - due)
    ends: dict[str, set[str]] = {}
    for record in records(log, scene.OUTCOMES):
        outcome = json.loads(record.value or b"")
        if outcome["stage"] == "end":
            ends.setdefault(outcome["notif_id"], set()).add(outcome["kind"])
    wanted = {
        json.loads(record.value or b"")["notif_id"] for record in records(log, scene.DELIVERIES)
    }
    found.endless = sorted(wanted - {one for one, kinds in ends.items() if "sent" in kinds})
    found.two_ends = sorted(one for one, kinds in ends.items() if len(kinds) > 1)
    return found
