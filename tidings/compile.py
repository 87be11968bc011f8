"""From a plan to units, and from units to a Bytewax dataflow.

The engine's item is a batch. So each step of the YAML is one step of the dataflow, at the price of
one call a batch, and what Bytewax would ask a tenth of a microsecond and a lock for, per event,
costs next to nothing. It reads, runs the steps and writes on one thread, cooperatively, and shows
the graph. State, time and offsets are not Bytewax's: see ``tidings.runtime.keyed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from tidings.contract import Part, Shape, Site
from tidings.holder import this_process
from tidings.load import placed
from tidings.log.port import Log
from tidings.plan import FlowPlan, LanePlan, StepPlan, fields_read
from tidings.ports import Io
from tidings.problems import Problems, ValueProblem, suggestion
from tidings.providers import desks, sender_of, terms_of
from tidings.records import Priority
from tidings.runtime.batch import Step, branch_of, step_of
from tidings.runtime.chain import Link
from tidings.runtime.intake import Intake, Source
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.lane.courier import Courier
from tidings.runtime.lane.lane import Lane
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.receipts import Receipts
from tidings.runtime.unit import Unit
from tidings.settings import Settings


@dataclass(frozen=True)
class Ground:
    """What units stand on. ``holder`` names this process among all that ever ran, for leases."""

    log: Log
    io: Io
    settings: Settings
    holder: str = field(default_factory=this_process)


# ── Units ─────────────────────────────────────────────────────────────────────────────────────


def build(
    plan: FlowPlan | LanePlan,
    settings: Settings,
    problems: Problems,
    priority: Priority = Priority.NORMAL,
) -> Mapping[str, Any]:
    """Every step of a flow or lane at ``priority``, built, by path.

    What can't be built is among ``problems``.
    """
    built: dict[str, Any] = {}
    if isinstance(plan, LanePlan) and plan.channel not in settings.channels:
        hint = suggestion(plan.channel, settings.channels)
        where, path = plan.where, plan.channel
        problems.error("unknown-channel", f"there is no channel `{path}`", where, path, hint)
        return built
    steps = plan.steps() if isinstance(plan, FlowPlan) else plan.steps
    for step in steps:
        site = _site(step, plan, settings, priority)
        try:
            built[step.path] = (site, step.operator.build(step.spec, site))
        except ValueProblem as problem:
            problems.add(placed(problem, step.node, step.path, step.where))
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
        tenants=settings.tenant_table(),
        connections={name: each.kind() for name, each in settings.connections.items()},
        fetches=bool(settings.payloads.url),
        keep_ms=settings.payloads.keep,
    )


def _site(
    step: StepPlan, plan: FlowPlan | LanePlan, settings: Settings, priority: Priority
) -> Site:
    if isinstance(plan, FlowPlan):
        site = site_of(step.path, plan.name, _part(step, plan), plan.version, settings)
        return replace(site, priority=priority)
    site = site_of(step.path, plan.channel, Part.LANE, plan.version, settings)
    return replace(site, channel=plan.channel, priority=priority)


def _part(step: StepPlan, plan: FlowPlan) -> Part:
    for steps, part in ((plan.keyed, Part.KEYED), (plan.tail, Part.TAIL)):
        if any(step in top.walk() for top in steps):
            return part
    return Part.INTAKE if Part.INTAKE in step.operator.parts else Part.TAIL


def intake(plan: FlowPlan, ground: Ground, priority: Priority = Priority.NORMAL) -> Intake:
    """The intake of a flow; without keyed steps it is the whole flow."""
    problems = Problems()
    built = build(plan, ground.settings, problems, priority)
    problems.raise_if_any()
    splits = [step.path for step in plan.intake if step.operator.name == "split"]
    source = plan.source
    reads = fields_read(plan.intake) if plan.keyed else None
    if any(step.operator.changes for step in plan.steps()):
        reads = None  # what is changed has to be written anew, whole
    if reads is not None:
        own = (source.key, source.tenant, source.id)
        reads = reads.union(*(each.names for each in own if each is not None), ("event_id",))
    return Intake(
        plan.name,
        Source(
            topics=source.names(),
            key=source.key.of,
            id=source.id.of if source.id is not None else _event_id,
            tenant=source.tenant.of if source.tenant is not None else None,
            keyed_after=splits[-1] if splits else "",
            on_out_of_range=source.on_out_of_range,
            reads=reads,
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


def keyed(plan: FlowPlan, ground: Ground, priority: Priority = Priority.NORMAL) -> KeyedFlow:
    """The keyed part of a flow and its tail."""
    problems = Problems()
    built = build(plan, ground.settings, problems, priority)
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
        reads=fields_read((*plan.keyed, *plan.tail)),
    )


def lane(plan: LanePlan, priority: Priority, ground: Ground) -> Lane:
    """A lane at one priority. Raises ProblemsError for a provider that can't be used."""
    problems = Problems()
    built = build(plan, ground.settings, problems, priority)
    problems.raise_if_any()
    *before, last = plan.steps
    senders, terms = {}, {}
    for name in last.spec.providers():
        try:
            senders[name] = sender_of(name, ground.settings.providers, ground.io.clock)
            terms[name] = terms_of(name, ground.settings.providers)
        except ValueError as error:
            where = last.at(*last.spec.place_of(name))
            problems.error("unusable-provider", f"{name}: {error}", where, last.path)
    problems.raise_if_any()
    settings = LaneSettings(plan.channel, plan.channel, priority, ground.holder)
    most = max(each.bulk for each in terms.values())
    return Lane(
        replace(settings, batch=max(settings.batch, most)),
        ground.log,
        ground.io,
        [built[step.path] for step in before],
        built[last.path],
        Courier(senders, ground.io.clock),
        terms,
    )


