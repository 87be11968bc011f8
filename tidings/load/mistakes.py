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

    indentation = where.source[: len(where.source) - len(where.source.lstrip())]
    if "\t" in indentation and where.column <= len(indentation) + 1:
        return _tab(where.at(indentation.index("\t") + 1 - where.column, 1))
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
        return _colon(source, where, line_so_far)
    if "sequence entries are not allowed" in said:
        return _problem(
            "a list can't begin here", where, "put `- ` on a line of its own, below its key"
        )
    if "block scalar" in (error.context or ""):
        return _problem(
            "a block of text begins on the line below its `|` or `>`",
            where,
            "put the text there, or into quotes where it begins with that sign",
        )
    if "directive" in (error.context or ""):
        return _problem("a line can't begin with `%`", source.mark(began), "remove the line")
    if "cannot start any token" in said:
        character = source.text[index : index + 1]
        if character == "\t":
            return _tab(where)
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


def _colon(source: Source, where: Mark, line_so_far: str) -> Problem:
    name = line_so_far.strip().removeprefix("- ").strip()
    if not re.fullmatch(r"[\w.-]+", name):
        return _problem(
            "a second `: ` in one line", where, "a text with `: ` in it needs quotes around it"
        )
    above = source.line_above(where.line)
    depth = len(line_so_far) - len(line_so_far.lstrip())
    if above is None or depth > above.column - 1:
        return _problem(
            f"`{name}` is indented as if it belonged to the text above it",
            where.at(-len(name), len(name)),
            "align it with its neighbours, or end the line above with `:`",
        )
    spaceless = ":" in above.source
    return _problem(
        "this line is not `name: value`",
        above,
        "put a space behind the `:`" if spaceless else "is the `:` missing at its end?",
    )


def _tab(where: Mark) -> Problem:
    return _problem("a tab can't indent", where, "indent with spaces")


def _unexpected(source: Source, index: int, where: Mark, line_so_far: str) -> Problem:
    if index >= len(source.text):
        return _problem("the file ends too early", where, "something above is not finished")
    if source.text[index] == ":":
        return _problem(
            "the name in front of the `:` is missing", where, "a field is `name: value`"
        )
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


def index_of(mark: Any) -> int:
    """The character that one of PyYAML's marks (its own or the C parser's) stands at."""
    return 0 if mark is None else int(mark.index)
