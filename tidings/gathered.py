"""What a digest knows of each of its members, so that some can be taken out and the rest is exact.

A field of all members is a column: each distinct text once, and a small number for each member. So
what is known costs a byte or two for each member, however long its texts are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

NAMED = 10  # newest actors that a template gets by name; their number is exact
COUNTED = 50  # values that are counted under their own name
OTHER = "other"  # under which the further ones are


class Column(msgspec.Struct, array_like=True, gc=False):
    """A field of all members: ``of`` has for each the number of its text, -1 where it has none."""

    numbers: dict[str, int] = {}
    of: list[int] = []

    def add(self, value: Any) -> None:
        """The next member's value; what is no text counts by its text, and null as none."""
        if type(value) is not str:
            if value is None:
                self.of.append(-1)
                return
            value = str(value)
        numbers = self.numbers
        self.of.append(numbers.setdefault(value, len(numbers)))

    def fill(self, count: int) -> None:
        """Nothing is known of the members up to the ``count``-th that it does not have."""
        self.of += [-1] * (count - len(self.of))

    def texts(self) -> list[str | None]:
        """Each member's text."""
        texts = [*self.numbers, None]  # -1 is the last one
        return [texts[number] for number in self.of]

    def only(self, places: Iterable[int]) -> Column:
        """The column of these members alone; texts that nobody has any more are not kept."""
        column, texts = Column(), self.texts()
        for place in places:
            column.add(texts[place])
        return column


class Gathered(msgspec.Struct, array_like=True, gc=False):
    """The members of a digest, in order.

    ``columns`` are fields of theirs by name. Of those ``actors`` names the one that is who did it,
    and ``counts`` the one that is counted by its values, or nothing. ``names`` is what an actor is
    called; who is not among them does not count. ``items`` has for each event that is told whole
    which member it is (-1: unknown), ``expires`` when each member expires, 0 for never.
    """

    columns: dict[str, Column]
    expires: list[int] = []
    items: list[int] = []
    names: dict[str, Any] = {}
    actors: str = ""
    counts: str = ""

    def told(self) -> dict[str, Any]:
        """The fields of a digest that are about its members, but for ``items``."""
        told: dict[str, Any] = {"count": len(self.expires)}
        names: list[Any] = []
        if self.actors:
            newest = dict.fromkeys(reversed(self.columns[self.actors].texts()))
            names = [self.names[actor] for actor in newest if actor in self.names]
        told["actors"], told["actor_count"] = names[:NAMED], len(names)
        if self.counts:
            told["counts"] = _bounded(self.columns[self.counts].texts())
        return told

    def expires_at(self) -> int:
        """When the last of them expires, 0 for never."""
        return max(self.expires, default=0) if all(self.expires) else 0

    def only(self, places: Sequence[int]) -> Gathered:
        """Of these members alone; ``places`` ascend."""
        columns = {name: column.only(places) for name, column in self.columns.items()}
        names = self.names
        if self.actors:
            names = {
                key: name for key, name in names.items() if key in columns[self.actors].numbers
            }
        at = {place: number for number, place in enumerate(places)}
        return Gathered(
            columns,
            [self.expires[place] for place in places],
            [at[place] for place in self.items if place in at],
            names,
            self.actors,
            self.counts,
        )


def _bounded(texts: Iterable[str | None]) -> dict[str, int]:
    """How often each value is there; beyond ``COUNTED`` values together, as ``OTHER``."""
    counts = Counter(text for text in texts if text is not None)
    if len(counts) <= COUNTED:
        return dict(counts)
    named = dict(islice(counts.items(), COUNTED))
    named[OTHER] = named.get(OTHER, 0) + counts.total() - sum(named.values())
    return named
