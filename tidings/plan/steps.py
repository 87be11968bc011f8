"""Reads lists of steps: finds each one's operator, types its settings, gives it its path."""

from __future__ import annotations

from tidings.contract import Shape
from tidings.load import bind, places_of, spread
from tidings.load.nodes import Map, Node, Seq, Text
from tidings.plan.model import StepPlan
from tidings.problems import Mark, Problems, suggestion
from tidings.registry import operators


class Steps:
    """Reads lists of steps; every step of a file gets a path of its own.

    ``whole`` tells that none was left out.
    """

    def __init__(self, scope: str, problems: Problems) -> None:
        self._scope = scope
        self._problems = problems
        self._seen: dict[str, Mark] = {}
        self.whole = True
        self._known = operators()

    def read(self, node: Node, path: str) -> tuple[StepPlan, ...]:
        """The steps of a list; those that can't be read are left out, and reported."""
        if not isinstance(node, Seq):
            self._problems.error(
                "wrong-kind", "`steps` takes a list", node.where, path, "each begins with `- `"
            )
            self.whole = False
            return ()
        read = [self._step(each, path) for each in node]
        self.whole = self.whole and None not in read
        return tuple(step for step in read if step is not None)

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
        if spec is None:
            return None
        return StepPlan(operator, spec, path, where, spread(body, operator.shorthand or None), arms)

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
