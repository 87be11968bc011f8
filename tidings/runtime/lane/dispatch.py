"""Sends on their way: from a place in a provider's quota over the lease to the answer.

    waiting ──► leased ──► in flight ──► ended
       ▲          │            │
       └─ resting ◄────────────┘         a retry in place, or another process has the lease

A question to a provider, whether it has what it did not answer for, goes the same way. A send that
rests holds no place and no lease. One whose partition went to another process is an orphan: what is
in flight is finished, marked and written; what is not is left to the new owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tidings.contract import Work
from tidings.operators.send import Sending, SendSpec
from tidings.ports import A_DAY, Io, Lease, Leased, Person
from tidings.ports import Verdict as Claim
from tidings.records import Delivery, Kind
from tidings.runtime.alerts import Alerts
from tidings.runtime.lane.answers import Stored, address_of, pack, stored, unpack
from tidings.runtime.lane.courier import LATE, Courier, Load
from tidings.runtime.lane.detour import Detours
from tidings.runtime.lane.doubts import Doubts, claim_of
from tidings.runtime.lane.endings import Endings
from tidings.runtime.lane.leases import Leases
from tidings.runtime.lane.policy import EXHAUSTED, Act, Decision, decide, relieve, spilled
from tidings.runtime.lane.questions import Questions
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.removal import Removals
from tidings.runtime.lane.resting import Resting
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.successes import Successes
from tidings.runtime.lane.tracker import Parcel, Tracker
from tidings.sender import Answer, Send, Terms, Verdict

_OK, _LEASED = Verdict.OK, Claim.LEASED  # a member of an enum costs 0.1 µs to name
_EXPIRED, _CANCELLED, _FAILED = Kind.EXPIRED.value, Kind.CANCELLED.value, Kind.FAILED.value
_RETRIES = (Act.AGAIN, Act.LATER)
_SURELY_NOT_SENT = (Verdict.RETRY, Verdict.CFG)
_BUSY_MS = 500  # until a lease that another process holds is asked for again
_MARGIN_MS = 1_000  # before a lease ends, so that clocks may differ by so much
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
        self._rungs = {topic: rung for rung, topic in enumerate(settlement.rungs, start=1)}
        self._detours = Detours(sending, self._quotas)
        self._resting = Resting(self._quotas)
        self._doubts = Doubts(self._spec, terms)
        self._questions = Questions(
            self._doubts,
            self._quotas,
            self._resting,
            self._leases,
            self._endings,
            self._spec.retry,
        )
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
        """For how many sends that wait on the ladder for a provider's sake it has room now."""
        if not self._leases.available(now):
            return {}
        found = {name: quota.opening(now) for name, quota in self._quotas.items()}
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
            or self._settlement.unsaid
            or self._resting.due(now)
            or any(quota.waiting for quota in self._quotas.values())
            or self._removals.due(now)
            or self._successes.due(now)
        )

    def deadline(self) -> int:
        """When something that rests is due, or something that waits for a provider; 0 for none."""
        waits = [quota.deadline() for quota in self._quotas.values() if quota.waiting]
        return min(filter(None, (self._resting.deadline(), *waits)), default=0)

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
            self._forgive(now)
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
        self._take_answers(now)
        self._wake(now)
        self._depart(now)
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

    def _forgive(self, now: int) -> None:
        """That nothing left was no provider's fault."""
        for quota in self._quotas.values():
            quota.forgive(now)

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

    # ── Leaving ───────────────────────────────────────────────────────────────────────────────

    def _depart(self, now: int) -> None:
        if not self._leases.available(now):
            self._settlement.forsake()
            self._forgive(now)
            return
        asked: list[Send] = []
        for quota in self._quotas.values():
            if quota.waiting:
                self._choose(quota, asked, now)
        holder = self._settings.holder
        leases = [
            _lease(send, holder)
            if send.doubt is not None or send.ticket.delivery.supersedes
            else Lease(send.send_id, send.ticket.origin(), holder, "", "", 0, send.ticket.turn)
            for send in asked
        ]
        ends = [ending.to_claim() for ending in self._settlement.unsaid]
        # A kill from here on leaves leases: what they stand for waits until they have run out.
        answers = self._leases.round(leases, self._tracker.done, now, ends)
        if answers is not None:
            if ends:
                self._settlement.answered(answers[len(leases) :])
                del answers[len(leases) :]
            self._leave(asked, answers, now)
            self._spill(now)
            return
        for send in reversed(asked):
            del self._in_flight[send.send_id]
            self._quotas[send.provider].waiting.appendleft(send)
        self._settlement.forsake()
        self._forgive(now)

    def _choose(self, quota: Quota, asked: list[Send], now: int) -> None:
        """Those that wait, as far as there are places."""
        waiting, in_flight = quota.waiting, self._in_flight
        free = min(quota.free(now), self._settings.batch)
        while free > 0 and waiting:
            send = waiting.popleft()
            if not send.ticket.partition.alive:
                self._endings.forsake(send)
            elif send.asking and self._doubts.hopeless(send, now):
                self._questions.give_up(send, "", now)
            elif 0 < send.expires_at <= now and not send.asking:
                self._endings.fail(send, _EXPIRED, "expired", "", now)
            elif send.send_id in in_flight:
                self._resting.add(send, now + _BUSY_MS)  # the same delivery, read twice
            else:
                in_flight[send.send_id] = send
                asked.append(send)
                free -= 1

    def _leave(self, asked: list[Send], answers: list[Leased], now: int) -> None:
        started = self._clock.now()
        loads: dict[str, list[Send]] = {}
        questions: dict[str, list[Send]] = {}
        for send, leased in zip(asked, answers, strict=True):
            if leased.verdict is _LEASED:
                if send.asking and self._doubts.forgotten(send):
                    del self._in_flight[send.send_id]
                    self._questions.give_up(send, "", now)
                    continue
                send.now = started
                (questions if send.asking else loads).setdefault(send.provider, []).append(send)
                continue
            del self._in_flight[send.send_id]
            if leased.verdict is Claim.BUSY:
                self._resting.add(send, now + _BUSY_MS)
            elif leased.verdict is Claim.SUPERSEDED:
                self._endings.fail(send, _CANCELLED, "superseded", "", now)
            elif leased.verdict is Claim.OVER:  # how, is said when its last word is asked about
                self._endings.fail(send, _FAILED, "over", "", now)
            else:
                self._found(send, leased, now)
        if loads or questions:
            carried = [Load(*load) for load in loads.items()]
            carried += [Load(*load, asking=True) for load in questions.items()]
            for provider, sends, _ in carried:
                self._quotas[provider].depart(len(sends), started)
            until = now + self._settings.lease_ms - _MARGIN_MS
            self._courier.hand_over(carried, until)

    def _found(self, send: Send, leased: Leased, now: int) -> None:
        """It went out already, by us before a crash or by another process: say so again.

        Where its outcome is confirmed too, nothing is said, unless other addresses have news. What
        went out without an answer is asked about.
        """
        kept = unpack(leased.answer, send.provider, send.attempt, send.now)
        if not kept.address:
            kept = msgspec.structs.replace(kept, address=address_of(send))
        parcel: Parcel = send.ticket
        if kept.doubt and self._doubts.found(send, kept):
            self._settlement.attempt(parcel, send.send_id, kept)
            parcel.doubt()
            send.now = now
            self._quotas[send.provider].waiting.append(send)
            return
        parcel.marked += (claim_of(send),)
        if leased.verdict is Claim.SENT:
            parcel.news = True
            if kept.verdict is _OK:
                self._endings.took(send, kept)
                return
            self._settlement.attempt(parcel, send.send_id, kept)
        self._endings.close(send, kept.verdict, kept.at)

    def _spill(self, now: int) -> None:
        for quota in self._quotas.values():
            reason = quota.why
            for send in quota.spilling(now):
                if not send.asking and (other := self._detours.next(send)) is not None:
                    send.now = now
                    other.waiting.append(send)
                elif send.ticket.partition.alive:
                    self._settlement.deferred(send.ticket, reason, quota.name, now)
                    tried = self._rungs.get(send.ticket.record.topic, 0) if quota.away else 0
                    at, rung = spilled(tried, send, now, self._spec.retry)
                    self._endings.park(send, at, rung, send.attempt - 1, awaits=quota.name)
                else:
                    self._endings.forsake(send)

    # ── Coming back ───────────────────────────────────────────────────────────────────────────

    def _take_answers(self, now: int) -> None:
        answered, in_flight = self._courier.answered, self._in_flight
        for _ in range(min(len(answered), self._settings.batch)):
            send, answer, at = answered.popleft()
            if in_flight.get(send.send_id) is not send:
                continue  # a sender that answers twice
            del in_flight[send.send_id]
            quota = self._quotas[send.provider]
            quota.in_flight -= 1
            if answer is LATE:
                send.now = now
                quota.waiting.append(send)
                continue
            quota.answers += 1
            quota.latency = at - send.now
            if answer.verdict is not Verdict.CFG and quota.proved(send.now):
                quota.go_on(now)
            parcel: Parcel = send.ticket
            parcel.news = True
            if send.asking:
                self._told(send, answer, at, now)
                continue
            if answer.replacement:
                self._removals.replace(_person(parcel), send.address, answer.replacement, now)
            kept = stored(send, answer, at, address_of(send))
            if answer.verdict is _OK:
                if send.now >= quota.breaker.since:
                    quota.good += 1
                    quota.taken_at = send.now
                self._took(send, kept)
            else:
                self._settlement.attempt(parcel, send.send_id, kept)
                quota.refused(answer, send.now)
                self._refused(send, answer, at, now)
        for quota in self._quotas.values():
            if quota.answers:
                quota.heard(now)

    def _took(self, send: Send, kept: Stored) -> None:
        """Its provider has it."""
        # A kill before its mark is what repeats a send. The mark is in this very round, and the
        # outcome is written behind it.
        parcel: Parcel = send.ticket
        claim = send.send_id if send.doubt is None else claim_of(send)
        self._leases.mark(claim, pack(kept), parcel.turn)
        parcel.marked += (claim,)
        self._endings.took(send, kept)
        if kept.at - send.address.last_success_at >= A_DAY:
            delivery = parcel.delivery
            self._successes.add(delivery.tenant, delivery.recipient_id, send.address, kept.at)

    def _refused(self, send: Send, answer: Answer, at: int, now: int) -> None:
        """Any answer but a yes; see ``policy``."""
        parcel: Parcel = send.ticket
        quota = self._quotas[send.provider]
        down = not quota.breaker.closed
        if answer.verdict is Verdict.AMB and self._doubts.asks(send, send.provider):
            self._questions.begin(send, answer, at, now)
            return
        decision = decide(answer, send, now, self._spec, down=down)
        if decision.kind is Kind.UNKNOWN:
            # Marked, with the answer that it is: a replay must not send it again either.
            claim = claim_of(send)
            self._leases.mark(claim, pack(stored(send, answer, at, address_of(send))), parcel.turn)
            parcel.marked += (claim,)
        else:
            self._leases.release(claim_of(send))
        if decision.gone and not answer.replacement:
            self._removals.add(_person(parcel), send.address)
        elif answer.suppress:
            self._removals.suppress(parcel.delivery.tenant, send, answer.suppress)
        if decision.act is Act.STOP:
            quota.stop(answer, now, now + self._settings.probe_ms)
        elif decision.act in _RETRIES and (parcel.partition.crowded or quota.full_of_retries()):
            decision = relieve(decision, send, now, self._spec.retry)
        other = self._way_round(send, answer, decision)
        if other is None and decision.act is Act.END:
            expired = decision.kind is Kind.EXPIRED
            word = _EXPIRED if expired else answer.verdict
            if decision.reason == EXHAUSTED:
                parcel.failing = send.provider
            self._endings.fail(send, word, decision.reason, answer.code, at)
            return
        send.spared += not decision.counted
        if not parcel.partition.alive:
            self._endings.forsake(send)
        elif other is None and decision.act is Act.LATER:
            self._endings.park(send, decision.at, decision.rung, send.attempt)
        elif other is None and decision.act is Act.AGAIN:
            send.attempt += 1
            self._resting.add(send, decision.at)
        elif other is None and decision.act in (Act.WAIT, Act.STOP):
            # Behind the others: it may be what brings the provider down, or what it refuses.
            send.attempt += 1
            send.now = now
            quota.waiting.append(send)
        else:
            send.attempt += 1
            send.now = now
            (other or quota).waiting.appendleft(send)

    def _told(self, send: Send, answer: Answer, at: int, now: int) -> None:
        """What its provider says of a send that it may have."""
        quota, doubt = self._quotas[send.provider], send.doubt
        assert doubt is not None, "it is a question"
        none = answer.verdict is Verdict.RETRY and not answer.limited
        if none or answer.verdict is _OK:
            quota.good += send.now >= quota.breaker.since
        else:
            quota.refused(answer, send.now)
        kept = stored(send, answer, at, address_of(send))
        kept = msgspec.structs.replace(kept, attempt=doubt.attempt)
        if answer.verdict is _OK:
            send.attempt = doubt.attempt
            self._took(send, kept)
        elif none and self._doubts.settled(send):
            self._settlement.attempt(send.ticket, send.send_id, kept)
            send.asking = False
            if send.attempt == doubt.attempt:
                self._refused(send, answer, at, now)
            else:  # it has been on the ladder since: that was its wait
                self._leases.release(claim_of(send))
                send.now = now
                quota.waiting.append(send)
        else:
            self._questions.again(send, answer, now)

    def _way_round(self, send: Send, answer: Answer, decision: Decision) -> Quota | None:
        """The next provider, for what this one surely has not sent and would be put off or ended:
        an end that comes of a retry is no more than the lack of time or of rungs for one."""
        if answer.verdict not in _SURELY_NOT_SENT:
            return None
        if decision.act is Act.AGAIN and decision.counted:  # a rate limit is not tried in place
            return None
        return self._detours.next(send)


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


def _lease(send: Send, holder: str) -> Lease:
    """A lease for what a newer one may have superseded, or what its provider may have. A later
    round only asks: its delivery is younger than the event that it is about. Whether a provider has
    it is asked all the same."""
    delivery: Delivery = send.ticket.delivery
    claim, origin, turn = claim_of(send), send.ticket.origin(), send.ticket.turn
    if send.asking or not delivery.supersedes:
        return Lease(claim, origin, holder, "", "", 0, turn)
    since = delivery.created_at if delivery.round == 0 else 0
    return Lease(claim, origin, holder, delivery.supersedes, delivery.wait, since, turn)


def _person(parcel: Parcel) -> Person:
    return Person(parcel.delivery.tenant, parcel.delivery.recipient_id)
