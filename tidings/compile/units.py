"""From a plan to units: the intake and the keyed part of a flow, a lane, the receipts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tidings.compile.steps import build
from tidings.contract import Shape
from tidings.holder import this_process
from tidings.log.port import Log
from tidings.plan import FlowPlan, LanePlan, StepPlan, fields_read
from tidings.ports import Io
from tidings.problems import Problems
from tidings.providers import desks, sender_of, terms_of
from tidings.records import Priority
from tidings.runtime.batch import Step, branch_of, step_of
from tidings.runtime.chain import Link
from tidings.runtime.entrance import Entrance, Source
from tidings.runtime.intake import Intake
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.lane.courier import Courier
from tidings.runtime.lane.lane import Lane
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.receipts import Receipts
from tidings.settings import Settings


@dataclass(frozen=True)
class Ground:
    """What units stand on. ``holder`` names this process among all that ever ran, for leases."""

    log: Log
    io: Io
    settings: Settings
    holder: str = field(default_factory=this_process)


class Ahead(NamedTuple):
    """What stands ahead of the cut: the way in, and the steps; of a flow without a cut that is all
    of it. To those that are ``timed`` it matters when they are asked."""

    entrance: Entrance
    steps: Sequence[Step]
    timed: frozenset[str]


def ahead(plan: FlowPlan, settings: Settings, priority: Priority = Priority.NORMAL) -> Ahead:
    """The steps of a flow's intake. Raises ProblemsError for what can't be built."""
    problems = Problems()
    built = build(plan, settings, problems, priority)
    problems.raise_if_any()
    splits = [step.path for step in plan.intake if step.operator.name == "split"]
    source = plan.source
    reads = fields_read(plan.intake) if plan.keyed else None
    if any(step.operator.changes for step in plan.steps()):
        reads = None  # what is changed has to be written anew, whole
    if reads is not None:
        own = (source.key, source.tenant, source.id)
        reads = reads.union(*(each.names for each in own if each is not None), ("event_id",))
    way_in = Source(
        topics=source.names(),
        key=source.key.of,
        id=source.id.of if source.id is not None else _event_id,
        tenant=source.tenant.of if source.tenant is not None else None,
        keyed_after=splits[-1] if splits else "",
        on_out_of_range=source.on_out_of_range,
        reads=reads,
    )
    entrance = Entrance(plan.name, way_in, plan.version)
    plans = plan.intake if plan.keyed else (*plan.intake, *plan.tail)
    steps: list[Step] = []
    for step in _steps(plans, built):
        steps.append(step)
        if step[0] == way_in.keyed_after:
            steps.append((f"{plan.name}.key", entrance.key))
    timed = {top.path for top in plans if not all(each.operator.timeless for each in top.walk())}
    return Ahead(entrance, steps, frozenset(timed))


def intake(plan: FlowPlan, ground: Ground, priority: Priority = Priority.NORMAL) -> Intake:
    """The intake of a flow; without keyed steps it is the whole flow."""
    entrance, steps, _ = ahead(plan, ground.settings, priority)
    return Intake(
        plan.name,
        entrance,
        steps,
        cut=bool(plan.keyed),
        version=plan.version,
        log=ground.log,
        io=ground.io,
        clock=ground.io.clock,
    )


def _event_id(event: dict[str, Any]) -> Any:
    return event["event_id"]


class Behind(NamedTuple):
    """What stands behind the cut: the chain of keyed steps, and the tail; ``reads`` are the fields
    of an event that they look at, None for all."""

    links: Sequence[Link]
    tail: Sequence[Step]
    reads: frozenset[str] | None


def behind(plan: FlowPlan, settings: Settings, priority: Priority = Priority.NORMAL) -> Behind:
    """The steps of a flow's keyed part and its tail. Raises ProblemsError for what can't be
    built."""
    problems = Problems()
    built = build(plan, settings, problems, priority)
    problems.raise_if_any()
    reads = fields_read((*plan.keyed, *plan.tail))
    return Behind(_links(plan.keyed, built), _steps(plan.tail, built), reads)


def keyed(plan: FlowPlan, ground: Ground, priority: Priority = Priority.NORMAL) -> KeyedFlow:
    """The keyed part of a flow and its tail."""
    links, tail, reads = behind(plan, ground.settings, priority)
    state = ground.settings.state
    return KeyedFlow(
        plan.name,
        links,
        tail,
        version=plan.version,
        buckets=state.buckets,
        save_rate=state.save_rate,
        log=ground.log,
        io=ground.io,
        clock=ground.io.clock,
        on_out_of_range=plan.source.on_out_of_range,
        reads=reads,
        holder=ground.holder,
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
