"""YAML text to nodes, on PyYAML's parser events.

Events and not PyYAML's own composer, because that one recurses (a deep file would end the
process), resolves types by YAML 1.1 and lets a second key win. Bounds hold for what a file
*expands* to, so a few lines of aliases can't become gigabytes.

Refused, each with its place: several documents, tags such as `!!python/object`, merge keys, keys
that are no texts, keys given twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import yaml

from tidings.load.environment import interpolate
from tidings.load.mistakes import explain, index_of
from tidings.load.nodes import Entry, Map, Node, Seq, Source, Text
from tidings.problems import Mark, Problems

MAX_CHARACTERS = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 64

_PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff"
)
_PLAIN_STYLES = ("", None)


def read_file(path: Path, env: Mapping[str, str], problems: Problems) -> Node | None:
    """Read a file of UTF-8; None where it can't be, which is then among the problems."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where, hint = _start_of(str(path)), _instead(path)
        problems.error("unreadable-file", f"can't read the file: {reason}", where, hint=hint)
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - (error.object.rfind(b"\n", 0, error.start) + 1) + 1
        problems.error(
            "unreadable-file",
            "the file is not UTF-8",
            Mark(str(path), line, column),
            hint="save it as UTF-8",
        )
        return None
    return read(text, str(path), env, problems)


def _instead(path: Path) -> str | None:
    """What else may have been meant."""
    if path.is_dir():
        return "there is no flow in this folder: name a file"
    near = Path("flows") / path.with_suffix(".yaml").name
    if near != path and near.is_file():
        return f"did you mean {near}?"
    return None


def read(text: str, file: str, env: Mapping[str, str], problems: Problems) -> Node | None:
    """The tree of a YAML text; `file` is what its marks say.

    None where there is no tree (broken YAML, an empty file). Keys given twice and unset variables
    are problems too, but leave a tree, so that the rest of the file is checked as well.
    """
    text = text.removeprefix("\ufeff")
    source = Source(file, text)
    if len(text) > MAX_CHARACTERS:
        problems.error(
            "too-large",
            f"the file has {len(text)} characters; at most {MAX_CHARACTERS} are read",
            _start_of(file),
        )
        return None
    if (odd := _UNPRINTABLE.search(text)) is not None:
        problems.error(
            "bad-yaml",
            f"the character U+{ord(odd[0]):04X} can't stand in a file",
            source.mark(odd.start()),
            hint=f'remove it, or write it as "\\u{ord(odd[0]):04X}" in double quotes',
        )
        return None
    try:
        return _Composer(source, env, problems).compose(yaml.parse(text, Loader=_PARSER))
    except yaml.MarkedYAMLError as error:
        problems.add(explain(error, source))
    except _Refused:
        pass
    return None


class _Refused(Exception):
    """The file can't be read on; the problem has been reported."""


@dataclass(slots=True)
class _Open:
    """A map or list whose end has not come yet."""

    start: int
    key: Mark
    is_map: bool
    anchor: str | None
    size_before: int
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    name: Text | None = None

    def label(self) -> str:
        """This one's part of a path."""
        if self.is_map:
            return f".{self.name.value}" if self.name is not None else ""
        return f"[{len(self.items)}]"


