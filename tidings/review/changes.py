"""What a new version of flows means for what the old one has open: by paths, nothing is read.

gone       a keyed step that is no longer there: its state is dropped
renamed    the same under another path: dropped as well, and the old id is the way out
mismatch   another operator under an old path, which can't read the state that is there
values     a digest whose fields moved: an open one holds values in their old order
gathering  a digest that keeps or counts otherwise: an open one has done it the old way so far
paths      deliveries whose ids change: what is repeated now is not recognised
flows      a flow that is no longer there
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidings.contract import Shape
from tidings.operators.digest_apart import columns_of
from tidings.operators.digest_spec import name_of
from tidings.plan import FlowPlan, StepPlan
from tidings.problems import Mark, Problems, listed
from tidings.running.footprint import DELIVER
from tidings.running.roster import Role

OPEN: Mapping[str, str] = {
    "digest": "open digests",
    "hold": "held notifications",
    "escalate": "running escalations",
    "limit": "counts",
    "throttle": "counts",
}
"""What each keyed operator's state is, for people."""


def holdings(operator: str) -> str:
    """What a step of this operator keeps, in people's words."""
    return OPEN.get(operator, "states")


def flows_of(roles: Iterable[Role]) -> dict[str, FlowPlan]:
    """The flows among ``roles`` by name."""
    return {role.name: role.plan for role in roles if isinstance(role.plan, FlowPlan)}


def keyed_steps(plan: FlowPlan) -> dict[str, StepPlan]:
    """The steps of a flow that keep state, by path."""
    found = (step for top in plan.keyed for step in top.walk())
    return {step.path: step for step in found if step.operator.shape is Shape.KEYED}


def renamed(old: Mapping[str, StepPlan], new: Mapping[str, StepPlan]) -> dict[str, str]:
    """Which new path each path that is gone has most likely got.

    A step of the same operator: one with the same settings before others, else the first. None is
    taken twice.
    """
    added = [path for path in new if path not in old]
    found = {}
    for path in [path for path in old if path not in new]:
        alike = [each for each in added if new[each].operator.name == old[path].operator.name]
        alike.sort(key=lambda each: new[each].spec != old[path].spec)
        if alike:
            found[path] = alike[0]
            added.remove(alike[0])
    return found


def compare(before: Iterable[Role], after: Iterable[Role], problems: Problems) -> None:
    """Add what ``after`` does to what runs as ``before`` to ``problems``."""
    old, new = flows_of(before), flows_of(after)
    for name, plan in old.items():
        if name in new:
            _states(plan, new[name], problems)
            _deliveries(plan, new[name], problems)
        else:
            problems.warning(
                "flow-gone",
                f"the flow `{name}` is no longer there; what it has open is never told",
                _start(plan),
                name,
                "let it run without new events until nothing is open, then take it away; "
                f"if it was renamed, keep `flow: {name}`",
            )


def _states(old: FlowPlan, new: FlowPlan, problems: Problems) -> None:
    had, has = keyed_steps(old), keyed_steps(new)
    heirs = renamed(had, has)
    for path, step in had.items():
        name = step.operator.name
        if path in heirs:
            heir = has[heirs[path]]
            problems.warning(
                "renamed-step",
                f"`{path}` seems to be called `{heir.path}` now: its {holdings(name)} are dropped",
                heir.where,
                heir.path,
                _old_name(path, heir.path, name),
                see=step.where,
            )
        elif path not in has:
            problems.warning(
                "gone-step",
                f"`{path}` is no longer there: its {holdings(name)} are dropped",
                _start(new),
                path,
                "deploy it behind a version in which nothing comes to the step any more, "
                "when nothing is open",
                see=step.where,
            )
        elif (now := has[path].operator.name) != name:
            problems.error(
                "other-state",
                f"`{path}` was a {name}: a {now} can't read its {holdings(name)}",
                has[path].where,
                path,
                f"give it an id of its own: - {{id: new_{now}, {now}: …}}",
                see=step.where,
            )
        elif name == "digest":
            _values(step, has[path], problems)
            _gathering(step, has[path], problems)


