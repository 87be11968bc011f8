"""Runs units without Bytewax, on a log and a clock that the test holds in its hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidings.compile.units import Ground
from tidings.log.port import Append, Log, Record, Slot
from tidings.plan import FlowPlan, LanePlan, load
from tidings.ports import Address, Io, Profile
from tidings.problems import Problems
from tidings.records import Alert, Outcome, decode_alert, outcomes_of
from tidings.runtime.unit import Unit
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock
from tidings.stores.people_made import FunctionPeople
from tidings.stores.suppressions import FileSuppressions
from tidings.topics import ALERTS, EVENTS, settings

PHONE = Profile(addresses=(Address(kind="device", value="token", platform="ios"),))


def plan_of(folder: Path, text: str) -> FlowPlan | LanePlan:
    """The plan of a flow or lane given as text."""
    file = folder / "flow.yaml"
    file.write_text(text)
    problems = Problems()
    plan = load(file, {}, problems)
    problems.raise_if_any()
    assert plan is not None
    return plan


def ground_of(folder: Path, log: Log, clock: Any, **changes: Any) -> Ground:
    """A ground on which everybody has one phone, and nothing is forbidden."""
    io = Io(
        people=FunctionPeople(lambda person: PHONE),
        suppressions=FileSuppressions(folder / "suppressions", clock),
        templates=None,  # type: ignore[arg-type]  # a flow asks for none
        claims=LocalClaims(clock),
        caps=None,  # type: ignore[arg-type]
        clock=clock,
    )
    return Ground(log, io, Settings(**changes))


def create(log: Log, *names: str) -> None:
    """Make topics as the table says."""
    admin = log.admin()
    admin.create(settings(names))
    admin.close()


def append(log: Log, *appends: Append) -> None:
    """Append and have it confirmed."""
    producer = log.producer()
    failed: list[object] = []
    producer.append(appends, lambda error, _: failed.append(error) if error else None)
    assert producer.flush(10.0)
    producer.close()
    assert not failed, failed


def turn(unit: Unit) -> bool:
    """One turn of the engine; tells whether there was something to do."""
    batch = unit.pull()
    if batch is None:
        return False
    for stage in unit.stages:
        batch = stage.run(batch)
    unit.push(batch)
    return True


def settle(*units: Unit, turns: int = 20) -> None:
    """Turn the units until none has had anything to do for so many turns."""
    quiet = 0
    while quiet < turns:
        busy = [turn(unit) for unit in units]
        quiet = 0 if any(busy) else quiet + 1


def records(log: Log, topic: str) -> Iterator[Record]:
    """All that a topic holds, partition by partition."""
    reader = log.reader()
    for number in range(log.admin().topics()[topic].partitions):
        slot = Slot(topic, number)
        span = reader.span(slot)
        for batch in reader.read(slot, span.first, span.end):
            yield from batch
    reader.close()


def outcomes(log: Log) -> list[Outcome]:
    """All outcomes."""
    return [one for record in records(log, EVENTS) for one in outcomes_of(record.value or b"")]


def alerts(log: Log) -> list[Alert]:
    """All alerts."""
    return [decode_alert(record.value or b"") for record in records(log, ALERTS)]


class Tick(ManualClock):
    """A manual clock for a log's append times and a ground."""

    def __call__(self) -> int:
        return self.now()
