"""Words: the few things that texts say differently by language, for the filters of templates.

A language that is not here says them in English; its templates can do without these filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = (str, int)  # a union would be made anew for each name
_SAID = 2  # names, at the most


@dataclass(frozen=True)
class Words:
    """What one language says; in ``more`` the number of those who are not named comes last."""

    nobody: str
    two: str
    one_more: str
    more: str

    def others(self, actors: Sequence[Any] | str, count: int | None = None) -> str:
        """Who did it: "Alice", "Alice and Bob", "Alice and 49 others".

        ``actors`` are names, newest first, as many as were kept; ``count`` is how many distinct
        ones there are, by default as many as are named.
        """
        names = []
        for name in [actors] if isinstance(actors, str) else actors:
            if name != "" and isinstance(name, _NAMES):
                names.append(name)
                if count is not None and len(names) == _SAID:
                    break
        total = len(names) if count is None else int(count)
        if not names or total <= 0:
            return self.nobody
        first = str(names[0])
        if total == 1:
            return first
        if total > 2:
            return self.more % (first, total - 1)
        return self.two % (first, names[1]) if len(names) > 1 else self.one_more % first

    def plural(self, count: float, one: str, other: str) -> str:
        """``one`` for 1, else ``other``: ``{{ count|plural("like", "likes") }}``."""
        return one if count == 1 else other


_WORDS = {
    "en": Words("Someone", "%s and %s", "%s and 1 other", "%s and %s others"),
    "es": Words("Alguien", "%s y %s", "%s y 1 persona más", "%s y %s personas más"),
}


def words_of(language: str) -> Words:
    """The words of a language, such as ``es``; English where there are none."""
    return _WORDS.get(language, _WORDS["en"])
