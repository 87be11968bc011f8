"""From a plan to units, and from units to a Bytewax dataflow.

The engine's item is a batch. So each step of the YAML is one step of the dataflow, at the price of
one call a batch, and what Bytewax would ask a tenth of a microsecond and a lock for, per event, costs
next to nothing. It reads, runs the steps and writes on one thread, cooperatively, and shows the graph.
State, time and offsets are not Bytewax's: see ``tidings.runtime.keyed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from tidings.contract import Part, Shape, Site
from tidings.log.port import Log
from tidings.plan import FlowPlan, StepPlan
from tidings.ports import Io
from tidings.problems import Problems, ValueProblem
from tidings.runtime.batch import Step, branch_of, step_of
from tidings.runtime.chain import Link
from tidings.runtime.intake import Intake, Source
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.unit import Unit
from tidings.settings import Settings


@dataclass(frozen=True)
class Ground:
    """What units stand on."""

    log: Log
    io: Io
    settings: Settings


# ── Units ─────────────────────────────────────────────────────────────────────────────────────


def build(plan: FlowPlan, settings: Settings, problems: Problems) -> Mapping[str, Any]:
    """Every step of a flow, built, by path. What can't be built is among ``problems``."""
    built = {}
    for step in plan.steps():
        part = _part(step, plan)
        site = site_of(step.path, plan.name, part, plan.version, settings)
        try:
            built[step.path] = (site, step.operator.build(step.spec, site))
        except ValueProblem as problem:
            problems.error(problem.code, problem.message, step.where, step.path, problem.hint)
    return built


def site_of(path: str, scope: str, part: Part, version: str, settings: Settings) -> Site:
    """Where a step stands, with what the settings say about it."""
    return Site(
        path,
        scope,
        part,
        version,
        categories=settings.category_table(),
        types=settings.types,
        channels=settings.channels,
    )


def _part(step: StepPlan, plan: FlowPlan) -> Part:
    for steps, part in ((plan.keyed, Part.KEYED), (plan.tail, Part.TAIL)):
        if any(step in top.walk() for top in steps):
            return part
    return Part.INTAKE if Part.INTAKE in step.operator.parts else Part.TAIL


def intake(plan: FlowPlan, ground: Ground) -> Intake:
    """The intake of a flow; without keyed steps it is the whole flow."""
    problems = Problems()
    built = build(plan, ground.settings, problems)
    problems.raise_if_any()
    splits = [step.path for step in plan.intake if step.operator.name == "split"]
    source = plan.source
    return Intake(
        plan.name,
        Source(
            topics=source.names(),
            key=source.key.of,
            id=source.id.of if source.id is not None else _event_id,
            tenant=source.tenant.of if source.tenant is not None else None,
            keyed_after=splits[-1] if splits else "",
            on_out_of_range=source.on_out_of_range,
        ),
        _steps(plan.intake if plan.keyed else (*plan.intake, *plan.tail), built),
        cut=bool(plan.keyed),
        version=plan.version,
        log=ground.log,
        io=ground.io,
        clock=ground.io.clock,
    )


def _event_id(event: dict[str, Any]) -> Any:
    return event["event_id"]


def keyed(plan: FlowPlan, ground: Ground) -> KeyedFlow:
    """The keyed part of a flow and its tail."""
    problems = Problems()
    built = build(plan, ground.settings, problems)
    problems.raise_if_any()
    state = ground.settings.state
    return KeyedFlow(
        plan.name,
        _links(plan.keyed, built),
        _steps(plan.tail, built),
        version=plan.version,
        buckets=state.buckets,
        save_rate=state.save_rate,
        log=ground.log,
        io=ground.io,
        clock=ground.io.clock,
        on_out_of_range=plan.source.on_out_of_range,
    )


def _steps(plans: Iterable[StepPlan], built: Mapping[str, Any]) -> list[Step]:
    steps = []
    for plan in plans:
        site, step = built[plan.path]
        if plan.operator.shape is Shape.BRANCH:
            steps.append(branch_of(site, step, [_steps(arm, built) for arm in plan.arms]))
        else:
            steps.append(step_of(site, step))
    return steps


def _links(plans: Iterable[StepPlan], built: Mapping[str, Any]) -> list[Link]:
    links = []
    for plan in plans:
        site, step = built[plan.path]
        links.append(Link(site, step, [_links(arm, built) for arm in plan.arms]))
    return links


# ── The dataflow ──────────────────────────────────────────────────────────────────────────────


def dataflow(name: str, units: Sequence[Unit], stopping: Callable[[], bool]) -> Dataflow:
    """One dataflow of all ``units``, side by side; it ends when ``stopping`` and all are drained.

    Bytewax takes no dot in a step's name: ``social.digest`` is ``social/digest`` there.
    """
    flow = Dataflow(name)
    for unit in units:
        stream = op.input(_step_name(f"{unit.name}.in"), flow, UnitSource(unit, stopping))
        for stage in unit.stages:
            stream = op.map(_step_name(stage.id), stream, stage.run)
        op.output(_step_name(f"{unit.name}.out"), stream, UnitSink(unit))
    return flow


def _step_name(path: str) -> str:
    return path.replace(".", "/")


class UnitSource(DynamicSource[Any]):
    """A unit's ``pull`` as a source. One worker a process: the unit is not shared."""

    def __init__(self, unit: Unit, stopping: Callable[[], bool]) -> None:
        self._unit = unit
        self._stopping = stopping

    def build(self, step_id: str, worker_index: int, worker_count: int) -> UnitPartition:
        """The one partition; raises ValueError for several workers."""
        if worker_count != 1:
            raise ValueError("a process runs one worker; start more processes instead")
        return UnitPartition(self._unit, self._stopping)


class UnitPartition(StatelessSourcePartition[Any]):
    """Pulls until the unit is stopped and drained."""

    def __init__(self, unit: Unit, stopping: Callable[[], bool]) -> None:
        unit.start()
        self._unit = unit
        self._stopping = stopping
        self._stopped = False
        self._awake: datetime | None = None

    def next_batch(self) -> list[Any]:
        """The unit's next batch, as the one item."""
        if self._stopping() and not self._stopped:
            self._stopped = True
            self._unit.stop()
        batch = self._unit.pull()
        if batch is not None:
            self._awake = None
            return [batch]
        if self._stopped and self._unit.drained():
            # Before the engine lets go of us: it hung in 4 of 51 stops while it freed a client.
            self._unit.close()
            raise StopIteration
        # Far-off wishes would keep the other units of the process waiting, so pauses are short.
        pause = min(self._unit.pause(), 0.02)
        self._awake = datetime.now(UTC) + timedelta(seconds=pause) if pause else None
        return []

    def next_awake(self) -> datetime | None:
        """When to be asked again."""
        return self._awake


class UnitSink(DynamicSink[Any]):
    """A unit's ``push`` as a sink."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def build(self, step_id: str, worker_index: int, worker_count: int) -> UnitOutput:
        """The one partition."""
        return UnitOutput(self._unit)


class UnitOutput(StatelessSinkPartition[Any]):
    """Pushes batches."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def write_batch(self, items: list[Any]) -> None:
        """Push each."""
        for batch in items:
            self._unit.push(batch)
