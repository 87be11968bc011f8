"""How many sends a provider gets at once: as many as it takes well, and never none.

    it says "too many" to a tenth of them     three quarters of what it had, down to 1
    its answers take far longer than usual    less, by as much; down to an eighth of the most
    else, and all places were taken           a little more, and each time in a row twice that

Judged once in the time that an answer takes. A latency alone takes it down to an eighth only: a
provider may be slow whatever we do, and would starve.

After an outage it begins anew with a few, doubling from second to second: what has waited for it
must not be what brings it down again.
"""

from __future__ import annotations

from math import ceil

_LIMITED = 0.1  # of the answers; some are about one device alone, and would always slow us down
_LESS = 0.75
_SLOW = 2  # times the usual latency, and …
_SLACK = 200  # … ms on top: jitter, and rounds of our own
_LEAST_PART = 8
_STEP_PART = 32
_ROUND = 100  # ms between two judgements at the least
_FIRST = 4  # sends in flight after an outage


class Concurrency:
    """The limit of one provider in one process, from 1 to ``most``. Times are epoch ms."""

    def __init__(self, most: int, double_ms: int = 1_000) -> None:
        self.most = self.last = most  # the last limit that was told
        self._limit = float(most)
        self._double_ms = double_ms
        self._restarted = 0  # 0: it is not beginning anew
        self._step = self._least_step = max(1.0, most / _STEP_PART)
        self._usual = 0.0  # latency, ms
        self._judged_at = 0
        self._answers = self._limited = 0
        self._waits = 0  # latencies …
        self._timed = 0  # … of so many rounds
        self._full = False

    def limit(self, now: int) -> int:
        """How many may be in flight."""
        limit = self._limit
        if self._restarted:
            grown = _FIRST * 2.0 ** max(0.0, min(64, (now - self._restarted) / self._double_ms))
            if grown < limit:
                limit = grown
            else:
                self._restarted = 0
        self.last = int(limit)
        return self.last

    def restart(self, now: int) -> None:
        """It has been away: begin with a few."""
        self._restarted = now

    def answered(self, answers: int, limited: int, latency: int, full: bool, now: int) -> None:
        """Take a round's answers into account: how many, how many of them said "too many", the
        latency of one of them (ms), and whether all places were taken."""
        self._answers += answers
        self._limited += limited
        self._waits += latency
        self._timed += 1
        self._full = self._full or full
        if not 0 <= now - self._judged_at < max(_ROUND, self._usual):
            self._judge(now)

    def _judge(self, now: int) -> None:
        latency = self._waits / self._timed
        usual = self._usual or latency
        if self._limited > _LIMITED * self._answers:
            self._lower(max(1.0, self._limit * _LESS))
        elif latency > _SLOW * usual + _SLACK:
            least = ceil(self.most / _LEAST_PART)
            self._lower(max(min(least, self._limit), self._limit * max(0.5, usual / latency)))
        elif self._full:
            self._raise()
        # It gets used to a slower pace slowly, and to a faster one fast.
        self._usual = usual + (latency - usual) * (0.05 if latency > usual else 0.3)
        self._judged_at = now
        self._answers = self._limited = self._waits = self._timed = 0
        self._full = False

    def _lower(self, limit: float) -> None:
        self._limit = limit
        self._step = self._least_step

    def _raise(self) -> None:
        self._limit = min(self._limit + self._step, float(self.most))
        self._step *= 2
