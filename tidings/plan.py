"""From YAML to a plan: what a flow or a lane is, typed, checked and cut, and nothing built yet.

    flow file ──► FlowPlan(source, intake │ keyed │ tail)      cut before the first keyed step
    lane file ──► LanePlan(channel, steps)

All problems of a file are found at once. A step's path (``social.digest``) is its id for ever: state
and outcomes go by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from xxhash import xxh3_64_hexdigest

from tidings.contract import Operator, Part, Shape, Spec, expressions_in
from tidings.expressions import Expression, FieldPath
from tidings.load import bind, places_of, read_file
from tidings.load.nodes import Map, Node, Seq, Text
from tidings.log.port import OutOfRange
from tidings.problems import Mark, Problems, ValueProblem, suggestion
from tidings.registry import operators

RESERVED = ("lane", "dlq", "source", "entries", "cut", "key")


class SourceSpec(Spec):
    """What a flow reads."""

    topic: str = ""
    """The topic of events."""

    topics: tuple[str, ...] = ()
    """Several topics, instead of one."""

    key: FieldPath
    """The field that names the recipient; behind a ``split``, the field that it makes."""

    id: Expression | None = None
    """The field with the event's id, ``event_id`` by default; an event without one gets its
    coordinates in the log as its id."""

    tenant: Expression | None = None
    """The field that names the tenant; without it, all belong to ``default``."""

    fields: tuple[str, ...] = ()
    """The fields of an event. When given, an unknown name in an expression is an error."""

    on_out_of_range: OutOfRange = OutOfRange.FAIL
    """When the log no longer has what was not read yet: ``fail``, ``earliest`` or ``latest``."""

    @model_validator(mode="after")
    def _some_topic(self) -> SourceSpec:
        if bool(self.topic) == bool(self.topics):
            raise ValueProblem("bad-value", "a source takes either `topic` or `topics`")
        return self

    def names(self) -> tuple[str, ...]:
        """The topics, however they were given."""
        return self.topics or (self.topic,)


class FlowFile(Spec):
    """A flow: what it reads, and the steps from there to ``deliver``."""

    flow: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """The flow's name: small letters, digits, `_` and `-`. Topics and step ids begin with it."""

    source: SourceSpec
    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps, in order."""


class LaneFile(Spec):
    """A lane: how the deliveries of one channel are sent."""

    lane: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """The channel."""

    steps: tuple[Any, ...] = Field(min_length=1)
    """The steps, in order; ``send`` is the last."""


@dataclass(frozen=True)
class StepPlan:
    """One step: its operator, its settings, where it stands; a branch has named arms."""

    operator: Operator[Any]
    spec: Any
    path: str
    where: Mark
    arms: tuple[tuple[StepPlan, ...], ...] = ()

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
    """A lane of one channel; its priority is chosen when it is run."""

    channel: str
    version: str
    file: Path
    steps: tuple[StepPlan, ...]


def load(path: Path, env: Mapping[str, str], problems: Problems) -> FlowPlan | LanePlan | None:
    """The plan of a file, or None; what is wrong with it is among ``problems``."""
    node = read_file(path, env, problems)
    if node is None:
        return None
    before = len(problems.errors)
    version = xxh3_64_hexdigest(path.read_bytes())[:8]
    if isinstance(node, Map) and "lane" in node:
        plan: FlowPlan | LanePlan | None = _lane(node, path, version, problems)
    else:
        plan = _flow(node, path, version, problems)
    return plan if len(problems.errors) == before else None


def _flow(node: Node, file: Path, version: str, problems: Problems) -> FlowPlan | None:
    head = bind(node, FlowFile, "flow", problems)
    if head is None or not isinstance(node, Map):
        return None
    steps = _Steps(head.flow, problems).read(node["steps"], head.flow)
    first, last = _keyed_part(steps)
    plan = FlowPlan(
        head.flow, version, file, head.source, steps[:first], steps[first:last], steps[last:]
    )
    _check_parts(plan, problems)
    _check_end(steps, problems)
    _check_names(plan, node, problems)
    return plan


def _lane(node: Map, file: Path, version: str, problems: Problems) -> LanePlan | None:
    head = bind(node, LaneFile, "lane", problems)
    if head is None:
        return None
    steps = _Steps(head.lane, problems).read(node["steps"], head.lane)
    for step in steps:
        if Part.LANE not in step.operator.parts:
            problems.error(
                "wrong-place",
                f"`{step.operator.name}` has no place in a lane",
                step.where,
                step.path,
                "a lane sends what a flow has decided: " + _usable(Part.LANE),
            )
    if steps and steps[-1].operator.shape is not Shape.END:
        problems.error(
            "no-end", "a lane ends in `send`", steps[-1].where, steps[-1].path, "add `- send: {…}`"
        )
    return LanePlan(head.lane, version, file, steps)


class _Steps:
    """Reads lists of steps; every step of a file gets a path of its own."""

    def __init__(self, scope: str, problems: Problems) -> None:
        self._scope = scope
        self._problems = problems
        self._seen: dict[str, Mark] = {}
        self._known = operators()

    def read(self, node: Node, path: str) -> tuple[StepPlan, ...]:
        """The steps of a list; those that can't be read are left out, and reported."""
        if not isinstance(node, Seq):
            self._problems.error(
                "wrong-kind", "`steps` takes a list", node.where, path, "each begins with `- `"
            )
            return ()
        return tuple(step for each in node if (step := self._step(each, path)) is not None)

    def _step(self, node: Node, parent: str) -> StepPlan | None:
        name, body, given, where = self._parts(node, parent)
        if name is None:
            return None
        operator = self._known.get(name)
        if operator is None:
            self._problems.error(
                "unknown-operator",
                f"there is no operator `{name}`",
                where,
                f"{parent}.{name}",
                suggestion(name, self._known) or "`tidings list` shows all",
            )
            return None
        path = f"{parent}.{given or name}"
        if path in self._seen:
            self._problems.error(
                "duplicate-step",
                f"two steps would both be called `{path}`",
                where,
                path,
                f"give this one a name of its own: - {{id: other_{name}, {name}: …}}",
                see=self._seen[path],
            )
        self._seen[path] = where
        spec = bind(
            body,
            operator.spec,
            path,
            self._problems,
            shorthand=operator.shorthand or None,
            places=places_of([(o.name, o.spec) for o in self._known.values() if o is not operator]),
        )
        arms = self._arms(body, path) if operator.shape is Shape.BRANCH else ()
        return None if spec is None else StepPlan(operator, spec, path, where, arms)

    def _parts(self, node: Node, parent: str) -> tuple[str | None, Node, str, Mark]:
        """A step's operator, settings, id and place: ``- expire`` or ``- {id: x, digest: {…}}``."""
        if isinstance(node, Text) and not node.is_null:
            empty = Map({}, node.where, node.key)
            return node.value, empty, "", node.where
        if isinstance(node, Map):
            named = [entry for entry in node if entry.name != "id"]
            if len(named) == 1:
                given = node.get("id")
                text = given.value if isinstance(given, Text) else ""
                return named[0].name, named[0].value, text, named[0].where
            if len(named) > 1:
                self._problems.error(
                    "two-operators",
                    f"a step has one operator, this one has {len(named)}",
                    named[1].where,
                    parent,
                    f"put `- ` before `{named[1].name}`, or indent it if it belongs to "
                    f"`{named[0].name}`",
                )
                return None, node, "", node.where
        self._problems.error(
            "no-operator", "a step is the name of an operator and its settings", node.where, parent
        )
        return None, node, "", node.where

    def _arms(self, node: Node, path: str) -> tuple[tuple[StepPlan, ...], ...]:
        """The arms of a branch. An arm goes by its ``name``, else by its number."""
        listed = node if isinstance(node, Seq) else None
        other = None
        if isinstance(node, Map):
            held = node.get("cases") or node.get("branches")
            listed = held if isinstance(held, Seq) else None
            other = node.get("else")
        arms = []
        for number, arm in enumerate(listed or (), 1):
            if isinstance(arm, Map) and "steps" in arm:
                name = arm.get("name")
                label = name.value if isinstance(name, Text) else str(number)
                steps = self.read(arm["steps"], f"{path}.{label}")
                if not isinstance(name, Text):
                    self._nameless(steps, arm.where)
                arms.append(steps)
        if other is not None:
            arms.append(self.read(other, f"{path}.else"))
        return tuple(arms)

    def _nameless(self, steps: tuple[StepPlan, ...], where: Mark) -> None:
        for step in steps:
            if step.keyed():
                self._problems.error(
                    "nameless-arm",
                    "a branch with a keyed step needs a `name`: its state goes by it",
                    where,
                    step.path,
                    "name: …, so that moving the branch does not lose open digests",
                )


