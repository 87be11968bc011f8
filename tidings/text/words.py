"""Words: the few things that texts say differently by language, for the filters of templates.

A language that is not here says them in English; its templates can do without these filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = (str, int)  # a union would be made anew for each name


@dataclass(frozen=True)
class Words:
    """What one language says. ``{n}`` is the number of those who are not named."""

    nobody: str
    two: str
    one_more: str
    more: str

    def others(self, actors: Sequence[Any] | str, count: int | None = None) -> str:
        """Who did it: "Alice", "Alice and Bob", "Alice and 49 others".

        ``actors`` are names, newest first, as many as were kept; ``count`` is how many distinct
        ones there are, by default as many as are named.
        """
        named = [actors] if isinstance(actors, str) else actors
        names = [str(name) for name in named if isinstance(name, _NAMES) and name != ""]
        total = len(names) if count is None else max(int(count), 0)
        if not names or total == 0:
            return self.nobody
        if total == 1:
            return names[0]
        if total == 2 and len(names) > 1:
            return self.two.format(names[0], names[1])
        if total == 2:
            return self.one_more.format(names[0])
        return self.more.format(names[0], n=total - 1)

    def plural(self, count: float, one: str, other: str) -> str:
        """``one`` for 1, else ``other``: ``{{ count|plural("like", "likes") }}``."""
        return one if count == 1 else other


_WORDS = {
    "en": Words("Someone", "{} and {}", "{} and 1 other", "{} and {n} others"),
    "es": Words("Alguien", "{} y {}", "{} y 1 persona más", "{} y {n} personas más"),
}


def words_of(language: str) -> Words:
    """The words of a language, such as ``es``; English where there are none."""
    return _WORDS.get(language, _WORDS["en"])
