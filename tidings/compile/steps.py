"""Builds the steps of a flow or lane: each operator with its settings, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidings.contract import Part, Site
from tidings.load import placed
from tidings.plan import FlowPlan, LanePlan, StepPlan
from tidings.problems import Problems, ValueProblem, suggestion
from tidings.records import Priority
from tidings.settings import Settings


def build(
    plan: FlowPlan | LanePlan,
    settings: Settings,
    problems: Problems,
    priority: Priority = Priority.NORMAL,
) -> Mapping[str, Any]:
    """Every step of a flow or lane at ``priority``, built, by path.

    What can't be built is among ``problems``.
    """
    built: dict[str, Any] = {}
    if isinstance(plan, LanePlan) and plan.channel not in settings.channels:
        hint = suggestion(plan.channel, settings.channels)
        where, path = plan.where, plan.channel
        problems.error("unknown-channel", f"there is no channel `{path}`", where, path, hint)
        return built
    steps = plan.steps() if isinstance(plan, FlowPlan) else plan.steps
    for step in steps:
        site = _site(step, plan, settings, priority)
        try:
            built[step.path] = (site, step.operator.build(step.spec, site))
        except ValueProblem as problem:
            problems.add(placed(problem, step.node, step.path, step.where))
    return built


def site_of(path: str, scope: str, part: Part, version: str, settings: Settings) -> Site:
    """Where a step stands, with what the settings say about it."""
    return Site(
        path,
        scope,
        part,
        version,
        categories=settings.category_table(),
        types=settings.types,
        channels=settings.channels,
        tenants=settings.tenant_table(),
        connections={name: each.kind() for name, each in settings.connections.items()},
        fetches=bool(settings.payloads.url),
        keep_ms=settings.payloads.keep,
    )


def _site(
    step: StepPlan, plan: FlowPlan | LanePlan, settings: Settings, priority: Priority
) -> Site:
    if isinstance(plan, FlowPlan):
        site = site_of(step.path, plan.name, _part(step, plan), plan.version, settings)
        return replace(site, priority=priority)
    site = site_of(step.path, plan.channel, Part.LANE, plan.version, settings)
    return replace(site, channel=plan.channel, priority=priority)


def _part(step: StepPlan, plan: FlowPlan) -> Part:
    for steps, part in ((plan.keyed, Part.KEYED), (plan.tail, Part.TAIL)):
        if any(step in top.walk() for top in steps):
            return part
    return Part.INTAKE if Part.INTAKE in step.operator.parts else Part.TAIL
