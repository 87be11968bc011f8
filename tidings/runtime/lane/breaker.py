"""A circuit breaker for one provider: while most sends fail, none is wasted on it.

    closed ──► open ──► half-open ──► closed      `probes` in a row were good
                 ▲          │
                 └──────────┘                     one was bad: open again, for twice as long

It opens when of at least `volume` answers in the last `window` a `share` was bad. Bad is a
provider's failure: a transient error, or no answer at all. A recipient's or a message's error is
none, a rate limit is neither good nor bad, and credentials that it refuses stop it at once
(``Quota.stop``).

It is told of answers once a round, and looks at no clock. Answers to sends that left before
``since`` tell nothing of now: they are not to be counted.
"""

from __future__ import annotations

from enum import StrEnum

from tidings.operators.send import BreakerSpec

_SLICES = 10  # of a window
_NEVER = 1 << 62


class State(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"  # everything
    OPEN = "open"  # nothing
    HALF_OPEN = "half_open"  # probes


_CLOSED = State.CLOSED  # a member of an enum costs 0.1 µs to name


class Breaker:
    """The state of one provider in one process. Times are epoch ms."""

    def __init__(self, spec: BreakerSpec) -> None:
        self.state = State.CLOSED
        self.until = 0  # while it is open: when it is tried again
        self.since = 0
        self._spec = spec
        self._slice_ms = max(1, spec.window // _SLICES)
        self._slices: dict[int, list[int]] = {}  # number of the slice → good, bad
        self._pause = spec.pause
        self._proven = 0  # good probes in a row

    @property
    def closed(self) -> bool:
        """Whether everything may go."""
        return self.state is _CLOSED

    def probes(self, in_flight: int, now: int) -> int:
        """How many sends may be tried while it is not closed."""
        if self.state is State.OPEN and now >= self.until:
            self.state = State.HALF_OPEN
            self.since = now
            self._proven = 0
        if self.state is State.HALF_OPEN:
            return max(0, self._spec.probes - self._proven - in_flight)
        return 0

    def answered(self, good: int, bad: int, now: int) -> State | None:
        """Take a round's answers into account, of those that count; gives the state that it has
        come to, None where it stays in its own."""
        if self.state is State.CLOSED:
            return self._open(now) if self._failing(good, bad, now) else None
        if self.state is State.OPEN:
            return None
        if bad:
            self._pause = min(self._pause * 2, self._spec.longest)
            return self._open(now)
        self._proven += good
        return self._close() if self._proven >= self._spec.probes else None

    def _failing(self, good: int, bad: int, now: int) -> bool:
        number = now // self._slice_ms
        slices = self._slices
        if number not in slices:
            first = number - _SLICES + 1
            self._slices = slices = {n: s for n, s in slices.items() if first <= n <= number}
            slices[number] = [0, 0]
        own = slices[number]
        own[0] += good
        own[1] += bad
        if not bad:
            return False
        failed = sum(each[1] for each in slices.values())
        total = failed + sum(each[0] for each in slices.values())
        return total >= self._spec.volume and failed >= self._spec.share * total

    def _open(self, now: int) -> State:
        self.state = State.OPEN
        self.until = now + self._pause
        self.since = _NEVER
        self._slices = {}
        return self.state

    def _close(self) -> State:
        self.state = State.CLOSED
        self._pause = self._spec.pause
        return self.state
