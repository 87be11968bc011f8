"""`Expression`: a parsed and compiled text, and the types by which specs ask for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidings.expressions.compiler import Of, Over, compile_tree
from tidings.expressions.kinds import kind_of
from tidings.expressions.parser import parse_tree
from tidings.expressions.tokens import wrong
from tidings.expressions.tree import Kind, Path, walk
from tidings.problems import NOWHERE, Place, Problems, SourceText, ValueProblem, suggestion

Wants = Literal["value", "boolean", "field"]
"""What an expression is for: any value, a condition, or a field of the event."""


def _hint(name: str, known: Collection[str], is_gone: bool) -> str | None:
    said = suggestion(name, sorted(known))
    return f"what stands in its `by` stays; {said}" if is_gone else said


class Expression:
    """A compiled expression over events; equal to another one of the same text and purpose.

        parse("actor_id != recipient_id").of({"actor_id": "a", "recipient_id": "b"})  # True

    `of(event)` gives the value, or raises `EvaluationError`. `over(events)` gives a list as long
    as the batch, with an `EvaluationError` in the place of each event that has no value: it never
    raises, and costs about half as much an event. `names` are the fields that it begins at,
    `is_field` says that it is nothing but a path, `kind` what it is known to give.
    """

    __slots__ = ("_place", "_tree", "is_field", "kind", "names", "of", "over", "text", "wants")

    def __init__(self, text: str, place: Place = NOWHERE, wants: Wants = "value") -> None:
        """Parse and compile; `parse` is the same. Raises `ValueProblem` (`bad-expression`)."""
        tree = parse_tree(text)
        if wants == "field" and not isinstance(tree, Path):
            raise wrong(
                "a field of the event is expected here, not an expression",
                "such as recipient_id or photo.owner",
                tree.start,
                tree.end - tree.start,
            )
        self._tree = tree
        self._place = place
        self.text = text
        self.wants = wants
        self.names = frozenset(node.root for node in walk(tree) if isinstance(node, Path))
        self.is_field = isinstance(tree, Path)
        self.kind: Kind = kind_of(tree)
        self.of: Of
        self.over: Over
        self.of, self.over = compile_tree(tree, text, boolean=wants == "boolean")

    @property
    def path(self) -> tuple[str | int, ...] | None:
        """The keys and indexes of a plain field; None of anything else."""
        return self._tree.parts if isinstance(self._tree, Path) else None

    def or_null(self) -> Of:
        """`of`, except that a plain field gives null where it is missing.

        For settings that an event may leave out.
        """
        return Expression(f"coalesce({self.text}, null)").of if self.is_field else self.of

    def check(
        self,
        known: Collection[str] | None,
        problems: Problems,
        path: str,
        gone: Mapping[str, str] = {},
    ) -> None:
        """Report the names that are not among `known` fields; None knows them all.

        `path` is the step path, such as `social.filter.keep`; `gone` has the fields that were
        known further up, each with the path of the step that put others in their place.
        """
        if known is None:
            return
        unknown = {
            node.root: node
            for node in reversed(list(walk(self._tree)))
            if isinstance(node, Path) and node.root not in known
        }
        for name, node in unknown.items():
            problems.error(
                "unknown-name",
                f"`{name}` is gone here: `{gone[name]}` puts other fields in its place"
                if name in gone
                else f"the event has no field `{name}`",
                self._place.at(node.start, min(len(name), node.end - node.start)),
                path,
                _hint(name, known, name in gone),
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expression):
            return NotImplemented
        return (self.text, self.wants) == (other.text, other.wants)

    def __hash__(self) -> int:
        return hash((self.text, self.wants))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text, NOWHERE, self.wants)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return ExpressionType().__get_pydantic_core_schema__(source, handler)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return ExpressionType().__get_pydantic_json_schema__(schema, handler)


@dataclass(frozen=True, slots=True)
class ExpressionType:
    """The schema of an expression field: its text in, an `Expression` out."""

    wants: Wants = "value"

    def validate(self, value: Any) -> Expression:
        """The expression of a text, or one that is ready; it keeps its place in the file."""
        if isinstance(value, Expression) and value.wants == self.wants:
            return value
        if isinstance(value, Expression):
            return Expression(value.text, value._place, self.wants)
        if isinstance(value, str):
            place = value.place if isinstance(value, SourceText) else NOWHERE
            return Expression(str(value), place, self.wants)
        raise ValueProblem("wrong-kind", f"expected {_NOUNS[self.wants]}")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "description": _NOUNS[self.wants]}


_NOUNS: dict[Wants, str] = {
    "value": "an expression such as amount * 2",
    "boolean": "a condition such as actor_id != recipient_id",
    "field": "a field such as recipient_id or photo.owner",
}

Condition = Annotated[Expression, ExpressionType("boolean")]
"""An expression that gives true or false; any other value is an `EvaluationError`."""

FieldPath = Annotated[Expression, ExpressionType("field")]
"""A field of the event: `recipient_id`, `photo.owner`."""


def parse(text: str, where: Place = NOWHERE, wants: Wants = "value") -> Expression:
    """Parse and compile a text that stands at `where`.

    Raises `ValueProblem` (`bad-expression`), whose `at(where, path)` is the problem in its file.
    """
    return Expression(text, where, wants)


def field_getter(path: str) -> Of:
    """The function that reads a field of an event, and raises `EvaluationError` without it."""
    return Expression(path, wants="field").of
