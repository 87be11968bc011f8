"""Binding: a node of YAML into a pydantic model, with each error at its exact place.

pydantic types the texts and finds all errors at once; its `loc` is walked down the nodes to the
key or value it speaks of. Elements of a `loc` that name no key or index (the branch of a union,
a validator) are stepped over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tidings.load.nodes import Entry, Map, Node, Seq, Text, describe, to_python
from tidings.load.wording import word
from tidings.problems import Mark, Problem, Problems, ValueProblem, did_you_mean, listed

M = TypeVar("M", bound=BaseModel)

Steps = tuple[str | int, ...]
KEY = "[key]"  # pydantic's own word for it

Places = Callable[[str], Iterable[str]]
"""Where else a field of this name exists: the names of sibling and child steps."""


def bind(
    node: Node,
    model: type[M],
    path: str,
    problems: Problems,
    *,
    shorthand: str | None = None,
    places: Places | None = None,
) -> M | None:
    """Type `node` by `model`; None where that fails, with all its errors among `problems`.

    `path` is the step path, such as `social.digest`. `shorthand` names the field that a text or a
    list stands for where it is given instead of fields (`filter: a != b`); nothing at all stands
    for no fields. `places` tells in which other steps a field exists, for a field that is unknown
    here because it was put or indented wrongly.

    Raises TypeError where `model`, or one inside it, would let unknown fields pass in silence.
    """
    _refuse_silence(model)
    node = spread(node, shorthand)
    if not isinstance(node, Map):
        fields = listed(_fields(model), "or")
        problems.error(
            "wrong-kind",
            f"`{_last(path)}` takes fields, got {describe(node)}",
            node.where,
            path,
            f"its fields are {fields}" if fields else "it takes nothing",
        )
        return None
    try:
        return model.model_validate(to_python(node))
    except ValidationError as error:
        binding = _Binding(node, model, path, places)
        for problem in binding.problems(error.errors(include_url=False)):
            problems.add(problem)
    return None


def spread(node: Node, shorthand: str | None) -> Node:
    """`node` as the map of fields that it stands for; see `bind`."""
    if isinstance(node, Text) and node.is_null:
        return Map({}, node.where, node.key)
    if isinstance(node, Map) or shorthand is None:
        return node
    return Map({shorthand: Entry(shorthand, node.key, node)}, node.where, node.key)


def places_of(models: Iterable[tuple[str, type[BaseModel]]]) -> Places:
    """`places` over named models: in which of them (`deliver`, …) a field exists."""
    known: dict[str, list[str]] = {}
    for name, model in models:
        for field in _fields(model):
            known.setdefault(field, []).append(name)
    return lambda field: known.get(field, ())


def placed(problem: ValueProblem, node: Node, path: str, whole: Mark | None = None) -> Problem:
    """What is wrong with the value in ``node``, at the part of it that the problem is about.

    ``whole`` is what to underline where that part does not stand in the file, or none is named; by
    default the node.
    """
    found = part(node, problem.loc) or whole or node
    if isinstance(found, Text):
        where = found.at(problem.offset, problem.length)
    else:
        where = found if isinstance(found, Mark) else found.where
    return Problem(problem.code, problem.message, where, path, problem.hint)


def part(node: Node, loc: Steps) -> Node | Mark | None:
    """What a `loc` leads to, as far as it goes (see ``ValueProblem``); None where it leads nowhere,
    because no part of the node is meant or the file does not say it."""
    found: Node | None = None
    for element in loc:
        at = node if found is None else found
        if element == KEY:
            return at.key
        inner = _inner(at, element)
        if inner is None and isinstance(at, Seq):
            said = (item for item in at if isinstance(item, Text) and item.value == element)
            inner = next(said, None)
        if inner is None:
            break
        found = inner
    return found


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a `loc` leads: the node, and the keys and indexes to it.

    `forks` are the elements that were stepped over, each with where that was; `holder` is the mark
    of the key or item that holds the node.
    """

    node: Node
    steps: Steps
    forks: tuple[tuple[Steps, str | int], ...]
    holder: Mark


@dataclass(frozen=True, slots=True)
class _Found:
    """One error of pydantic, and where it leads."""

    spot: _Spot
    error: ErrorDetails

    @property
    def depth(self) -> int:
        """Keys and indexes down to it; a missing key is one deeper than the map it misses in."""
        return len(self.spot.steps) + (self.error["type"] == "missing")

    @property
    def is_reported(self) -> bool:
        """Whether the text lacks what a variable should have given: the reader has said so."""
        return isinstance(self.spot.node, Text) and self.spot.node.failed


