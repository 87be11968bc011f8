"""Nodes and edges, from plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidings.contract import Shape
from tidings.durations import format_duration
from tidings.expressions import Expression
from tidings.plan import FlowPlan, LanePlan, StepPlan
from tidings.records import Priority
from tidings.running.footprint import DELIVER, SEND, delivered, footprint
from tidings.running.roster import Role
from tidings.settings import Settings
from tidings.topics import deliveries, entries

_SHOWN = 2  # settings of a step that its node names
_LONGEST = 34  # characters of a node's second line
_Ends = list[tuple[str, str]]  # nodes that lead on, each with what its edge says


class Kind(StrEnum):
    """What a node stands for."""

    TOPIC = "topic"
    STEP = "step"
    KEYED = "keyed"
    BRANCH = "branch"
    PROVIDER = "provider"


@dataclass(frozen=True)
class Node:
    """One thing; ``part`` is the unit that it belongs to, empty for what none does."""

    id: str
    label: str
    kind: Kind
    detail: str = ""
    part: str = ""


@dataclass(frozen=True)
class Edge:
    """A way from one node to another, and what goes it."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Graph:
    """The picture: nodes in the order in which they are come to."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]

    def parts(self) -> list[str]:
        """The units, in order."""
        return list(dict.fromkeys(node.part for node in self.nodes if node.part))


def graph(roles: Iterable[Role], settings: Settings) -> Graph:
    """The picture of these roles. Where there are flows, only the lanes that they lead to."""
    chosen = list(roles)
    flows = [role for role in chosen if isinstance(role.plan, FlowPlan)]
    written: frozenset[str] = frozenset()
    for role in flows:
        written |= footprint(role.plan, role.priority, settings.channels).ours
    drawing = _Drawing(settings)
    for role in chosen:
        if isinstance(role.plan, FlowPlan):
            drawing.flow(role.plan, role.priority)
        elif not flows or deliveries(role.plan.channel, role.priority) in written:
            drawing.lane(role.plan, role.priority)
    return Graph(list(drawing.nodes.values()), list(drawing.edges))


class _Drawing:
    """A picture that grows, part by part."""

    def __init__(self, settings: Settings) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}
        self._channels = settings.channels
        self._part = ""
        self._priority = Priority.NORMAL

    def flow(self, plan: FlowPlan, priority: Priority) -> None:
        self._plan, self._priority = plan, priority
        self._part = f"{plan.name}.intake" if plan.keyed else plan.name
        ends = [self._topic(name) for name in plan.source.names()]
        if plan.keyed:
            ends = self._steps(plan.intake, ends)
            cut = self._topic(entries(plan.name))
            self._join(ends, cut[0])
            self._part, ends = plan.name, [cut]
        else:
            ends = self._steps(plan.intake, ends)
        self._steps((*plan.keyed, *plan.tail), ends)

    def lane(self, plan: LanePlan, priority: Priority) -> None:
        self._part = f"{plan.channel}.{priority}"
        self._steps(plan.steps, [self._topic(deliveries(plan.channel, priority))])

    def _topic(self, name: str) -> tuple[str, str]:
        self.nodes.setdefault(name, Node(name, name, Kind.TOPIC))
        return name, ""

    def _join(self, ends: _Ends, target: str) -> None:
        for source, label in ends:
            self.edges[Edge(source, target, label)] = None

    def _steps(self, steps: Iterable[StepPlan], ends: _Ends) -> _Ends:
        """Draw steps behind ``ends``; gives the ends of what goes on behind them."""
        for step in steps:
            node = self._step(step)
            self._join(ends, node)
            ends = [(node, "")]
            if step.arms:
                ends = self._arms(step, node)
            elif step.operator.name == DELIVER:
                for topic in delivered(self._plan, step, self._channels, self._priority):
                    self._join(ends, self._topic(topic)[0])
            elif step.operator.name == SEND:
                for provider in step.spec.providers():
                    known = f"{self._part}:{provider}"
                    self.nodes[known] = Node(known, provider, Kind.PROVIDER)
                    self._join(ends, known)
            if step.operator.shape is Shape.END:
                ends = []
        return ends

    def _step(self, step: StepPlan) -> str:
        known = f"{self._part}:{step.path}"
        kind = {Shape.KEYED: Kind.KEYED, Shape.BRANCH: Kind.BRANCH}.get(
            step.operator.shape, Kind.STEP
        )
        label = step.operator.name
        given = step.path.rsplit(".", 1)[-1]
        if given != label:
            label = f"{given} ({label})"
        detail = "" if kind is Kind.BRANCH else detail_of(step.spec)
        self.nodes[known] = Node(known, label, kind, detail, self._part)
        return known

    def _arms(self, step: StepPlan, node: str) -> _Ends:
        ends: _Ends = []
        labels = list(arm_labels(step))
        for label, arm in zip(labels, step.arms, strict=True):
            ends += self._steps(arm, [(node, label)])
        listed = _listed(step)
        if "else" not in labels and all(arm.when is not None for arm in listed):
            ends.append((node, "else"))
        return ends


def arm_labels(step: StepPlan) -> Iterator[str]:
    """What a branch's arms are called: by name, else by condition."""
    for arm in _listed(step):
        yield arm.name or (_cut(arm.when.text) if arm.when is not None else "always")
    if getattr(step.spec, "otherwise", ()):
        yield "else"


def _listed(step: StepPlan) -> Sequence[Any]:
    """The arms of a branch as they are listed, `else` apart."""
    arms: Sequence[Any] = getattr(step.spec, "cases", ()) or getattr(step.spec, "branches", ())
    return arms


def detail_of(spec: Any) -> str:
    """The first settings of a step, as they are written."""
    said = []
    for name, field in type(spec).model_fields.items():
        if name in spec.model_fields_set:
            value = getattr(spec, name)
            is_duration = "DurationType" in repr(field) and isinstance(value, int)
            text = format_duration(value) if is_duration else _written(value)
            if text:
                said.append(f"{field.alias or name}: {text}")
    return _cut(", ".join(said[:_SHOWN]))


def _written(value: Any) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, tuple | list):
        return " ".join(map(_written, value))
    return str(value) if isinstance(value, str | int | float) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
