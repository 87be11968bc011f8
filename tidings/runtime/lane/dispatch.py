"""A lane's sends: from a place in a provider's quota over the lease to the answer.

    waiting ──► leased ──► in flight ──► ended
       ▲          │            │
       └─ resting ◄────────────┘         a retry in place, or another process has the lease

A question to a provider, whether it has what it did not answer for, goes the same way. A send that
rests holds no place and no lease. One whose partition went to another process is an orphan: what is
in flight is finished, marked and written; what is not is left to the new owner.

Here they come in and wait, and the lane is told how many more it may read; `Departures` and
`Returns` are the two ways between the waiting and the providers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidings.contract import Work
from tidings.operators.send import Sending, SendSpec
from tidings.ports import Io
from tidings.runtime.alerts import Alerts
from tidings.runtime.lane.courier import Courier
from tidings.runtime.lane.departures import Departures
from tidings.runtime.lane.desk import Desk
from tidings.runtime.lane.detour import Detours
from tidings.runtime.lane.doubts import Doubts
from tidings.runtime.lane.endings import Endings
from tidings.runtime.lane.leases import Leases
from tidings.runtime.lane.questions import Questions
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.removal import Removals
from tidings.runtime.lane.resting import Resting
from tidings.runtime.lane.returns import Returns
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.successes import Successes
from tidings.runtime.lane.tracker import Parcel, Tracker
from tidings.sender import Send, Terms

_LOOK_MS = 1_000  # between two looks at what is in flight the longest
_UNANSWERED = 4  # lives of a lease: no sender is so patient


class Dispatch:
    """The sends of a lane. Everything runs on the engine's thread."""

    def __init__(
        self,
        settings: LaneSettings,
        sending: Sending,
        io: Io,
        courier: Courier,
        tracker: Tracker,
        settlement: Settlement,
        terms: Mapping[str, Terms],
        alerts: Alerts,
    ) -> None:
        self._settings = settings
        self._spec = sending.spec
        self._clock = io.clock
        self._courier = courier
        self._tracker = tracker
        self._settlement = settlement
        self._endings = Endings(tracker, settlement)
        self._leases = Leases(settings, io.claims, io.clock)
        self._removals = Removals(io.people, io.suppressions)
        self._successes = Successes(io.people)
        providers = self._spec.providers()
        spills = len(providers) > 1 and bool(self._spec.retry.ladder)
        self._quotas = {
            name: _quota(name, self._spec, terms.get(name, Terms()), settings, alerts, spills)
            for name in providers
        }
        self._in_flight: dict[str, Send] = {}
        self._detours = Detours(sending, self._quotas)
        self._resting = Resting(self._quotas)
        self._doubts = Doubts(self._spec, terms)
        questions = Questions(
            self._doubts,
            self._quotas,
            self._resting,
            self._leases,
            self._endings,
            self._spec.retry,
        )
        self._desk = desk = Desk(
            settings=settings,
            spec=self._spec,
            clock=io.clock,
            courier=courier,
            settlement=settlement,
            endings=self._endings,
            leases=self._leases,
            quotas=self._quotas,
            in_flight=self._in_flight,
            detours=self._detours,
            resting=self._resting,
            doubts=self._doubts,
            questions=questions,
        )
        rungs = {topic: rung for rung, topic in enumerate(settlement.rungs, start=1)}
        self._departures = Departures(desk, tracker, rungs)
        self._returns = Returns(desk, self._removals, self._successes)
        self.rated = [quota for quota in self._quotas.values() if quota.bucket is not None]
        self._all_partitions = self._own_partitions = 0
        self._ticked_at = 0
        self._look_at = 0

    def share(self, partitions: int) -> None:
        """The lane has so many partitions, all its processes together: each may send the part of a
        rate that its own are of them."""
        self._all_partitions = partitions

    # ── What the lane asks ────────────────────────────────────────────────────────────────────

    def room(self) -> int:
        """How many more deliveries the lane may read."""
        quotas = self._quotas.values()
        narrowest = min(quota.room() for quota in quotas) + len(self._courier.answered)
        return min(narrowest, sum(quota.most for quota in quotas) - self._tracker.open)

    def openings(self, now: int) -> dict[str, int]:
        """For how many sends that wait on the ladder for a provider's sake it has room now: half of
        it where there is always something new, else a busy lane would never come to them."""
        if not self._leases.available(now):
            return {}
        busy = sum(bool(quota.waiting) for quota in self._quotas.values())
        share = -(-self.room() // (2 * busy)) if busy else 0
        found = {name: quota.opening(now, share) for name, quota in self._quotas.items()}
        return {name: count for name, count in found.items() if count > 0}

    def proven(self, provider: str) -> int:
        """When a send left that this provider has taken, the latest of those that tell something of
        it (epoch ms); 0 for none."""
        quota = self._quotas.get(provider)
        return quota.taken_at if quota is not None else 0

    def due(self, now: int) -> bool:
        """Whether a round has something to do."""
        return bool(
            self._courier.answered
            or self._tracker.done
            or self._leases.unsaid()
            or self._settlement.to_claim(now)
            or self._resting.due(now)
            or any(quota.waiting for quota in self._quotas.values())
            or self._removals.due(now)
            or self._successes.due(now)
        )

    def deadline(self) -> int:
        """When something that rests is due, or something that waits for a provider; 0 for none."""
        waits = [quota.deadline() for quota in self._quotas.values() if quota.waiting]
        later = (self._resting.deadline(), self._settlement.deadline())
        return min(filter(None, (*later, *waits)), default=0)

    def full(self) -> bool:
        """Whether answers for a whole batch have come."""
        return len(self._courier.answered) >= self._settings.batch

    def drained(self) -> bool:
        """Whether nothing is under way, and Claims have heard everything."""
        return not (
            self._in_flight or self._courier.answered or self._leases.unsaid() or self._tracker.done
        )

    def tick(self, now: int) -> None:
        """Time passes: said at each pull. Raises RuntimeError for a sender that does not answer."""
        if now - self._ticked_at > self._settings.frozen_ms:
            self._desk.forgive(now)
            self._look_at = now + _LOOK_MS
        elif now >= self._look_at:
            self._look(now)
        self._ticked_at = now

    # ── A round ───────────────────────────────────────────────────────────────────────────────

    def round(self, works: Iterable[Work], now: int) -> None:
        """Take works over, and answers; then send what has a place and gets a lease."""
        if self.rated and len(self._tracker.partitions) != self._own_partitions:
            self._own_partitions = len(self._tracker.partitions)
            for quota in self.rated:
                quota.share(self._own_partitions / self._all_partitions)
        for work in works:
            self._enter(work, now)
        self._returns.round(now)
        self._wake(now)
        self._departures.round(now)
        self._removals.carry_out(now)
        self._successes.tell(now)

    def forsake_all(self) -> None:
        """Leave everything that is not in flight to other processes."""
        for quota in self._quotas.values():
            while quota.waiting:
                self._endings.forsake(quota.waiting.popleft())
        for send in self._resting.all():
            self._endings.forsake(send)

    def _look(self, now: int) -> None:
        """A send without an answer would hold its place and its partition for ever."""
        self._look_at = now + _LOOK_MS
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is not None and now - oldest.now > _UNANSWERED * self._settings.lease_ms:
            raise RuntimeError(
                f"{oldest.provider} has not answered a send for {(now - oldest.now) // 1000} s: "
                "a sender answers each, at the latest when its own time-out has passed"
            )

    def _enter(self, work: Work, now: int) -> None:
        parcel: Parcel = work.ticket
        parcel.content = work.content
        parcel.delivery.data = {}  # 2 kB, told by the content from here on
        parcel.open = len(work.sends)
        if not parcel.open:  # every address has answered on an earlier rung
            parcel.news = True
            self._endings.finish(parcel, now)
        for send in work.sends:
            send.ticket = parcel
            if parcel.delivery.answers and self._doubts.parked(send, parcel.delivery):
                self._quotas[send.provider].waiting.append(send)
            else:
                self._detours.first(send, now).waiting.append(send)

    def _wake(self, now: int) -> None:
        for send in self._resting.woken(now):
            send.now = now
            self._quotas[send.provider].waiting.append(send)


def _quota(
    name: str, spec: SendSpec, terms: Terms, settings: LaneSettings, alerts: Alerts, spills: bool
) -> Quota:
    return Quota(
        name,
        spec.quota(name, terms.bulk),
        settings.patience_ms,
        spills=spills,
        breaker=spec.breaker,
        rate=spec.rate_of(name) or terms.rate,
        counts_limited=terms.counts_limited,
        double_ms=settings.slow_start_ms,
        alerts=alerts,
    )
