"""Whether flows that wait for another one's deliveries, and those that reply, mean each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidings.plan import FlowPlan, StepPlan
from tidings.problems import Problems
from tidings.running.footprint import DELIVER

ESCALATE = "escalate"


def check_replies(flows: Mapping[str, FlowPlan], problems: Problems) -> None:
    """Report a reply that nobody waits for, and a wait that nobody replies to, among ``flows``; of
    one that is not there nothing is known."""
    for name, plan in flows.items():
        for step in _steps(plan, DELIVER):
            other = step.spec.reply_to
            if other in flows and name not in _senders(flows[other]):
                problems.error(
                    "no-wait",
                    f"`{other}` waits for no round of `{name}`",
                    step.where,
                    step.path,
                    f"an `escalate` there begins with {{channel: …, sent_by: {name}}}",
                )
        for step in _steps(plan, ESCALATE):
            other = step.spec.rounds[0].sent_by
            if other in flows and name not in _replies(flows[other]):
                problems.warning(
                    "no-reply",
                    f"`{other}` does not tell `{name}` what becomes of its deliveries",
                    step.where,
                    step.path,
                    f"deliver: {{reply_to: {name}, …}} in `{other}`",
                )


def _steps(plan: FlowPlan, operator: str) -> Iterator[StepPlan]:
    return (step for step in plan.steps() if step.operator.name == operator)


def _senders(plan: FlowPlan) -> Iterable[Any]:
    return {step.spec.rounds[0].sent_by for step in _steps(plan, ESCALATE)}


def _replies(plan: FlowPlan) -> Iterable[Any]:
    return {step.spec.reply_to for step in _steps(plan, DELIVER)}
