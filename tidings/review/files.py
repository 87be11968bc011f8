"""What is wrong with flows and lanes beyond the single file: found before anything runs.

steps       what can't be built (an unknown category, a bad setting)
templates   a text for every channel of a `deliver`, and a field for all that it prints
contents    a `render` above every `send`
providers   every provider of a `send` is in the settings, its settings are good, and it can be
            asked where a lane or a flow has it asked
rates       a provider's rate lets a message through within its life
digests     what is critical is not gathered
settings    types that lead to no category
circles     flows that would read what they themselves cause
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tidings.compile.steps import build
from tidings.durations import format_duration
from tidings.load import bind, read_file
from tidings.load.nodes import Map, Node
from tidings.plan import FlowPlan, LanePlan, StepPlan
from tidings.plan.names import names_at
from tidings.ports import Template, Templates
from tidings.problems import Mark, Problems, ValueProblem, listed, suggestion
from tidings.providers import kind_of
from tidings.review.digests import check_digests
from tidings.review.replies import check_replies
from tidings.review.uncertain import check_askable
from tidings.running.footprint import (
    DELIVER,
    RENDER,
    SEND,
    channels_of,
    footprint,
    priority_of,
)
from tidings.running.roster import Role
from tidings.settings import Settings
from tidings.text.texts import TextError, Typesetter
from tidings.text.variables import needed
from tidings.topics import dead_letters


def review(
    roles: Sequence[Role],
    settings: Settings,
    templates: Templates,
    env: Mapping[str, str],
    problems: Problems,
) -> None:
    """Add what is wrong with ``roles`` under ``settings`` to ``problems``."""
    for role in roles:
        build(role.plan, settings, problems, role.priority)
        if isinstance(role.plan, FlowPlan):
            _texts(role.plan, settings, templates, problems)
            check_digests(role.plan, settings, problems)
        else:
            _content(role.plan, problems)
            _providers(role.plan, settings, problems)
    _rates(roles, problems)
    check_askable(roles, settings, problems)
    _circles(roles, settings, env, problems)
    plans = (role.plan for role in roles if isinstance(role.plan, FlowPlan))
    check_replies({plan.name: plan for plan in plans}, problems)


def review_settings(
    settings: Settings, file: Path, env: Mapping[str, str], problems: Problems
) -> None:
    """Add what is wrong inside the settings themselves."""
    node = read_file(file, env, Problems())
    for type_, category in settings.types.items():
        if category not in settings.categories:
            problems.error(
                "unknown-category",
                f"the type `{type_}` leads to the category `{category}`, which there is not",
                _place(node, file, "types", type_),
                f"types.{type_}",
                suggestion(category, settings.categories),
            )
    for name, given in settings.providers.items():
        path = f"providers.{name}"
        try:
            kind = kind_of(given)
        except ValueProblem as problem:
            place = _place(node, file, "providers", name, "kind")
            problems.error(problem.code, problem.message, place, path, problem.hint)
            continue
        written = _node(node, "providers", name)
        if isinstance(written, Map):
            own = {entry.name: entry for entry in written if entry.name != "kind"}
            bind(Map(own, written.where, written.key), kind.settings, path, problems)


# ── Texts and providers ───────────────────────────────────────────────────────────────────────


def _texts(plan: FlowPlan, settings: Settings, templates: Templates, problems: Problems) -> None:
    known = names_at(plan)
    for step in plan.steps():
        if step.operator.name != DELIVER:
            continue
        if step.spec.template not in templates.ids():
            problems.error(
                "unknown-template",
                f"there is no template `{step.spec.template}` in {settings.templates}",
                step.at("template"),
                step.path,
                suggestion(step.spec.template, templates.ids()),
            )
            continue
        for channel in channels_of(plan, step):
            if channel in settings.channels:
                _text(step, known[step.path], channel, settings, templates, problems)


def _text(
    step: StepPlan,
    known: frozenset[str] | None,
    channel: str,
    settings: Settings,
    templates: Templates,
    problems: Problems,
) -> None:
    name, locale = step.spec.template, settings.default_locale
    text = templates.find(name, channel, locale)
    if text is None:
        problems.error(
            "missing-text",
            f"the template `{name}` has no text for {channel}",
            step.at("template"),
            step.path,
            f"write {settings.templates}/{name}/{channel}.{locale}.j2",
        )
        return
    told: set[tuple[str, ...]] = set()
    for each in sorted(templates.texts(name, channel), key=lambda one: one is not text):
        try:
            Typesetter().compile(each)
        except TextError as error:
            problems.error("bad-text", str(error), step.at("template"), step.path)
        else:
            _variables(step, known, each, told, problems)


def _variables(
    step: StepPlan,
    known: frozenset[str] | None,
    text: Template,
    told: set[tuple[str, ...]],
    problems: Problems,
) -> None:
    """What a text prints has to be there, or each delivery becomes a dead letter; what has been
    ``told`` of another language's is not told again."""
    if known is None or step.spec.data is not None:
        return
    fields = step.spec.fields
    if fields is not None:
        known &= {*map(str, fields), "type"}
    missing = sorted(needed(text.parts) - known)
    if missing and tuple(missing) not in told:
        told.add(tuple(missing))
        problems.error(
            "missing-variable",
            f"the template `{text.id}` needs {listed(missing)} on {text.channel}, "
            f"and `{step.path}` is not given {'it' if len(missing) == 1 else 'them'}",
            step.at("template"),
            step.path,
            f"there is {listed(sorted(known))}; what may be missing takes a `default` in the "
            "template",
        )


