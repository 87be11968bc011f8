"""What may stand where in a flow, and that every way through it comes to an end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tidings.contract import Part, Shape
from tidings.plan.model import FlowPlan, StepPlan
from tidings.problems import Mark, Problems
from tidings.registry import operators


def keyed_part(steps: tuple[StepPlan, ...]) -> tuple[int, int]:
    """The first keyed step and the one behind the last; an empty part at the end if none is."""
    keyed = [number for number, step in enumerate(steps) if step.keyed()]
    return (keyed[0], keyed[-1] + 1) if keyed else (len(steps), len(steps))


def check_parts(plan: FlowPlan, problems: Problems) -> None:
    """Report steps that have no place in the part of the flow they stand in."""
    parts = [(plan.intake, {Part.INTAKE} if plan.keyed else {Part.INTAKE, Part.TAIL})]
    parts += [(plan.keyed, {Part.KEYED}), (plan.tail, {Part.TAIL})]
    keyed = [step.path for step in plan.steps() if step.operator.shape is Shape.KEYED]
    for steps, allowed in parts:
        for top in steps:
            for step in top.walk():
                if step.operator.parts & allowed:
                    continue
                if step is top and step.operator.shape is Shape.END:
                    continue  # something stands behind it: `check_end` says so
                problems.error("wrong-place", *_misplaced(step, allowed, keyed))


def _misplaced(step: StepPlan, allowed: set[Part], keyed: list[str]) -> tuple[str, Mark, str, str]:
    name, possible = step.operator.name, step.operator.parts
    if possible == {Part.LANE}:
        message = f"`{name}` belongs to a lane: a flow decides, a lane delivers"
        hint = "put it into flows/lanes/<channel>.yaml"
    elif Part.TAIL in possible and step.operator.asks:
        message = f"`{name}` asks the outside world, and `{keyed[-1]}` behind it keeps state"
        hint = "a replay may be answered differently: put it behind the last keyed step"
    elif Part.TAIL in possible:
        message = f"`{name}` is about what goes out, and `{keyed[-1]}` behind it still decides that"
        hint = "put it behind the last keyed step"
    elif Part.TAIL in allowed or Part.KEYED in allowed:
        message = f"`{name}` stands behind `{keyed[0]}`, which keeps state"
        hint = "put it before the first keyed step, where a flow's events come in"
    else:
        message, hint = f"`{name}` has no place here", usable(next(iter(allowed)))
    return message, step.where, step.path, hint


def check_splits(plan: FlowPlan, problems: Problems) -> None:
    """Report a split inside a branch: what it spreads later would not find its way back there; and
    lookups about a recipient whom only a split behind them names."""
    splits = [number for number, step in enumerate(plan.intake) if step.operator.name == "split"]
    for top in plan.intake[: splits[0]] if splits else ():
        for step in top.walk():
            if step.operator.name == "lookup" and step.spec.key is None:
                problems.error(
                    "wrong-place",
                    "this asks about the recipient, who is known behind the `split` only",
                    step.where,
                    step.path,
                    "put it behind the split, or give it a `key`",
                )
    for top in plan.steps():
        for step in top.inner():
            if step.operator.name == "split":
                problems.error(
                    "wrong-place",
                    "`split` stands inside a branch",
                    step.where,
                    step.path,
                    "put it before the branch",
                )


def usable(part: Part) -> str:
    """What may stand there, as a hint."""
    names = sorted(name for name, operator in operators().items() if part in operator.parts)
    return "usable are " + ", ".join(names)


def _ends(steps: tuple[StepPlan, ...]) -> bool:
    """True when nothing comes out at the end of these steps."""
    if not steps:
        return False
    last = steps[-1]
    if last.operator.shape is Shape.END:
        return True
    if last.operator.shape is not Shape.BRANCH or not all(_ends(arm) for arm in last.arms):
        return False
    return is_complete(last.spec)


def is_complete(spec: Any) -> bool:
    """True when everything goes down an arm of this branch."""
    unconditional = any(branch.when is None for branch in getattr(spec, "branches", ()))
    return bool(getattr(spec, "otherwise", ())) or unconditional


def check_end(steps: tuple[StepPlan, ...], problems: Problems, *, whole: bool) -> None:
    """Report steps that nothing gets to, and a flow that events fall out of; the latter only where
    the steps are ``whole``, for one that could not be read may have been its end."""
    reached = _check_behind(steps, problems)
    if whole and reached and steps and not _ends(steps):
        last = steps[-1]
        problems.error(
            "no-end",
            "some events come out at the end of the flow, and nothing is done with them",
            last.where,
            last.path,
            "end in `- deliver: …`; a switch needs an `else`, a fan_out one branch without `when`",
        )


def _check_behind(steps: tuple[StepPlan, ...], problems: Problems) -> bool:
    """Report steps that nothing gets to; True where there are none among ``steps`` themselves."""
    reached = True
    for step in steps:
        for arm in step.arms:
            _check_behind(arm, problems)
    for one, behind in pairwise(steps):
        if _ends((one,)):
            problems.error(
                "after-end",
                f"nothing gets to `{behind.operator.name}`: all ends in `{one.path}`",
                behind.where,
                behind.path,
                f"put it before `{one.path}`, or take it away",
            )
            reached = False
    return reached


def check_sense(steps: Iterable[StepPlan], problems: Problems) -> None:
    """Warn of steps that do not do what they are for where they stand."""
    steps = list(steps)
    _check_limits(steps, [], problems)
    every = [step for top in steps for step in top.walk()]
    ends = [step.spec for step in every if step.operator.name == "deliver"]
    channels = {name for end in ends for name in end.channels_named()}
    channels |= {
        each.channel
        for step in every
        if step.operator.name == "escalate"
        for each in step.spec.rounds
    }
    for step in every:
        idle = step.operator.name == "cap" and step.spec.channel not in {"", *channels}
        if idle and not any(end.channels is not None for end in ends):
            problems.warning(
                "idle-cap",
                f"nothing of this flow goes out on `{step.spec.channel}`, so nothing is counted",
                step.where,
                step.path,
                "cap a channel that a `deliver` names, or take it away",
            )


def _check_limits(
    steps: Iterable[StepPlan], limits: list[StepPlan], problems: Problems
) -> list[StepPlan]:
    """Warn of limits before the digest that they should count; gives those not yet warned of."""
    for step in steps:
        if step.operator.name == "limit":
            limits = [*limits, step]
        elif step.operator.name == "digest":
            for limit in limits:
                problems.warning(
                    "limit-before-digest",
                    f"`limit` counts events here, and `{step.path}` behind it makes one of many",
                    limit.where,
                    limit.path,
                    "put it behind the digest; what thins out events is `throttle`",
                )
            limits = []
        elif step.arms:
            after = [_check_limits(arm, limits, problems) for arm in step.arms]
            limits = [one for one in limits if all(one in arm for arm in after)]
    return limits
