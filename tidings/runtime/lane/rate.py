"""A token bucket for one provider: no stretch of time sees more sends than its rate allows.

    at_most 5 in 1 s, burst 2      |··       ·      ·      ·       |··      …
                                    0      250    500    750     1,000 ms

`burst` tokens to begin with, and one each `within / (at_most - burst + 1)`: so the burst and what
comes back behind it are `at_most` in any `within`, wherever that begins. (The theoretical arrival
time of GCRA stands for the level: one number, in ns.)

Where a provider does not count what it refuses as too many, such a send's token is given back as
if it had never been taken. For that the bucket remembers when it was taken, for a minute.
"""

from __future__ import annotations

from math import ceil

from tidings.rates import Rate

_NS = 1_000_000  # in a millisecond
_REMEMBERED = 60_000  # ms: no answer is awaited for so long


class Bucket:
    """The tokens of one provider in one process; ``share`` is its part of the rate."""

    def __init__(self, rate: Rate, *, counts_limited: bool = True, share: float = 1.0) -> None:
        self._rate = rate
        self._full_at = 0  # ns: when all tokens will be back
        self._before = 0  # the same, without what is in _taken
        self._taken: dict[int, int] | None = None if counts_limited else {}  # ms → tokens
        self.share(share)

    def share(self, share: float) -> None:
        """From now on this process has this part of the rate; the parts of all are 1 at the most.

        A part that is less than one send in ``within`` is one in a longer time.
        """
        rate = self._rate
        at_most = max(share * rate.at_most, 1e-9)
        whole = max(1, int(at_most + 1e-9))
        self._burst = min(max(1, ceil(rate.burst * share)), whole)
        within = rate.within / min(1.0, at_most)
        self._apart = ceil(within * _NS / (whole - self._burst + 1))

    def free(self, now: int) -> int:
        """How many tokens there are; ``now`` is epoch ms."""
        at = now * _NS
        owed = max(0, self._full_at - at)
        # A clock that was set back would make it wait for the time that it lost.
        owed = min(owed, self._burst * self._apart)
        return self._burst - -(-owed // self._apart)

    def take(self, count: int, now: int) -> None:
        """Take tokens; there were as many."""
        self._full_at = self._add(self._bounded(now), count, now)
        if self._taken is not None:
            self._forget(now)
            self._taken[now] = self._taken.get(now, 0) + count

    def give_back(self, count: int, taken_at: int) -> None:
        """So many of those that were taken at ``taken_at`` were not counted by the provider."""
        taken = self._taken
        if taken is None or taken_at not in taken:
            return
        taken[taken_at] = max(0, taken[taken_at] - count)
        full_at = self._before
        for at, tokens in taken.items():
            full_at = self._add(full_at, tokens, at)
        self._full_at = min(full_at, self._full_at)

    def next_at(self) -> int:
        """When there is a token (epoch ms), in the past where there is one."""
        return -(-(self._full_at - (self._burst - 1) * self._apart) // _NS)

    def _bounded(self, now: int) -> int:
        return min(self._full_at, now * _NS + self._burst * self._apart)

    def _add(self, full_at: int, count: int, now: int) -> int:
        return max(full_at, now * _NS) + count * self._apart

    def _forget(self, now: int) -> None:
        taken = self._taken
        while taken and (oldest := next(iter(taken))) < now - _REMEMBERED:
            self._before = self._add(self._before, taken.pop(oldest), oldest)
