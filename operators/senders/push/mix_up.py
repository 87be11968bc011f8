"""A guard for every sender: many bad addresses at once are our mistake, not the addresses'."""

from __future__ import annotations

from collections import deque

import msgspec

WINDOW = 60_000
"""ms: what is older is not looked at."""
MOST = 1_000
"""Answers: what came before the last so many is not looked at either, so that a mix-up in the
middle of a blast is seen after 500 bad ones, and not after half a minute of them."""
LEAST = 20
"""Bad ones: fewer are no mix-up."""

_SLICE = 5_000  # ms
_FULL = 100  # answers
_SLICES = WINDOW // _SLICE + MOST // _FULL + 2  # in them there are always all that are looked at


class _Slice(msgspec.Struct, gc=False):
    """Answers of a few seconds, or about a hundred of them."""

    since: int
    good: int = 0
    bad: int = 0


class MixUp:
    """Tells a few bad tokens from a topic or an environment that does not fit them all.

    Of the last thousand answers, as far as they came within the last minute: a mix-up is at least
    20 bad tokens, and more of them than good ones. Without it such a slip would have every device
    removed. It lasts until one is good: what is tried meanwhile, one at a time, would be removed
    one by one.

    A sender counts what is ``good`` itself, and has the guard look at the clock with each batch
    that it sends: what was good since the last look is taken to be of then.
    """

    def __init__(self) -> None:
        self.good = 0
        self._slices = deque([_Slice(0)], maxlen=_SLICES)
        self._mixed_up = False

    def look(self, now: int) -> None:
        """It is ``now``, epoch ms."""
        newest = self._slices[-1]
        if self.good:
            newest.good += self.good
            self.good = 0
            self._mixed_up = False
        if not 0 <= now - newest.since < _SLICE or newest.good + newest.bad >= _FULL:
            self._slices.append(_Slice(now))

    def bad(self, now: int) -> bool:
        """Counts a bad token at ``now`` (epoch ms); tells whether it is one of very many."""
        self.look(now)
        self._slices[-1].bad += 1
        if not self._mixed_up:
            good, bad = self._recent(now)
            self._mixed_up = bad >= LEAST and bad > good
        return self._mixed_up

    def _recent(self, now: int) -> tuple[int, int]:
        good = bad = 0
        for one in reversed(self._slices):
            room = MOST - good - bad
            if not room or not 0 <= now - one.since < WINDOW:
                break
            some = min(one.bad, room)
            bad += some
            good += min(one.good, room - some)
        return good, bad
