"""A flow's keyed part among several processes, on a paper log, and the oracle of what it decides.

The oracle is written apart from the engine: it plays windows, as the model of digests has them, and
the limit behind them over the entries of the topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

from tests.engine import PHONE, Tick, ground_of, plan_of, records, turn
from tests.paper_log import PaperConsumer, PaperLog, PaperProducer, dealt
from tests.unit.operators.digest_model import Event, Model, Rules
from tests.unit.runtime.one_flow import FlakyPeople
from tests.unit.runtime.played import alike, deliveries, implied
from tidings.compile.units import Ground, keyed
from tidings.driver.ports import LocalCaps
from tidings.log.port import Append, Log, Slot
from tidings.plan import FlowPlan
from tidings.ports import Person, Profile
from tidings.records import Entry, Origin, Signal, encode

ENTRIES, STATE, DELIVERIES = "tidings.social", "tidings.social.state", "deliveries.push.normal"
TOPICS = {ENTRIES: 2, STATE: 2, DELIVERIES: 1, "notif_events": 2, "notif_dlq.flow": 1}
BUCKETS = 4
SETTINGS: dict[str, Any] = {"state": {"buckets": BUCKETS}, "categories": {"social": {}}}
LIKES, GAP, MAX_WAIT, WITHIN = 1_000, 600, 2_000, 8_000  # ms
AT_MOST, MAX_ITEMS = 3, 6
FLOW = f"""
flow: social
source: {{topic: social.events, key: recipient_id}}
steps:
  - switch:
      cases:
        - name: likes
          when: type in ['like', 'call', 'undo']
          steps:
            - digest:
                by: [photo]
                window: {LIKES}ms
                max_items: {MAX_ITEMS}
                fields: [type]
                actors: actor
                counts: type
                flush: type == 'call'
                cancel: {{when: type == 'undo', match: [actor, photo]}}
        - name: comments
          when: type in ['comment', 'gone']
          steps:
            - digest:
                by: [photo]
                gap: {GAP}ms
                max_wait: {MAX_WAIT}ms
                keep: first 2
                actors: actor
                counts: type
                min_items: 2
                cancel: type == 'gone'
  - limit: {{at_most: {AT_MOST}, within: {WITHIN}ms}}
  - deliver: {{to: push, template: t}}