# ── The order of a flow ───────────────────────────────────────────────────────────────────────


def _keyed_part(steps: tuple[StepPlan, ...]) -> tuple[int, int]:
    """The first keyed step and the one behind the last; an empty part at the end if none is."""
    keyed = [number for number, step in enumerate(steps) if step.keyed()]
    return (keyed[0], keyed[-1] + 1) if keyed else (len(steps), len(steps))


def _check_parts(plan: FlowPlan, problems: Problems) -> None:
    parts = [(plan.intake, {Part.INTAKE} if plan.keyed else {Part.INTAKE, Part.TAIL})]
    parts += [(plan.keyed, {Part.KEYED}), (plan.tail, {Part.TAIL})]
    keyed = [step.path for step in plan.steps() if step.operator.shape is Shape.KEYED]
    for steps, allowed in parts:
        for top in steps:
            for step in top.walk():
                if step.operator.parts & allowed:
                    continue
                problems.error("wrong-place", *_misplaced(step, allowed, keyed))


def _misplaced(step: StepPlan, allowed: set[Part], keyed: list[str]) -> tuple[str, Mark, str, str]:
    name, possible = step.operator.name, step.operator.parts
    if possible == {Part.LANE}:
        message = f"`{name}` belongs to a lane: a flow decides, a lane delivers"
        hint = "put it into flows/lanes/<channel>.yaml"
    elif Part.TAIL in possible:
        message = f"`{name}` asks the outside world, and `{keyed[-1]}` behind it keeps state"
        hint = "a replay may be answered differently: put it behind the last keyed step"
    elif Part.TAIL in allowed or Part.KEYED in allowed:
        message = f"`{name}` stands behind `{keyed[0]}`, which keeps state"
        hint = "put it before the first keyed step, where a flow's events come in"
    else:
        message, hint = f"`{name}` has no place here", _usable(next(iter(allowed)))
    return message, step.where, step.path, hint