def receipts(ground: Ground) -> Receipts:
    """What reads the callbacks of all providers. Raises ValueError for settings of no use."""
    settings = ground.settings
    return Receipts(
        desks(settings.providers),
        settings.channels,
        log=ground.log,
        io=ground.io,
        clock=ground.io.clock,
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


def dataflow(
    name: str,
    units: Sequence[Unit],
    stopping: Callable[[], bool],
    stirred: Callable[[], None] = lambda: None,
) -> Dataflow:
    """One dataflow of all ``units``, side by side; it ends when ``stopping`` and all are drained.

    ``stirred`` is called for each batch: there was something to do.

    Bytewax takes no dot in a step's name: ``social.digest`` is ``social/digest`` there. A lane's
    steps are called alike at every priority; there the unit's name stands before the second's.
    """
    flow = Dataflow(name)
    taken: set[str] = set()
    for unit in units:
        stream = op.input(_step_name(f"{unit.name}.in"), flow, UnitSource(unit, stopping, stirred))
        for stage in unit.stages:
            step = stage.id if stage.id not in taken else f"{unit.name}.{stage.id}"
            taken.add(step)
            stream = op.map(_step_name(step), stream, stage.run)
        op.output(_step_name(f"{unit.name}.out"), stream, UnitSink(unit))
    return flow


def run(flow: Dataflow) -> None:
    """Run a dataflow on this thread, with one worker, until its units are drained.

    Epochs do nothing for us and cost a look at every key, so they are made long. What a unit raises
    comes out as the cause of the engine's error.
    """
    run_main(flow, epoch_interval=timedelta(days=1))  # type: ignore[no-untyped-call]


def _step_name(path: str) -> str:
    return path.replace(".", "/")


class UnitSource(DynamicSource[Any]):
    """A unit's ``pull`` as a source. One worker a process: the unit is not shared."""

    def __init__(
        self, unit: Unit, stopping: Callable[[], bool], stirred: Callable[[], None]
    ) -> None:
        self._unit = unit
        self._stopping = stopping
        self._stirred = stirred

    def build(self, step_id: str, worker_index: int, worker_count: int) -> UnitPartition:
        """The one partition; raises ValueError for several workers."""
        if worker_count != 1:
            raise ValueError("a process runs one worker; start more processes instead")
        return UnitPartition(self._unit, self._stopping, self._stirred)


QUIET_AFTER = timedelta(seconds=1)
QUIET_FACTOR = 6  # 17 units that look 200 times a second would take a sixth of a core for nothing
LONGEST_PAUSE = 0.03  # seconds


class UnitPartition(StatelessSourcePartition[Any]):
    """Pulls until the unit is stopped and drained."""

    def __init__(
        self, unit: Unit, stopping: Callable[[], bool], stirred: Callable[[], None]
    ) -> None:
        unit.start()
        self._unit = unit
        self._stopping = stopping
        self._stirred = stirred
        self._stopped = False
        self._awake: datetime | None = None
        self._quiet_since: datetime | None = None

    def next_batch(self) -> list[Any]:
        """The unit's next batch, as the one item."""
        if self._stopping() and not self._stopped:
            self._stopped = True
            self._unit.stop()
        batch = self._unit.pull()
        if batch is not None:
            self._stirred()
            self._awake = self._quiet_since = None
            return [batch]
        if self._stopped and self._unit.drained():
            # Before the engine lets go of us: it hung in 4 of 51 stops while it freed a client.
            self._unit.close()
            raise StopIteration
        self._rest()
        return []

    def _rest(self) -> None:
        """Say when to pull again: after the unit's pause, a longer one where it is quiet."""
        pause = self._unit.pause()
        now = datetime.now(UTC)
        if self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since > QUIET_AFTER:
            pause *= QUIET_FACTOR
        # Far-off wishes would keep the other units of the process waiting, so pauses are short.
        pause = min(pause, LONGEST_PAUSE)
        self._awake = now + timedelta(seconds=pause) if pause else None

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
