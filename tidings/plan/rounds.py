"""Which ways lead to each ``deliver``: with rounds of an ``escalate``, or without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tidings.contract import Shape
from tidings.operators.deliver_spec import ONE_WAY
from tidings.plan.model import FlowPlan, StepPlan
from tidings.plan.order import is_complete
from tidings.problems import Problems

ESCALATE, FAN_OUT = "escalate", "fan_out"


class Ways(NamedTuple):
    """The ways to a step. ``behind`` are the paths of the escalations on them, ``plain`` tells that
    there is a way without, ``rounds`` are the channels of all rounds that may come."""

    behind: tuple[str, ...] = ()
    plain: bool = False
    rounds: tuple[str, ...] = ()

    def __add__(self, other: Ways) -> Ways:  # type: ignore[override]
        return Ways(
            tuple(dict.fromkeys(self.behind + other.behind)),
            self.plain or other.plain,
            tuple(dict.fromkeys(self.rounds + other.rounds)),
        )


NO_WAY, PLAIN = Ways(), Ways(plain=True)


def ways(plan: FlowPlan) -> Mapping[str, Ways]:
    """By path, the ways to each step."""
    found: dict[str, Ways] = {}
    _walk((*plan.intake, *plan.keyed, *plan.tail), PLAIN, found)
    return found


def _walk(steps: Iterable[StepPlan], way: Ways, found: dict[str, Ways]) -> Ways:
    """Notes the ways to these steps; gives those that lead on behind them."""
    for step in steps:
        found[step.path] = way
        if step.operator.name == ESCALATE:
            channels = [each.channel for each in step.spec.rounds if not each.sent_by]
            way = way and Ways((step.path,), rounds=tuple(dict.fromkeys(channels)))
        elif step.operator.shape is Shape.END:
            way = NO_WAY
        elif step.operator.shape is Shape.BRANCH:
            on = [_walk(arm, way, found) for arm in step.arms]
            way = sum(on, NO_WAY if is_complete(step.spec) else way)
    return way


def check_rounds(plan: FlowPlan, problems: Problems, *, whole: bool) -> None:
    """Report what stands behind an escalation and would not do there what it is for, and a
    `deliver` that has no channels; the latter only where the steps are ``whole``, for one that
    could not be read may have been its escalation."""
    known = ways(plan)
    for step in plan.steps():
        name, way = step.operator.name, known[step.path]
        if way.behind and step.operator.shape is Shape.KEYED:
            problems.error(
                "wrong-place",
                f"`{name}` stands behind `{way.behind[0]}`, and would take its rounds for "
                "notifications of their own",
                step.where,
                step.path,
                f"put it before `{way.behind[0]}`, which is the last keyed step",
            )
        elif way.behind and name == FAN_OUT:
            problems.error(
                "wrong-place",
                f"`fan_out` stands behind `{way.behind[0]}`: of a round that goes several ways "
                "nobody can tell whether it has worked",
                step.where,
                step.path,
                f"put it before `{way.behind[0]}`, or take a `switch`",
            )
        elif name == "deliver":
            _check_deliver(step, way, problems, whole=whole)


def _check_deliver(step: StepPlan, way: Ways, problems: Problems, *, whole: bool) -> None:
    named, reply_to = step.spec.channels_named(), step.spec.reply_to
    if whole and way.plain and not named:
        problems.error(
            "one-of",
            "`deliver` takes exactly one of `first_of`, `each_of` and `to`, got none of them",
            step.where,
            step.path,
            ONE_WAY,
        )
    if way.behind and not way.plain and (named or step.spec.channels is not None):
        problems.error(
            "bad-value",
            f"this names channels, and the rounds of `{way.behind[0]}` say which",
            step.where,
            step.path,
            "take them away here",
        )
    if way.behind and reply_to:
        problems.error(
            "bad-value",
            f"this replies to `{reply_to}`, and `{way.behind[0]}` needs the replies",
            step.where,
            step.path,
            "take `reply_to` away here",
        )
