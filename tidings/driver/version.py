"""Versions of a flow on their way through a recorded log, and what each decides.

records ──► Intake ──► entries ──► Version ──► Tally
                          └──────► Version ──► Tally      where both have the same intake
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidings.contract import Part
from tidings.driver.driver import Driver
from tidings.driver.hearing import Told, sent_at_once
from tidings.driver.ports import LocalCaps
from tidings.driver.tally import Tally
from tidings.log.port import Record
from tidings.plan import FlowPlan, alike
from tidings.ports import Io
from tidings.settings import Settings, StateSettings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock
from tidings.topics import entries

SLACK = 1_000  # ms of the log that are handled together: what production has in hand in a blast
ESCALATE = "escalate"
OPEN_FOR = 30 * 86_400_000  # ms after the last record, for windows that are open then
STATE = StateSettings(buckets=64, save_rate=10_000)
REMEMBERED = 10_000_000  # claims


class Intake:
    """A flow up to its cut: records in, ``entries`` out. Of a flow without one it is the whole."""

    def __init__(self, plan: FlowPlan, settings: Settings, io: Io, start: int) -> None:
        self.plan = plan
        self.tally = Tally()
        self.entries: list[Record] = []
        self._topics = frozenset(plan.source.names())
        self._driver = _driver(plan, Part.INTAKE, settings, io, start)

    def feed(self, records: Iterable[Record]) -> None:
        """Take records in, those of its own topics; the entries of those before are let go."""
        driver = self._driver
        driver.feed([record for record in records if record.topic in self._topics])
        if self.plan.keyed:
            self.entries = [*driver.records(entries(self.plan.name))]
        self.tally.take(driver)

    def serves(self, plan: FlowPlan) -> bool:
        """Whether another version would make the same entries."""
        own = self.plan
        return (
            bool(own.keyed and plan.keyed)
            and (own.name, own.source) == (plan.name, plan.source)
            and alike(own.intake, plan.intake)
        )


class Version:
    """A flow from its cut on: entries in, decisions out."""

    def __init__(
        self, plan: FlowPlan, intake: Intake, settings: Settings, io: Io, start: int
    ) -> None:
        self.tally = Tally()
        self._intake = intake
        self._driver = None
        if plan.keyed:
            told = sent_at_once if waits(plan) else None
            self._driver = _driver(plan, Part.KEYED, settings, io, start, told)

    def feed(self) -> None:
        """Take in what the intake has made."""
        if self._driver is not None:
            self._driver.feed(self._intake.entries)
            self.tally.take(self._driver)

    def end(self) -> None:
        """Let what is open close, and count what the intake has decided."""
        if self._driver is not None:
            self._driver.drain(self._driver.clock.now() + OPEN_FOR)
            self.tally.take(self._driver)
        self.tally.add(self._intake.tally)


def versions_of(
    plans: Sequence[FlowPlan], settings: Settings, io: Io, start: int
) -> tuple[list[Intake], list[Version]]:
    """The versions, and their intakes: one for those that have the same. ``start`` is epoch ms."""
    intakes: list[Intake] = []
    versions = []
    for plan in plans:
        shared = [intake for intake in intakes if intake.serves(plan)]
        if not shared:
            shared = [Intake(plan, settings, io, start)]
            intakes += shared
        versions.append(Version(plan, shared[0], settings, io, start))
    return intakes, versions


def waits(plan: FlowPlan) -> bool:
    """Whether something of a flow waits for what becomes of a delivery."""
    return any(step.operator.name == ESCALATE for step in plan.steps())


def _driver(
    plan: FlowPlan,
    part: Part,
    settings: Settings,
    io: Io,
    start: int,
    told: Told | None = None,
) -> Driver:
    """A side of the cut, on a clock of its own and with claims and caps that begin empty.

    News comes between two events, and has to stand there: what waits for it is moved event by
    event.
    """
    clock = ManualClock(start)
    own = io._replace(claims=LocalClaims(clock, REMEMBERED), caps=LocalCaps(), clock=clock)
    slack = SLACK if told is None else 0
    return Driver(plan, settings, own, clock, slack=slack, state=STATE, told=told, parts=(part,))
