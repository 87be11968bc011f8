"""The tree of an expression, as the parser makes it and the compiler walks it.

Each node knows `start` and `end`, the characters of the text that it was read from, and its
`operands`, the nodes right below it in the order in which they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["boolean", "number", "text", "null", "list", "map", "any"]
"""What a node is known to give before any event is seen."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: str | int | float | bool | None
    start: int
    end: int

    @property
    def operands(self) -> tuple[Tree, ...]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Path:
    """A field of the event: a name, then keys and indexes."""

    parts: tuple[str | int, ...]
    start: int
    end: int

    @property
    def root(self) -> str:
        """The name at its head."""
        return str(self.parts[0])

    @property
    def operands(self) -> tuple[Tree, ...]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Item:
    """A key or index that has to be computed, or of something computed: `items[n - 1]`."""

    base: Tree
    index: Tree
    start: int
    end: int

    @property
    def operands(self) -> tuple[Tree, ...]:
        """What is looked into, and the index."""
        return (self.base, self.index)


@dataclass(frozen=True, slots=True)
class Items:
    """A list: `['like', 'comment']`."""

    operands: tuple[Tree, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`not a` or `-a`."""

    sign: str
    operand: Tree
    start: int
    end: int

    @property
    def operands(self) -> tuple[Tree, ...]:
        """The one."""
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and what stands between them."""

    sign: str
    left: Tree
    right: Tree
    start: int
    end: int

    @property
    def operands(self) -> tuple[Tree, ...]:
        """Left and right."""
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Choice:
    """`then if test else other`."""

    test: Tree
    then: Tree
    other: Tree
    start: int
    end: int

    @property
    def operands(self) -> tuple[Tree, ...]:
        """Then, test, other."""
        return (self.then, self.test, self.other)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the table, with its arguments."""

    function: str
    operands: tuple[Tree, ...]
    start: int
    end: int


Tree = Constant | Path | Item | Items | Unary | Binary | Choice | Call


def walk(tree: Tree) -> Iterator[Tree]:
    """The node and all below it."""
    yield tree
    for operand in tree.operands:
        yield from walk(operand)
