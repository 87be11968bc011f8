"""The reference of operators, from their specs.

    python -m tidings.reference > docs/operators.md

What an operator's file says is what the page says; a test holds the page to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tidings.contract import Operator, Part, Shape
from tidings.durations import DurationType, SizeType, format_duration
from tidings.expressions import Expression
from tidings.expressions.expression import ExpressionType
from tidings.registry import operators, senders

HEAD = """\
# Operators

The steps that flows and lanes are made of. This page is made from their specs
(`python -m tidings.reference`), and every example on it is run by the tests. `tidings list`
shows them in short and `tidings list digest` one of them, with what installed packages bring along.

A duration is written `500ms`, `30s`, `5m`, `2h`, `1d` or `1h30m`. An expression reads an event's
fields: `amount * 2`, `actor_id != recipient_id`, `coalesce(name, 'somebody')`. A step's id is its
place, `social.digest`; `- {id: first, digest: {…}}` gives it another last name.
"""
_PLACES = {
    Part.INTAKE: "in a flow, where events come in",
    Part.KEYED: "in a flow, among the steps that keep state",
    Part.TAIL: "in a flow, behind those",
    Part.LANE: "in a lane",
}
_EVERYWHERE = {Part.INTAKE, Part.KEYED, Part.TAIL}
_SHAPES = {
    Shape.KEYED: "It keeps state for each person.",
    Shape.BRANCH: "It is a branch.",
    Shape.END: "It is an end: nothing comes out of it.",
}
_EXPRESSIONS = {"value": "expression", "boolean": "condition", "field": "field"}
_WORDS: dict[Any, str] = {
    Expression: "expression",
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    Any: "anything",
}


def page() -> str:
    """The page as Markdown."""
    found = sorted(operators().items())
    names = " · ".join(f"[{name}](#{name})" for name, _ in found)
    return "\n".join([HEAD, names, *(line for _, each in found for line in _operator(each))]) + "\n"


def page_of(name: str) -> str | None:
    """What there is to know of one operator or kind of provider; None where there is no such."""
    found: list[str] = []
    if (operator := operators().get(name)) is not None:
        found += _operator(operator)
    if (kind := senders().get(name)) is not None:
        found += _provider(name, kind.settings)
    return "\n".join(found).strip() + "\n" if found else None


def summary(documented: type) -> str:
    """The first paragraph of what it says of itself."""
    return _prose(documented.__doc__ or "").split("\n\n")[0]


def _provider(name: str, settings: type[BaseModel]) -> Iterator[str]:
    yield f"\n## {name}\n"
    yield _prose(settings.__doc__ or "")
    yield f"\n*A kind of provider, in the settings: `providers: {{NAME: {{kind: {name}, …}}}}`.*\n"
    yield from _tables(settings)


def _operator(operator: Operator[Any]) -> Iterator[str]:
    yield f"\n## {operator.name}\n"
    yield _prose(operator.spec.__doc__ or "")
    said = [f"*Stands {_where(operator)}.*"]
    if operator.shape in _SHAPES:
        said.append(_SHAPES[operator.shape])
    if operator.asks:
        said.append(
            "It asks the outside world, so nothing that keeps state may stand behind it"
            " unless what it answered is written down before."
        )
    if operator.shorthand:
        said.append(
            f"`{operator.name}: …` is short for `{operator.name}: {{{operator.shorthand}: …}}`."
        )
    yield f"\n{' '.join(said)}\n"
    yield from _tables(operator.spec)
    yield f"\n```yml\n{operator.example.strip()}\n```"


def _where(operator: Operator[Any]) -> str:
    parts = set(operator.parts)
    said = []
    if parts >= _EVERYWHERE:
        said.append("anywhere in a flow")
        parts -= _EVERYWHERE
    said += [text for part, text in _PLACES.items() if part in parts]
    return ", or ".join(said)


def _tables(spec: type[BaseModel]) -> Iterator[str]:
    yield from _table(spec)
    for inner in _inner(spec):
        yield f"\n`{inner.__name__}`: {_prose(inner.__doc__ or '')}\n"
        yield from _table(inner)


def _table(spec: type[BaseModel]) -> Iterator[str]:
    if not spec.model_fields:
        return
    yield "| field | takes | by default | |"
    yield "|---|---|---|---|"
    for name, field in spec.model_fields.items():
        taken = _type(field.annotation, field.metadata)
        cells = (
            f"`{field.alias or name}`",
            taken,
            _default(field),
            _prose(field.description or "").replace("\n\n", " "),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _inner(spec: type[BaseModel]) -> list[type[BaseModel]]:
    """The specs inside a spec, each once."""
    found = [m for field in spec.model_fields.values() for m in _models(field.annotation)]
    return list(dict.fromkeys(found))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _type(annotation: Any, metadata: Any = ()) -> str:
    """What a field takes, in words."""
    for each in metadata:
        if isinstance(each, DurationType):
            return "duration"
        if isinstance(each, SizeType):
            return "size"
        if isinstance(each, ExpressionType):
            return _EXPRESSIONS[each.wants]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], inner[1:])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(each) for each in inner if each is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin in (tuple, list, frozenset):
        return f"list of {_plural(_type(inner[0]))}"
    if origin is dict:
        return f"map of {_plural(_type(inner[1]))}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"`{annotation.__name__}`"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{each.value}`" for each in annotation)
    return _WORDS.get(annotation, "text")


def _plural(word: str) -> str:
    return "steps" if word == "anything" else word if word.startswith("`") else f"{word}s"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", (), {}) or isinstance(value, BaseModel):
        return ""
    if _type(field.annotation, field.metadata).startswith("duration") and isinstance(value, int):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        durations = "duration" in _type(field.annotation, field.metadata)
        shown = [format_duration(each) if durations else str(each) for each in value]
        return f"`[{', '.join(shown)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _prose(text: str) -> str:
    """A docstring as a paragraph; double backticks are those of Markdown."""
    return "\n\n".join(
        " ".join(line.strip() for line in paragraph.splitlines()).replace("``", "`")
        for paragraph in text.strip().split("\n\n")
    )


if __name__ == "__main__":
    sys.stdout.write(page())