def _old_name(old: str, new: str, operator: str) -> str:
    """How to keep a path: by the id where only that differs, else by where it stands."""
    parent, _, last = old.rpartition(".")
    if new.rpartition(".")[0] == parent:
        return f"keep its id: - {{id: {last}, {operator}: …}}"
    return f"it has moved from `{parent}`: leave it there, and the branches with their names"


def _values(old: StepPlan, new: StepPlan, problems: Problems) -> None:
    moved = [
        name
        for name in ("by", "fields")
        if list(map(str, getattr(old.spec, name))) != list(map(str, getattr(new.spec, name)))
    ]
    if moved:
        problems.warning(
            "moved-fields",
            f"{' and '.join(f'`{name}`' for name in moved)} of `{new.path}` changed: digests that "
            "are open hold their values in the old order, and their texts would mix them up",
            new.where,
            new.path,
            f"give it another id, or roll it out when nothing is open: `tidings deploy --plan "
            f"{new.where.file}` tells",
            see=old.where,
        )


def _gathering(old: StepPlan, new: StepPlan, problems: Problems) -> None:
    was, now = old.spec, new.spec
    if (was.keep.which, was.keep.by) != (now.keep.which, now.keep.by):
        problems.warning(
            "kept-otherwise",
            f"`keep` of `{new.path}` was `{was.keep}` and is `{now.keep}`: digests that are open "
            "have kept by the old rule, and their `items` are a mixture; their counts stay exact",
            new.where,
            new.path,
            "it is over when those have closed; a template must do with either until then",
            see=old.where,
        )
    if str(was.actors) != str(now.actors):
        problems.warning(
            "counted-otherwise",
            f"`actors` of `{new.path}` changed: digests that are open count those of the old field "
            "beside those of the new one",
            new.where,
            new.path,
            f"give it another id, or roll it out when nothing is open: `tidings deploy --plan "
            f"{new.where.file}` tells",
            see=old.where,
        )
    if unknown := columns_of(now) - columns_of(was) - _actors(now):
        problems.warning(
            "unknown-before",
            f"of what is in the open digests of `{new.path}`, {listed(sorted(unknown))} "
            f"{'is' if len(unknown) == 1 else 'are'} not known: it is in no `counts`, no `cancel` "
            "takes it back, and `consent` takes none of it out",
            new.where,
            new.path,
            "it holds for what comes from then on; those that are open close with all they have",
            see=old.where,
        )


def _actors(spec: Any) -> set[str]:
    """The column of the actors: of them an open digest knows enough."""
    return set() if spec.actors is None else {name_of(spec.actors)}


def _deliveries(old: FlowPlan, new: FlowPlan, problems: Problems) -> None:
    had = {step.path: step for step in old.steps() if step.operator.name == DELIVER}
    has = {step.path: step for step in new.steps() if step.operator.name == DELIVER}
    heirs = renamed(had, has)
    for path in had:
        if path in has:
            continue
        heir = has.get(heirs.get(path, ""))
        problems.warning(
            "other-ids",
            f"`{path}` is no longer there, and ids of notifications go by it: what is in flight "
            "while it is rolled out may be sent twice",
            heir.where if heir is not None else _start(new),
            heir.path if heir is not None else path,
            _old_name(path, heir.path, DELIVER) if heir is not None else None,
            see=had[path].where,
        )


def _start(plan: FlowPlan) -> Mark:
    """Where a flow says its name."""
    lines = plan.file.read_text().splitlines() if plan.file.is_file() else []
    found: Iterator[Mark] = (
        Mark(str(plan.file), number, 1, len(line.rstrip()), line)
        for number, line in enumerate(lines, 1)
        if line.startswith("flow:")
    )
    return next(found, Mark(str(plan.file), 1, 1))
