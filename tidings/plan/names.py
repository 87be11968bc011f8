"""Which fields are known where: every expression of a flow is checked against them."""

from __future__ import annotations

from tidings.contract import expressions_in
from tidings.load.nodes import Map
from tidings.plan.model import FlowPlan, StepPlan
from tidings.problems import Problems


def check_names(plan: FlowPlan, node: Map, problems: Problems) -> None:
    """Report fields that an event does not have, and a flow that reads what it writes."""
    known: set[str] | None = set(plan.source.fields) or None
    source = node["source"]
    where = source["topic"].where if isinstance(source, Map) and "topic" in source else source.where
    for topic in plan.source.names():
        if topic in (f"tidings.{plan.name}", f"tidings.{plan.name}.state"):
            problems.error(
                "own-topic",
                f"the flow would read `{topic}`, which it writes",
                where,
                f"{plan.name}.source",
                "every event would come back for ever",
            )
    if not any(step.operator.name == "split" for step in plan.intake):
        plan.source.key.check(known, problems, f"{plan.name}.source.key")
    _names_of((*plan.intake, *plan.keyed, *plan.tail), known, problems)


def _names_of(
    steps: tuple[StepPlan, ...], known: set[str] | None, problems: Problems
) -> set[str] | None:
    """Check the expressions of these steps; gives the names known behind them."""
    for step in steps:
        own = set(step.operator.names(step.spec)) if step.operator.names is not None else set()
        # A field of `set` may use one that is set before it.
        visible = known | own if known is not None and step.operator.changes else known
        for expression in expressions_in(step.spec):
            expression.check(visible, problems, step.path)
        after = [_names_of(arm, known, problems) for arm in step.arms]
        if known is None or any(names is None for names in after):
            if step.operator.replaces:
                known = own
            continue
        for names in after:
            known = known | (names or set())
        known = own if step.operator.replaces else known | own
    return known