class _Composer:
    """Builds the tree, one event at a time, with a stack of its own."""

    def __init__(self, source: Source, env: Mapping[str, str], problems: Problems) -> None:
        self._source = source
        self._env = env
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._size = 0
        self._root: Node | None = None
        self._documents = 0

    def compose(self, events: Iterable[yaml.Event]) -> Node | None:
        """The root; raises `_Refused` or `yaml.MarkedYAMLError`."""
        for event in events:
            start, end = index_of(event.start_mark), index_of(event.end_mark)
            if isinstance(event, yaml.DocumentStartEvent):
                self._document(start)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor or "", start, end)
            elif isinstance(event, yaml.ScalarEvent):
                self._check_tag(event.tag, start)
                self._scalar(event, start, end)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._check_tag(event.tag, start)
                self._open(event, start)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._close(end)
        if self._root is None:
            self._refuse("empty-file", "the file is empty", _start_of(self._source.file))
        return self._root

    def _document(self, start: int) -> None:
        self._documents += 1
        if self._documents > 1:
            self._refuse(
                "several-documents",
                "a second document begins here",
                self._source.mark(start, start + 3),
                "one file holds one document: put the second one into a file of its own",
            )

    def _scalar(self, event: yaml.ScalarEvent, start: int, end: int) -> None:
        where = self._source.mark(start, end)
        key = self._key(where)
        plain = event.style in _PLAIN_STYLES and not event.tag
        node = Text(
            event.value,
            where if end > start else key,
            key,
            plain,
            event.value,
            self._source,
            start,
            end,
        )
        self._count(1, node.where)
        if not self._expects_key():
            node = interpolate(node, self._env, self._problems, self._path())
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, 1, 0)
        self._take(node)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, start: int) -> None:
        where = self._source.mark(start)
        if self._expects_key():
            braces = self._source.text[max(0, start - 1) : start + 1] == "{{"
            hint = "a text that begins with `{{` needs quotes" if braces else None
            self._refuse("bad-key", "a key must be a text", where, hint)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse("too-large", f"nested deeper than {MAX_DEPTH} levels", where)
        is_map = isinstance(event, yaml.MappingStartEvent)
        self._count(1, where)
        key = self._key(where)
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._stack.append(_Open(start, key, is_map, event.anchor, self._size - 1))

    def _close(self, end: int) -> None:
        done = self._stack.pop()
        where = self._source.mark(done.start, end)
        node: Node
        if done.is_map:
            node = Map(done.entries, where, done.key)
        else:
            node = Seq(tuple(done.items), where, done.key)
        if done.anchor is not None:
            size = self._size - done.size_before
            self._anchors[done.anchor] = (node, size, _depth(node))
        self._take(node)

    def _alias(self, name: str, start: int, end: int) -> None:
        where = self._source.mark(start, end)
        if name not in self._anchors:
            # An anchor of a map that is still open is not known yet either: no loops.
            self._refuse(
                "bad-alias",
                f"`*{name}` stands for nothing above it",
                where,
                f"put `&{name}` in front of what it repeats, above it; "
                "a text that begins with * needs quotes",
            )
        node, size, depth = self._anchors[name]
        self._count(size, where)
        if len(self._stack) + depth > MAX_DEPTH:
            self._refuse("too-large", f"nested deeper than {MAX_DEPTH} levels", where)
        self._take(replace(node, key=self._key(where)))

    def _take(self, node: Node) -> None:
        """Hang a whole node on what is open: as the root, an item, a key or a key's value."""
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if not top.is_map:
            top.items.append(node)
        elif top.name is None:
            top.name = self._checked_key(node)
        else:
            name = top.name
            first = top.entries.get(name.value)
            if first is None:
                top.entries[name.value] = Entry(name.value, name.where, node)
            else:
                self._problems.error(
                    "duplicate-key",
                    f"`{name.value}` is given twice in one map",
                    name.where,
                    self._path(),
                    "only one of them can hold: remove one, or join the two",
                    first.where,
                )
            top.name = None

    def _checked_key(self, node: Node) -> Text:
        if not isinstance(node, Text):
            self._refuse("bad-key", "a key must be a text", node.where)
        elif node.plain and not node.written:
            self._refuse("bad-key", "the name in front of the `:` is missing", node.where)
        elif node.plain and node.written == "<<":
            self._refuse(
                "merge-key",
                "merge keys (`<<`) are not supported",
                node.where,
                "write the fields out, or share the whole map: `&name` there, `*name` here",
            )
        return node

    def _check_tag(self, tag: str | None, start: int) -> None:
        if tag is not None and tag not in ("!", "tag:yaml.org,2002:str"):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(
                "yaml-tag",
                f"the tag `{shown}` is not supported",
                self._source.mark(start, start + len(shown)),
                "leave it out: the field's own type decides; a text needs quotes to start with !",
            )

    def _count(self, size: int, where: Mark) -> None:
        self._size += size
        if self._size > MAX_NODES:
            self._refuse(
                "too-large", f"the file expands to more than {MAX_NODES} values here", where
            )

    def _expects_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].is_map and self._stack[-1].name is None

    def _key(self, where: Mark) -> Mark:
        """The mark of what holds the node that begins now."""
        if not self._stack:
            return self._source.mark(0)
        name = self._stack[-1].name
        return where if name is None else name.where

    def _path(self) -> str:
        return "".join(part.label() for part in self._stack).lstrip(".")

    def _refuse(self, code: str, message: str, where: Mark, hint: str | None = None) -> NoReturn:
        path = "" if code == "too-large" else self._path()
        self._problems.error(code, message, where, path, hint)
        raise _Refused


def _depth(node: Node) -> int:
    if isinstance(node, Text):
        return 0
    inner = node.items if isinstance(node, Seq) else [entry.value for entry in node]
    return 1 + max(map(_depth, inner), default=0)


def _start_of(file: str) -> Mark:
    return Mark(file, 1, 1)
