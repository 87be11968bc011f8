"""Whatever crashes when, the keyed part decides as an oracle computed from its topic says.

The oracle is written apart from the engine: it reads the entries with their append times and plays
windows and limits over them, one person after the other.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.engine import Tick, append, create, ground_of, outcomes, plan_of, records, settle, turn
from tidings.compile import keyed
from tidings.log.port import Append
from tidings.log.sqlite import SqliteLog
from tidings.plan import FlowPlan
from tidings.records import Entry, Origin, decode_delivery, decode_entry, encode
from tidings.runtime.keyed import KeyedFlow
from tidings.topics import deliveries, flow_topics

WINDOW, WITHIN, AT_MOST, MAX_ITEMS = 1_000, 8_000, 3, 6
FLOW = f"""
flow: social
source: {{topic: social.events, key: recipient_id}}
steps:
  - digest: {{by: [photo], window: {WINDOW}ms, actors: actor, max_items: {MAX_ITEMS}}}
  - limit: {{at_most: {AT_MOST}, within: {WITHIN}ms}}
  - deliver: {{to: push, template: t}}
"""


class Decided(NamedTuple):
    """What became of one digest."""

    members: tuple[str, ...]
    at: int
    passed: bool


def oracle(log: SqliteLog) -> set[Decided]:
    """Every digest of the topic, and whether the limit let it through."""
    decided: set[Decided] = set()
    partitions: dict[int, list[tuple[int, Entry | None]]] = defaultdict(list)
    for record in records(log, "tidings.social"):
        entry = None if record.value is None else decode_entry(record.value)
        partitions[record.partition].append((record.time, entry))
    for entries in partitions.values():
        open_: dict[tuple[str, str], tuple[int, list[str]]] = {}
        passed: dict[str, list[int]] = defaultdict(list)
        seen: set[tuple[str, int]] = set()

        def close(key: tuple[str, str], at: int, open_=open_, passed=passed) -> None:  # type: ignore[no-untyped-def]
            members = tuple(open_.pop(key)[1])
            recent = [time for time in passed[key[0]] if time > at - WITHIN]
            if len(recent) < AT_MOST:
                passed[key[0]].append(at)
            decided.add(Decided(members, at, len(recent) < AT_MOST))

        now = 0
        for time, entry in entries:
            now = max(now, time)
            for deadline, key in sorted((deadline, key) for key, (deadline, _) in open_.items()):
                if deadline <= now:
                    close(key, deadline)
            if entry is None or (entry.recipient_id, entry.origin.offset) in seen:
                continue
            seen.add((entry.recipient_id, entry.origin.offset))
            key = (entry.recipient_id, entry.event["photo"])
            _, members = open_.setdefault(key, (now + WINDOW, []))
            members.append(entry.event_id)
            if len(members) == MAX_ITEMS:
                close(key, now)
    return decided


class World:
    """A flow on a log, with a clock, and the means to break it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = Random(seed)
        self.clock = Tick(1_000_000)
        self.log = SqliteLog(folder / "log", self.clock)
        create(self.log, *flow_topics("social", keyed=True), deliveries("push", "normal"))  # type: ignore[arg-type]
        plan = plan_of(folder, FLOW)
        assert isinstance(plan, FlowPlan)
        self.plan = plan
        self.ground = ground_of(folder, self.log, self.clock, state={"buckets": 4})
        self.written: list[Append] = []
        self.unit = self.start()

    def start(self) -> KeyedFlow:
        unit = keyed(self.plan, self.ground)
        unit.start()
        return unit

    def write(self) -> None:
        """New entries; sometimes the last ones once more, as an intake that died would."""
        if self.written and self.random.random() < 0.2:
            append(self.log, *self.written[-self.random.randint(1, 5) :])
        fresh: list[Append] = []
        for _ in range(self.random.randint(1, 12)):
            number = len(self.written) + len(fresh)
            person = f"person{self.random.randrange(6)}"
            entry = Entry(
                recipient_id=person,
                event_id=f"e{number}",
                origin=Origin("social.events", 0, number),
                event={"photo": f"p{self.random.randrange(2)}", "actor": f"a{number % 7}"},
            )
            fresh.append(Append("tidings.social", person.encode(), encode(entry)))
        append(self.log, *fresh)
        self.written += fresh

    def crash(self) -> None:
        """Kill -9: what was not flushed is gone, nobody says goodbye."""
        self.unit._consumer._group.release()  # type: ignore[attr-defined]  # as the kernel would
        self.unit = self.start()

    def restart(self) -> None:
        """SIGTERM, and a new process."""
        self.unit.stop()
        self.unit.close()
        self.unit = self.start()

    def step(self) -> None:
        """One random thing happens."""
        what = self.random.random()
        if what < 0.35:
            self.write()
        elif what < 0.60:
            self.clock.advance(self.random.randint(1, 700))
        elif what < 0.90:
            for _ in range(self.random.randint(1, 4)):
                turn(self.unit)
        elif what < 0.97:
            self.crash()
        else:
            self.restart()

    def finish(self) -> None:
        """Let all windows close, and stop."""
        for _ in range(8):
            self.clock.advance(WINDOW)
            settle(self.unit, turns=5)
            self.restart()

    def decided(self) -> list[Decided]:
        """What the flow has said, repeats included."""
        sent: dict[str, bytes | None] = {}
        for record in records(self.log, deliveries("push", "normal")):  # type: ignore[arg-type]
            delivery = decode_delivery(record.value or b"")
            # What has the same id has the same content, also when a replay wrote it again.
            assert sent.setdefault(delivery.notif_id, record.value) == record.value
        queued = [one for one in outcomes(self.log) if one.kind == "queued"]
        assert {one.notif_id for one in queued} == set(sent)
        return [Decided(one.members, one.at, one.kind == "queued") for one in outcomes(self.log)]


@pytest.mark.parametrize("seed", range(25))
def test_kills_and_restarts_at_random_instants_change_no_decision(
    tmp_path: Path, seed: int
) -> None:
    world = World(tmp_path, seed)
    for _ in range(150):
        world.step()
    world.finish()

    expected = oracle(world.log)
    assert set(world.decided()) == expected
    assert sorted(m for one in expected for m in one.members) == sorted(
        f"e{number}" for number in range(len(world.written))
    )


def test_without_a_crash_nothing_is_written_twice(tmp_path: Path) -> None:
    world = World(tmp_path, seed=1)
    for _ in range(20):
        world.write()
        settle(world.unit, turns=2)
        world.clock.advance(300)
    world.restart()
    world.finish()

    decided = world.decided()
    assert len(decided) == len(set(decided)) == len(oracle(world.log))
