"""The driver: a flow, and lanes behind it, moved by the log's time alone.

    driver = Driver(plan, settings, io, clock)
    driver.write("social.events", b"ana", b'{"type": "like", …}')
    driver.advance(clock.now() + 30_000)      # stops at each deadline on the way
    driver.records("notif_events")

In production a quiet partition gets a marker when a deadline is overdue; here it is written at the
deadline itself, since the clock is ours. What is decided is the same, for it is decided at the
deadline. In one thread, without waiting: the same input gives the same output to the byte.

A flow is cut at its own topic, and a driver may move one side of the cut alone: an intake, whose
entries can be taken from that topic, or a keyed part, which is fed with entries as with events.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from tidings.compile.steps import build
from tidings.compile.units import Ground, intake, keyed
from tidings.contract import Part
from tidings.driver.callbacks import Callbacks, desks
from tidings.driver.courier import Script, ScriptedCourier, Sent, Told
from tidings.driver.replies import accept, has_it
from tidings.ids import wait_id
from tidings.log.memory import MemoryLog
from tidings.log.port import Append, Record, Slot
from tidings.plan import FlowPlan, LanePlan
from tidings.ports import Io
from tidings.problems import Problems
from tidings.providers import settles_of
from tidings.receipts import PROVIDER_EVENTS
from tidings.records import Origin, Priority, Signal
from tidings.running.footprint import footprint
from tidings.runtime.intake import Intake
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.lane.lane import Lane
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.receipts import Receipts
from tidings.runtime.signals import signal_append
from tidings.sender import Terms
from tidings.settings import Settings, StateSettings
from tidings.stores.clock import ManualClock
from tidings.topics import deliveries, entries
from tidings.topics import settings as topics_of

BOTH = (Part.INTAKE, Part.KEYED)
STATE = StateSettings(buckets=1, save_rate=10_000)  # nothing restarts here


class Built(msgspec.Struct, frozen=True):
    """The steps of a lane at one priority: they remember nothing but compiled templates, so that
    many drivers may share them."""

    plan: LanePlan
    priority: Priority
    steps: Mapping[str, Any]


def build_lanes(
    flow: FlowPlan,
    lanes: Sequence[LanePlan],
    settings: Settings,
    problems: Problems,
    priority: Priority = Priority.NORMAL,
) -> list[Built]:
    """The lanes that deliveries of ``flow``, run at ``priority``, come to; what can't be built is
    among ``problems``."""
    written = footprint(flow, priority, settings.channels).ours
    return [
        Built(plan, served, build(plan, settings, problems, served))
        for plan in lanes
        for served in Priority
        if deliveries(plan.channel, served) in written
    ]


class Driver:
    """One flow in virtual time. ``io.clock`` must be ``clock``.

    ``partitions`` are those of every topic. ``parts`` are the sides of the cut that are moved.
    Raises ProblemsError for a flow that can't be built.
    """

    def __init__(
        self,
        flow: FlowPlan,
        settings: Settings,
        io: Io,
        clock: ManualClock,
        *,
        lanes: Sequence[Built] = (),
        script: Script = accept,
        told: Told = has_it,
        callbacks: Callbacks | None = None,
        partitions: int = 1,
        parts: Collection[Part] = BOTH,
        state: StateSettings = STATE,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        self.clock = clock
        self.log = MemoryLog(clock.now)
        self._callbacks = callbacks or Callbacks((), clock.now())
        self.sent: list[Sent] = []  # all that couriers carried
        self._couriers: list[ScriptedCourier] = []
        self.sending = {each.plan.channel: each.plan.steps[-1].path for each in lanes}
        self._flow = flow
        self._partitions = partitions
        names = {topic for part in footprint(flow, priority, settings.channels) for topic in part}
        for lane in lanes:
            names |= footprint(lane.plan, lane.priority, settings.channels).ours
        if callbacks is not None:
            names.add(PROVIDER_EVENTS)
        self.topics = sorted(names)
        self.log.admin().create(
            [msgspec.structs.replace(each, partitions=partitions) for each in topics_of(names)]
        )
        ground = Ground(self.log, io, settings.model_copy(update={"state": state}), "driver")
        self._producer = self.log.producer()
        self._keyed = None
        if flow.keyed and Part.KEYED in parts:
            self._keyed = keyed(flow, ground, priority)
        self._lanes = [self._lane(each, ground, script, told) for each in lanes]
        units = (
            intake(flow, ground, priority) if Part.INTAKE in parts else None,
            self._keyed,
            None if callbacks is None else self._receipts(lanes, settings.channels, ground),
        )
        self._units = [unit for unit in units if unit is not None]
        for unit in (*self._units, *self._lanes):
            unit.start()
        self.settle()

    def _lane(self, built: Built, ground: Ground, script: Script, told: Told) -> Lane:
        plan = built.plan
        *before, last = [built.steps[step.path] for step in plan.steps]
        settings = LaneSettings(
            plan.channel,
            plan.channel,
            built.priority,
            ground.holder,
            collect_ms=0,
            frozen_ms=sys.maxsize,  # a clock that jumps is no process that stands still
        )
        courier = ScriptedCourier(script, self.clock, self.sent, told, self._callbacks.taken)
        self._couriers.append(courier)
        names = plan.steps[-1].spec.providers()
        # Of their terms this alone: how fast an account may send is not what a case is about.
        terms = {
            name: Terms(settles_ms=settles_of(name, ground.settings.providers)) for name in names
        }
        return Lane(settings, self.log, ground.io, before, last, courier, terms)

    def _receipts(
        self, lanes: Sequence[Built], channels: Mapping[str, str], ground: Ground
    ) -> Receipts:
        providers = {name for each in lanes for name in each.plan.steps[-1].spec.providers()}
        io = ground.io
        return Receipts(desks(providers), channels, log=self.log, io=io, clock=io.clock)

    # ── In and out ────────────────────────────────────────────────────────────────────────────

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1
    ) -> None:
        """Append a record now; ``settle`` or ``advance`` lets it be handled."""
        self._producer.append([Append(topic, key, value, (), partition)], _confirmed)
        self._producer.poll()

    def tell(self, kind: str, to: str, of: str, round: int = 1, tenant: str = "default") -> None:
        """Tell the flow what became of a round of the event ``of``, delivered to ``to``."""
        signal = Signal(wait_id(of, ""), kind, round - 1)
        topic = entries(self._flow.name)
        append = signal_append(topic, tenant, to, Origin(topic, 0, 0), signal)
        self._producer.append([append], _confirmed)
        self._producer.poll()

    def feed(self, records: Iterable[Record]) -> None:
        """Replay records, in order of time, each at its own; those of one instant together."""
        for time, together in groupby(records, _time):
            part = list(together)
            self.advance(time)
            for name in {record.topic for record in part}:
                self.log.topic(name).replay([each for each in part if each.topic == name])
            self.clock.set(max(time, self.clock.now()))
            self.settle()

    def records(self, topic: str) -> Iterator[Record]:
        """All that a topic holds, partition by partition."""
        reader = self.log.reader()
        for number in range(self._partitions):
            slot = Slot(topic, number)
            for batch in reader.read(slot, *reader.span(slot)):
                yield from batch

    def forget(self, topics: Iterable[str]) -> None:
        """Let go what these topics hold: it was handled."""
        for topic in topics:
            self.log.topic(topic).forget()

    # ── Time ──────────────────────────────────────────────────────────────────────────────────

    def advance(self, until: int) -> None:
        """Let time pass up to ``until`` (epoch ms), deadline by deadline."""
        self.settle()
        while 0 < (due := self.deadline()) <= until:
            self._go(due)
        self.clock.set(max(until, self.clock.now()))
        self.settle()

    def drain(self, until: int) -> None:
        """Let time pass while something waits, but not beyond ``until`` (epoch ms)."""
        self.settle()
        while 0 < (due := self.deadline()) <= until:
            self._go(due)

    def deadline(self) -> int:
        """The next instant at which something is due, 0 for none."""
        due = [lane.deadline() for lane in self._lanes]
        due += [courier.deadline() for courier in self._couriers]
        due.append(self._callbacks.deadline())
        if self._keyed is not None:
            due.append(self._keyed.deadline())
        return min(filter(None, due), default=0)

    def holds(self) -> bool:
        """Whether something waits for the answer of a port that is asked again as time passes."""
        return any(unit.holds() for unit in self._units)

    def settle(self) -> None:
        """Have everything done that can be done now."""
        busy = True
        while busy:
            busy = self._call()
            for unit in self._units:
                while _turn(unit):
                    busy = True
            for lane in self._lanes:
                while self._turn_lane(lane):
                    busy = True

    def _call(self) -> bool:
        """Have providers call back, if it is time; tells whether there was something."""
        called = [*self._callbacks.due(self.clock.now())]
        if called:
            self._producer.append(called, _confirmed)
            self._producer.poll()
        return bool(called)

    def _go(self, at: int) -> None:
        """Go to an instant; what is overdue there, and can't be helped, must not stop time."""
        before = self.clock.now(), self.deadline()
        self.clock.set(max(at, before[0]))
        if self._keyed is not None and 0 < self._keyed.deadline() <= self.clock.now():
            topic = entries(self._flow.name)
            for number in range(self._partitions):
                self.write(topic, None, None, number)
        self.settle()
        if (self.clock.now(), self.deadline()) == before:
            self.clock.advance(1)

    def _turn_lane(self, lane: Lane) -> bool:
        """One turn; a lane that only looks at a provider that refuses it is not busy."""
        before = self._done()
        batch = lane.pull()
        if batch is None:
            return False
        works = bool(batch.items)
        for stage in lane.stages:
            batch = stage.run(batch)
        lane.push(batch)
        return works or self._done() > before or lane.unsaid()

    def _done(self) -> int:
        """What was written, sent and asked so far."""
        written = sum(self.log.topic(topic).written for topic in self.topics)
        return written + len(self.sent) + sum(courier.asked for courier in self._couriers)


def _turn(unit: Intake | KeyedFlow | Receipts) -> bool:
    batch = unit.pull()
    if batch is None:
        return False
    for stage in unit.stages:
        batch = stage.run(batch)
    unit.push(batch)
    return True


def _time(record: Record) -> int:
    return record.time


def _confirmed(error: object | None, receipt: object = None) -> None:
    if error is not None:
        raise ValueError(str(error))