@dataclass(frozen=True, slots=True)
class _Binding:
    root: Map
    model: type[BaseModel]
    path: str
    places: Places | None

    def problems(self, errors: Sequence[ErrorDetails]) -> Iterator[Problem]:
        """The problems of one failed validation."""
        found = [_Found(self._walk(error["loc"]), error) for error in errors]
        found = [each for each in self._without_branches(found) if not each.is_reported]
        meant: set[tuple[Steps, str]] = set()
        for each in found:
            if each.error["type"] == "extra_forbidden":
                yield self._unknown(each, meant)
        together: dict[Steps, list[_Found]] = {}
        for each in found:
            if each.error["type"] == "missing":
                # A misspelt field has been reported already; it is not missing as well.
                if (each.spot.steps, str(each.error["loc"][-1])) not in meant:
                    yield self._missing(each)
            elif each.error["type"] != "extra_forbidden":
                together.setdefault(each.spot.steps, []).append(each)
        for group in together.values():
            yield self._wrong(group)

    def _without_branches(self, found: list[_Found]) -> list[_Found]:
        """Of each union's branches, the errors of the one that was meant.

        That is the one whose errors lie deepest: the others failed at the door. Where all did,
        all stay, to be said together.
        """
        branches: dict[Steps, dict[str | int, int]] = {}
        for each in found:
            for fork, tag in each.spot.forks:
                depths = branches.setdefault(fork, {})
                depths[tag] = max(depths.get(tag, 0), each.depth)
        return [
            each
            for each in found
            if all(
                branches[fork][tag] == max(branches[fork].values()) for fork, tag in each.spot.forks
            )
        ]

    def _walk(self, loc: Steps) -> _Spot:
        node: Node = self.root
        steps: list[str | int] = []
        forks: list[tuple[Steps, str | int]] = []
        holder = self.root.key
        for element in loc:
            inner = _inner(node, element)
            if inner is None:
                forks.append((tuple(steps), element))
                continue
            holder = node.entries[str(element)].where if isinstance(node, Map) else inner.key
            node = inner
            steps.append(element)
        return _Spot(node, tuple(steps), tuple(forks), holder)

    def _wrong(self, group: Sequence[_Found]) -> Problem:
        spot = group[0].spot
        problem = word([each.error for each in group], spot.node)
        if group[0].error["loc"][-1:] == (KEY,):
            code, message, hint = problem.code, problem.message, problem.hint
            return Problem(code, message, spot.holder, self._path_to(spot.steps), hint)
        return placed(problem, spot.node, self._path_to(spot.steps))

    def _missing(self, found: _Found) -> Problem:
        spot, name = found.spot, str(found.error["loc"][-1])
        path = self._path_to(spot.steps)
        about = _summary(self._field(spot.steps, name))
        return Problem(
            "missing-field",
            f"`{_last(path)}` needs `{name}`" if path else f"`{name}` is missing",
            spot.holder,
            path,
            f"`{name}`: {about}" if about else f"add `{name}: …`",
        )

    def _unknown(self, found: _Found, meant: set[tuple[Steps, str]]) -> Problem:
        spot, name = found.spot, str(found.error["loc"][-1])
        parent = spot.steps[:-1]
        models = _models_at(self.model, parent)
        fields = list(dict.fromkeys(field for model in models for field in _fields(model)))
        hint = self._elsewhere(name, parent, models)
        near = did_you_mean(name, fields)
        path = self._path_to(parent)
        if hint is None and near is not None:
            meant.add((parent, near))
            hint = f"did you mean `{near}`?"
        elif hint is None:
            hint = f"it takes {listed(fields)}" if fields else "it takes no fields"
        if not re.fullmatch(r"[\w.-]+", name):
            hint = "a comma ends a value in { }: where one belongs to it, quote the whole value"
        owner = f"`{_last(path)}` has" if path else "there is"
        message = f"{owner} no field `{name}`"
        return Problem("unknown-field", message, spot.holder, self._path_to(spot.steps), hint)

    def _elsewhere(self, name: str, parent: Steps, models: Sequence[type[BaseModel]]) -> str | None:
        """The hint for a field that is right in itself, but stands in the wrong place."""
        for model in models:
            for field, info in _fields(model).items():
                if any(name in _fields(inner) for inner in _models_in(info.annotation)):
                    return f"did you mean to put it inside `{field}`?"
        for count in range(len(parent) - 1, -1, -1):
            if any(name in _fields(model) for model in _models_at(self.model, parent[:count])):
                beside = next(str(step) for step in parent[count:] if isinstance(step, str))
                return f"did you mean to put it beside `{beside}`, not inside it?"
        others = list(self.places(name)) if self.places is not None else []
        return f"did you mean to put it inside {listed(others, 'or')}?" if others else None

    def _field(self, parent: Steps, name: str) -> FieldInfo | None:
        for model in _models_at(self.model, parent):
            if (field := _fields(model).get(name)) is not None:
                return field
        return None

    def _path_to(self, steps: Iterable[str | int]) -> str:
        tail = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
        return f"{self.path}{tail}".lstrip(".")


def _inner(node: Node | None, element: str | int) -> Node | None:
    if isinstance(node, Map):
        return node.get(str(element))
    if isinstance(node, Seq) and isinstance(element, int) and element < len(node):
        return node.items[element]
    return None


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _summary(field: FieldInfo | None) -> str:
    """The first line of a field's documentation."""
    lines = ((field and field.description) or "").strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else ""


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the name that stands in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_at(model: type[BaseModel], steps: Steps) -> list[type[BaseModel]]:
    """The models that a path of keys and indexes leads to; several where there are unions."""
    at = [model]
    for step in steps:
        if isinstance(step, int):
            continue
        inner: list[type[BaseModel]] = []
        for each in at:
            field = _fields(each).get(step)
            # A key that is no field is a key of a dict of models: stay where we are.
            inner.extend([each] if field is None else _models_in(field.annotation))
        at = inner
    return at


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


@cache
def _refuse_silence(model: type[BaseModel]) -> None:
    found = [model]
    for each in found:
        if each.model_config.get("extra", "ignore") == "ignore":
            raise TypeError(f"{each.__name__} must say extra='forbid', or a misspelt field passes")
        inner = [i for field in each.model_fields.values() for i in _models_in(field.annotation)]
        found.extend(i for i in dict.fromkeys(inner) if i not in found)
