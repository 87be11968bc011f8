"""Texts: templates compiled once, then rendered fast in a sandbox.

A template is Jinja, cut down to what a text needs: it prints, filters, tests, loops and sets. It
calls nothing, includes nothing and defines nothing, whatever it works on is plain data, and neither
its output nor its loops can grow without bound. Jinja's own sandbox stands behind that.

    Typesetter   compiles; one for a process
    Text         one template, compiled: `render(data)` gives its parts
    TextError    why it could not be compiled or rendered, with part and line

What is missing, null, a list or a map is never printed: a person must not read "None liked your
photo". Parts called `html` escape what they print.

Nearly all that `jinja2.Template.render` does is to build a context: 8 µs for an empty template. A
template here is run by its generated function, on a context that is used again: a title and a body
with three variables take 2.6 µs, against 26 by two sandboxed renders and 12 by one for both
(`benchmarks/render.py`, one noisy core; the ratios hold).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import (
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    nodes,
)
from jinja2 import Template as Jinja
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tidings.ports import Template
from tidings.words import words_of

LONGEST = 200_000
"""Characters of one part; Gmail shows 102,400 bytes of a mail."""

MOST_STEPS = 10_000
"""Turns of all loops of one part together."""

LARGEST_VALUE = 10_000
"""Characters or elements of what `set` puts aside: a chain of them could double it each time."""

LARGEST_NUMBER = 2**53
"""What may be multiplied; beyond it, JSON's numbers are not exact anyway."""

NEEDED = {"push": ("title", "body"), "sms": ("body",), "email": ("subject",)}
"""The parts without which a channel's text makes no sense."""

ONE_LINE = frozenset({"title", "subject"})
"""Parts that become one line: a line break in a subject would begin another header."""

_ESCAPED = "html"

_ALLOWED = frozenset(
    {
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const,
        nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword,
        nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
        nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv,
        nodes.Mod, nodes.Concat, nodes.If, nodes.For, nodes.Assign, nodes.List,
    }
)  # fmt: skip

_FILTERS = (
    "abs", "capitalize", "default", "first", "int", "last", "length", "lower", "title", "trim",
    "truncate", "upper", "urlencode",
)  # fmt: skip
"""Those of Jinja's filters that a text needs, and that can't make much of little."""

_PRINTED = frozenset({str, int, float, Markup, Undefined, StrictUndefined})

_TOO_LONG = f"the text is longer than {LONGEST} characters"

_KINDS = {type(None): "null", bool: "true or false", list: "a list", dict: "a map"}

_UNFIT = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template can raise on plain data."""


class TextError(Exception):
    """A text can't be compiled or rendered: ``reason`` is a word for the dead letter."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Text:
    """One template, compiled. Not thread-safe: its parts use their contexts again."""

    __slots__ = ("_parts", "locale", "name", "version")

    def __init__(self, template: Template, parts: list[_Part]) -> None:
        self.name = f"{template.id} {template.channel}.{template.locale}"
        self.locale = template.locale
        self.version = template.version
        self._parts = parts

    def render(self, data: Mapping[str, Any]) -> dict[str, str]:
        """The parts by name, without white space around them.

        Raises TextError, which names part, line and what was wrong.
        """
        made = {}
        for part in self._parts:
            try:
                made[part.name] = part.render(data)
            except _UNFIT as error:
                reason = "missing_variable" if isinstance(error, UndefinedError) else "render"
                place = f"{self.name}, {part.name}, line {part.line_of(error)}"
                raise TextError(reason, f"{place}: {_message(error)}") from None
        return made


