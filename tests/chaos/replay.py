"""Whether a flow that was killed again and again has decided as one that nothing happened to.

The second one is played here, in this process: the records of the flow's topic, at the times at
which the log took them, through a single process on a paper log. What it writes is held against
what the processes on Kafka wrote, byte by byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos import scene
from tests.chaos.audit import records
from tests.chaos.upstream import Upstream
from tests.engine import Tick, ground_of, turn
from tests.paper_log import PaperLog
from tidings.compile.units import Ground, keyed
from tidings.driver.ports import LocalCaps
from tidings.log.port import Append, Log, Record, Slot
from tidings.plan import FlowPlan, load
from tidings.ports import Address, Person, Profile
from tidings.problems import Problems
from tidings.settings import load_settings
from tidings.stores.people_made import FunctionPeople


class Said(NamedTuple):
    """What a flow has written: decisions and deliveries by their ids, and the letters' bytes."""

    decisions: dict[str, bytes]
    deliveries: dict[str, bytes]
    letters: set[bytes | None]


@dataclass
class Replay:
    """How the two agree. What should be empty, says so."""

    events: int = 0
    entries: int = 0
    decisions: int = 0
    deliveries: int = 0
    repeats: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)  # in no decision: empty
    missing: list[str] = field(default_factory=list)  # only the undisturbed one wrote it: empty
    unknown: list[str] = field(default_factory=list)  # only the killed ones wrote it: empty
    differing: list[str] = field(default_factory=list)  # one id, two contents: empty
    letters: int = 0  # dead letters: none

    def faults(self) -> dict[str, Any]:
        """What is not as it must be."""
        names = ("lost", "missing", "unknown", "differing", "letters")
        return {name: value for name in names if (value := getattr(self, name))}

    def figures(self) -> dict[str, int]:
        """Everything as numbers."""
        numbers = {name: value for name, value in self.__dict__.items() if isinstance(value, int)}
        return numbers | self.reasons


def audit_replay(log: Log, stage: scene.Scene, upstream: Upstream, folder: Path) -> Replay:
    """Hold what was said on ``log`` against an undisturbed run of its entries."""
    found = Replay(events=len(upstream.written))
    entries = [*records(log, scene.ENTRIES)]
    found.entries = sum(1 for record in entries if record.value is not None)
    said, repeats = _said(log, found.differing)
    found.repeats = repeats
    found.decisions, found.deliveries = len(said.decisions), len(said.deliveries)
    found.letters = len(said.letters)
    for outcome in map(json.loads, said.decisions.values()):
        told = f"{outcome['step']} {outcome.get('reason') or outcome['kind']}"
        found.reasons[told] = found.reasons.get(told, 0) + 1
    calm, _ = _said(_undisturbed(entries, stage, folder), found.differing)
    for ours, theirs in zip(said[:2], calm[:2], strict=True):
        found.missing += sorted(theirs.keys() - ours.keys())
        found.unknown += sorted(ours.keys() - theirs.keys())
        both = ours.keys() & theirs.keys()
        found.differing += sorted(one for one in both if ours[one] != theirs[one])
    found.lost = sorted(_due(log, upstream) - _covered(said))
    return found


def _due(log: Log, upstream: Upstream) -> set[tuple[str, str]]:
    """Who is to hear of which event: all whom it names, unless the intake let it go."""
    gone = Counter(
        member
        for record in records(log, scene.OUTCOMES)
        if (outcome := json.loads(record.value or b""))["origin"][0] == scene.SOURCE
        and outcome["reason"] != "duplicate"
        for member in outcome["members"]
    )
    return {
        (event, follower)
        for event, followers in upstream.followers.items()
        if event not in gone
        for follower in followers
    }


def _covered(said: Said) -> set[tuple[str, str]]:
    return {
        (member, outcome["recipient_id"])
        for body in said.decisions.values()
        for outcome in [json.loads(body)]
        for member in outcome["members"]
    }


def _said(log: Log, differing: list[str]) -> tuple[Said, int]:
    """What the keyed part has written, and how often it wrote it again."""
    decisions: dict[str, bytes] = {}
    deliveries: dict[str, bytes] = {}
    repeats = 0

    def tell(known: dict[str, bytes], name: str, body: bytes) -> int:
        before = known.setdefault(name, body)
        if before != body:
            differing.append(name)
        return before is not body

    for record in records(log, scene.OUTCOMES):
        body = record.value or b""
        outcome = json.loads(body)
        if outcome["stage"] == "decision" and outcome["origin"][0] == scene.ENTRIES:
            repeats += tell(decisions, outcome["outcome_id"], body)
    for record in records(log, scene.DELIVERIES):
        body = record.value or b""
        repeats += tell(deliveries, json.loads(body)["notif_id"], body)
    letters = {record.value for record in records(log, scene.LETTERS[0])}
    return Said(decisions, deliveries, letters), repeats


def _undisturbed(entries: Iterable[Record], stage: scene.Scene, folder: Path) -> PaperLog:
    """The log of one process to which nothing happens."""
    held = [*entries]
    partitions = 1 + max(record.partition for record in held)
    topics = dict.fromkeys((scene.ENTRIES, f"{scene.ENTRIES}.state"), partitions)
    clock = Tick(0)
    log = PaperLog(clock, topics | {scene.DELIVERIES: 1, scene.OUTCOMES: 1, scene.LETTERS[0]: 1})
    for record in held:
        clock.set(record.time)
        log.write(Append(scene.ENTRIES, record.key, record.value, record.headers, record.partition))
    clock.set(max(record.time for record in held))
    plain = ground_of(folder, log, clock)
    io = plain.io._replace(people=FunctionPeople(_profile), caps=LocalCaps())
    unit = keyed(_plan(stage.flow), Ground(log, io, load_settings(stage.config), "calm"))
    unit.start()
    slots = [Slot(scene.ENTRIES, number) for number in range(partitions)]
    log.group(scene.ENTRIES).share(dict.fromkeys(slots, unit._consumer))  # type: ignore[arg-type]
    quiet = 0
    while quiet < 5:
        quiet = 0 if turn(unit) else quiet + 1
    return log


def _profile(person: Person) -> Profile:
    return Profile(
        addresses=tuple(
            Address(kind="device", value=one, platform="ios")
            for one in scene.devices(person.recipient_id)
        )
    )


def _plan(file: Path) -> FlowPlan:
    problems = Problems()
    plan = load(file, {}, problems)
    problems.raise_if_any()
    assert isinstance(plan, FlowPlan)
    return plan
