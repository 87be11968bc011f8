"""Broken YAML in people's words.

A parser says at which token it gave up. Here the source around that place is looked at for what
the writer most likely did: a tab, a wrong indentation, an open quote or bracket, a `: ` in a text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tidings.load.nodes import Source
from tidings.problems import Mark, Problem


def explain(error: yaml.MarkedYAMLError, source: Source) -> Problem:
    """The problem behind a parser's error."""
    said = error.problem or ""
    index = min(index_of(error.problem_mark), len(source.text))
    began = index_of(error.context_mark)
    where = source.mark(index)
    line_so_far = where.source[: where.column - 1]

    if "\t" in _run_of_blanks(source.text, index) and not line_so_far.strip():
        tab = source.text.index("\t", index - len(line_so_far))
        return _problem("a tab can't indent", source.mark(tab), "indent with spaces")
    if "quoted scalar" in (error.context or ""):
        if "escape" in said:
            return _problem(
                "a backslash in double quotes begins an escape that does not exist",
                where,
                "write two backslashes for one, or use single quotes",
            )
        opening = source.mark(began)
        quote = source.text[began : began + 1]
        return _problem(
            "the quote that opens here is never closed", opening, f"add the closing {quote}"
        )
    if "flow" in (error.context or ""):
        return _open_bracket(source, began, where)
    if "mapping values are not allowed" in said:
        return _colon(where, line_so_far)
    if "sequence entries are not allowed" in said:
        return _problem(
            "a list can't begin here", where, "put `- ` on a line of its own, below its key"
        )
    if "cannot start any token" in said:
        character = source.text[index : index + 1]
        return _problem(f"a text can't begin with `{character}`", where, "put the text into quotes")
    if "could not find expected ':'" in said:
        return _problem("this line has no `:`", source.mark(began), "a field is `name: value`")
    return _unexpected(source, index, where, line_so_far)


def _open_bracket(source: Source, began: int, where: Mark) -> Problem:
    bracket = source.text[began : began + 1]
    closing = "]" if bracket == "[" else "}"
    return _problem(
        f"the `{bracket}` that opens here is not closed before line {where.line}"
        if source.mark(began).line != where.line
        else f"expected `,` or `{closing}` in column {where.column}",
        source.mark(began),
        f"add the closing `{closing}`, or the comma between two values; "
        "a text with `:`, `,` or brackets in it needs quotes here",
    )


def _colon(where: Mark, line_so_far: str) -> Problem:
    name = line_so_far.strip().removeprefix("- ").strip()
    if re.fullmatch(r"[\w.-]+", name):
        start = where.at(-len(name), len(name))
        return _problem(
            f"`{name}` is indented as if it belonged to the text above it",
            start,
            "align it with its neighbours, or end the line above with `:`",
        )
    return _problem(
        "a second `: ` in one line", where, "a text with `: ` in it needs quotes around it"
    )


def _unexpected(source: Source, index: int, where: Mark, line_so_far: str) -> Problem:
    if index >= len(source.text):
        return _problem("the file ends too early", where, "something above is not finished")
    if not line_so_far.strip():
        return _problem(
            "this line's indentation fits nothing above it",
            source.mark(index, index + len(where.source)),
            "align it with the lines that it belongs to",
        )
    character = source.text[index]
    if character in "]}":
        return _problem(f"this `{character}` closes nothing", where, "remove it, or open it before")
    return _problem(
        "this can't stand here: the value before it is already complete",
        source.mark(index, index + len(where.source)),
        "put the whole text into quotes, or align this line with those it belongs to",
    )


def _problem(message: str, where: Mark, hint: str) -> Problem:
    return Problem("bad-yaml", message, where, hint=hint)


def _run_of_blanks(text: str, index: int) -> str:
    """The white space around an index, up to the line's first and next character."""
    start = max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1
    return text[start : index + 1]


def index_of(mark: Any) -> int:
    """The character that one of PyYAML's marks (its own or the C parser's) stands at."""
    return 0 if mark is None else int(mark.index)
