"""The topics that a flow or a lane reads and writes: what must exist before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tidings.durations import format_duration
from tidings.plan import FlowPlan, LanePlan, StepPlan, ways
from tidings.records import Priority
from tidings.settings import Settings
from tidings.topics import (
    EVENTS,
    RETRY_DELAYS,
    TopicRule,
    deliveries,
    entries,
    flow_topics,
    lane_topics,
    state,
)

DELIVER, RENDER, SEND = "deliver", "render", "send"


class Footprint(NamedTuple):
    """Topic names: ``sources`` are what upstream services write, ``ours`` what Tidings does."""

    sources: frozenset[str]
    ours: frozenset[str]


def footprint(plan: FlowPlan | LanePlan, priority: Priority, channels: Iterable[str]) -> Footprint:
    """All topics of a flow or lane at ``priority``; ``channels`` are those that there are."""
    if isinstance(plan, LanePlan):
        rungs = ladder(plan)
        return Footprint(
            frozenset(), frozenset({*lane_topics(plan.channel, priority, rungs), EVENTS})
        )
    written = {*flow_topics(plan.name, keyed=bool(plan.keyed))}
    for step in plan.steps():
        if step.operator.name == DELIVER:
            written |= set(delivered(plan, step, channels, priority))
            if step.spec.reply_to:
                written |= {entries(step.spec.reply_to), state(step.spec.reply_to)}
    return Footprint(frozenset(plan.source.names()), frozenset(written))


def ladder(plan: LanePlan) -> list[str]:
    """The rungs of a lane's retry ladder, as their topics are called."""
    for step in plan.steps:
        if step.operator.name == SEND:
            return [format_duration(delay) for delay in step.spec.retry.ladder]
    return list(RETRY_DELAYS)


def delivered(
    plan: FlowPlan, step: StepPlan, channels: Iterable[str], priority: Priority = Priority.NORMAL
) -> Iterator[str]:
    """The topics that a ``deliver`` step may write to, run at ``priority``."""
    named = tuple(channels) if step.spec.channels is not None else channels_of(plan, step)
    for channel in named:
        yield deliveries(channel, priority_of(step, priority))


def channels_of(plan: FlowPlan, step: StepPlan) -> tuple[str, ...]:
    """The channels of a ``deliver`` step: those that it names, and those of the rounds before."""
    rounds = ways(plan)[step.path].rounds
    return tuple(dict.fromkeys((*step.spec.channels_named(), *rounds)))


def priority_of(step: StepPlan, priority: Priority) -> Priority:
    """The priority at which a ``deliver`` step delivers: its own, else that it is run at."""
    return Priority.of(step.spec.priority or priority)


def priorities_of(plan: FlowPlan, priority: Priority) -> frozenset[Priority]:
    """All priorities at which a flow delivers, run at ``priority``."""
    delivers = (step for step in plan.steps() if step.operator.name == DELIVER)
    return frozenset(priority_of(step, priority) for step in delivers)


def rules(settings: Settings, sources: Iterable[str]) -> list[TopicRule]:
    """What the settings say about topics, as rules over the table of topics.

    Rungs of the ladder and dead letters keep the table's own partitions: they are quiet.
    """
    said = settings.topics
    return [
        TopicRule(pattern="*", replication=said.replication),
        TopicRule(pattern="tidings.*", partitions=said.entries_partitions),
        *(
            TopicRule(pattern=f"deliveries.*.{priority}", partitions=said.deliveries_partitions)
            for priority in Priority
        ),
        *(TopicRule(pattern=name, partitions=said.source_partitions) for name in sources),
    ]
