"""What one provider has in hand: its sends in flight, those that wait for a place, and its state.

busy       all places are taken and what comes waits; the lane reads no more than fits
congested  what came has waited longer than the lane's patience: the rest goes to the ladder
away       stopped: it refuses us (credentials, settings); or down: its breaker is open. Nothing is
           sent but a probe now and then

How many places there are at a time, and how many sends a second, is decided by ``concurrency``,
``rate`` and ``breaker``; here they meet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import structlog

from tidings.operators.send import BreakerSpec
from tidings.rates import Rate
from tidings.runtime.alerts import Alerts, Cause
from tidings.runtime.lane.breaker import Breaker, State
from tidings.runtime.lane.concurrency import Concurrency
from tidings.runtime.lane.rate import Bucket
from tidings.sender import Answer, Send, Verdict

_LOG = structlog.get_logger(__name__)
LEAST_BACKLOG = 100
_STOPPED = (
    "it refuses our credentials or settings: check them under providers.{name} in "
    "config/tidings.yaml, and with `tidings check --connect`; messages wait"
)
_DOWN = (
    "most sends to it fail: see its status page and the way to it; messages wait, and it is tried "
    "again by itself"
)
_ITS_OWN = (Verdict.RETRY, Verdict.AMB)  # failures that are the provider's


class Quota:
    """One provider's places.

    ``spills``: other providers are served by the same lane and there is a ladder to spill to.
    Without, what this one can't take waits, and the lane reads no further: nobody is held up.
    """

    def __init__(
        self,
        name: str,
        places: int,
        patience_ms: int,
        *,
        spills: bool,
        breaker: BreakerSpec,
        rate: Rate | None = None,
        counts_limited: bool = True,
        double_ms: int = 1_000,
        alerts: Alerts,
    ) -> None:
        self.name = name
        self._alerts = alerts
        self.places = places
        self.spills = spills
        self.waiting: deque[Send] = deque()  # of each, ``now`` is when it came
        self.in_flight = 0
        self.resting = 0  # those that wait for a time, not for a place
        self.congested = False
        self.stopped_until = 0  # 0 while it takes our credentials
        self._stopped_at = 0
        self.breaker = Breaker(breaker)
        self.bucket = Bucket(rate, counts_limited=counts_limited) if rate is not None else None
        self.answers = self.good = self.bad = self.limited = 0  # since the last round
        self.latency = 0  # ms, of one of them
        self._turned = 0  # answers since what is older got an opening
        self.taken_at = 0  # when the latest send left that it has taken
        self.failure = ""  # its word for the last failure of its own
        self._concurrency = Concurrency(places, double_ms)
        self._patience_ms = patience_ms
        self._backlog = max(places, LEAST_BACKLOG)  # fills all places again at once

    @property
    def most(self) -> int:
        """How many sends it can make the lane hold: in flight, waiting, resting."""
        return self.places + 3 * self._backlog

    @property
    def away(self) -> bool:
        """Whether nothing but a probe may be sent."""
        return self.stopped_until > 0 or not self.breaker.closed

    @property
    def why(self) -> str:
        """Why it takes no more, for outcomes."""
        if self.stopped_until:
            return "provider_stopped"
        return "provider_full" if self.breaker.closed else "provider_down"

    def room(self) -> int:
        """How many more sends may come; what spills turns none away."""
        if self.spills and (self.congested or self.away):
            return self._backlog
        return self.places + self._backlog - self.in_flight - len(self.waiting)

    def full_of_retries(self) -> bool:
        """Whether another retry in place would take the room of what is new."""
        return self.resting >= 2 * self._backlog

    def free(self, now: int) -> int:
        """How many may be sent now."""
        places = self._probes(now) if self.away else self._concurrency.limit(now) - self.in_flight
        return places if self.bucket is None else min(places, self.bucket.free(now))

    def opening(self, now: int, share: int = 0) -> int:
        """How many of those that wait for it on the ladder, or as letters, may come before they are
        due: as many as are sent at once, be it as probes. Where what is new takes all places they
        get a ``share`` of the room, for they are older; but no more than half of what it has
        answered since they got some: one that hangs takes none, and they would be put off again.
        """
        if self.away:
            return self._probes(now) - len(self.waiting)
        if self.congested:
            return 0
        if not self.waiting:
            self._turned = 0
            return self.free(now)
        opening = max(0, min(share, -(-self._turned // 2)))
        if opening:
            self._turned = 0
        return opening

    def share(self, share: float) -> None:
        """This process has this part of the provider's rate."""
        if self.bucket is not None:
            self.bucket.share(share)

    def depart(self, count: int, now: int) -> None:
        """So many are on their way."""
        self.in_flight += count
        if self.bucket is not None:
            self.bucket.take(count, now)

    def deadline(self) -> int:
        """When one of those that wait can be sent, be it as a probe, or has waited too long (epoch
        ms); 0 where an answer has to come first."""
        if self.away:
            return 0 if self.in_flight else self.stopped_until or self.breaker.until
        if self.in_flight < self._concurrency.last:
            came = self.waiting[0].now
            return came if self.bucket is None else max(came, self.bucket.next_at())
        if not self.spills:
            return 0
        return self.waiting[0].now + self._patience_ms + 1

    def spilling(self, now: int) -> Iterator[Send]:
        """What is to go to the ladder, so that others are not held up."""
        waiting = self.waiting
        if not self.spills:
            return
        if self.away:
            yield from self._beyond(self._probes(now))
        overdue = bool(waiting) and now - waiting[0].now > self._patience_ms
        self.congested = overdue or (self.congested and bool(waiting))
        if self.congested:
            while waiting and now - waiting[0].now > self._patience_ms:
                yield waiting.popleft()
            yield from self._beyond(self._backlog)

    def _beyond(self, count: int) -> Iterator[Send]:
        """What stands behind the first so many that wait, in its order."""
        waiting = self.waiting
        if len(waiting) > count:
            first = [waiting.popleft() for _ in range(count)]
            while waiting:
                yield waiting.popleft()
            waiting.extend(first)

    def probed(self, now: int) -> bool:
        """Whether it is away, and a new send would be a probe."""
        return self._probes(now) > len(self.waiting)

    def forgive(self, now: int) -> None:
        """Time passed that was not the provider's fault: nobody has waited yet."""
        for send in self.waiting:
            send.now = now

    # ── What its answers say of it ────────────────────────────────────────────────────────────

    def stop(self, answer: Answer, now: int, until: int) -> None:
        """It refuses us: nothing is sent to it, but for one probe at ``until`` (epoch ms)."""
        if not self.stopped_until:
            _LOG.error(
                "provider stopped: it refuses our credentials or settings; messages are kept",
                provider=self.name,
                code=answer.code,
                detail=answer.detail,
            )
            self._alerts.opened(
                Cause("provider_stopped", self.name),
                now,
                provider=self.name,
                code=answer.code,
                fix=_STOPPED.format(name=self.name),
            )
        self.stopped_until, self._stopped_at = until, now

    def proved(self, sent_at: int) -> bool:
        """Whether it is stopped, and an answer to what was sent at ``sent_at`` tells that it need
        not be: what was under way when it stopped tells nothing."""
        return self.stopped_until > 0 and sent_at > self._stopped_at

    def go_on(self, now: int) -> None:
        """It takes sends again."""
        self.stopped_until = 0
        self._concurrency.restart(now)
        self._alerts.closed(Cause("provider_stopped", self.name), now)
        _LOG.info("provider works again", provider=self.name)

    def refused(self, answer: Answer, sent_at: int) -> None:
        """An answer that is no yes: whose failure it was."""
        if answer.limited:
            self.limited += 1
            if self.bucket is not None:
                self.bucket.give_back(1, sent_at)
        elif sent_at >= self.breaker.since:
            if answer.verdict in _ITS_OWN:
                self.bad += 1
                self.failure = answer.code
            elif answer.verdict is not Verdict.CFG:
                self.good += 1

    def heard(self, now: int) -> None:
        """A round's answers are in: judge what they say, together."""
        answers, good, bad, limited = self.answers, self.good, self.bad, self.limited
        self.answers = self.good = self.bad = self.limited = 0
        self._turned += answers
        full = self.in_flight + answers >= self._concurrency.limit(now)
        self._concurrency.answered(answers, limited, self.latency, full, now)
        turned = self.breaker.answered(good, bad, now)
        if turned is State.OPEN:
            _LOG.error(
                "provider down: most sends fail; messages are kept, and it is tried again",
                provider=self.name,
                seconds=round((self.breaker.until - now) / 1_000, 1),
            )
            self._alerts.opened(
                Cause("provider_down", self.name),
                now,
                provider=self.name,
                code=self.failure,
                fix=_DOWN.format(name=self.name),
            )
        elif turned is State.CLOSED:
            self._concurrency.restart(now)
            self._alerts.closed(Cause("provider_down", self.name), now)
            _LOG.info("provider works again: more from second to second", provider=self.name)

    def _probes(self, now: int) -> int:
        """How many may be tried with now, while it is away."""
        if self.stopped_until:
            return 1 if now >= self.stopped_until and not self.in_flight else 0
        return self.breaker.probes(self.in_flight, now)
