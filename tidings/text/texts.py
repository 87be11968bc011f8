"""Texts: templates compiled once, then rendered fast. What they may say: `tidings.text.jinja`.

    Typesetter   compiles; one for a process
    Text         one template, compiled: `render(data)` gives its parts
    TextError    why it could not be compiled or rendered, with part and line

Parts called `html` escape what they print. Nearly all that `jinja2.Template.render` does is to
build a context: 8 µs for an empty template. A template here is run by its generated function, on a
context that is used again: a title and a body with three variables take 2.0 to 2.6 µs, against 15
to 26 by two sandboxed renders and 9 to 12 by one for both (`benchmarks/render.py`, a noisy core).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Template as Jinja
from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

from tidings.ports import Template
from tidings.text.jinja import TextEnvironment

LONGEST = 200_000
"""Characters of one part; Gmail shows 102,400 bytes of a mail."""

NEEDED = {"push": ("title", "body"), "sms": ("body",), "email": ("subject",)}
"""The parts without which a channel's text makes no sense."""

ONE_LINE = frozenset({"title", "subject"})
"""Parts that become one line: a line break in a subject would begin another header."""

_ESCAPED = "html"
_TOO_LONG = f"the text is longer than {LONGEST} characters"

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


class Typesetter:
    """Compiles templates."""

    def __init__(self) -> None:
        self._environments: dict[tuple[str, bool], TextEnvironment] = {}

    def compile(self, template: Template) -> Text:
        """Takes about 1 ms a part. Raises TextError (`bad_template`) with part and line."""
        name = _name_of(template)
        for needed in NEEDED.get(template.channel, ()):
            if needed not in template.parts:
                raise TextError("bad_template", f"{name} has no part `{needed}`")
        parts = []
        for part, source in template.parts.items():
            environment = self._environment(template.locale, escaped=part == _ESCAPED)
            try:
                jinja, loops, sets = environment.part(source)
            except TemplateSyntaxError as error:
                place = f"{name}, {part}, line {error.lineno}"
                raise TextError("bad_template", f"{place}: {error.message}") from None
            parts.append(_Part(part, jinja, environment, loops=loops, sets=sets))
        return Text(template, parts)

    def _environment(self, locale: str, *, escaped: bool) -> TextEnvironment:
        language = locale.replace("_", "-").partition("-")[0].lower()
        key = (language, escaped)
        if key not in self._environments:
            self._environments[key] = TextEnvironment(language, autoescape=escaped)
        return self._environments[key]


class Text:
    """One template, compiled. Not thread-safe: its parts use their contexts again."""

    __slots__ = ("_parts", "locale", "name", "version")

    def __init__(self, template: Template, parts: list[_Part]) -> None:
        self.name = _name_of(template)
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
    __slots__ = (
        *("_context", "_environment", "_is_one_line", "_jinja", "_loops", "_root", "_sets"),
        "name",
    )

    def __init__(
        self, name: str, jinja: Jinja, environment: TextEnvironment, *, loops: bool, sets: bool
    ) -> None:
        self.name = name
        self._jinja = jinja
        self._environment = environment
        self._root: Callable[[Context], Iterator[str]] = jinja.root_render_func
        self._context = jinja.new_context({})
        self._is_one_line = name in ONE_LINE
        self._loops = loops
        self._sets = sets

    def render(self, data: Mapping[str, Any]) -> str:
        """The text. Raises what a template can raise."""
        context = self._context
        # A `set` writes into it: into a copy.
        context.vars = dict(data) if self._sets or type(data) is not dict else data
        chunks = self._root(context)
        if self._loops:
            self._environment.steps = 0
            chunks = _counted(chunks)
        text = "".join(chunks).strip()
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


def _name_of(template: Template) -> str:
    return f"{template.id} {template.channel}.{template.locale}"


def _message(error: BaseException) -> str:
    if isinstance(error, SecurityError):
        return f"not allowed: {error}"
    if isinstance(error, TemplateError):
        return str(error.message or error)
    return str(error) or type(error).__name__
