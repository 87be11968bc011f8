"""A guard for every push sender: many bad tokens at once are our mistake, not the devices'."""

from __future__ import annotations


class MixUp:
    """Tells a few bad tokens from a topic or an environment that does not fit them all.

    Of the answers of the last half to whole minute: a mix-up is at least 20 bad tokens, and more of
    them than good ones. Without it such a slip would have every device removed. It lasts until
    one is good: what is tried meanwhile, one at a time, would be removed one by one.
    """

    LEAST = 20
    HALF = 30_000  # ms

    def __init__(self) -> None:
        self.good = 0
        self._bad = 0
        self._before = (0, 0)
        self._since = 0
        self._good_before = -1  # how many were good when the mix-up was seen; -1 for none

    def bad(self, now: int) -> bool:
        """Counts a bad token at ``now`` (epoch ms); tells whether it is one of very many."""
        if self.good == self._good_before:
            self._bad += 1
            return True
        age = now - self._since
        if age >= self.HALF:
            self._before = (self.good, self._bad) if age < 2 * self.HALF else (0, 0)
            self.good = self._bad = 0
            self._since = now
        self._bad += 1
        good, bad = self._before
        bad += self._bad
        mixed_up = bad >= self.LEAST and bad > good + self.good
        self._good_before = self.good if mixed_up else -1
        return mixed_up
