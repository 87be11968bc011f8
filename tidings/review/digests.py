"""Whether a digest gathers what must not wait for company: codes, payments, security."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidings.plan import FlowPlan, StepPlan
from tidings.problems import Problems
from tidings.settings import Settings

DIGEST = "digest"


def check_digests(plan: FlowPlan, settings: Settings, problems: Problems) -> None:
    """Warn of each digest that all of something critical goes through."""
    critical = frozenset(name for name, each in settings.categories.items() if each.critical)
    found: dict[str, tuple[StepPlan, str]] = {}
    for digest, category in _before((*plan.intake, *plan.keyed, *plan.tail), (), critical):
        found.setdefault(digest.path, (digest, category))
    for path, (digest, category) in found.items():
        problems.warning(
            "digest-of-critical",
            f"what is gathered here goes on as `{category}`, which is critical",
            digest.where,
            path,
            "nothing critical should wait for company: let a `switch` take it past the digest",
        )


def _before(
    steps: Iterable[StepPlan], digests: tuple[StepPlan, ...], critical: frozenset[str]
) -> Iterator[tuple[StepPlan, str]]:
    """The digests before each step of a critical category, with it. What stands in an arm is not
    before what stands behind its branch: another arm may be the way of what is critical."""
    for step in steps:
        category = getattr(step.spec, "category", "")
        if step.operator.name == DIGEST:
            digests = (*digests, step)
        elif category in critical:
            yield from ((digest, category) for digest in digests)
        for arm in step.arms:
            yield from _before(arm, digests, critical)