def _content(plan: LanePlan, problems: Problems) -> None:
    """A lane whose `send` finds no text stops at the first delivery."""
    for step in plan.steps:
        if step.operator.name == RENDER:
            return
        if step.operator.name == SEND:
            problems.error(
                "no-content",
                "there is nothing to send: no step above makes a text of the delivery",
                step.where,
                step.path,
                "put `- render` above it",
            )


def _providers(plan: LanePlan, settings: Settings, problems: Problems) -> None:
    for step in plan.steps:
        if step.operator.name == SEND:
            for name in step.spec.providers():
                if name not in settings.providers:
                    _unknown_provider(name, step, settings, problems)


def _unknown_provider(name: str, step: StepPlan, settings: Settings, problems: Problems) -> None:
    problems.error(
        "unknown-provider",
        f"there is no provider `{name}` in the settings",
        step.at(*step.spec.place_of(name)),
        step.path,
        suggestion(name, settings.providers) or "add it to `providers` in config/tidings.yaml",
    )


def _rates(roles: Sequence[Role], problems: Problems) -> None:
    """A message that waits for its turn longer than it lives is never sent."""
    delivers = [
        (role.plan, step, priority_of(step, role.priority))
        for role in roles
        if isinstance(role.plan, FlowPlan)
        for step in role.plan.steps()
        if step.operator.name == DELIVER and step.spec.expires
    ]
    for role in roles:
        if not isinstance(role.plan, LanePlan) or role.plan.steps[-1].operator.name != SEND:
            continue
        send, channel = role.plan.steps[-1], role.plan.channel
        for provider in send.spec.providers():
            rate = send.spec.rate_of(provider)
            for plan, step, priority in delivers if rate is not None else ():
                reached = priority == role.priority and channel in channels_of(plan, step)
                if reached and rate.apart >= step.spec.expires:
                    one, life = round(rate.apart), format_duration(step.spec.expires)
                    problems.error(
                        "slow-rate",
                        f"`{provider}` gets one message each {format_duration(one)}, and those of "
                        f"`{step.path}` live for {life}: the second of two would expire",
                        send.at("rate"),
                        send.path,
                        "a higher rate, or a longer `expires`",
                    )
                    break


# ── Circles ───────────────────────────────────────────────────────────────────────────────────


def _circles(
    roles: Sequence[Role], settings: Settings, env: Mapping[str, str], problems: Problems
) -> None:
    flows = [role for role in roles if isinstance(role.plan, FlowPlan)]
    reads: dict[str, frozenset[str]] = {}
    writes: dict[str, frozenset[str]] = {}
    for role in roles:
        found = footprint(role.plan, role.priority, settings.channels)
        reads[role.name], writes[role.name] = found.sources, found.ours
    # A lane's outcomes come of every flow's deliveries, so a flow that reads what any lane writes
    # reads what itself has caused.
    lanes = [role.name for role in roles if isinstance(role.plan, LanePlan)]
    caused = frozenset([dead_letters("flow")]).union(*(writes[name] for name in lanes))
    for role in flows:
        reached = _reached(role.name, [each.name for each in flows], reads, writes) | caused
        for topic in sorted(reads[role.name] & reached):
            file = role.plan.file
            problems.error(
                "own-topic",
                f"the flow reads `{topic}`, which is written because of what it writes itself",
                _place(read_file(file, env, Problems()), file, "source", "topic"),
                f"{role.name}.source",
                "every event would come back for ever",
            )


def _reached(
    start: str,
    flows: Iterable[str],
    reads: Mapping[str, frozenset[str]],
    writes: Mapping[str, frozenset[str]],
) -> frozenset[str]:
    """All topics that are written because of what ``start`` writes."""
    reached = writes[start]
    while True:
        further = reached.union(*(writes[name] for name in flows if reads[name] & reached))
        if further == reached:
            return reached
        reached = further


def place_in(file: Path, *keys: str) -> Mark:
    """Where the settings in ``file`` say this; their start where they don't."""
    return _place(read_file(file, os.environ, Problems()), file, *keys)


def _node(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        if not isinstance(node, Map) or key not in node:
            return None
        node = node[key]
    return node


def _place(node: Node | None, file: Path, *keys: str) -> Mark:
    """The place of the deepest of ``keys`` that is there."""
    for number in range(len(keys), -1, -1):
        found = _node(node, *keys[:number])
        if found is not None:
            return found.where
    return Mark(str(file), 1, 1)