def _usable(part: Part) -> str:
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
    return bool(getattr(last.spec, "otherwise", ())) or _unconditional(last.spec)


def _unconditional(spec: Any) -> bool:
    return any(branch.when is None for branch in getattr(spec, "branches", ()))


def _check_end(steps: tuple[StepPlan, ...], problems: Problems) -> None:
    for top in steps:
        for step in top.walk():
            for block in (steps, *step.arms):
                for one, behind in zip(block, block[1:], strict=False):
                    if _ends((one,)):
                        problems.error(
                            "after-end",
                            f"nothing gets to `{behind.operator.name}`: all ends in `{one.path}`",
                            behind.where,
                            behind.path,
                            "put it before, or take it away",
                        )
    if steps and not _ends(steps):
        last = steps[-1]
        problems.error(
            "no-end",
            "some events come out at the end of the flow, and nothing is done with them",
            last.where,
            last.path,
            "end in `- deliver: …`; a switch needs an `else`, a fan_out one branch without `when`",
        )


# ── Names ─────────────────────────────────────────────────────────────────────────────────────


def _check_names(plan: FlowPlan, node: Map, problems: Problems) -> None:
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
        for expression in expressions_in(step.spec):
            expression.check(known, problems, step.path)
        after = [_names_of(arm, known, problems) for arm in step.arms]
        if known is None or any(names is None for names in after):
            if step.operator.replaces and step.operator.names is not None:
                known = set(step.operator.names(step.spec))
            continue
        for names in after:
            known = known | (names or set())
        if step.operator.names is not None:
            own = set(step.operator.names(step.spec))
            known = own if step.operator.replaces else known | own
    return known
