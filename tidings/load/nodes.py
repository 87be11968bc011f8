"""The tree of a YAML file: texts, lists and maps, each knowing where it stands.

    Node = Text | Seq | Map

Every node has `where`, its own mark, and `key`, the mark of what holds it: the key in front of it,
the `-` item itself in a list, the file's first character at the root. What is *missing* from a map
is reported at its `key`, what is *wrong* in it at `where`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tidings.problems import Mark, SourceText

LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line for YAML 1.1, so that our line numbers are the parser's."""


class Source:
    """A file's text, for turning a character's index into a mark."""

    __slots__ = ("_lines", "_starts", "file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._lines = LINE_END.split(text)
        self._starts = [0, *(match.end() for match in LINE_END.finditer(text))]

    def mark(self, start: int, end: int | None = None) -> Mark:
        """The mark of `text[start:end]`, cut at the end of its first line."""
        number = bisect_right(self._starts, start) - 1
        line = self._lines[number]
        column = start - self._starts[number]
        length = 1 if end is None else min(end, self._starts[number] + len(line)) - start
        return Mark(self.file, number + 1, column + 1, max(1, length), line)

    def line_above(self, number: int) -> Mark | None:
        """The text of the nearest line above line `number` that holds any."""
        for index in range(number - 2, -1, -1):
            if text := self._lines[index].strip():
                start = self._starts[index] + self._lines[index].index(text)
                return self.mark(start, start + len(text))
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A scalar, untyped: `value` is the text after `${ENV}` interpolation.

    `written` is the text before it (what a message may show: the value may be a secret); `plain`
    says that it stood there without quotes; `origin` maps the value's characters to those of
    `written` where the two differ. `failed` says that a variable in it was not set: that has been
    reported, and what the value lacks need not be.
    """

    value: str
    where: Mark
    key: Mark
    plain: bool
    written: str
    source: Source = field(repr=False)
    start: int = field(repr=False)
    end: int = field(repr=False)
    origin: tuple[int, ...] | None = field(default=None, repr=False)
    failed: bool = False

    @property
    def is_null(self) -> bool:
        """Nothing was given: `key:`, `key: ~` or `key: null`; never true of quoted text."""
        return self.plain and self.written in ("", "~", "null")

    def at(self, offset: int = 0, length: int | None = None) -> Mark:
        """The mark of `length` characters of the value from `offset` on, in the file.

        Sees through quotes, escapes, folded lines and interpolation.
        """
        if length is None:
            length = len(self.value) - offset
        if self.is_null or (offset == 0 and length >= len(self.value)):
            return self.where
        places = _places(self)
        first, last = offset, offset + max(1, length) - 1
        if self.origin is not None:
            last_character = len(self.origin) - 1
            first = self.origin[min(first, last_character)]
            last = self.origin[min(last, last_character)]
        if places is None or first >= len(places):
            return self.where
        start = places[first]
        end = places[min(last, len(places) - 1)] + 1 if last < len(places) else start + 1
        return self.source.mark(start, end)


@dataclass(frozen=True, slots=True, eq=False)
class Seq:
    """A list."""

    items: tuple[Node, ...]
    where: Mark
    key: Mark

    def __iter__(self) -> Iterator[Node]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A key of a map, where it stands, and its value."""

    name: str
    where: Mark
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A map in the order of its file."""

    entries: dict[str, Entry]
    where: Mark
    key: Mark

    def get(self, name: str) -> Node | None:
        """The value under `name`; None where there is no such key."""
        entry = self.entries.get(name)
        return None if entry is None else entry.value

    def __getitem__(self, name: str) -> Node:
        return self.entries[name].value

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)


Node = Text | Seq | Map


def to_python(node: Node) -> Any:
    """Dicts, lists, None and `SourceText`s: what a schema types."""
    if isinstance(node, Map):
        return {entry.name: to_python(entry.value) for entry in node}
    if isinstance(node, Seq):
        return [to_python(item) for item in node]
    return None if node.is_null else SourceText(node.value, node, node.plain)


def describe(node: Node) -> str:
    """What stands there, as prose: the list [a, b], the text `abc`, nothing."""
    if isinstance(node, Text):
        return "nothing" if node.is_null else f"the text `{_cut(node.written)}`"
    return f"the {'list' if isinstance(node, Seq) else 'map'} {_cut(_flow(node))}"


def _flow(node: Node) -> str:
    if isinstance(node, Map):
        return "{" + ", ".join(f"{entry.name}: {_flow(entry.value)}" for entry in node) + "}"
    if isinstance(node, Seq):
        return "[" + ", ".join(map(_flow, node)) + "]"
    return node.written


def _cut(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


_PROPERTIES = re.compile(r"(?:[&!][^\s]*\s+)*")
_BLOCK_HEADER = re.compile(r"[|>][^\n\r]*(?:\r\n|[\n\r])")
_GAP = re.compile(r"[ \t\r\n\x85\u2028\u2029]+")
_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.S)
_CONTINUED = re.compile(r"(?:\\(?:\r\n|[\n\r\x85\u2028\u2029])[ \t\r\n\x85\u2028\u2029]*)*")


def _places(node: Text) -> list[int] | None:
    """For each character of `written`, its index in the file; None where they don't line up.

    Walks value and source side by side, so every style of scalar needs one rule at most: escapes
    in double quotes, doubled single quotes, and breaks with indentation that YAML folds.
    """
    raw, at = node.source.text, node.start
    at = _at_end_of(_PROPERTIES, raw, at, node.end)
    quote = raw[at : at + 1] if not node.plain else ""
    if quote in ("'", '"'):
        at += 1
    elif quote:
        at = _at_end_of(_BLOCK_HEADER, raw, at, node.end)
    places: list[int] = []
    for character in node.written:
        if quote == '"':
            at = _at_end_of(_CONTINUED, raw, at, node.end)
        elif raw[at : at + 1] != character:
            at = _skip_indentation(raw, at, node.end, character)
        if at >= node.end:
            return None
        places.append(at)
        escape = _ESCAPE.match(raw, at, node.end) if quote == '"' else None
        if escape is not None:
            at = escape.end()
        elif quote == "'" and character == "'":
            at += 2
        elif raw[at] == character:
            at += 1
        elif character in " \n" and (gap := _GAP.match(raw, at, node.end)):
            at = gap.end()
        else:
            return None
    return places


def _skip_indentation(raw: str, at: int, end: int, character: str) -> int:
    """Step over the white space in front of `character`, where that is all there is."""
    gap = _GAP.match(raw, at, end)
    if gap is not None and character not in " \n" and raw[gap.end() : gap.end() + 1] == character:
        return gap.end()
    return at


def _at_end_of(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    match = pattern.match(text, start, end)
    return start if match is None else match.end()
