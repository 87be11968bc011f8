"""Jinja, cut down to what a text needs: the language of templates.

    print    {{ name }}  {{ order.id }}  {{ items[0].text }}  {{ "new " ~ title }}
    filter   {{ name|upper }}: abs capitalize default first int join last length lower others plural
             round title trim truncate upper urlencode
    test     {% if count > 1 %} … {% elif … %} … {% else %} … {% endif %}   {{ a if b else c }}
    loop     {% for item in items if item.text %} … {% endfor %}
    set      {% set first = items[0] %}

A template calls nothing, includes nothing and defines nothing; whatever it works on is plain data.
Neither its loops nor what it makes grow without bound. Jinja's own sandbox stands behind that, for
what we may have overlooked.

What is null, true, false, a list or a map is never printed, and what is missing neither: a person
must not read "None liked your photo".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tidings.text.words import words_of

MOST_STEPS = 10_000
"""Turns of all loops of one part together."""

LARGEST_VALUE = 10_000
"""Characters or elements of what `set` puts aside: a chain of them could double it each time."""

LARGEST_NUMBER = 2**53
"""What may be multiplied; beyond it, JSON's numbers are not exact anyway."""

_ALLOWED = frozenset(
    {
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const,
        nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword,
        nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
        nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv,
        nodes.Mod, nodes.Concat, nodes.If, nodes.For, nodes.Assign, nodes.List,
    }
)  # fmt: skip

_PRINTED = frozenset({str, int, float, Markup, Undefined, StrictUndefined})
_KINDS = {type(None): "null", bool: "true or false", list: "a list", dict: "a map"}


class _Generator(CodeGenerator):
    """Jinja's, but what is a text already is printed without two calls to find that out."""

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write("escape(" if frame.eval_ctx.autoescape else "(")
        self.write("printed if type(printed := ")

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(") is str else ")
        self.write("" if frame.eval_ctx.autoescape else "str")
        self.write("(environment.finalize(printed)))")


class TextEnvironment(ImmutableSandboxedEnvironment):
    """Compiles the parts of templates of one language, with or without escaping.

    ``steps`` counts the turns of loops; whoever renders sets it to 0 before.
    """

    intercepted_binops = frozenset({"*", "%"})
    code_generator_class = _Generator

    def __init__(self, language: str, *, autoescape: bool) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=autoescape, finalize=printable, cache_size=0
        )
        self.steps = 0
        self.globals.clear()
        words = words_of(language)
        self.filters = {**_FILTERS, "others": words.others, "plural": words.plural}
        # Put in by `_guard`; no template can write a name with a blank.
        self.filters |= {"each step": self._each, "put aside": _held, "as text": _text}

    def part(self, source: str) -> tuple[Template, bool, bool]:
        """The compiled part, whether it has loops, and whether it sets anything; about 1 ms.

        Raises TemplateSyntaxError for what is wrong and for what is not allowed.
        """
        try:
            tree = self.parse(source)
            for node in tree.find_all(nodes.Node):
                if type(node) not in _ALLOWED or not _is_plain(node):
                    raise TemplateSyntaxError(_refusal(node), node.lineno or 1)
            _guard(tree)
            template = Template.from_code(self, self.compile(tree), {})
            loops, sets = (tree.find(kind) is not None for kind in (nodes.For, nodes.Assign))
            return template, loops, sets
        except (SyntaxError, RecursionError):
            raise TemplateSyntaxError("it is nested too deeply", 1) from None

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of a map, never a method of it: events do have fields called `items`."""
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(f"there is no field `{attribute}`", obj, attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`*` and `%` of numbers only: of texts they would repeat and format."""
        for value in (left, right):
            if not isinstance(value, int | float) or abs(value) > LARGEST_NUMBER:
                raise TypeError(f"`{operator}` takes numbers up to {LARGEST_NUMBER}")
        return super().call_binop(context, operator, left, right)

    def _each(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise ValueError(f"its loops turn more than {MOST_STEPS} times")
            yield value


def printable(value: Any) -> Any:
    """The value itself, where it may be printed. Raises TypeError for the rest."""
    if type(value) in _PRINTED:
        return value
    raise TypeError(f"{_KINDS.get(type(value), type(value).__name__)} can't be printed")


# ── What is refused, and what is put in ───────────────────────────────────────────────────────


def _is_plain(node: nodes.Node) -> bool:
    """Refuses lists of what is no literal, loops that call themselves, filters of a block."""
    if isinstance(node, nodes.List):
        return all(isinstance(each, nodes.Const) for each in node.items)
    if isinstance(node, nodes.For):
        return not node.recursive
    return not isinstance(node, nodes.Filter) or node.node is not None


def _refusal(node: nodes.Node) -> str:
    hints: Mapping[type[nodes.Node], str] = {
        nodes.Call: "a template calls nothing; use a filter, such as name|upper",
        nodes.Pow: "`**` is not allowed",
        nodes.List: "a list may hold literals only",
        nodes.For: "a loop may not be recursive",
    }
    word = type(node).__name__.lower()
    return hints.get(type(node), f"`{word}` is not allowed: a template prints, tests, loops, sets")


def _guard(tree: nodes.Template) -> None:
    """Count the turns of loops, measure what is set, look at what is put together."""
    for loop in tree.find_all(nodes.For):
        loop.iter = _filtered(loop.iter, "each step")
    for assign in tree.find_all(nodes.Assign):
        assign.node = _filtered(assign.node, "put aside")
    for concat in list(tree.find_all(nodes.Concat)):
        concat.nodes = [_filtered(each, "as text") for each in concat.nodes]


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


# ── The filters ───────────────────────────────────────────────────────────────────────────────


def _text(value: Any) -> str:
    return str(printable(value))


def _on_text(change: Callable[[str], str]) -> Callable[[Any], str]:
    """A filter that takes what can be printed: `null|upper` must not say "NONE"."""
    return lambda value: change(_text(value))


def _truncated(value: Any, length: int = 100, end: str = "…") -> str:
    """At most ``length`` characters, ``end`` counted."""
    text = _text(value)
    return text if len(text) <= length else text[: max(0, length - len(end))].rstrip() + end


def _joined(values: Any, separator: str = ", ") -> str:
    """A list that can be printed, with a few characters between."""
    if not isinstance(values, list) or len(values) > MOST_STEPS or len(separator) > 100:
        raise TypeError("`join` takes a list, and a few characters to put between")
    return separator.join(map(_text, values))


def _rounded(value: float, digits: int = 0) -> float:
    """To at most ten digits."""
    return round(value, max(0, min(digits, 10))) if digits else round(value)


def _held(value: Any) -> Any:
    if isinstance(value, str | list) and len(value) > LARGEST_VALUE:
        raise ValueError(f"`set` takes no more than {LARGEST_VALUE} characters or elements")
    return value


_FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: FILTERS[name] for name in ("abs", "default", "first", "int", "last", "length")},
    "capitalize": _on_text(str.capitalize),
    "lower": _on_text(str.lower),
    "title": _on_text(str.title),
    "trim": _on_text(str.strip),
    "upper": _on_text(str.upper),
    "urlencode": _on_text(lambda text: quote(text, safe="")),
    "join": _joined,
    "round": _rounded,
    "truncate": _truncated,
}