"""
TYPES = ["like"] * 4 + ["comment"] * 3 + ["note"] * 2 + ["undo", "call", "gone"]
ACTORS = ["sam", "sue", "zoe"]


# ── The oracle ────────────────────────────────────────────────────────────────────────────────


class Decided(NamedTuple):
    """What became of a digest, of what was taken back, or of a note, which goes straight to the
    limit; of a digest that is delivered, what it says."""

    recipient: str
    members: tuple[str, ...]
    at: int
    kind: str
    told: str = ""


class OraclePerson:
    """One recipient: windows as the model of digests plays them, and a limit."""

    def __init__(self, recipient: str) -> None:
        self._recipient = recipient
        self._likes = Model(Rules("fixed", LIKES, max_items=MAX_ITEMS, flush=True, cancel="actor"))
        self._comments = Model(Rules("sliding", GAP, MAX_WAIT, min_items=2, cancel="window"))
        self._passed: list[int] = []
        self.decided: list[Decided] = []

    def pass_time(self, now: int) -> None:
        """Close what is due, by deadline, likes before comments."""
        self._likes.pass_time(now)
        self._comments.pass_time(now)
        self._decide()

    def enter(self, entry: Entry, now: int) -> None:
        """An event."""
        event = entry.event
        kind, photo, actor = event["type"], event["photo"], event["actor"]
        if kind == "note":
            self._limit((entry.event_id,), now)
        elif kind in ("comment", "gone"):
            kind = "undo" if kind == "gone" else kind
            self._comments.enter(Event(entry.event_id, now, kind, photo, actor))
        else:
            self._likes.enter(Event(entry.event_id, now, kind, photo, actor))
        self._decide()

    def hear(self, signal: Signal, now: int) -> None:
        """Nothing waits here."""
        raise AssertionError("news of nothing")

    def _decide(self) -> None:
        told = self._likes.told + self._comments.told
        self._likes.told, self._comments.told = [], []
        for at, members, kind, data, _ in sorted(told, key=lambda one: one.at):
            if kind == "digest":
                self._limit(members, at, told_of(data))
            else:
                self.decided.append(Decided(self._recipient, members, at, kind))

    def _limit(self, members: tuple[str, ...], at: int, told: str = "") -> None:
        recent = [time for time in self._passed if time > at - WITHIN]
        passes = len(recent) < AT_MOST
        self._passed = [*recent, at] if passes else recent
        kind = "queued" if passes else "suppressed"
        self.decided.append(Decided(self._recipient, members, at, kind, told if passes else ""))


def told_of(data: Mapping[str, Any]) -> str:
    """What a digest says of its events."""
    counts = sorted(data["counts"].items())
    return f"{data['count']} events {counts} of {data['actor_count']} actors {data['actors']}"


def oracle(log: Log) -> set[Decided]:
    """What the entries of the log imply."""
    return implied(log, ENTRIES, OraclePerson)


# ── What the flow has said ────────────────────────────────────────────────────────────────────


def decided(log: Log) -> list[Decided]:
    """What the flow has said, repeats included."""
    said = {key[0]: delivery.data for key, delivery in deliveries(log).items()}
    found = []
    for one in alike(log):
        data = said.get(one.notif_id, {})
        told = told_of(data) if "count" in data else ""
        found.append(Decided(one.recipient_id, one.members, one.at, str(one.kind), told))
    return found


def entry_of(random: Random, number: int) -> Append:
    """An entry for one of a few people."""
    person = f"person{random.randrange(8)}"
    entry = Entry(
        recipient_id=person,
        event_id=f"e{number}",
        origin=Origin("social.events", number % 2, number // 2),
        event={
            "type": random.choice(TYPES),
            "photo": f"p{random.randrange(2)}",
            "actor": random.choice(ACTORS),
        },
    )
    return Append(ENTRIES, person.encode(), encode(entry))


def said(log: Log) -> dict[str, set[tuple[Any, ...]]]:
    """All that the flow has written, byte by byte: repeats are the same, and count once."""
    alike(log)
    return {
        topic: {
            (record.key, record.value, tuple(header for header in record.headers if _tells(header)))
            for record in records(log, topic)
        }
        for topic in (DELIVERIES, "notif_events", "notif_dlq.flow")
    }


def _tells(header: tuple[str, bytes]) -> bool:
    return header[0] not in ("tidings-at", "tidings-trace")  # when and where it was written down


# ── The processes ─────────────────────────────────────────────────────────────────────────────


@cache
def the_plan() -> FlowPlan:
    """The plan of FLOW."""
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), FLOW)
    assert isinstance(plan, FlowPlan)
    return plan


_NUMBERS = count()


class Process:
    """One process of the flow; its turns can be stopped before the last part."""

    def __init__(self, log: PaperLog, ground: Ground, plan: FlowPlan) -> None:
        self.unit = keyed(plan, replace(ground, holder=f"process-{next(_NUMBERS)}"))
        self.unit.start()
        self.consumer: PaperConsumer = self.unit._consumer  # type: ignore[assignment]
        self.producer: PaperProducer = self.unit._producer  # type: ignore[assignment]
        self.in_hand: Any = None

    def turn(self) -> bool:
        """Push what is in hand, then a turn."""
        if self.in_hand is None:
            return turn(self.unit)
        batch, self.in_hand = self.in_hand, None
        self.unit.push(batch)
        return True

    def half_turn(self) -> None:
        """A turn up to its push."""
        if self.in_hand is None and (batch := self.unit.pull()) is not None:
            for stage in self.unit.stages:
                batch = stage.run(batch)
            self.in_hand = batch


class World:
    """Processes of one flow, and the means to break them.

    ``pause`` is the longest that time is let pass at once, ``rest`` what is let pass several times
    at the end (ms).
    """

    topics: ClassVar = TOPICS
    pause = 700
    rest = MAX_WAIT

    def __init__(self, folder: Path, seed: int, processes: int = 2) -> None:
        self.random = Random(seed)
        self.clock = Tick(1_000_000)
        self.log = PaperLog(self._append_time, self.topics, self.random)
        self.people = FlakyPeople(self.profile)
        ground = ground_of(folder, self.log, self.clock, **SETTINGS)
        io = ground.io._replace(people=self.people, caps=LocalCaps())
        self.ground = Ground(self.log, io, ground.settings, "holder")
        self.group = self.log.group("tidings.social")
        self.slots = [Slot(ENTRIES, number) for number in range(self.topics[ENTRIES])]
        self.written: list[Append] = []
        self.frozen: list[Process] = []
        self.processes: list[Process] = []
        for _ in range(processes):
            self.join()

    def plan(self) -> FlowPlan:
        """The flow."""
        return the_plan()

    def profile(self, person: Person) -> Profile:
        """How somebody is reached."""
        return PHONE

    def make(self, random: Random, number: int) -> Append:
        """An entry to be written."""
        return entry_of(random, number)

    def _append_time(self) -> int:
        """Brokers' clocks differ a little, and a log's times may go back."""
        return self.clock.now() + self.random.randint(-30, 0)

    def join(self) -> None:
        """A process more."""
        self.processes.append(Process(self.log, self.ground, self.plan()))
        self.share()

    def share(self) -> None:
        """Deal the partitions anew."""
        consumers = [process.consumer for process in self.processes]
        self.random.shuffle(consumers)
        if consumers:
            self.group.share(dealt(self.slots, consumers))

    def write(self) -> None:
        """New entries; sometimes the last ones once more, as an intake that died would."""
        if self.written and self.random.random() < 0.2:
            for append in self.written[-self.random.randint(1, 5) :]:
                self.log.write(append)
        for _ in range(self.random.randint(1, 12)):
            self.written.append(self.make(self.random, len(self.written)))
            self.log.write(self.written[-1])

    def kill(self, process: Process) -> None:
        """Kill -9."""
        self.group.evict(process.consumer)
        process.producer.die()
        self.processes.remove(process)

    def leave(self, process: Process) -> None:
        """SIGTERM."""
        if process.in_hand is not None:
            process.turn()
        process.unit.stop()
        process.unit.close()
        self.processes.remove(process)

    def freeze(self, process: Process) -> None:
        """SIGSTOP, until after the group has given up on it."""
        self.group.evict(process.consumer)
        self.processes.remove(process)
        self.frozen.append(process)

    def wake(self) -> None:
        """SIGCONT: it goes on as if nothing had been, and learns of it in its next poll."""
        process = self.frozen.pop()
        self.processes.append(process)
        process.turn()

    def step(self) -> None:
        """One random thing happens."""
        what = self.random.random()
        someone = self.random.choice(self.processes) if self.processes else None
        if what < 0.30:
            self.write()
        elif what < 0.45:
            self.clock.advance(self.random.randint(1, self.pause))
        elif someone is None:
            self.join()
        elif what < 0.80:
            for _ in range(self.random.randint(1, 5)):
                someone.turn()
        elif what < 0.83:
            someone.half_turn()
        elif what < 0.86:
            self.kill(someone)
            self.join()
        elif what < 0.88:
            self.leave(someone)
            self.join()
        elif what < 0.90:
            self.freeze(someone)
            self.share()
        elif what < 0.92 and self.frozen:
            self.wake()
        elif what < 0.95:
            self.share()
        elif what < 0.97:
            self.people.away = not self.people.away
        elif what < 0.98:
            self.log.stuck = [topic for topic in self.topics if self.random.random() < 0.3]
        else:
            self.log.compact(STATE)

    def finish(self) -> None:
        """Let all that is open close, whatever it takes."""
        self.people.away, self.log.stuck = False, ()
        while self.frozen:
            self.wake()
        if not self.processes:
            self.join()
        self.share()
        for _ in range(6):
            self.clock.advance(self.rest)
            self.settle()

    def settle(self, turns: int = 30) -> None:
        """Turn until nobody has had anything to do for a while."""
        quiet = 0
        while quiet < turns:
            self.clock.advance(1)
            busy = [process.turn() for process in self.processes]
            quiet = 0 if any(busy) else quiet + 1


def undisturbed(world: World, folder: Path) -> dict[str, set[tuple[Any, ...]]]:
    """What one process says to which nothing happens, on the same records at the same times."""
    now = 0
    log = PaperLog(lambda: now, world.topics)
    for record in records(world.log, ENTRIES):
        now = record.time
        log.write(Append(ENTRIES, record.key, record.value, record.headers, record.partition))
    now = world.clock.now()
    ground = ground_of(folder, log, world.clock, **SETTINGS)
    io = ground.io._replace(people=FlakyPeople(world.profile), caps=LocalCaps())
    process = Process(log, Ground(log, io, ground.settings, "holder"), world.plan())
    log.group("tidings.social").share(dict.fromkeys(world.slots, process.consumer))
    quiet = 0
    while quiet < 5:
        quiet = 0 if process.turn() else quiet + 1
    return said(log)
