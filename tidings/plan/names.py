"""Which fields are known where: every expression of a flow is checked against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidings.contract import expressions_in
from tidings.load.nodes import Map
from tidings.operators.digest_apart import columns_of
from tidings.plan.model import FlowPlan, StepPlan
from tidings.problems import Problems, listed


def check_names(plan: FlowPlan, node: Map, problems: Problems) -> None:
    """Report fields that an event does not have, and a flow that reads what it writes."""
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
    known = set(plan.source.fields) or None
    if not any(step.operator.name == "split" for step in plan.intake):
        plan.source.key.check(known, problems, f"{plan.name}.source.key")
    names = _Names(problems)
    names.walk((*plan.intake, *plan.keyed, *plan.tail), known)
    _check_consent(plan, names.at, problems)


def _check_consent(
    plan: FlowPlan, names: Mapping[str, frozenset[str] | None], problems: Problems
) -> None:
    """Warn of a `consent` that looks at fields which a digest before it has gathered away."""
    steps = [step for top in plan.steps() for step in top.walk()]
    digests = [step for step in steps if step.operator.name == "digest"]
    apart = {name for step in digests for name in columns_of(step.spec)}
    for step in steps if digests else ():
        known = names.get(step.path)
        if step.operator.name != "consent" or known is None:
            continue
        fields = (*step.spec.muted, *(() if step.spec.category else ("type",)))
        missing = [field for field in fields if field not in known | apart]
        if missing:
            problems.warning(
                "blind-consent",
                f"`consent` looks at {listed(missing)}, and `{digests[-1].path}` gathers events "
                f"without {'it' if len(missing) == 1 else 'them'}",
                step.where,
                step.path,
                f"name {'it' if len(missing) == 1 else 'them'} in the digest's `by`, or in its "
                "`tell_apart`: consent takes single events out then",
            )


def names_at(plan: FlowPlan) -> Mapping[str, frozenset[str] | None]:
    """By path, the fields known in front of each step; None where they may be any."""
    names = _Names(Problems())
    names.walk((*plan.intake, *plan.keyed, *plan.tail), set(plan.source.fields) or None)
    return names.at


class _Names:
    """Goes down a flow's steps with the names known at each."""

    def __init__(self, problems: Problems) -> None:
        self.at: dict[str, frozenset[str] | None] = {}
        self._problems = problems
        self._gone: dict[str, str] = {}

    def walk(self, steps: Iterable[StepPlan], known: set[str] | None) -> set[str] | None:
        """Check the expressions of these steps; gives the names known behind them."""
        for step in steps:
            self.at[step.path] = None if known is None else frozenset(known)
            own = set(step.operator.names(step.spec)) if step.operator.names is not None else set()
            # A field of `set` may use one that is set before it.
            visible = known | own if known is not None and step.operator.changes else known
            for expression in expressions_in(step.spec):
                expression.check(visible, self._problems, step.path, self._gone)
            after = [self.walk(arm, known) for arm in step.arms]
            if step.operator.replaces:
                self._gone |= dict.fromkeys((known or set()) - own, step.path)
                known = own
            elif known is not None:
                known = None if None in after else known.union(own, *(each or () for each in after))
        return known
