"""Versions of a flow on their way through a recorded log, and what each decides.

    records ──► Intake ──► entries ──► Version ──► Tally
                              └──────► Version ──► Tally      where both have the same intake

What waits for its deliveries hears what the log tells of them, and of those of which it tells
nothing that they were sent at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidings.compile.units import behind
from tidings.contract import Part
from tidings.driver.aftermath import Aftermath
from tidings.driver.driver import Driver
from tidings.driver.ports import LocalCaps
from tidings.driver.replay import SENT_AT_ONCE, News, Replay
from tidings.driver.tally import Tally
from tidings.log.port import Record
from tidings.plan import FlowPlan, alike
from tidings.ports import Io
from tidings.records import Delivery
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock
from tidings.topics import entries

SLACK = 1_000  # ms of the log that are handled together: what production has in hand in a blast
ESCALATE = "escalate"
OPEN_FOR = 30 * 86_400_000  # ms after the last record, for windows that are open then
REMEMBERED = 10_000_000  # claims


class Intake:
    """A flow up to its cut: records in, ``entries`` out. Of a flow without one it is the whole."""

    def __init__(self, plan: FlowPlan, settings: Settings, io: Io, start: int) -> None:
        self.plan = plan
        self.tally = Tally()
        self.entries: list[Record] = []
        self._topics = frozenset(plan.source.names())
        clock = ManualClock(start)
        self._driver = Driver(
            plan,
            settings,
            _own(io, clock),
            clock,
            slack=SLACK,
            parts=(Part.INTAKE,),
        )

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
    """A flow from its cut on: entries in, decisions out. ``aftermath`` is what it hears."""

    def __init__(
        self,
        plan: FlowPlan,
        intake: Intake,
        settings: Settings,
        io: Io,
        start: int,
        aftermath: Aftermath,
    ) -> None:
        self.tally = Tally()
        self._intake = intake
        self._aftermath = aftermath
        self._replay = None
        if plan.keyed:
            clock = ManualClock(start)
            others = sorted(awaited(plan) - {plan.name})
            heard = [each for other in others for each in aftermath.heard(other)]
            self._replay = Replay(
                plan.name,
                behind(plan, settings),
                _own(io, clock),
                clock,
                self.tally,
                self._told,
                heard,
            )

    def feed(self) -> None:
        """Take in what the intake has made."""
        if self._replay is not None:
            self._replay.feed(self._intake.entries)

    def end(self) -> None:
        """Let what is open close, and count what the intake has decided."""
        if self._replay is not None:
            self._replay.advance(self._replay.now + OPEN_FOR)
        self.tally.add(self._intake.tally)

    def _told(self, delivery: Delivery) -> Sequence[News]:
        news = self._aftermath.of(delivery)
        self.tally.recorded += bool(news)
        self.tally.assumed += not news
        return news or SENT_AT_ONCE


def versions_of(
    plans: Sequence[FlowPlan], settings: Settings, io: Io, start: int, aftermath: Aftermath
) -> tuple[list[Intake], list[Version]]:
    """The versions, and their intakes: one for those that have the same. ``start`` is epoch ms."""
    intakes: list[Intake] = []
    versions = []
    for plan in plans:
        shared = [intake for intake in intakes if intake.serves(plan)]
        if not shared:
            shared = [Intake(plan, settings, io, start)]
            intakes += shared
        versions.append(Version(plan, shared[0], settings, io, start, aftermath))
    return intakes, versions


def awaited(plan: FlowPlan) -> set[str]:
    """The flows of whose deliveries a flow waits to hear: itself, and those that send its first
    rounds. None where nothing of it waits."""
    rounds = [step.spec.rounds[0] for step in plan.steps() if step.operator.name == ESCALATE]
    return {name for first in rounds for name in (plan.name, first.sent_by) if name}


def _own(io: Io, clock: ManualClock) -> Io:
    """Claims and caps that begin empty, on a clock of one's own."""
    return io._replace(claims=LocalClaims(clock, REMEMBERED), caps=LocalCaps(), clock=clock)
