"""Plans: steps with their settings and places, sorted into the parts of a flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidings.contract import Operator, Shape
from tidings.load import Node, part
from tidings.plan.files import SourceSpec
from tidings.problems import Mark


@dataclass(frozen=True)
class StepPlan:
    """One step: its operator, its settings, where and how they stand there; a branch has arms."""

    operator: Operator[Any]
    spec: Any
    path: str
    where: Mark
    node: Node
    arms: tuple[tuple[StepPlan, ...], ...] = ()

    def at(self, *loc: str | int) -> Mark:
        """The place of a part of its settings, by keys and indexes as in ``ValueProblem``; of the
        step itself where the file does not say it."""
        found = part(self.node, loc) or self.where
        return found if isinstance(found, Mark) else found.where

    def keyed(self) -> bool:
        """True for a keyed step, and for a branch with one inside."""
        return self.operator.shape is Shape.KEYED or any(step.keyed() for step in self.inner())

    def inner(self) -> Iterator[StepPlan]:
        """The steps of all arms."""
        for arm in self.arms:
            yield from arm

    def walk(self) -> Iterator[StepPlan]:
        """This step and all inside it."""
        yield self
        for step in self.inner():
            yield from step.walk()


@dataclass(frozen=True)
class FlowPlan:
    """A flow, cut: ``intake`` asks nothing that a replay could be answered differently without it
    being written down, ``keyed`` keeps state, ``tail`` goes on to deliver."""

    name: str
    version: str
    file: Path
    source: SourceSpec
    intake: tuple[StepPlan, ...]
    keyed: tuple[StepPlan, ...]
    tail: tuple[StepPlan, ...]

    def steps(self) -> Iterator[StepPlan]:
        """Every step, branches and their insides included."""
        for step in (*self.intake, *self.keyed, *self.tail):
            yield from step.walk()


def alike(steps: Sequence[StepPlan], others: Sequence[StepPlan]) -> bool:
    """Whether two lists of steps do the same: the same operators, settings and paths."""
    return len(steps) == len(others) and all(
        (one.operator, one.path, one.spec) == (other.operator, other.path, other.spec)
        and len(one.arms) == len(other.arms)
        and all(map(alike, one.arms, other.arms))
        for one, other in zip(steps, others, strict=True)
    )


def fields_read(steps: Iterable[StepPlan]) -> frozenset[str] | None:
    """The fields of the event that these steps look at, None for all of them."""
    names: frozenset[str] = frozenset()
    for top in steps:
        for step in top.walk():
            reads = step.operator.reads
            own = reads(step.spec) if reads is not None else None
            if own is None:
                return None
            names |= own
        if top.operator.replaces:
            break
    return names


@dataclass(frozen=True)
class LanePlan:
    """A lane of one channel, named at ``where``; its priority is chosen when it is run."""

    channel: str
    version: str
    file: Path
    where: Mark
    steps: tuple[StepPlan, ...]
