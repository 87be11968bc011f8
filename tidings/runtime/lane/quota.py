"""What one provider has in hand: its sends in flight, those that wait for a place, and its state.

busy       all places are taken and what comes waits; the lane reads no more than fits
congested  what came has waited longer than the lane's patience: the rest goes to the ladder
stopped    it refuses us (credentials, settings): nothing is sent but a probe now and then
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import structlog

from tidings.sender import Answer, Send

_LOG = structlog.get_logger(__name__)
LEAST_BACKLOG = 100


class Quota:
    """One provider's places.

    ``spills``: other providers are served by the same lane and there is a ladder to spill to.
    Without, what this one can't take waits, and the lane reads no further: nobody is held up.
    """

    def __init__(self, name: str, places: int, patience_ms: int, *, spills: bool) -> None:
        self.name = name
        self.places = places
        self.spills = spills
        self.waiting: deque[Send] = deque()  # of each, ``now`` is when it came
        self.in_flight = 0
        self.resting = 0  # those that wait for a time, not for a place
        self.congested = False
        self.stopped_until = 0  # 0 while it works
        self._patience_ms = patience_ms
        self._backlog = max(places, LEAST_BACKLOG)  # fills all places again at once

    @property
    def most(self) -> int:
        """How many sends it can make the lane hold: in flight, waiting, resting."""
        return self.places + 3 * self._backlog

    def room(self) -> int:
        """How many more sends may come; what spills turns none away."""
        if self.spills and (self.congested or self.stopped_until):
            return self._backlog
        return self.places + self._backlog - self.in_flight - len(self.waiting)

    def full_of_retries(self) -> bool:
        """Whether another retry in place would take the room of what is new."""
        return self.resting >= 2 * self._backlog

    def free(self, now: int) -> int:
        """How many may be sent now: while it is stopped one, when it is time for a probe."""
        if self.stopped_until:
            return 1 if now >= self.stopped_until and not self.in_flight else 0
        return self.places - self.in_flight

    def deadline(self) -> int:
        """When one of those that wait can be sent, be it as a probe, or has waited too long (epoch
        ms); 0 where an answer has to come first."""
        if self.stopped_until:
            return 0 if self.in_flight else self.stopped_until
        if self.in_flight < self.places:
            return self.waiting[0].now
        if not self.spills:
            return 0
        return self.waiting[0].now + self._patience_ms + 1

    def spilling(self, now: int) -> Iterator[Send]:
        """What is to go to the ladder, so that others are not held up."""
        waiting = self.waiting
        if not self.spills:
            return
        if self.stopped_until:
            probe = 1 if now >= self.stopped_until else 0
            while len(waiting) > probe:
                yield waiting.pop()
        overdue = bool(waiting) and now - waiting[0].now > self._patience_ms
        self.congested = overdue or (self.congested and bool(waiting))
        if self.congested:
            while waiting and now - waiting[0].now > self._patience_ms:
                yield waiting.popleft()
            while len(waiting) > self._backlog:
                yield waiting.pop()

    def stop(self, answer: Answer, until: int) -> None:
        """It refuses us: nothing is sent to it, but for one probe at ``until`` (epoch ms)."""
        if not self.stopped_until:
            _LOG.error(
                "provider stopped: it refuses our credentials or settings; messages are kept",
                provider=self.name,
                code=answer.code,
                detail=answer.detail,
            )
        self.stopped_until = until

    def go_on(self) -> None:
        """It takes sends again."""
        self.stopped_until = 0
        _LOG.info("provider works again", provider=self.name)

    def forgive(self, now: int) -> None:
        """Time passed that was not the provider's fault: nobody has waited yet."""
        for send in self.waiting:
            send.now = now