class _Part:
    __slots__ = ("_context", "_environment", "_is_one_line", "_jinja", "_loops", "_root", "name")

    def __init__(self, name: str, jinja: Jinja, environment: _Environment, loops: bool) -> None:
        self.name = name
        self._jinja = jinja
        self._environment = environment
        self._root: Callable[[Context], Iterator[str]] = jinja.root_render_func
        self._context = jinja.new_context({})
        self._is_one_line = name in ONE_LINE
        self._loops = loops

    def render(self, data: Mapping[str, Any]) -> str:
        """The text. Raises what a template can raise."""
        self._environment.steps = 0
        context = self._context
        context.vars = dict(data)  # a copy: a `set` writes into it
        chunks = self._root(context)
        text = "".join(_counted(chunks) if self._loops else chunks).strip()
        if len(text) > LONGEST:
            raise ValueError(_TOO_LONG)
        if self._is_one_line and not text.isprintable():
            text = one_line(text)
        return text

    def line_of(self, error: BaseException) -> int:
        """The line of the part's source at which it was raised."""
        line, trace = 1, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__jinja_template__") is self._jinja:
                line = self._jinja.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, cut down; one for each language, with and without escaping."""

    intercepted_binops = frozenset({"*", "%"})

    def __init__(self, language: str, *, autoescape: bool) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=autoescape, finalize=_printable, cache_size=0
        )
        self.steps = 0
        words = words_of(language)
        self.globals.clear()
        self.policies["truncate.leeway"] = 0
        self.filters = {name: FILTERS[name] for name in _FILTERS}
        self.filters |= {"others": words.others, "plural": words.plural}
        self.filters |= {"join": _joined, "round": _rounded}
        # Put in by `_bounded`; no template can write a name with a blank.
        self.filters |= {"each step": self._each, "put aside": _held}

    def part(self, name: str, source: str) -> _Part:
        """Compile. Raises TemplateSyntaxError for what is not allowed, too."""
        tree = self.parse(source)
        for node in tree.find_all(nodes.Node):
            if type(node) not in _ALLOWED or not _is_plain(node):
                raise TemplateSyntaxError(_refusal(node), node.lineno or 1)
        jinja = Jinja.from_code(self, self.compile(_bounded(tree)), {})
        return _Part(name, jinja, self, loops=tree.find(nodes.For) is not None)

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


class Typesetter:
    """Compiles templates, each version once."""

    def __init__(self) -> None:
        self._environments: dict[tuple[str, bool], _Environment] = {}

    def compile(self, template: Template) -> Text:
        """Takes about 1 ms a part. Raises TextError (`bad_template`) with part and line."""
        name = f"{template.id} {template.channel}.{template.locale}"
        for needed in NEEDED.get(template.channel, ()):
            if needed not in template.parts:
                raise TextError("bad_template", f"{name} has no part `{needed}`")
        parts = []
        for part, source in template.parts.items():
            environment = self._environment(template.locale, escaped=part == _ESCAPED)
            try:
                parts.append(environment.part(part, source))
            except TemplateSyntaxError as error:
                place = f"{name}, {part}, line {error.lineno}"
                raise TextError("bad_template", f"{place}: {error.message}") from None
            except (SyntaxError, RecursionError):
                message = f"{name}, {part}: it is nested too deeply"
                raise TextError("bad_template", message) from None
        return Text(template, parts)

    def _environment(self, locale: str, *, escaped: bool) -> _Environment:
        language = locale.replace("_", "-").partition("-")[0].lower()
        key = (language, escaped)
        if key not in self._environments:
            self._environments[key] = _Environment(language, autoescape=escaped)
        return self._environments[key]


def one_line(text: str) -> str:
    """The text with every run of white space as one blank, and without control characters."""
    return "".join(each for each in " ".join(text.split()) if each >= " " and each != "\x7f")


def _counted(chunks: Iterator[str]) -> Iterator[str]:
    """The chunks, until they are too many: a loop can make much of little."""
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > LONGEST:
            raise ValueError(_TOO_LONG)
        yield chunk


def _printable(value: Any) -> Any:
    """What may be printed. Raises TypeError for the rest."""
    if type(value) in _PRINTED:
        return value
    raise TypeError(f"{_KINDS.get(type(value), type(value).__name__)} can't be printed")


def _joined(values: Any, separator: str = ", ") -> str:
    """``join``, of a list that can be printed, by a few characters."""
    if not isinstance(values, list) or len(values) > MOST_STEPS or len(separator) > 100:
        raise TypeError("`join` takes a list, and a few characters to put between")
    return separator.join(str(_printable(value)) for value in values)


def _rounded(value: float, digits: int = 0) -> float:
    """``round``, to at most ten digits."""
    return round(value, max(0, min(digits, 10))) if digits else round(value)


def _held(value: Any) -> Any:
    if isinstance(value, str | list) and len(value) > LARGEST_VALUE:
        raise ValueError(f"`set` takes no more than {LARGEST_VALUE} characters or elements")
    return value


def _bounded(tree: nodes.Template) -> nodes.Template:
    """Count the turns of loops, measure what is set."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "each step", [], [], None, None, lineno=loop.lineno)
    for assign in tree.find_all(nodes.Assign):
        assign.node = nodes.Filter(
            assign.node, "put aside", [], [], None, None, lineno=assign.lineno
        )
    return tree


def _is_plain(node: nodes.Node) -> bool:
    """Refuses lists of what is no literal, loops that call themselves, filters of a block."""
    if isinstance(node, nodes.List):
        return all(isinstance(each, nodes.Const) for each in node.items)
    if isinstance(node, nodes.For):
        return not node.recursive
    return not isinstance(node, nodes.Filter) or node.node is not None


def _refusal(node: nodes.Node) -> str:
    hints = {
        nodes.Call: "a template calls nothing; use a filter, such as name|upper",
        nodes.Pow: "`**` is not allowed",
        nodes.List: "a list may hold literals only",
        nodes.For: "a loop may not be recursive",
    }
    word = type(node).__name__.lower()
    return hints.get(type(node), f"`{word}` is not allowed: a template prints, tests, loops, sets")


def _message(error: BaseException) -> str:
    if isinstance(error, SecurityError):
        return f"not allowed: {error}"
    if isinstance(error, TemplateError):
        return str(error.message or error)
    return str(error) or type(error).__name__
