"""Versions of a flow on their way through a recorded log, and what each decides.

    records ──► Intake ──► Entries ──► Version ──► Tally
                              └──────► Version ──► Tally      where both have the same intake

What waits for its deliveries hears what the log tells of them, and of those of which it tells
nothing that they were sent at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidings.compile.units import behind
from tidings.driver.aftermath import Aftermath
from tidings.driver.intake import Entries, Intake
from tidings.driver.ports import LocalCaps, PatientLookups
from tidings.driver.replay import SENT_AT_ONCE, News, Replay
from tidings.driver.tally import Tally
from tidings.log.port import Record
from tidings.plan import FlowPlan
from tidings.ports import Io
from tidings.records import Delivery
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock

ESCALATE = "escalate"
OPEN_FOR = 30 * 86_400_000  # ms after the last record, for windows that are open then
REMEMBERED = 10_000_000  # claims


class Version:
    """A flow from its cut on: entries in, decisions out. ``aftermath`` is what it hears."""

    def __init__(
        self,
        plan: FlowPlan,
        settings: Settings,
        io: Io,
        start: int,
        aftermath: Aftermath,
    ) -> None:
        self.tally = Tally()
        self._aftermath = aftermath
        self._replay = None
        if plan.keyed:
            clock, steps = ManualClock(start), behind(plan, settings)
            self._fields = steps.reads
            others = sorted(awaited(plan) - {plan.name})
            heard = [each for other in others for each in aftermath.heard(other)]
            self._replay = Replay(
                plan.name,
                steps,
                _own(io, clock),
                clock,
                self.tally,
                self._told,
                heard,
            )

    def feed(self, entries: Entries) -> None:
        """Take in what its intake has made."""
        if self._replay is not None:
            self._replay.feed(entries.read(self._fields))

    def end(self, intake: Intake) -> None:
        """Let what is open close, and count what the intake has decided."""
        if self._replay is not None:
            self._replay.advance(self._replay.now + OPEN_FOR)
        self.tally.add(intake.tally)

    def _told(self, delivery: Delivery) -> Sequence[News]:
        news = self._aftermath.of(delivery)
        self.tally.recorded += bool(news)
        self.tally.assumed += not news
        return news or SENT_AT_ONCE


class Versions:
    """Versions, in the order of their plans, with one intake for those that have the same.
    ``start`` is epoch ms."""

    def __init__(
        self,
        plans: Sequence[FlowPlan],
        settings: Settings,
        io: Io,
        start: int,
        aftermath: Aftermath,
    ) -> None:
        self.intakes: list[tuple[Intake, list[Version]]] = []
        self._versions: list[Version] = []
        for plan in plans:
            version = Version(plan, settings, io, start, aftermath)
            self._versions.append(version)
            for intake, mine in self.intakes:
                if intake.serves(plan):
                    mine.append(version)
                    break
            else:
                clock = ManualClock(start)
                intake = Intake(plan, settings, _own(io, clock), clock)
                self.intakes.append((intake, [version]))

    def feed(self, records: Sequence[Record]) -> None:
        """Take records in, in order of time."""
        for intake, mine in self.intakes:
            for entries in intake.feed(records):
                for version in mine:
                    version.feed(entries)

    def end(self) -> list[Tally]:
        """Let what is open close; gives what each has decided."""
        for intake, mine in self.intakes:
            for version in mine:
                version.end(intake)
        return [version.tally for version in self._versions]


def awaited(plan: FlowPlan) -> set[str]:
    """The flows of whose deliveries a flow waits to hear: itself, and those that send its first
    rounds. None where nothing of it waits."""
    rounds = [step.spec.rounds[0] for step in plan.steps() if step.operator.name == ESCALATE]
    return {name for first in rounds for name in (plan.name, first.sent_by) if name}


def _own(io: Io, clock: ManualClock) -> Io:
    """Claims and caps that begin empty, on a clock of one's own; lookups that are waited for."""
    return io._replace(
        claims=LocalClaims(clock, REMEMBERED),
        caps=LocalCaps(),
        lookups=PatientLookups(io.lookups),
        clock=clock,
    )
